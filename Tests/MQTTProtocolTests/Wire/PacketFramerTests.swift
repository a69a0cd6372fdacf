import Testing

@testable import MQTTProtocol

@Suite("Packet framer")
struct PacketFramerTests {
    @Test("a packet is asked for byte by byte until it is whole")
    func splitting() {
        let whole = publish(.v5, "topic/name", qos: .atLeastOnce, id: 7, payload: String(repeating: "x", count: 300))
        for count in 0..<whole.count {
            guard case .needMore(let total) = frame(Array(whole[..<count])) else {
                Issue.record("\(count) bytes are no packet")
                return
            }
            #expect(total > count && total <= whole.count)
        }
        let header = PacketHeader(type: .publish, flags: 2, headerLength: 3, remainingLength: whole.count - 3)
        #expect(frame(whole) == .packet(header))
        #expect(frame(whole + [0xFF]) == .packet(header))
    }

    @Test("remaining lengths take one to four bytes", arguments: [0, 127, 128, 16_383, 16_384, 1_000_000])
    func remainingLength(_ length: Int) {
        let bytes = packet(0x30, [UInt8](repeating: 0, count: length))
        #expect(bytes.count == 1 + VariableByteInteger.size(UInt32(length)) + length)
        guard case .packet(let header) = frame(bytes) else {
            Issue.record("no packet")
            return
        }
        #expect(header.remainingLength == length)
        #expect(header.totalLength == bytes.count)
    }

    @Test("a remaining length of five bytes is malformed in every version")
    func fiveBytes() {
        for version in ProtocolVersion.allCases {
            #expect(frame(hex("30 80 80 80 80 01"), version: version) == .invalid(.malformedRemainingLength))
            #expect(frame(hex("30 FF FF FF FF"), version: version) == .invalid(.malformedRemainingLength))
        }
    }

    @Test("a padded remaining length is malformed in 5.0 and tolerated in 3.x")
    func paddedLength() {
        #expect(frame(hex("C0 80 00"), version: .v5) == .invalid(.malformedRemainingLength))
        let header = PacketHeader(type: .pingreq, flags: 0, headerLength: 3, remainingLength: 0)
        #expect(frame(hex("C0 80 00"), version: .v3_1_1) == .packet(header))
    }

    @Test("a packet that will be too large is refused before it has arrived")
    func tooLarge() {
        #expect(frame(hex("30 64"), maximum: 101) == .invalid(.packetTooLarge))
        #expect(frame(hex("30 64"), maximum: 102) == .needMore(total: 102))
        #expect(frame(hex("30 FF FF FF 7F")) == .invalid(.packetTooLarge))
    }

    @Test("fixed header flags other than the specified ones are malformed")
    func flags() {
        for type in PacketType.allCases where type != .publish {
            for flags in UInt8(0)...15 where flags != type.requiredFlags {
                #expect(frame([type.rawValue << 4 | flags, 0]) == .invalid(.invalidFixedHeaderFlags))
            }
        }
        #expect(frame(hex("00 00")) == .invalid(.reservedPacketType))
    }

    @Test("QoS 3 and DUP on QoS 0 are malformed")
    func publishFlags() {
        for first in ["36", "37", "3E", "3F"] { #expect(frame(hex(first)) == .invalid(.invalidQoS)) }
        for first in ["38", "39"] { #expect(frame(hex(first)) == .invalid(.duplicateFlagOnQoS0)) }
    }

    @Test("MQTT 3.1 may repeat SUBSCRIBE, UNSUBSCRIBE and PUBREL with DUP")
    func duplicatesOf31() {
        for first in ["8A 00", "AA 00", "6A 00"] {
            #expect(frame(hex(first), version: .v3_1_1) == .invalid(.invalidFixedHeaderFlags))
            guard case .packet = frame(hex(first), version: .v3_1) else {
                Issue.record("\(first) is allowed in 3.1")
                continue
            }
        }
    }

    @Test("every error has a reason code of failure and a sentence")
    func errors() {
        for error in MQTTProtocolError.allCases {
            #expect(error.reasonCode.isFailure)
            #expect(!error.description.isEmpty)
        }
    }
}
