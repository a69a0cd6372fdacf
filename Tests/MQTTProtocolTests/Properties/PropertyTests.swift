import Testing

@testable import MQTTProtocol

@Suite("Properties")
struct PropertyTests {
    func error(_ bytes: [UInt8], from sender: Peer = .client) -> MQTTProtocolError? {
        do throws(MQTTProtocolError) {
            _ = try decode(bytes, from: sender)
            return nil
        } catch {
            return error
        }
    }

    /// The encoding of a property with a value that is valid for it.
    func sample(_ identifier: PropertyIdentifier) -> [UInt8] {
        switch identifier.kind {
        case .byte: [identifier.rawValue, 1]
        case .twoByteInteger: [identifier.rawValue, 0, 1]
        case .fourByteInteger: [identifier.rawValue, 0, 0, 0, 1]
        case .variableByteInteger: [identifier.rawValue, 0xC8, 1]
        case .string, .binary: [identifier.rawValue, 0, 1, 0x61]
        case .stringPair: [identifier.rawValue, 0, 1, 0x61, 0, 1, 0x62]
        }
    }

    func section(_ properties: [UInt8]) -> [UInt8] {
        [UInt8(properties.count)] + properties
    }

    /// Every place that holds properties, with what it allows.
    var places: [(String, PropertySet, Peer, ([UInt8]) -> [UInt8])] {
        [
            ("CONNECT", .connect, .client, { packet(0x10, text("MQTT") + [5, 2, 0, 0] + $0 + text("c")) }),
            (
                "will", .will, .client,
                { packet(0x10, text("MQTT") + [5, 6, 0, 0, 0] + text("c") + $0 + text("w") + text("")) }
            ),
            ("CONNACK", .connack, .server, { packet(0x20, [0, 0] + $0) }),
            ("PUBLISH", .publish, .server, { packet(0x30, text("a") + $0) }),
            ("PUBACK", .acknowledgement, .client, { packet(0x40, [0, 1, 0] + $0) }),
            ("PUBREC", .acknowledgement, .client, { packet(0x50, [0, 1, 0] + $0) }),
            ("PUBREL", .acknowledgement, .client, { packet(0x62, [0, 1, 0] + $0) }),
            ("PUBCOMP", .acknowledgement, .client, { packet(0x70, [0, 1, 0] + $0) }),
            ("SUBSCRIBE", .subscribe, .client, { packet(0x82, [0, 1] + $0 + text("a") + [0]) }),
            ("SUBACK", .acknowledgement, .server, { packet(0x90, [0, 1] + $0 + [0]) }),
            ("UNSUBSCRIBE", .unsubscribe, .client, { packet(0xA2, [0, 1] + $0 + text("a")) }),
            ("UNSUBACK", .acknowledgement, .server, { packet(0xB0, [0, 1] + $0 + [0]) }),
            ("DISCONNECT", .disconnectFromClient, .client, { packet(0xE0, [0] + $0) }),
            ("DISCONNECT of a server", .disconnectFromServer, .server, { packet(0xE0, [0x82] + $0) }),
            ("AUTH", .auth, .client, { packet(0xF0, [0x18] + $0) }),
        ]
    }

    @Test("each packet takes its own properties and no others")
    func allowed() {
        for (name, allowed, sender, build) in places {
            #expect(error(build([0]), from: sender) == nil, "\(name)")
            for identifier in PropertyIdentifier.allCases {
                var properties = sample(identifier)
                if identifier == .authenticationData { properties += sample(.authenticationMethod) }
                let found = error(build(section(properties)), from: sender)
                let expected: MQTTProtocolError? = allowed.contains(identifier) ? nil : .propertyNotAllowed
                #expect(found == expected, "\(name) \(identifier)")
            }
            for unknown: UInt8 in [0, 4, 0x0A, 0x2B, 0x7F, 0x80, 0xFF] {
                #expect(error(build(section([unknown, 0])), from: sender) == .propertyNotAllowed, "\(name) \(unknown)")
            }
        }
    }

    @Test("no property but the user property may be repeated, save subscription identifiers from a server")
    func duplicates() {
        for (name, allowed, sender, build) in places {
            for identifier in PropertyIdentifier.allCases where allowed.contains(identifier) {
                var properties = sample(identifier) + sample(identifier)
                if identifier == .authenticationData { properties = sample(.authenticationMethod) + properties }
                let mayRepeat =
                    identifier == .userProperty || (name == "PUBLISH" && identifier == .subscriptionIdentifier)
                let found = error(build(section(properties)), from: sender)
                #expect(found == (mayRepeat ? nil : .duplicateProperty), "\(name) \(identifier)")
            }
        }
    }

