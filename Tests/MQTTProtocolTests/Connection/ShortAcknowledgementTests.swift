import NIOCore
import Testing

@testable import MQTTProtocol

@Suite("The short way of acknowledgements")
struct ShortAcknowledgementTests {
    private func take(
        _ bytes: [UInt8],
        _ machine: inout MQTTConnectionStateMachine,
        _ output: inout ByteBuffer
    ) -> AcknowledgementDecision? {
        bytes.withUnsafeBytes { machine.receivedShortAcknowledgement($0, nowMilliseconds: 1_000, output: &output) }
    }

    private func takeUsually(
        _ bytes: [UInt8],
        _ machine: inout MQTTConnectionStateMachine,
        _ output: inout ByteBuffer
    ) -> AcknowledgementDecision? {
        bytes.withUnsafeBytes { bytes in
            guard case .packet(let header) = machine.nextPacket(bytes, output: &output) else { return nil }
            return machine.receivedAcknowledgement(header, bytes, nowMilliseconds: 1_000, output: &output)
        }
    }

    @Test("it does what the usual way does")
    func asTheUsualWay() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        for version in ProtocolVersion.allCases {
            for _ in 0..<500 {
                var transcript = Transcript.connected(version)
                for token in 1...4 {
                    let qos: QoS = Bool.random(using: &random) ? .atLeastOnce : .exactlyOnce
                    _ = transcript.sends("t", qos: qos, token: UInt64(token))
                }
                var short = transcript.machine
                var usual = short
                for _ in 0..<12 {
                    let first = [0x40, 0x50, 0x62, 0x70].randomElement(using: &random) ?? 0x40
                    let bytes = [UInt8(first), 2, 0, UInt8.random(in: 1...5, using: &random)]
                    var output = ByteBuffer()
                    var expected = ByteBuffer()
                    let decision = take(bytes, &short, &output)
                    #expect(decision == takeUsually(bytes, &usual, &expected), "seed \(seed)")
                    #expect(output == expected, "seed \(seed)")
                    #expect(short.inFlightTokens == usual.inFlightTokens, "seed \(seed)")
                    if case .close? = decision { break }
                }
            }
        }
    }

    @Test("several that nobody needs to know of do together what they do one by one", arguments: [false, true])
    func together(isStored: Bool) {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        for version in ProtocolVersion.allCases {
            for _ in 0..<500 {
                var transcript = Transcript.connected(version, isStored: isStored)
                for _ in 0..<4 {
                    let qos: QoS = Bool.random(using: &random) ? .atLeastOnce : .exactlyOnce
                    _ = transcript.sends("t", qos: qos, token: UInt64.random(in: 0...1, using: &random))
                }
                for identifier in 1...2 as ClosedRange<UInt8> {
                    let properties: [UInt8] = version == .v5 ? [0] : []
                    let publish = [0x34, UInt8(5 + properties.count), 0, 1, 0x74, 0, identifier] + properties
                    if case .publish(let message) = transcript.receives(publish), Bool.random(using: &random) {
                        _ = transcript.completes(message.ticket)
                    }
                }
                var together = transcript.machine
                var usual = together
                let bytes = (0..<100).flatMap { _ in
                    let first = [0x40, 0x50, 0x62, 0x70].randomElement(using: &random) ?? 0x40
                    return [UInt8(first), 2, 0, UInt8.random(in: 1...5, using: &random)]
                }
                var output = ByteBuffer()
                var expected = ByteBuffer()
                let taken = bytes.withUnsafeBytes {
                    together.receivedPlainAcknowledgements($0, nowMilliseconds: 1_000, output: &output)
                }
                for index in 0..<taken.taken {
                    let decision = take(Array(bytes[index * 4..<index * 4 + 4]), &usual, &expected)
                    #expect(
                        decision == AcknowledgementDecision.none
                            || decision == .acknowledged(token: 0, reason: .success)
                    )
                }
                #expect(output == expected, "seed \(seed)")
                #expect(taken.answered == output.readableBytes / 4, "seed \(seed)")
                #expect(together.inFlightTokens == usual.inFlightTokens, "seed \(seed)")
                #expect(together.receivedIdentifiers == usual.receivedIdentifiers, "seed \(seed)")
                #expect(together.inboundCount == usual.inboundCount, "seed \(seed)")
            }
        }
    }

    @Test("more than a few are taken together, up to what is cut off")
    func many() {
        var transcript = Transcript.connected(.v3_1_1)
        for _ in 0..<200 { _ = transcript.sends("t", qos: .exactlyOnce, token: 0) }
        _ = transcript.sent()
        let bytes: [UInt8] = (1...200).flatMap { [0x50, 2, 0, $0] as [UInt8] } + [0x50, 2, 0]
        var output = ByteBuffer()
        let taken = bytes.withUnsafeBytes {
            transcript.machine.receivedPlainAcknowledgements($0, nowMilliseconds: 1_000, output: &output)
        }
        let answers: [UInt8] = (1...200).flatMap { [0x62, 2, 0, $0] as [UInt8] }
        #expect(taken == (200, 200))
        #expect(Array(output.readableBytesView) == answers)
    }

    @Test("what is not whole, has a reason or a wrong flag is left to the usual way")
    func special() {
        var machine = Transcript.connected(.v5).machine
        var output = ByteBuffer()
        for bytes in ["40 02 00", "40 03 00 01 00", "41 02 00 01", "60 02 00 01", "40 02 00 00", "C0 00", "40"] {
            #expect(take(hex(bytes), &machine, &output) == nil)
        }
        #expect(output.readableBytes == 0 && !machine.hasEnded)
    }
}
