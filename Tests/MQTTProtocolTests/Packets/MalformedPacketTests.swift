import Testing

@testable import MQTTProtocol

@Suite("Malformed packets")
struct MalformedPacketTests {
    func connect(_ version: ProtocolVersion, flags: UInt8, _ rest: [UInt8]) -> [UInt8] {
        let name: [UInt8] = version == .v3_1 ? text("MQIsdp") : text("MQTT")
        let properties: [UInt8] = version == .v5 ? [0] : []
        return packet(0x10, name + [version.rawValue, flags, 0, 60] + properties + rest)
    }

    func error(_ bytes: [UInt8], _ version: ProtocolVersion = .v5, from sender: Peer = .client) -> MQTTProtocolError? {
        do throws(MQTTProtocolError) {
            _ = try decode(bytes, version, from: sender)
            return nil
        } catch {
            return error
        }
    }

    @Test("CONNECT flags must not contradict each other")
    func connectFlags() {
        #expect(error(connect(.v5, flags: 0x03, text("c"))) == .reservedBitsSet)
        #expect(error(connect(.v3_1_1, flags: 0x03, text("c"))) == .reservedBitsSet)
        #expect(error(connect(.v3_1, flags: 0x03, text("c"))) == nil)
        #expect(error(connect(.v5, flags: 0x0A, text("c"))) == .invalidConnectFlags)
        #expect(error(connect(.v5, flags: 0x22, text("c"))) == .invalidConnectFlags)
        #expect(error(connect(.v5, flags: 0x1E, text("c"))) == .invalidQoS)
        #expect(error(connect(.v3_1_1, flags: 0x42, text("c") + text("p"))) == .invalidConnectFlags)
        #expect(error(connect(.v5, flags: 0x42, text("c") + text("p"))) == nil)
    }

    @Test("CONNECT of another protocol or version is refused")
    func connectVersions() {
        #expect(error(packet(0x10, text("MQTX") + hex("04 02 00 3C 00 01 63"))) == .unknownProtocolName)
        #expect(error(packet(0x10, text("MQTT") + hex("06 02 00 3C 00 01 63"))) == .unsupportedProtocolVersion)
        #expect(error(packet(0x10, text("MQTT") + hex("84 02 00 3C 00 01 63"))) == .unsupportedProtocolVersion)
        #expect(error(packet(0x10, text("MQTT") + hex("03 02 00 3C 00 01 63"))) == .unsupportedProtocolVersion)
        #expect(error(packet(0x10, text("MQIsdp") + hex("04 02 00 3C 00 01 63"))) == .unsupportedProtocolVersion)
    }

    @Test("the fields that CONNECT's flags announce must be there, and nothing else")
    func connectFields() {
        for version in ProtocolVersion.allCases {
            #expect(error(connect(version, flags: 0x02, text("c") + [0])) == .trailingBytes)
            #expect(error(connect(version, flags: 0x06, text("c"))) == .truncatedPacket)
        }
        #expect(error(connect(.v3_1_1, flags: 0x82, text("c"))) == .truncatedPacket)
        #expect(error(connect(.v3_1, flags: 0xC2, text("c") + text("user"))) == nil)
        #expect(error(connect(.v3_1_1, flags: 0x02, hex("00 02 C3 28"))) == .malformedString)
        #expect(error(connect(.v3_1_1, flags: 0x02, hex("00 01 00"))) == .malformedString)
        #expect(error(connect(.v3_1_1, flags: 0x06, text("c") + text("a/+") + text(""))) == .malformedTopicName)
        #expect(error(connect(.v3_1_1, flags: 0x06, text("c") + text("") + text(""))) == .emptyTopicName)
    }