    @Test("a property section that is cut or overruns its packet is malformed")
    func truncated() {
        for (name, allowed, sender, build) in places {
            for identifier in PropertyIdentifier.allCases where allowed.contains(identifier) {
                let properties = sample(identifier)
                for count in 1..<properties.count {
                    let found = error(build(section(Array(properties[..<count]))), from: sender)
                    #expect(
                        found == .truncatedPacket || found == .malformedVariableByteInteger,
                        "\(name) \(identifier)"
                    )
                }
            }
            #expect(error(build([0x7F]), from: sender) == .truncatedPacket, "\(name)")
            #expect(error(build(hex("FF FF FF FF 01")), from: sender) == .malformedVariableByteInteger, "\(name)")
            #expect(error(build(hex("80 00")), from: sender) == .malformedVariableByteInteger, "\(name)")
        }
    }

    @Test("values that the specification forbids are protocol errors")
    func values() {
        let publishValues: [([UInt8], MQTTProtocolError)] = [
            ([0x01, 2], .invalidPropertyValue), ([0x23, 0, 0], .topicAliasInvalid),
            ([0x08] + text("a/#"), .invalidPropertyValue), ([0x08] + text(""), .invalidPropertyValue),
            ([0x03] + hex("00 01 FF"), .malformedString), ([0x26] + hex("00 01 61 00 01 00"), .malformedString),
        ]
        for (properties, expected) in publishValues {
            #expect(error(packet(0x30, text("a") + section(properties))) == expected)
        }
        let connectValues = ["21 00 00", "27 00 00 00 00", "17 02", "19 02"]
        for properties in connectValues {
            let bytes = packet(0x10, text("MQTT") + [5, 2, 0, 0] + section(hex(properties)) + text("c"))
            #expect(error(bytes) == .invalidPropertyValue)
        }
        #expect(error(packet(0x30, text("a") + section([0x0B, 1]))) == .subscriptionIdentifierFromClient)
    }

    @Test("the properties of a message survive a round trip in every combination")
    func roundTrip() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        func string() -> MQTTString {
            let letters = ["a", "ü", "温", "🚀", "\n", " "]
            return MQTTString(
                (0..<Int.random(in: 0...5, using: &random)).map { _ in letters.randomElement(using: &random) ?? "" }
                    .joined()
            )
        }
        for _ in 0..<2_000 {
            var properties = PublishProperties()
            if Bool.random(using: &random) { properties.isPayloadText = Bool.random(using: &random) }
            if Bool.random(using: &random) {
                properties.messageExpirySeconds = UInt32.random(in: 0...UInt32.max, using: &random)
            }
            if Bool.random(using: &random) { properties.topicAlias = UInt16.random(in: 1...UInt16.max, using: &random) }
            if Bool.random(using: &random) { properties.responseTopic = "reply/to" }
            if Bool.random(using: &random) { properties.correlationData = [0, 255, 0] }
            if Bool.random(using: &random) { properties.contentType = string() }
            properties.userProperties = (0..<Int.random(in: 0...3, using: &random)).map { _ in
                UserProperty(string(), string())
            }
            properties.subscriptionIdentifiers = (0..<Int.random(in: 0...3, using: &random)).map { _ in
                UInt32.random(in: 1...VariableByteInteger.maximum, using: &random)
            }
            let encoded = try #require(properties.encoded())
            var writer = PacketWriter()
            writer.writeRaw(text("a"))
            writer.writeVariableByteInteger(UInt32(encoded.count))
            writer.writeRaw(encoded)
            let bytes = packet(0x30, writer.bytes)
            guard case .publish(let view) = try decode(bytes, from: .server) else { throw Transcript.Unexpected() }
            let decoded = try bytes.withUnsafeBytes { try PublishProperties(validated: view.propertiesRange, of: $0) }
            #expect(decoded == properties, "seed \(seed)")
            #expect(view.topicAlias == properties.topicAlias)
            #expect(view.messageExpirySeconds == properties.messageExpirySeconds)

            let forwarded = written { buffer in
                bytes.withUnsafeBytes { view.writeForwardedProperties(from: $0, into: &buffer) }
            }
            properties.topicAlias = 0
            properties.messageExpirySeconds = nil
            properties.subscriptionIdentifiers = []
            #expect(forwarded == properties.encoded(), "seed \(seed)")
            #expect(view.forwardsPropertiesVerbatim == (forwarded == encoded), "seed \(seed)")
        }
    }
}
