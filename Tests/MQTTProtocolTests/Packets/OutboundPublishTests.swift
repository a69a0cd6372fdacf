import NIOCore
import Testing

@testable import MQTTProtocol

@Suite("Outbound PUBLISH")
struct OutboundPublishTests {
    static var none: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }

    @Test("what is encoded is what is decoded, and as large as was computed")
    func roundTrip() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        for _ in 0..<500 {
            let version: ProtocolVersion = Bool.random(using: &random) ? .v5 : .v3_1_1
            let topic = [UInt8](repeating: 0x61, count: Int.random(in: 1...40, using: &random))
            let payload = [UInt8](repeating: 7, count: Int.random(in: 0...20_000, using: &random))
            let split = Int.random(in: 0...topic.count, using: &random)
            let qos = QoS.allCases.randomElement(using: &random) ?? .atMostOnce
            let expiry: UInt32? = Bool.random(using: &random) ? 99 : nil
            let identifiers: [UInt32] = Bool.random(using: &random) ? [1, 300] : []
            let properties = Bool.random(using: &random) ? hex("01 01 03 00 01 74") : []
            var buffer = ByteBuffer(bytes: [1, 2, 3])
            var result: EncodedPublish?
            topic.withUnsafeBytes { topic in
                payload.withUnsafeBytes { payload in
                    properties.withUnsafeBytes { properties in
                        identifiers.withUnsafeBufferPointer { identifiers in
                            let message = OutboundPublish(
                                version: version,
                                qos: qos,
                                packetIdentifier: 513,
                                topicPrefix: UnsafeRawBufferPointer(rebasing: topic[..<split]),
                                topicRest: UnsafeRawBufferPointer(rebasing: topic[split...]),
                                payload: payload,
                                properties: properties,
                                messageExpirySeconds: expiry,
                                topicAlias: 4,
                                subscriptionIdentifiers: identifiers
                            )
                            result = message.encode(into: &buffer)
                            #expect(message.packetSize == result?.packetSize)
                        }
                    }
                }
            }
            let encoded = try #require(result)
            let bytes = Array(buffer.readableBytesView.dropFirst(3))
            #expect(encoded.start == 3 && encoded.packetSize == bytes.count, "seed \(seed)")
            guard case .publish(let view) = try decode(bytes, version, from: .server) else {
                throw Transcript.Unexpected()
            }
            #expect(Array(bytes[view.topicRange]) == topic, "seed \(seed)")
            #expect(Array(bytes[view.payloadRange]) == payload, "seed \(seed)")
            #expect(view.qos == qos && view.packetIdentifier == (qos == .atMostOnce ? 0 : 513))
            guard version == .v5 else { continue }
            #expect(view.topicAlias == 4 && view.messageExpirySeconds == expiry)
            #expect((encoded.messageExpiryOffset > 0) == (expiry != nil))
            encoded.setMessageExpiry(seconds: 7, in: &buffer, packetAt: encoded.start)
            let later = Array(buffer.readableBytesView.dropFirst(3))
            guard case .publish(let changed) = try decode(later, version, from: .server) else {
                throw Transcript.Unexpected()
            }
            #expect(changed.messageExpirySeconds == expiry.map { _ in 7 }, "seed \(seed)")
            let values = try bytes.withUnsafeBytes { try PublishProperties(validated: view.propertiesRange, of: $0) }
            #expect(values.subscriptionIdentifiers == identifiers)
            #expect(values.contentType == (properties.isEmpty ? nil : "t"))
        }
    }

    @Test("one encoding serves many subscribers by patching the packet identifier")
    func patching() throws {
        var buffer = ByteBuffer()
        let topic = Array("a/b".utf8)
        let encoded = try #require(
            topic.withUnsafeBytes {
                OutboundPublish(version: .v5, qos: .atLeastOnce, topicRest: $0, payload: Self.none).encode(
                    into: &buffer
                )
            }
        )
        let shared = Array(buffer.readableBytesView)
        var output = ByteBuffer(bytes: [0xFF])
        for identifier: UInt16 in [1, 0xABCD] {
            let start = output.writerIndex
            output.writeBytes(shared)
            encoded.setPacketIdentifier(identifier, in: &output, packetAt: start)
        }
        #expect(hexText(output.readableBytesView) == "FF 32 08 00 03 61 2F 62 00 01 00 32 08 00 03 61 2F 62 AB CD 00")
    }

    @Test("the head of a large message can be written without its payload")
    func head() throws {
        let topic = Array("a".utf8)
        let payload = [UInt8](repeating: 1, count: 200)
        let head = topic.withUnsafeBytes { topic in
            payload.withUnsafeBytes { payload in
                written { OutboundPublish(version: .v5, topicRest: topic, payload: payload).encodeHead(into: &$0) }
            }
        }
        #expect(head == hex("30 CC 01 00 01 61 00"))
        guard case .publish(let view) = try decode(head + payload) else { throw Transcript.Unexpected() }
        #expect(view.payloadRange == 7..<207)
    }

    @Test("a topic that is too long is not encoded")
    func tooLong() {
        let topic = [UInt8](repeating: 0x61, count: 65_536)
        let bytes = topic.withUnsafeBytes { topic in
            written {
                let message = OutboundPublish(version: .v5, topicRest: topic, payload: Self.none)
                #expect(message.packetSize == nil)
                #expect(message.encode(into: &$0) == nil)
            }
        }
        #expect(bytes.isEmpty)
    }
}
