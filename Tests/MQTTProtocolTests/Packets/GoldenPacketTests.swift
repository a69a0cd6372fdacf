import NIOCore
import Testing

@testable import MQTTProtocol

/// Packets byte for byte as the specifications lay them out, read and written.
@Suite("Packets, byte for byte")
struct GoldenPacketTests {
    static let connect311 = hex("10 13 00 04") + Array("MQTT".utf8) + hex("04 02 00 3C 00 07") + Array("device1".utf8)
    static let connect31 = hex("10 0F 00 06") + Array("MQIsdp".utf8) + hex("03 02 00 0A 00 01 63")
    static let connect5 =
        hex("10 51 00 04") + Array("MQTT".utf8) + hex("05 EE 00 0A")
        + hex(
            "24 11 00 00 00 0A 21 00 14 27 00 00 01 00 22 00 05 19 01 17 00 15 00 01 6D"
        ) + hex("16 00 02 01 02 26 00 01 61 00 01 62")
        + hex("00 01 63") + hex("05 18 00 00 00 07") + hex("00 03 77 2F 74") + hex("00 04 67 6F 6E 65")
        + hex("00 04 75 73 65 72") + hex("00 06 73 65 63 72 65 74")

    @Test("CONNECT of 3.1.1")
    func connect311() throws {
        let connect = ConnectPacket(version: .v3_1_1, clientIdentifier: "device1")
        #expect(try decode(Self.connect311, .v3_1_1) == .connect(connect))
        #expect(written { connect.encode(into: &$0) } == Self.connect311)
    }

    @Test("CONNECT of 3.1")
    func connect31() throws {
        let connect = ConnectPacket(version: .v3_1, clientIdentifier: "c", keepAliveSeconds: 10)
        #expect(try decode(Self.connect31, .v3_1) == .connect(connect))
        #expect(written { connect.encode(into: &$0) } == Self.connect31)
    }

    @Test("CONNECT of 5.0 with everything in it")
    func connect5() throws {
        var properties = ConnectProperties()
        properties.sessionExpirySeconds = 10
        properties.receiveMaximum = 20
        properties.maximumPacketSize = 256
        properties.topicAliasMaximum = 5
        properties.requestsResponseInformation = true
        properties.requestsProblemInformation = false
        properties.userProperties = [UserProperty("a", "b")]
        properties.authenticationMethod = "m"
        properties.authenticationData = [1, 2]
        let connect = ConnectPacket(
            clientIdentifier: "c",
            keepAliveSeconds: 10,
            will: Will(topic: "w/t", payload: Array("gone".utf8), qos: .atLeastOnce, retain: true, delaySeconds: 7),
            userName: "user",
            password: Array("secret".utf8),
            properties: properties
        )
        let bytes = written { connect.encode(into: &$0) }
        #expect(bytes == Self.connect5)
        #expect(try decode(bytes) == .connect(connect))
    }

