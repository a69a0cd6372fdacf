import NIOCore
import Testing

@testable import MQTTProtocol

/// Enhanced authentication (MQTT 5.0 §4.12) with a method `m` whose data means nothing.
@Suite("AUTH")
struct AuthenticationTests {
    private static var options: MQTTServerOptions {
        var options = MQTTServerOptions()
        options.authenticationMethods = ["m"]
        options.topicAliasMaximum = 0
        return options
    }

    private static func connect(_ method: MQTTString? = "m", maximumPacketSize: UInt32? = nil) -> [UInt8] {
        var packet = ConnectPacket(clientIdentifier: "c")
        packet.properties.authenticationMethod = method
        packet.properties.authenticationData = method == nil ? nil : [1]
        packet.properties.maximumPacketSize = maximumPacketSize
        return written { packet.encode(into: &$0) }
    }

    private static func auth(_ reason: ReasonCode, _ method: MQTTString? = "m", _ data: [UInt8]? = [2]) -> [UInt8] {
        let packet = AuthPacket(reason: reason, authenticationMethod: method, authenticationData: data)
        return written { packet.encode(into: &$0) }
    }

    /// CONNECT has come, and the server has asked for more.
    private func challenged() -> Transcript {
        var server = Transcript(Self.options)
        guard case .authorize = server.receives(Self.connect()) else {
            Issue.record("CONNECT was not accepted")
            return server
        }
        #expect(server.challenges([9]) == nil)
        // AUTH, continue authentication, the method, the data.
        #expect(server.sent() == "F0 0A 18 08 15 00 01 6D 16 00 01 09")
        return server
    }

    /// It is connected.
    private func connected() -> Transcript {
        var server = challenged()
        _ = server.receives(Self.auth(.continueAuthentication))
        _ = server.accepts()
        _ = server.sent()
        return server
    }

    @Test("the client is asked, answers, and is accepted with the method and the last data")
    func success() {
        var server = challenged()
        let action = server.receives(Self.auth(.continueAuthentication))
        #expect(action == .authenticate(data: [2], isNew: false))
        // Until it is answered nothing is read.
        #expect(server.receives("C0 00") == .none)
        var acceptance = ConnectAcceptance()
        acceptance.authenticationData = [7]
        #expect(server.accepts(acceptance) == nil)
        #expect(server.sent() == "20 13 00 00 10 21 04 00 27 00 10 00 00 15 00 01 6D 16 00 01 07")
        #expect(server.machine.isConnected)
    }

    @Test("several rounds, if the method needs them")
    func rounds() {
        var server = challenged()
        for _ in 0..<3 {
            #expect(server.receives(Self.auth(.continueAuthentication)) == .authenticate(data: [2], isNew: false))
            #expect(server.challenges([9]) == nil)
            #expect(server.sent().hasPrefix("F0 0A 18"))
        }
    }

    @Test("a method that is not known is refused with 0x8C")
    func unknownMethod() {
        var server = Transcript(Self.options)
        let action = server.receives(Self.connect("other"))
        #expect(action == .close(.violation(.unsupportedAuthenticationMethod)))
        #expect(server.sent() == "20 03 00 8C 00")
        var none = Transcript()
        #expect(none.receives(Self.connect()) == .close(.violation(.unsupportedAuthenticationMethod)))
    }

    @Test(
        "before CONNACK only AUTH and DISCONNECT are allowed",
        arguments: ["C0 00", "30 04 00 01 61 00", "E0 02 03 00"]
    )
    func onlyAuth(packet: String) {
        var server = challenged()
        guard case .close(.violation) = server.receives(packet) else {
            Issue.record("it was taken")
            return
        }
        // A refusing CONNACK, and no DISCONNECT.
        #expect(server.sent().hasPrefix("20 03 00 8"))
    }

    @Test("a client may give up")
    func givesUp() {
        var server = challenged()
        #expect(server.receives("E0 00") == .close(.disconnectedByClient(.success)))
        #expect(server.sent() == "")
        #expect(server.machine.takeWill() == nil)
    }

