import Testing

@testable import MQTTProtocol

@Suite("Topic aliases towards the client")
struct OutboundAliasTests {
    @Test("a topic gets an alias with its first message, and goes without its name from then on")
    func used() {
        var server = Transcript.connected(.v5) { $0.properties.topicAliasMaximum = 2 }
        #expect(server.machine.usesTopicAliases)
        _ = server.sends("a", qos: .atMostOnce, token: 0)
        #expect(server.sent() == "30 07 00 01 61 03 23 00 01")
        _ = server.sends("a", qos: .atLeastOnce, token: 1)
        #expect(server.sent() == "32 08 00 00 00 01 03 23 00 01")
        _ = server.sends("b", qos: .atMostOnce, token: 0)
        #expect(server.sent() == "30 07 00 01 62 03 23 00 02")
        _ = server.sends("c", qos: .atMostOnce, token: 0)
        #expect(server.sent() == "30 04 00 01 63 00")
        _ = server.sends("a", qos: .atMostOnce, token: 0)
        #expect(server.sent() == "30 06 00 00 03 23 00 01")
    }

    @Test("a message that is not sent sets no alias")
    func unsent() {
        var server = Transcript.connected(.v5) {
            $0.properties.topicAliasMaximum = 2
            $0.properties.maximumPacketSize = 20
            $0.properties.receiveMaximum = 1
        }
        _ = server.sent()
        #expect(server.sends("a", qos: .atMostOnce, token: 0, payload: .init(repeating: 0, count: 20)) == .tooLarge)
        _ = server.sends("b", qos: .atLeastOnce, token: 1)
        #expect(server.sends("a", qos: .atLeastOnce, token: 2) == .windowFull)
        _ = server.sent()
        _ = server.sends("a", qos: .atMostOnce, token: 0)
        #expect(server.sent() == "30 07 00 01 61 03 23 00 02")
    }

    @Test("clients that allow none get none")
    func none() {
        #expect(!Transcript.connected(.v5).machine.usesTopicAliases)
        #expect(!Transcript.connected(.v3_1_1).machine.usesTopicAliases)
    }
}