    @Test("packet identifier zero is a protocol error in every packet that has one")
    func packetIdentifierZero() {
        for bytes in [
            "32 06 00 01 61 00 00 00", "40 02 00 00", "50 02 00 00", "62 02 00 00", "70 02 00 00",
            "82 07 00 00 00 00 01 61 00", "A2 06 00 00 00 00 01 61",
        ] {
            #expect(error(hex(bytes)) == .packetIdentifierZero)
        }
    }

    @Test("PUBLISH needs a topic name without wildcards")
    func publishTopics() {
        #expect(error(publish(.v3_1_1, ""), .v3_1_1) == .emptyTopicName)
        #expect(error(publish(.v5, "")) == .emptyTopicName)
        #expect(error(publish(.v5, "", properties: "23 00 01")) == nil)
        #expect(error(publish(.v5, "a/+")) == .malformedTopicName)
        #expect(error(publish(.v5, "#")) == .malformedTopicName)
        #expect(error(packet(0x30, hex("00 02 61 00 00"))) == .malformedTopicName)
        #expect(error(packet(0x30, hex("00 05 61"))) == .truncatedPacket)
    }

    @Test("SUBSCRIBE needs filters, valid options and no reserved bits")
    func subscribe() {
        #expect(error(hex("82 02 00 01"), .v3_1_1) == .emptyPayload)
        #expect(error(hex("82 03 00 01 00")) == .emptyPayload)
        #expect(error(hex("82 06 00 01 00 01 61 03"), .v3_1_1) == .invalidSubscriptionOptions)
        #expect(error(hex("82 06 00 01 00 01 61 04"), .v3_1_1) == .reservedBitsSet)
        #expect(error(hex("82 07 00 01 00 00 01 61 03")) == .invalidSubscriptionOptions)
        #expect(error(hex("82 07 00 01 00 00 01 61 30")) == .invalidSubscriptionOptions)
        #expect(error(hex("82 07 00 01 00 00 01 61 40")) == .reservedBitsSet)
        #expect(error(hex("82 06 00 01 00 00 01 61")) == .truncatedPacket)
        #expect(error(hex("82 07 00 01 00 00 01 00 00")) == .malformedTopicFilter)
        #expect(error(packet(0x82, hex("00 01 00") + text("$share/g/a") + [0x04])) == .noLocalOnSharedSubscription)
        #expect(error(hex("82 09 00 01 02 0B 00 00 01 61 00")) == .invalidPropertyValue)
        #expect(error(hex("A2 02 00 01"), .v3_1_1) == .emptyPayload)
        #expect(error(hex("A2 03 00 01 00")) == .emptyPayload)
    }

    @Test("limits on filters and user properties of one packet hold")
    func limits() {
        var limits = MQTTLimits()
        limits.maximumFiltersPerPacket = 2
        limits.maximumUserProperties = 1
        let filter = text("a") + [0]
        #expect(throws: Never.self) { try decode(packet(0x82, [0, 1, 0] + filter + filter), limits: limits) }
        #expect(throws: MQTTProtocolError.tooManyTopicFilters) {
            try decode(packet(0x82, [0, 1, 0] + filter + filter + filter), limits: limits)
        }
        #expect(throws: MQTTProtocolError.tooManyUserProperties) {
            try decode(packet(0x82, [0, 1] + hex("0A 26 00 00 00 00 26 00 00 00 00") + filter), limits: limits)
        }
    }

    @Test("acknowledgements carry only their own reason codes")
    func reasonCodes() {
        #expect(error(hex("40 03 00 01 92")) == .invalidReasonCode)
        #expect(error(hex("40 03 00 01 7F")) == .invalidReasonCode)
        #expect(error(hex("62 03 00 01 10")) == .invalidReasonCode)
        #expect(error(hex("40 03 00 01 00"), .v3_1_1) == .trailingBytes)
        #expect(error(hex("40 01 00")) == .truncatedPacket)
        #expect(error(hex("40 05 00 01 00 00 00")) == .trailingBytes)
        #expect(error(hex("E0 01 01")) == .invalidReasonCode)
    }
}
