import NIOCore
import Testing

@testable import MQTTProtocol

/// Valid packets, bent at random: whatever comes out, it is an error or a packet, never a trap.
@Suite("Mutated packets")
struct MutationTests {
    static let seeds: [[UInt8]] = [
        GoldenPacketTests.connect311, GoldenPacketTests.connect31, GoldenPacketTests.connect5,
        hex("20 0D 00 00 0A 21 00 14 24 01 27 00 10 00 00"),
        publish(
            .v5,
            "sensors/line1/temperature",
            qos: .atLeastOnce,
            id: 9,
            properties: "01 01 02 00 00 00 3C 23 00 01 26 00 01 61 00 01 62",
            payload: "21.5"
        ),
        publish(.v3_1_1, "a/b", qos: .exactlyOnce, id: 3, payload: "x"),
        hex("40 09 00 01 00 05 1F 00 02 6E 6F"), hex("50 03 00 01 97"), hex("62 02 00 01"), hex("70 03 00 01 92"),
        hex("82 19 00 0A 0A 0B C8 01 26 00 01 6B 00 01 76 00 03 61 2F 62 0D 00 03 63 2F 23 22"),
        packet(0x82, hex("00 01 00") + text("$share/g/a/#") + [1]), hex("90 06 00 0A 00 00 01 80"),
        hex("A2 0B 00 0A 00 00 03 61 2F 62 00 01 23"), hex("B0 05 00 0A 00 00 11"), hex("C0 00"), hex("D0 00"),
        hex("E0 07 04 05 11 00 00 00 3C"), hex("F0 0A 18 08 15 00 01 6D 16 00 01 01"),
    ]

    func mutate(_ bytes: [UInt8], _ random: inout SplitMix64) -> [UInt8] {
        var result = bytes
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            guard let index = result.indices.randomElement(using: &random) else { break }
            switch Int.random(in: 0...6, using: &random) {
            case 0: result[index] ^= 1 << UInt8.random(in: 0...7, using: &random)
            case 1: result[index] = UInt8.random(in: 0...255, using: &random)
            case 2: result[index] = [0x00, 0xFF, 0x7F, 0x80].randomElement(using: &random) ?? 0
            case 3: result.removeSubrange(index...)
            case 4: result.insert(UInt8.random(in: 0...255, using: &random), at: index)
            case 5: result.remove(at: index)
            default: result.append(contentsOf: bytes[index % bytes.count..<bytes.count])
            }
        }
        // Half of them get a remaining length that fits, so that the decoder sees the rest.
        if Bool.random(using: &random), result.count > 2 { result = packet(result[0], Array(result[2...])) }
        return result
    }

    @Test("decoders answer every mutation with a packet inside its bytes or with an error")
    func decoding() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        var packets = 0
        for round in 0..<12_000 {
            let bytes = mutate(Self.seeds[round % Self.seeds.count], &random)
            for version in ProtocolVersion.allCases {
                for sender in [Peer.client, .server] {
                    guard let packet = try? decode(bytes, version, from: sender) else { continue }
                    packets += 1
                    if case .publish(let view) = packet {
                        #expect(view.payloadRange.upperBound <= bytes.count, "seed \(seed)")
                        #expect(view.topicRange.upperBound <= view.payloadRange.lowerBound, "seed \(seed)")
                        _ = bytes.withUnsafeBytes { try? PublishProperties(validated: view.propertiesRange, of: $0) }
                    }
                }
            }
        }
        #expect(packets > 1_000, "seed \(seed): most mutations must get past the first check")
    }

    @Test("a packet cut short anywhere with a length that fits is an error or a shorter packet")
    func truncation() {
        for bytes in Self.seeds {
            for count in 0..<max(0, bytes.count - 2) {
                let cut = packet(bytes[0], Array(bytes[2..<2 + count]))
                for version in ProtocolVersion.allCases { _ = try? decode(cut, version) }
            }
        }
    }

    @Test("a connection survives any stream of mutated packets until it ends it itself")
    func streams() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        for _ in 0..<400 {
            let version = ProtocolVersion.allCases.randomElement(using: &random) ?? .v5
            var options = MQTTServerOptions()
            options.authenticationMethods = ["m"]
            var transcript = Transcript.connected(version, options: options) { connect in
                if version == .v5, Bool.random(using: &random) { connect.properties.authenticationMethod = "m" }
            }
            for _ in 0..<20 where !transcript.machine.hasEnded {
                var bytes = Self.seeds.randomElement(using: &random) ?? []
                if Int.random(in: 0...2, using: &random) == 0 { bytes = mutate(bytes, &random) }
                switch transcript.receives(bytes) {
                case .publish(let publish): _ = transcript.completes(publish.ticket)
                case .subscribe(let subscribe):
                    transcript.subscribed(subscribe.packet.packetIdentifier, subscribe.reasons)
                case .unsubscribe(let unsubscribe):
                    transcript.unsubscribed(unsubscribe.packetIdentifier, unsubscribe.filters.map { _ in .success })
                case .close: #expect(transcript.machine.hasEnded, "seed \(seed)")
                case .authenticate(let data, _):
                    if Bool.random(using: &random) {
                        _ = transcript.challenges(data)
                    } else {
                        transcript.reauthenticated(data)
                    }
                case .none, .acknowledged, .received, .released: break
                case .authorize: Issue.record("a second CONNECT was accepted, seed \(seed)")
                }
            }
        }
    }
}