    @Test(
        "another method, none, or a reason that does not belong here ends it",
        arguments: [
            auth(.continueAuthentication, "other"), auth(.continueAuthentication, nil, nil), auth(.reauthenticate),
            auth(.success),
        ]
    )
    func wrongAuth(packet: [UInt8]) {
        var server = challenged()
        #expect(server.receives(packet) == .close(.violation(.unexpectedPacket)))
        #expect(server.sent() == "20 03 00 82 00")
    }

    @Test("who failed is refused")
    func refused() {
        var server = challenged()
        _ = server.receives(Self.auth(.continueAuthentication))
        #expect(server.refuses(.notAuthorized) == .refused(.notAuthorized))
        #expect(server.sent() == "20 03 00 87 00")
    }

    @Test("a client that does not answer in time is refused")
    func timeout() {
        var server = challenged()
        #expect(server.timerFires(after: 9_999) == nil)
        #expect(server.timerFires(after: 1) == .refused(.serverUnavailable))
    }

    @Test("a connected client authenticates again, and its messages go on meanwhile")
    func again() throws {
        var server = connected()
        #expect(server.receives(Self.auth(.reauthenticate)) == .authenticate(data: [2], isNew: true))
        #expect(server.challenges([9]) == nil)
        #expect(server.sent() == "F0 0A 18 08 15 00 01 6D 16 00 01 09")
        _ = try server.publish(publish(.v5))
        #expect(server.receives(Self.auth(.continueAuthentication)) == .authenticate(data: [2], isNew: false))
        server.reauthenticated([7])
        #expect(server.sent() == "F0 0A 00 08 15 00 01 6D 16 00 01 07")
        // And once more.
        #expect(server.receives(Self.auth(.reauthenticate)) == .authenticate(data: [2], isNew: true))
    }

    @Test(
        "an AUTH that nobody waits for, or with another method, ends a connection with a protocol error",
        arguments: [
            auth(.continueAuthentication), auth(.success), auth(.reauthenticate, "other"),
            auth(.reauthenticate, nil, nil),
        ]
    )
    func unexpected(packet: [UInt8]) {
        var server = connected()
        #expect(server.receives(packet) == .close(.violation(.unexpectedPacket)))
        #expect(server.sent() == "E0 01 82")
    }

    @Test("it begins again only when it is over")
    func twice() {
        var server = connected()
        _ = server.receives(Self.auth(.reauthenticate))
        _ = server.challenges([9])
        _ = server.sent()
        #expect(server.receives(Self.auth(.reauthenticate)) == .close(.violation(.unexpectedPacket)))
    }

    @Test(
        "a client that named no method sends no AUTH",
        arguments: [ReasonCode.reauthenticate, .continueAuthentication]
    )
    func withoutMethod(reason: ReasonCode) {
        var server = Transcript.connected(.v5, options: Self.options)
        #expect(server.receives(Self.auth(reason)) == .close(.violation(.unexpectedPacket)))
        #expect(server.sent() == "E0 01 82")
        var old = Transcript.connected(.v3_1_1, options: Self.options)
        #expect(old.receives(Self.auth(reason)) == .close(.violation(.reservedPacketType)))
    }

    @Test("who failed to authenticate again is told, and goes")
    func failsAgain() {
        var server = connected()
        _ = server.receives(Self.auth(.reauthenticate))
        #expect(server.ends(.notAuthorized) == .endedByServer(.notAuthorized))
        #expect(server.sent() == "E0 01 87")
    }

    @Test("a challenge that is larger than the client takes ends it")
    func tooLarge() {
        var server = Transcript(Self.options)
        _ = server.receives(Self.connect(maximumPacketSize: 20))
        #expect(server.challenges(Array(repeating: 1, count: 30)) == .refused(.packetTooLarge))
        #expect(server.sent() == "20 03 00 95 00")
    }
}
