import Testing

@testable import MQTTProtocol

@Suite("Messages from the client")
struct PublishFlowTests {
    @Test("QoS 0 is accepted without an acknowledgement")
    func qos0() throws {
        for version in ProtocolVersion.allCases {
            var server = Transcript.connected(version)
            let publish = try server.publish(publish(version, "a/b", payload: "hi"))
            #expect(publish.ticket == nil && publish.resolvedAlias == 0 && !publish.isRetained)
            #expect(server.completes(publish.ticket) == nil)
            #expect(server.sent() == "")
        }
    }

    @Test("QoS 1 is acknowledged when it is stored, not before")
    func qos1() throws {
        for version in ProtocolVersion.allCases {
            var server = Transcript.connected(version)
            let first = try server.publish(publish(version, qos: .atLeastOnce, id: 5))
            #expect(server.sent() == "")
            #expect(server.completes(first.ticket) == nil)
            #expect(server.sent() == "40 02 00 05")
            #expect(server.machine.pendingAcknowledgementCount == 0)
        }
    }

    @Test("a reason goes into PUBACK of 5.0; a failure ends a 3.1.1 connection")
    func reasons() throws {
        var new = Transcript.connected(.v5)
        let unheard = try new.publish(publish(.v5, qos: .atLeastOnce, id: 1))
        let refused = try new.publish(publish(.v5, qos: .atLeastOnce, id: 2))
        let strange = try new.publish(publish(.v5, qos: .atLeastOnce, id: 3))
        #expect(new.completes(unheard.ticket, .noMatchingSubscribers) == nil)
        #expect(new.completes(refused.ticket, .quotaExceeded) == nil)
        #expect(new.completes(strange.ticket, .serverBusy) == nil)
        #expect(new.sent() == "40 03 00 01 10 40 03 00 02 97 40 03 00 03 80")
        var old = Transcript.connected(.v3_1_1)
        let first = try old.publish(publish(.v3_1_1, qos: .atLeastOnce, id: 1))
        let second = try old.publish(publish(.v3_1_1, qos: .atLeastOnce, id: 2))
        #expect(old.completes(first.ticket, .noMatchingSubscribers) == nil)
        #expect(old.completes(second.ticket, .quotaExceeded) == .endedByServer(.quotaExceeded))
        #expect(old.sent() == "40 02 00 01")
    }

    @Test("acknowledgements leave in the order the messages came, whatever order they are stored in")
    func everyInterleaving() throws {
        var connected = Transcript.connected(.v5)
        // Leave the ring's beginning behind, so that it wraps around.
        for id in 1...6 {
            let early = try connected.publish(publish(.v5, qos: .atLeastOnce, id: UInt16(id)))
            _ = connected.completes(early.ticket)
        }
        _ = connected.sent()
        for order in permutations([0, 1, 2, 3, 4]) {
            var server = connected
            let tickets = try (0..<5).map { index in
                try server.publish(publish(.v5, qos: .atLeastOnce, id: UInt16(100 + index))).ticket
            }
            var stored: Set<Int> = []
            var acknowledged = 0
            for index in order {
                stored.insert(index)
                #expect(server.completes(tickets[index], index == 3 ? .quotaExceeded : .success) == nil)
                var expected: [String] = []
                while stored.contains(acknowledged) {
                    expected.append(
                        acknowledged == 3 ? "40 03 00 67 97" : "40 02 00 \(hexText([UInt8(100 + acknowledged)]))"
                    )
                    acknowledged += 1
                }
                #expect(server.sent() == expected.joined(separator: " "), "order \(order)")
            }
            #expect(server.machine.pendingAcknowledgementCount == 0)
        }
    }

    @Test("a refusal is explained to clients that want that, as far as they take it")
    func explained() throws {
        var options = MQTTServerOptions()
        options.explainsRefusals = true
        func refused(_ configure: (inout ConnectPacket) -> Void = { _ in }) throws -> [UInt8] {
            var server = Transcript.connected(.v5, options: options, configure: configure)
            let good = try server.publish(publish(.v5, qos: .exactlyOnce, id: 1))
            let bad = try server.publish(publish(.v5, qos: .atLeastOnce, id: 2))
            #expect(server.completes(bad.ticket, .quotaExceeded) == nil)
            #expect(server.completes(good.ticket) == nil)
            return hex(server.sent())
        }
        let sent = try refused()
        let text = Array(ReasonCode.quotaExceeded.text.bytes)
        #expect(Array(sent.prefix(4)) == hex("50 02 00 01"))
        #expect(Array(sent.suffix(text.count)) == text)
        #expect(try refused { $0.properties.maximumPacketSize = 20 } == hex("50 02 00 01 40 03 00 02 97"))
        #expect(try refused { $0.properties.requestsProblemInformation = false } == hex("50 02 00 01 40 03 00 02 97"))
    }

    @Test("a range of tickets completes at once, and nothing is acknowledged twice")
    func ranges() throws {
        var server = Transcript.connected(.v3_1_1)
        for id in 1...40 { _ = try server.publish(publish(.v3_1_1, qos: .atLeastOnce, id: UInt16(id))) }
        server.machine.completePublishes(0..<10)
        server.machine.completePublishes(5..<1_000_000_000_000)
        #expect(server.completes(0) == nil)
        #expect(server.sent() == (1...40).map { "40 02 00 \(hexText([UInt8($0)]))" }.joined(separator: " "))
        #expect(server.completes(3) == nil)
        #expect(server.completes(99) == nil)
        #expect(server.sent() == "")
    }