    @Test("CONNACK of 3.x carries a return code")
    func connack3() throws {
        let refusals: [(ReasonCode, UInt8)] = [
            (.unsupportedProtocolVersion, 1), (.clientIdentifierNotValid, 2), (.serverUnavailable, 3),
            (.badUserNameOrPassword, 4), (.notAuthorized, 5),
        ]
        for (reason, code) in refusals {
            let connack = ConnackPacket(reason: reason)
            #expect(written { connack.encode(into: &$0, version: .v3_1_1) } == [0x20, 2, 0, code])
            #expect(try decode([0x20, 2, 0, code], .v3_1_1, from: .server) == .connack(connack))
        }
        let accepted = ConnackPacket(reason: .success, sessionPresent: true)
        #expect(written { accepted.encode(into: &$0, version: .v3_1_1) } == hex("20 02 01 00"))
        #expect(written { accepted.encode(into: &$0, version: .v3_1) } == hex("20 02 00 00"))
        #expect(try decode(hex("20 02 01 00"), .v3_1_1, from: .server) == .connack(accepted))
        #expect(throws: MQTTProtocolError.reservedBitsSet) { try decode(hex("20 02 02 00"), .v3_1_1, from: .server) }
        #expect(throws: MQTTProtocolError.invalidReasonCode) { try decode(hex("20 02 00 06"), .v3_1_1, from: .server) }
        #expect(written { ConnackPacket(reason: .banned).encode(into: &$0, version: .v3_1_1) } == hex("20 02 00 05"))
        #expect(
            written { ConnackPacket(reason: .serverBusy).encode(into: &$0, version: .v3_1_1) } == hex("20 02 00 03")
        )
    }

    @Test("CONNACK of 5.0 leaves defaults out and keeps the rest")
    func connack5() throws {
        #expect(written { ConnackPacket(reason: .success).encode(into: &$0, version: .v5) } == hex("20 03 00 00 00"))
        var connack = ConnackPacket(reason: .success, sessionPresent: true)
        connack.properties.sessionExpirySeconds = 0
        connack.properties.receiveMaximum = 20
        connack.properties.maximumQoS = .atLeastOnce
        connack.properties.isRetainAvailable = false
        connack.properties.maximumPacketSize = 1_048_576
        connack.properties.assignedClientIdentifier = "x"
        connack.properties.topicAliasMaximum = 10
        connack.properties.isSharedSubscriptionAvailable = false
        connack.properties.serverKeepAliveSeconds = 30
        connack.properties.diagnostics.reasonString = "ok"
        let expected =
            hex("20 25 01 00 22")
            + hex("11 00 00 00 00 21 00 14 24 01 25 00 27 00 10 00 00 12 00 01 78 22 00 0A")
            + hex("2A 00 13 00 1E 1F 00 02 6F 6B")
        #expect(written { connack.encode(into: &$0, version: .v5) } == expected)
        #expect(try decode(expected, from: .server) == .connack(connack))
    }

    @Test("PUBLISH in every QoS, 3.1.1 and 5.0")
    func publishForms() throws {
        let forms: [(ProtocolVersion, String, QoS, Bool, Bool)] = [
            (.v3_1_1, "30 05 00 03 61 2F 62", .atMostOnce, false, false),
            (.v3_1_1, "3D 09 00 03 61 2F 62 00 0A 68 69", .exactlyOnce, true, true),
            (.v5, "30 08 00 03 61 2F 62 00 68 69", .atMostOnce, false, false),
            (.v5, "33 0A 00 03 61 2F 62 00 0A 00 68 69", .atLeastOnce, true, false),
        ]
        for (version, text, qos, retain, duplicate) in forms {
            let bytes = hex(text)
            guard case .publish(let view) = try decode(bytes, version) else { throw Transcript.Unexpected() }
            #expect(view.qos == qos)
            #expect(view.isRetained == retain)
            #expect(view.isDuplicate == duplicate)
            #expect(view.packetIdentifier == (qos == .atMostOnce ? 0 : 10))
            #expect(Array(bytes[view.topicRange]) == Array("a/b".utf8))
            let payload = Array(bytes[view.payloadRange])
            #expect(payload == Array("hi".utf8) || payload.isEmpty)
            let topic = Array("/b".utf8)
            let encoded = Array("a".utf8).withUnsafeBytes { prefix in
                topic.withUnsafeBytes { topic in
                    payload.withUnsafeBytes { payload in
                        written { buffer in
                            OutboundPublish(
                                version: version,
                                qos: qos,
                                isRetained: retain,
                                isDuplicate: duplicate,
                                packetIdentifier: 10,
                                topicPrefix: prefix,
                                topicRest: topic,
                                payload: payload
                            ).encode(into: &buffer)
                        }
                    }
                }
            }
            #expect(encoded == bytes)
        }
    }

    @Test(
        "acknowledgements in their short and long forms",
        arguments: [
            (PacketType.puback, "40 02 00 01", ReasonCode.success), (.puback, "40 03 00 01 10", .noMatchingSubscribers),
            (.pubrec, "50 03 00 01 97", .quotaExceeded), (.pubrel, "62 02 00 01", .success),
            (.pubrel, "62 03 00 01 92", .packetIdentifierNotFound),
            (.pubcomp, "70 03 00 01 92", .packetIdentifierNotFound),
        ]
    )
    func acknowledgements(_ type: PacketType, _ text: String, _ reason: ReasonCode) throws {
        let packet = AcknowledgementPacket(type: type, packetIdentifier: 1, reason: reason)
        #expect(written { packet.encode(into: &$0, version: .v5) } == hex(text))
        #expect(try decode(hex(text)) == .acknowledgement(packet))
        #expect(written { packet.encode(into: &$0, version: .v3_1_1) } == Array(hex(text)[..<1]) + hex("02 00 01"))
        let long = written { packet.encode(into: &$0, version: .v5, diagnostics: .init(reasonString: "no")) }
        #expect(long == Array(hex(text)[..<1]) + hex("09 00 01") + [reason.rawValue] + hex("05 1F 00 02 6E 6F"))
        guard case .acknowledgement(let decoded) = try decode(long) else { throw Transcript.Unexpected() }
        #expect(decoded.reason == reason && decoded.propertiesRange == 6..<11)
        let trimmed = written {
            packet.encode(into: &$0, version: .v5, diagnostics: .init(reasonString: "no"), maximumPacketSize: 5)
        }
        #expect(trimmed == hex(text))
    }

    @Test("SUBSCRIBE and SUBACK")
    func subscribe() throws {
        let bytes311 = hex("82 0E 00 0A 00 03 61 2F 62 01 00 03 63 2F 23 02")
        var packet = SubscribePacket(
            packetIdentifier: 10,
            subscriptions: [
                SubscriptionRequest(filter: try filter("a/b"), maximumQoS: .atLeastOnce),
                SubscriptionRequest(filter: try filter("c/#"), maximumQoS: .exactlyOnce),
            ]
        )
        #expect(try decode(bytes311, .v3_1_1) == .subscribe(packet))
        #expect(written { packet.encode(into: &$0, version: .v3_1_1) } == bytes311)
        packet.subscriptionIdentifier = 200
        packet.userProperties = [UserProperty("k", "v")]
        packet.subscriptions[0].isNoLocal = true
        packet.subscriptions[0].retainsAsPublished = true
        packet.subscriptions[1].retainHandling = .doNotSend
        let bytes5 = hex("82 19 00 0A 0A 0B C8 01 26 00 01 6B 00 01 76 00 03 61 2F 62 0D 00 03 63 2F 23 22")
        #expect(try decode(bytes5) == .subscribe(packet))
        #expect(written { packet.encode(into: &$0, version: .v5) } == bytes5)

        let suback = SubackPacket(packetIdentifier: 10, reasons: [.grantedQoS1, .unspecifiedError])
        #expect(written { suback.encode(into: &$0, version: .v3_1_1) } == hex("90 04 00 0A 01 80"))
        #expect(try decode(hex("90 04 00 0A 01 80"), .v3_1_1, from: .server) == .suback(suback))
        let refused = SubackPacket(packetIdentifier: 10, reasons: [.sharedSubscriptionsNotSupported])
        #expect(written { refused.encode(into: &$0, version: .v3_1_1) } == hex("90 03 00 0A 80"))
        #expect(written { refused.encode(into: &$0, version: .v5) } == hex("90 04 00 0A 00 9E"))
        #expect(try decode(hex("90 04 00 0A 00 9E"), from: .server) == .suback(refused))
    }

    @Test("UNSUBSCRIBE and UNSUBACK")
    func unsubscribe() throws {
        let packet = UnsubscribePacket(packetIdentifier: 10, filters: [try filter("a/b"), try filter("#")])
        #expect(written { packet.encode(into: &$0, version: .v3_1_1) } == hex("A2 0A 00 0A 00 03 61 2F 62 00 01 23"))
        #expect(try decode(hex("A2 0A 00 0A 00 03 61 2F 62 00 01 23"), .v3_1_1) == .unsubscribe(packet))
        #expect(written { packet.encode(into: &$0, version: .v5) } == hex("A2 0B 00 0A 00 00 03 61 2F 62 00 01 23"))
        #expect(try decode(hex("A2 0B 00 0A 00 00 03 61 2F 62 00 01 23")) == .unsubscribe(packet))
        let unsuback = UnsubackPacket(packetIdentifier: 10, reasons: [.success, .noSubscriptionExisted])
        #expect(written { unsuback.encode(into: &$0, version: .v3_1_1) } == hex("B0 02 00 0A"))
        #expect(written { unsuback.encode(into: &$0, version: .v5) } == hex("B0 05 00 0A 00 00 11"))
        #expect(try decode(hex("B0 05 00 0A 00 00 11"), from: .server) == .unsuback(unsuback))
    }

    @Test("PINGREQ and PINGRESP")
    func ping() throws {
        #expect(written(PingPacket.encodeRequest) == hex("C0 00"))
        #expect(written(PingPacket.encodeResponse) == hex("D0 00"))
        #expect(try decode(hex("C0 00")) == .pingreq)
        #expect(try decode(hex("D0 00")) == .pingresp)
        #expect(throws: MQTTProtocolError.trailingBytes) { try decode(hex("C0 01 00")) }
    }

    @Test("DISCONNECT in its three lengths")
    func disconnect() throws {
        let normal = DisconnectPacket()
        #expect(written { normal.encode(into: &$0, version: .v3_1_1) } == hex("E0 00"))
        #expect(written { normal.encode(into: &$0, version: .v5) } == hex("E0 00"))
        #expect(try decode(hex("E0 00"), .v3_1_1) == .disconnect(normal))
        #expect(try decode(hex("E0 00")) == .disconnect(normal))
        #expect(throws: MQTTProtocolError.trailingBytes) { try decode(hex("E0 01 00"), .v3_1_1) }
        let takenOver = DisconnectPacket(reason: .sessionTakenOver)
        #expect(written { takenOver.encode(into: &$0, version: .v5) } == hex("E0 01 8E"))
        #expect(try decode(hex("E0 01 8E"), from: .server) == .disconnect(takenOver))
        #expect(throws: MQTTProtocolError.invalidReasonCode) { try decode(hex("E0 01 8E"), from: .client) }
        let expiring = DisconnectPacket(reason: .disconnectWithWill, sessionExpirySeconds: 60)
        #expect(written { expiring.encode(into: &$0, version: .v5) } == hex("E0 07 04 05 11 00 00 00 3C"))
        #expect(try decode(hex("E0 07 04 05 11 00 00 00 3C")) == .disconnect(expiring))
        #expect(throws: MQTTProtocolError.propertyNotAllowed) {
            try decode(hex("E0 07 00 05 11 00 00 00 3C"), from: .server)
        }
    }

    @Test("AUTH exists in 5.0 only")
    func auth() throws {
        let packet = AuthPacket(reason: .continueAuthentication, authenticationMethod: "m", authenticationData: [1])
        #expect(written { packet.encode(into: &$0) } == hex("F0 0A 18 08 15 00 01 6D 16 00 01 01"))
        #expect(try decode(hex("F0 0A 18 08 15 00 01 6D 16 00 01 01")) == .auth(packet))
        #expect(try decode(hex("F0 00")) == .auth(AuthPacket(reason: .success)))
        #expect(throws: MQTTProtocolError.reservedPacketType) { try decode(hex("F0 00"), .v3_1_1) }
        #expect(throws: MQTTProtocolError.authenticationDataWithoutMethod) {
            try decode(hex("F0 06 18 04 16 00 01 01"))
        }
    }
}
