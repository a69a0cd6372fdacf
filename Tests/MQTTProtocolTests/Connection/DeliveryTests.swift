import Testing

@testable import MQTTProtocol

@Suite("Messages to the client")
struct DeliveryTests {
    @Test("QoS 0 has no identifier and is not counted")
    func qos0() {
        var server = Transcript.connected(.v3_1_1)
        #expect(server.sends("a", qos: .atMostOnce, token: 1, payload: [1]) == .admitted(packetIdentifier: 0))
        #expect(server.sent() == "30 04 00 01 61 01")
        #expect(server.machine.inFlightCount == 0)
    }

    @Test("QoS 1 is in flight until PUBACK, which brings its token back")
    func qos1() {
        var server = Transcript.connected(.v5)
        #expect(server.sends("a", qos: .atLeastOnce, token: 77) == .admitted(packetIdentifier: 1))
        #expect(server.sends("a", qos: .atLeastOnce, token: 78) == .admitted(packetIdentifier: 2))
        #expect(server.sent() == "32 06 00 01 61 00 01 00 32 06 00 01 61 00 02 00")
        #expect(server.machine.inFlightTokens == [77, 78])
        #expect(server.receives("40 02 00 02") == .acknowledged(token: 78, reason: .success))
        #expect(server.receives("40 03 00 01 97") == .acknowledged(token: 77, reason: .quotaExceeded))
        #expect(server.receives("40 02 00 01") == .none)
        #expect(server.machine.inFlightCount == 0)
    }

    @Test("the client's receive maximum is kept, and QoS 0 passes by")
    func receiveMaximum() {
        var server = Transcript.connected(.v5) { $0.properties.receiveMaximum = 2 }
        #expect(server.sends("a", qos: .atLeastOnce, token: 1) == .admitted(packetIdentifier: 1))
        #expect(server.machine.canSend)
        #expect(server.sends("a", qos: .atLeastOnce, token: 2) == .admitted(packetIdentifier: 2))
        #expect(!server.machine.canSend)
        _ = server.sent()
        #expect(server.sends("a", qos: .atLeastOnce, token: 3) == .windowFull)
        #expect(server.sent() == "")
        #expect(server.sends("a", qos: .atMostOnce, token: 0) == .admitted(packetIdentifier: 0))
        _ = server.receives("40 02 00 02")
        #expect(server.sends("a", qos: .atLeastOnce, token: 3) == .admitted(packetIdentifier: 3))
        #expect(server.machine.inFlightTokens == [1, 3])
    }

    @Test("the server's own ceiling holds for clients that set none")
    func ceiling() {
        var options = MQTTServerOptions()
        options.maximumInFlight = 3
        var server = Transcript.connected(.v3_1_1, options: options)
        for token in 1...3 { _ = server.sends("a", qos: .atLeastOnce, token: UInt64(token)) }
        #expect(server.sends("a", qos: .atLeastOnce, token: 4) == .windowFull)
    }

