import Testing

@testable import MQTTProtocol

@Suite("The end of a connection")
struct ClosingTests {
    static let will = Will(topic: "w", payload: Array("gone".utf8))

    @Test("PINGREQ is answered")
    func ping() {
        for version in ProtocolVersion.allCases {
            var server = Transcript.connected(version)
            #expect(server.receives("C0 00") == .none)
            #expect(server.sent() == "D0 00")
        }
    }

    @Test("a normal DISCONNECT takes the will with it")
    func normal() {
        for version in ProtocolVersion.allCases {
            var server = Transcript.connected(version) { $0.will = Self.will }
            #expect(server.receives("E0 00") == .close(.disconnectedByClient(.success)))
            #expect(server.sent() == "")
            #expect(server.machine.takeWill() == nil)
        }
    }

    @Test(
        "DISCONNECT 0x04 and failures leave the will to be published",
        arguments: ["E0 01 04", "E0 01 80", "E0 01 82"]
    )
    func withWill(_ bytes: String) throws {
        var server = Transcript.connected(.v5) { $0.will = Self.will }
        let reason = try #require(ReasonCode(rawValue: hex(bytes)[2]))
        #expect(server.receives(bytes) == .close(.disconnectedByClient(reason)))
        #expect(server.sent() == "")
        #expect(server.machine.takeWill() == Self.will)
        #expect(server.machine.takeWill() == nil)
    }

    @Test("a connection that is lost or ended leaves the will to be published, and not before")
    func lost() {
        for version in ProtocolVersion.allCases {
            var lost = Transcript.connected(version) { $0.will = Self.will }
            #expect(lost.machine.takeWill() == nil)
            lost.machine.connectionLost()
            #expect(lost.machine.takeWill() == Self.will)
            var violating = Transcript.connected(version) { $0.will = Self.will }
            _ = violating.receives("20 02 00 00")
            #expect(violating.machine.takeWill() == Self.will)
            var taken = Transcript.connected(version) { $0.will = Self.will }
            _ = taken.ends(.sessionTakenOver)
            #expect(taken.machine.takeWill() == Self.will)
        }
    }

    @Test("the will of a client that was never accepted is not published")
    func unaccepted() {
        var server = Transcript()
        _ = server.receives(written { ConnectPacket(clientIdentifier: "c", will: Self.will).encode(into: &$0) })
        server.machine.connectionLost()
        #expect(server.machine.takeWill() == nil)
    }

    @Test("session expiry cannot be turned on in DISCONNECT, but changed")
    func sessionExpiry() {
        var server = Transcript.connected(.v5)
        #expect(server.receives("E0 07 00 05 11 00 00 00 3C") == .close(.violation(.sessionExpirySetAtDisconnect)))
        #expect(server.sent() == "E0 01 82")
        var options = MQTTServerOptions()
        options.maximumSessionExpirySeconds = 100
        var keeping = Transcript.connected(.v5, options: options) { $0.properties.sessionExpirySeconds = 50 }
        #expect(keeping.machine.sessionExpirySeconds == 50)
        #expect(keeping.receives("E0 07 00 05 11 00 00 0F FF") == .close(.disconnectedByClient(.success)))
        #expect(keeping.machine.sessionExpirySeconds == 100)
    }

    @Test("a client that is silent for one and a half times its keep alive is disconnected with 0x8D")
    func keepAlive() {
        for (version, answer) in [(ProtocolVersion.v5, "E0 01 8D"), (.v3_1_1, "")] {
            var server = Transcript.connected(version) { $0.keepAliveSeconds = 10 }
            #expect(server.machine.deadlineMilliseconds == 16_000)
            #expect(server.timerFires(after: 14_999) == nil)
            _ = server.receives("C0 00")
            _ = server.sent()
            #expect(server.machine.deadlineMilliseconds == 30_999)
            #expect(server.timerFires(after: 14_000) == nil)
            _ = server.receives(publish(version))
            #expect(server.timerFires(after: 14_999) == nil)
            #expect(server.timerFires(after: 1) == .violation(.keepAliveTimeout))
            #expect(server.sent() == answer)
            #expect(server.machine.deadlineMilliseconds == nil)
            #expect(server.timerFires(after: 1_000_000) == nil)
        }
    }

    @Test("what the client receives does not keep it alive")
    func onlyReceivedPacketsCount() {
        var server = Transcript.connected(.v5) { $0.keepAliveSeconds = 10 }
        server.now += 14_000
        _ = server.sends("a", qos: .atMostOnce, token: 0)
        #expect(server.timerFires(after: 1_000) == .violation(.keepAliveTimeout))
    }

    @Test("takeover and shutdown are told to 5.0 clients; 3.1.1 is closed")
    func endedByServer() {
        for (reason, answer) in [
            (ReasonCode.sessionTakenOver, "E0 01 8E"), (.serverShuttingDown, "E0 01 8B"),
            (.administrativeAction, "E0 01 98"),
            (.badUserNameOrPassword, "E0 01 80"),
        ] {
            var new = Transcript.connected(.v5)
            #expect(new.ends(reason) == .endedByServer(reason))
            #expect(new.sent() == answer)
            _ = new.ends(reason)
            #expect(new.sent() == "")
            var old = Transcript.connected(.v3_1_1)
            #expect(old.ends(reason) == .endedByServer(reason))
            #expect(old.sent() == "")
        }
        var waiting = Transcript()
        _ = waiting.receives(ConnectTests.connect5)
        #expect(waiting.ends(.serverBusy) == .refused(.serverBusy))
        #expect(waiting.sent() == "20 03 00 89 00")
    }

    @Test(
        "packets that only a server sends, and AUTH without a method, are violations",
        arguments: [
            "20 03 00 00 00", "90 04 00 01 00 00", "B0 04 00 01 00 00", "D0 00", "F0 00",
        ]
    )
    func wrongDirection(_ bytes: String) {
        var server = Transcript.connected(.v5)
        #expect(server.receives(bytes) == .close(.violation(.unexpectedPacket)))
        #expect(server.sent() == "E0 01 82")
    }

    @Test(
        "framing errors end the connection with their reason",
        arguments: [
            ("00 00", "E0 01 81"), ("81 00", "E0 01 81"), ("36 00", "E0 01 81"), ("C0 80 00", "E0 01 81"),
            ("30 FF FF FF 7F", "E0 01 95"), ("30 FF FF FF FF", "E0 01 81"),
        ]
    )
    func framing(_ bytes: String, _ answer: String) {
        var server = Transcript.connected(.v5)
        guard case .close(.violation) = server.receives(bytes) else {
            Issue.record("\(bytes) was accepted")
            return
        }
        #expect(server.sent() == answer)
    }

    @Test("nothing is read or answered after the end")
    func afterwards() {
        var server = Transcript.connected(.v5)
        _ = server.receives("E0 00")
        #expect(server.receives("C0 00") == .none)
        #expect(server.sends("a", qos: .atMostOnce, token: 0) == .notConnected)
        server.subscribed(1, [.success])
        #expect(server.sent() == "")
    }
}
