import Testing

@testable import MQTTProtocol

@Suite("CONNECT")
struct ConnectTests {
    static let connect5 = written { ConnectPacket(clientIdentifier: "c").encode(into: &$0) }
    static let connect311 = written { ConnectPacket(version: .v3_1_1, clientIdentifier: "c").encode(into: &$0) }

    @Test("CONNACK tells a 5.0 client what differs from the defaults")
    func accepted5() {
        var server = Transcript(.reduced)
        #expect(server.receives(Self.connect5) == .authorize(ConnectPacket(clientIdentifier: "c")))
        #expect(server.sent() == "")
        #expect(server.accepts() == nil)
        // Receive maximum 1,024, QoS 1, no retain, 1 MiB, ten aliases, no shared subscriptions.
        #expect(server.sent() == "20 14 00 00 11 21 04 00 24 01 25 00 27 00 10 00 00 22 00 0A 2A 00")
        #expect(server.machine.isConnected)
    }

    @Test("CONNACK of a server that offers everything says little")
    func acceptedWhole() {
        var server = Transcript()
        _ = server.receives(Self.connect5)
        #expect(server.accepts() == nil)
        // Receive maximum 1,024, 1 MiB, ten aliases.
        #expect(server.sent() == "20 0E 00 00 0B 21 04 00 27 00 10 00 00 22 00 0A")
    }

    @Test("CONNACK of 3.x says yes", arguments: [ProtocolVersion.v3_1, .v3_1_1])
    func accepted3(_ version: ProtocolVersion) {
        var server = Transcript()
        _ = server.receives(written { ConnectPacket(version: version, clientIdentifier: "c").encode(into: &$0) })
        #expect(server.accepts() == nil)
        #expect(server.sent() == "20 02 00 00")
        #expect(server.machine.version == version)
    }

    @Test("nothing is parsed behind a CONNECT until it is answered")
    func pipelining() {
        var server = Transcript()
        _ = server.receives(Self.connect5)
        #expect(server.receives("C0 00") == .none)
        #expect(server.sent() == "")
        _ = server.accepts()
        _ = server.sent()
        #expect(server.receives("C0 00") == .none)
        #expect(server.sent() == "D0 00")
    }

    @Test("an empty client identifier gets an assigned one, which 5.0 is told")
    func assignedIdentifier() {
        var options = MQTTServerOptions.reduced
        options.topicAliasMaximum = 0
        var server = Transcript(options)
        _ = server.receives(written { ConnectPacket(clientIdentifier: "").encode(into: &$0) })
        _ = server.accepts(ConnectAcceptance(assignedClientIdentifier: "x1"))
        #expect(server.sent() == "20 16 00 00 13 21 04 00 24 01 25 00 27 00 10 00 00 12 00 02 78 31 2A 00")
        #expect(server.machine.clientIdentifier == "x1")
        var old = Transcript(options)
        _ = old.receives(written { ConnectPacket(version: .v3_1_1, clientIdentifier: "").encode(into: &$0) })
        _ = old.accepts(ConnectAcceptance(assignedClientIdentifier: "x2"))
        #expect(old.sent() == "20 02 00 00")
        #expect(old.machine.clientIdentifier == "x2")
    }

    @Test("an empty client identifier needs a clean session in 3.1.1, and is never allowed in 3.1")
    func emptyIdentifier() {
        for (version, clean) in [(ProtocolVersion.v3_1_1, false), (.v3_1, true), (.v3_1, false)] {
            var server = Transcript()
            let connect = ConnectPacket(version: version, clientIdentifier: "", cleanStart: clean)
            let action = server.receives(written { connect.encode(into: &$0) })
            #expect(action == .close(.violation(.clientIdentifierNotValid)))
            #expect(server.sent() == "20 02 00 02")
        }
    }

    @Test("a session expiry that is not granted is corrected in CONNACK")
    func sessionExpiry() {
        var server = Transcript(.reduced)
        var connect = ConnectPacket(clientIdentifier: "c")
        connect.properties.sessionExpirySeconds = 60
        _ = server.receives(written { connect.encode(into: &$0) })
        _ = server.accepts()
        #expect(server.sent().hasPrefix("20 19 00 00 16 11 00 00 00 00 21"))
        #expect(server.machine.sessionExpirySeconds == 0)
    }

    @Test("the keep alive has a ceiling for 5.0 only")
    func keepAliveCeiling() {
        var options = MQTTServerOptions()
        options.maximumKeepAliveSeconds = 30
        for (asked, ceiling) in [(UInt16(0), true), (31, true), (30, false), (10, false)] {
            var server = Transcript(options)
            _ = server.receives(
                written { ConnectPacket(clientIdentifier: "c", keepAliveSeconds: asked).encode(into: &$0) }
            )
            _ = server.accepts()
            #expect(server.sent().hasSuffix("13 00 1E") == ceiling)
            #expect(server.machine.deadlineMilliseconds == 1_000 + Int64(ceiling ? 30 : asked) * 1_500)
        }
        var old = Transcript(options)
        let connect = ConnectPacket(version: .v3_1_1, clientIdentifier: "c", keepAliveSeconds: 0)
        _ = old.receives(written { connect.encode(into: &$0) })
        _ = old.accepts()
        #expect(old.sent() == "20 02 00 00")
        #expect(old.machine.deadlineMilliseconds == nil)
    }