    @Test("more messages than the receive maximum are a violation in 5.0")
    func receiveMaximum() throws {
        var options = MQTTServerOptions()
        options.receiveMaximum = 2
        var server = Transcript.connected(.v5, options: options)
        let first = try server.publish(publish(.v5, qos: .atLeastOnce, id: 1))
        _ = try server.publish(publish(.v5, qos: .atLeastOnce, id: 2))
        #expect(server.machine.isInboundWindowFull)
        _ = try server.publish(publish(.v5))
        _ = server.completes(first.ticket)
        #expect(!server.machine.isInboundWindowFull)
        _ = try server.publish(publish(.v5, qos: .atLeastOnce, id: 1))
        _ = server.sent()
        #expect(server.receives(publish(.v5, qos: .atLeastOnce, id: 3)) == .close(.violation(.receiveMaximumExceeded)))
        #expect(server.sent() == "E0 01 93")
        var old = Transcript.connected(.v3_1_1, options: options)
        for id in 1...5 { _ = try old.publish(publish(.v3_1_1, qos: .atLeastOnce, id: UInt16(id))) }
        #expect(old.machine.isInboundWindowFull)
    }

    @Test("a QoS above the maximum is refused: DISCONNECT 0x9B in 5.0, close in 3.1.1")
    func maximumQoS() {
        var options = MQTTServerOptions()
        options.maximumQoS = .atLeastOnce
        var new = Transcript.connected(.v5, options: options)
        #expect(new.receives(publish(.v5, qos: .exactlyOnce, id: 1)) == .close(.violation(.qosNotSupported)))
        #expect(new.sent() == "E0 01 9B")
        var old = Transcript.connected(.v3_1_1, options: options)
        #expect(old.receives(publish(.v3_1_1, qos: .exactlyOnce, id: 1)) == .close(.violation(.qosNotSupported)))
        #expect(old.sent() == "")
    }

    @Test("retain is refused in 5.0 with 0x9A and ignored in 3.1.1; where it is available it is kept")
    func retain() throws {
        var options = MQTTServerOptions()
        options.isRetainAvailable = false
        var new = Transcript.connected(.v5, options: options)
        #expect(new.receives(publish(.v5, retain: true)) == .close(.violation(.retainNotSupported)))
        #expect(new.sent() == "E0 01 9A")
        var old = Transcript.connected(.v3_1_1, options: options)
        #expect(try !old.publish(publish(.v3_1_1, retain: true)).isRetained)
        options.isRetainAvailable = true
        var keeping = Transcript.connected(.v5, options: options)
        #expect(try keeping.publish(publish(.v5, retain: true)).isRetained)
    }

    @Test("a topic alias stands for the topic it was last set to")
    func aliases() throws {
        var server = Transcript.connected(.v5)
        let setting = try server.publish(publish(.v5, "a/b", properties: "23 00 0A"))
        #expect(setting.resolvedAlias == 0)
        #expect(try server.publish(publish(.v5, "", properties: "23 00 0A")).resolvedAlias == 10)
        #expect(server.machine.topic(ofAlias: 10) == Array("a/b".utf8))
        _ = try server.publish(publish(.v5, "c", properties: "23 00 0A"))
        #expect(server.machine.topic(ofAlias: 10) == Array("c".utf8))
        #expect(server.machine.topic(ofAlias: 9) == nil)
        #expect(server.machine.topic(ofAlias: 0) == nil)
    }

    @Test(
        "aliases that are zero, too high or unknown end the connection",
        arguments: [
            ("a", "23 00 00", MQTTProtocolError.topicAliasInvalid, "E0 01 94"),
            ("a", "23 00 0B", .topicAliasInvalid, "E0 01 94"),
            ("", "23 00 0B", .topicAliasInvalid, "E0 01 94"), ("", "23 00 01", .topicAliasUnknown, "E0 01 82"),
            ("", "", .emptyTopicName, "E0 01 82"),
        ]
    )
    func invalidAliases(_ topic: String, _ properties: String, _ error: MQTTProtocolError, _ answer: String) {
        var server = Transcript.connected(.v5)
        #expect(server.receives(publish(.v5, topic, properties: properties)) == .close(.violation(error)))
        #expect(server.sent() == answer)
    }

    @Test("acknowledgements that are due go out before the DISCONNECT of a violation")
    func farewell() throws {
        var server = Transcript.connected(.v5)
        let first = try server.publish(publish(.v5, qos: .atLeastOnce, id: 1))
        _ = try server.publish(publish(.v5, qos: .atLeastOnce, id: 2))
        if let ticket = first.ticket { server.machine.completePublishes(ticket..<ticket + 1) }
        #expect(server.receives(publish(.v5, "a/#")) == .close(.violation(.malformedTopicName)))
        #expect(server.sent() == "40 02 00 01 E0 01 81")
        #expect(server.completes(first.ticket.map { $0 + 1 }) == nil)
        #expect(server.sent() == "")
    }

    @Test("the sentence of a violation is sent where that is wanted and where it fits")
    func explanation() throws {
        var options = MQTTServerOptions()
        options.explainsViolations = true
        options.maximumQoS = .atLeastOnce
        var server = Transcript.connected(.v5, options: options)
        _ = server.receives(publish(.v5, qos: .exactlyOnce, id: 1))
        let sent = hex(server.sent())
        guard case .disconnect(let packet) = try decode(sent, from: .server) else { throw Transcript.Unexpected() }
        #expect(packet.reason == .qosNotSupported)
        #expect(packet.diagnostics.reasonString == MQTTString(MQTTProtocolError.qosNotSupported.description))
        var small = Transcript.connected(.v5, options: options) { $0.properties.maximumPacketSize = 25 }
        _ = small.receives(publish(.v5, qos: .exactlyOnce, id: 1))
        #expect(small.sent() == "E0 01 9B")
    }
}