    @Test("a message larger than the client takes is not sent and takes no identifier")
    func maximumPacketSize() {
        var server = Transcript.connected(.v5) { $0.properties.maximumPacketSize = 30 }
        // Two bytes of header, three of topic, two of identifier, one of property length: 22 are left.
        #expect(server.sends("a", qos: .atLeastOnce, token: 1, payload: .init(repeating: 0, count: 23)) == .tooLarge)
        #expect(server.sent() == "")
        #expect(
            server.sends("a", qos: .atLeastOnce, token: 1, payload: .init(repeating: 0, count: 22))
                == .admitted(packetIdentifier: 1)
        )
    }

    @Test("an encoding that is shared gets its own identifier and the same checks")
    func shared() {
        var server = Transcript.connected(.v5) { $0.properties.receiveMaximum = 1 }
        #expect(
            server.machine.admitDelivery(qos: .atLeastOnce, packetSize: 10, token: 5) == .admitted(packetIdentifier: 1)
        )
        #expect(server.machine.admitDelivery(qos: .atLeastOnce, packetSize: 10, token: 6) == .windowFull)
        _ = server.ends(.serverShuttingDown)
        #expect(server.machine.admitDelivery(qos: .atMostOnce, packetSize: 10, token: 6) == .notConnected)
        #expect(server.machine.inFlightTokens == [5])
    }

    @Test("QoS 2 acknowledgements of unknown messages are answered so, of known ones are a violation")
    func qos2Acknowledgements() {
        var new = Transcript.connected(.v5)
        #expect(new.receives("50 02 00 09") == .none)
        #expect(new.sent() == "62 03 00 09 92")
        #expect(new.receives("50 03 00 09 97") == .none)
        #expect(new.sent() == "")
        #expect(new.receives("62 02 00 09") == .none)
        #expect(new.sent() == "70 03 00 09 92")
        #expect(new.receives("70 02 00 09") == .none)
        #expect(new.sent() == "")
        _ = new.sends("a", qos: .atLeastOnce, token: 1)
        _ = new.sent()
        #expect(new.receives("50 02 00 01") == .close(.violation(.unexpectedPacket)))
        #expect(new.sent() == "E0 01 82")
        var old = Transcript.connected(.v3_1_1)
        _ = old.receives("62 02 00 09")
        #expect(old.sent() == "70 02 00 09")
    }
}

@Suite("Outbound window")
struct OutboundWindowTests {
    @Test("identifiers run from 1 to 65,535 and around")
    func wrapping() {
        var window = OutboundWindow(limit: 1)
        for sequence in 0..<131_075 {
            let identifier = window.open(token: UInt64(sequence))
            #expect(identifier == UInt16(sequence % 65_535) + 1)
            #expect(window.close(identifier ?? 0) == UInt64(sequence))
        }
    }

    @Test("a message that stays open keeps its identifier while all others go around")
    func straggler() {
        var window = OutboundWindow(limit: 4)
        let stuck = window.open(token: 1_000_000)
        for sequence in 0..<200_000 {
            guard let identifier = window.open(token: UInt64(sequence)) else {
                Issue.record("the window is stuck at \(sequence)")
                return
            }
            if identifier == stuck { Issue.record("identifier \(identifier) was given twice") }
            _ = window.close(identifier)
        }
        #expect(window.openTokens == [1_000_000])
        #expect(window.isOpen(stuck ?? 0))
        #expect(window.close(stuck ?? 0) == 1_000_000)
        #expect(window.openCount == 0)
    }

    @Test("all 65,535 identifiers can be open at once, and a freed one is found again")
    func exhausted() {
        var window = OutboundWindow(limit: .max)
        for sequence in 0..<65_535 { #expect(window.open(token: UInt64(sequence)) != nil) }
        #expect(!window.hasRoom)
        #expect(window.open(token: 0) == nil)
        #expect(window.close(40_000) == 39_999)
        #expect(window.open(token: 7) == 40_000)
        #expect(window.open(token: 7) == nil)
    }

    @Test("the window agrees with a dictionary under any order of acknowledgements")
    func model() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        for limit in [1, 2, 7, 50] {
            var window = OutboundWindow(limit: limit)
            var model: [(UInt16, UInt64)] = []
            for token in 0..<UInt64(30_000) {
                if Bool.random(using: &random) || model.isEmpty {
                    let identifier = window.open(token: token)
                    #expect((identifier == nil) == (model.count == limit), "seed \(seed)")
                    guard let identifier else { continue }
                    #expect(!model.contains { $0.0 == identifier }, "seed \(seed)")
                    model.append((identifier, token))
                } else {
                    // Mostly the youngest, so that old ones are set aside.
                    let index = Int.random(in: 0...20, using: &random) == 0 ? 0 : model.count - 1
                    let (identifier, token) = model.remove(at: index)
                    #expect(window.close(identifier) == token, "seed \(seed)")
                    #expect(window.close(identifier) == nil, "seed \(seed)")
                }
                if token % 100 == 0 { #expect(window.openTokens == model.map(\.1), "seed \(seed)") }
            }
            #expect(window.close(0) == nil)
        }
    }
}