    @Test("CONNACK fits a client that takes 20 bytes, by offering it no aliases")
    func smallClient() throws {
        var server = Transcript(.reduced)
        var connect = ConnectPacket(clientIdentifier: "c")
        connect.properties.maximumPacketSize = 20
        _ = server.receives(written { connect.encode(into: &$0) })
        #expect(server.accepts() == nil)
        #expect(server.sent() == "20 11 00 00 0E 21 04 00 24 01 25 00 27 00 10 00 00 2A 00")
        let action = server.receives(publish(.v5, "a", properties: "23 00 01"))
        #expect(action == .close(.violation(.topicAliasInvalid)))
    }

    @Test("a client that cannot take any CONNACK is closed without one")
    func tooSmallClient() {
        var server = Transcript()
        var connect = ConnectPacket(clientIdentifier: "c")
        connect.properties.maximumPacketSize = 10
        _ = server.receives(written { connect.encode(into: &$0) })
        #expect(server.accepts() == .refused(.packetTooLarge))
        #expect(server.sent() == "")
    }

    @Test(
        "anything but CONNECT first closes without a packet",
        arguments: ["C0 00", "30 03 00 01 61", "47 45 54", "16 03 01", "E0 00"]
    )
    func notConnect(_ bytes: String) {
        var server = Transcript()
        let action = server.receives(bytes)
        guard case .close(.violation) = action else {
            Issue.record("\(action)")
            return
        }
        #expect(server.sent() == "")
        #expect(server.machine.hasEnded)
    }

    @Test("unsupported versions are refused in the form their client understands")
    func versions() {
        for (name, level, answer) in [
            ("MQTT", "06", "20 03 00 84 00"), ("MQTT", "02", "20 02 00 01"), ("MQIsdp", "04", "20 02 00 01"),
            ("MQTT", "84", "20 03 00 84 00"), ("HTTP", "04", ""),
        ] {
            var server = Transcript()
            let action = server.receives(packet(0x10, text(name) + hex(level) + hex("02 00 3C 00 01 63")))
            #expect(action == .close(.violation(name == "HTTP" ? .unknownProtocolName : .unsupportedProtocolVersion)))
            #expect(server.sent() == answer)
        }
    }

    @Test("a malformed CONNECT gets CONNACK in 5.0 and nothing in 3.1.1")
    func malformed() {
        var new = Transcript()
        _ = new.receives(packet(0x10, text("MQTT") + hex("05 03 00 3C 00 00 01 63")))
        #expect(new.sent() == "20 03 00 81 00")
        var old = Transcript()
        _ = old.receives(packet(0x10, text("MQTT") + hex("04 03 00 3C 00 01 63")))
        #expect(old.sent() == "")
    }

    @Test("a CONNECT beyond the limit is refused before it has arrived")
    func tooLarge() {
        var server = Transcript()
        #expect(server.receives("10 FF FF 7F") == .close(.violation(.packetTooLarge)))
        #expect(server.sent() == "")
    }

    @Test("an authentication method is refused, there is none")
    func authenticationMethod() {
        var server = Transcript()
        var connect = ConnectPacket(clientIdentifier: "c")
        connect.properties.authenticationMethod = "SCRAM-SHA-256"
        _ = server.receives(written { connect.encode(into: &$0) })
        #expect(server.sent() == "20 03 00 8C 00")
    }

    @Test("a will beyond what is offered is refused in 5.0 and reduced in 3.1.1")
    func wills() {
        for (qos, retain, answer) in [
            (QoS.exactlyOnce, false, "20 03 00 9B 00"), (.atLeastOnce, true, "20 03 00 9A 00"),
        ] {
            let will = Will(topic: "w", payload: [1], qos: qos, retain: retain)
            var new = Transcript(.reduced)
            _ = new.receives(written { ConnectPacket(clientIdentifier: "c", will: will).encode(into: &$0) })
            #expect(new.sent() == answer)
            var old = Transcript.connected(.v3_1_1, options: .reduced) { $0.will = will }
            old.machine.connectionLost()
            #expect(old.machine.takeWill() == Will(topic: "w", payload: [1], qos: .atLeastOnce))
        }
    }

    @Test("a refusal by the owner is CONNACK with its reason")
    func refused() {
        for (bytes, answer) in [(Self.connect5, "20 03 00 86 00"), (Self.connect311, "20 02 00 04")] {
            var server = Transcript()
            _ = server.receives(bytes)
            #expect(server.refuses(.badUserNameOrPassword) == .refused(.badUserNameOrPassword))
            #expect(server.sent() == answer)
            #expect(server.machine.takeWill() == nil)
            #expect(server.receives("C0 00") == .none)
        }
    }

    @Test("a connection that sends no CONNECT in time is closed, one that is being authorised is refused")
    func timeout() {
        var silent = Transcript()
        #expect(silent.machine.deadlineMilliseconds == 11_000)
        #expect(silent.timerFires(after: 9_999) == nil)
        #expect(silent.timerFires(after: 1) == .violation(.connectTimeout))
        #expect(silent.sent() == "")
        var waiting = Transcript()
        _ = waiting.receives(Self.connect5)
        #expect(waiting.timerFires(after: 10_000) == .refused(.serverUnavailable))
        #expect(waiting.sent() == "20 03 00 88 00")
    }

    @Test("a second CONNECT is a protocol error")
    func second() {
        var new = Transcript.connected(.v5)
        #expect(new.receives(Self.connect5) == .close(.violation(.unexpectedPacket)))
        #expect(new.sent() == "E0 01 82")
        var old = Transcript.connected(.v3_1_1)
        #expect(old.receives(Self.connect311) == .close(.violation(.unexpectedPacket)))
        #expect(old.sent() == "")
    }
}
