import Testing

@testable import MQTTProtocol

@Suite("QoS 2")
struct ExactlyOnceTests {
    private func stored(_ version: ProtocolVersion = .v5, received: [UInt16] = []) -> Transcript {
        var transcript = Transcript(MQTTServerOptions())
        let connect = ConnectPacket(version: version, clientIdentifier: "c", cleanStart: false)
        _ = transcript.receives(written { connect.encode(into: &$0) })
        var acceptance = ConnectAcceptance()
        acceptance.isSessionStored = true
        acceptance.isSessionPresent = true
        acceptance.receivedIdentifiers = received
        _ = transcript.accepts(acceptance)
        _ = transcript.sent()
        return transcript
    }

    // MARK: From the client

    @Test("a message is taken once, PUBREC follows its storing, PUBCOMP its release")
    func inbound() throws {
        for version in ProtocolVersion.allCases {
            var server = Transcript.connected(version)
            let message = try server.publish(publish(version, qos: .exactlyOnce, id: 5))
            #expect(server.sent() == "")
            // Again before it is stored: nothing yet.
            #expect(server.receives(publish(version, qos: .exactlyOnce, id: 5)) == .none)
            #expect(server.sent() == "")
            #expect(server.completes(message.ticket) == nil)
            #expect(server.sent() == "50 02 00 05")
            // Again afterwards: PUBREC again, and no second message.
            #expect(server.receives(publish(version, qos: .exactlyOnce, id: 5)) == .none)
            #expect(server.sent() == "50 02 00 05")
            #expect(server.receives("62 02 00 05") == .none)
            #expect(server.sent() == "70 02 00 05")
            // Behind PUBCOMP the identifier is a new message.
            #expect(try server.publish(publish(version, qos: .exactlyOnce, id: 5)).ticket != nil)
        }
    }

    @Test("a refusal ends the exchange: the identifier is free")
    func refused() throws {
        var server = Transcript.connected(.v5)
        let message = try server.publish(publish(.v5, qos: .exactlyOnce, id: 5))
        #expect(server.completes(message.ticket, .quotaExceeded) == nil)
        #expect(server.sent() == "50 03 00 05 97")
        #expect(server.receives("62 02 00 05") == .none)
        #expect(server.sent() == "70 03 00 05 92")
        #expect(try server.publish(publish(.v5, qos: .exactlyOnce, id: 5)).ticket != nil)
    }

    @Test("PUBREL before PUBREC is of an unknown identifier, and loses nothing")
    func early() throws {
        var server = Transcript.connected(.v5)
        let message = try server.publish(publish(.v5, qos: .exactlyOnce, id: 5))
        #expect(server.receives("62 02 00 05") == .none)
        #expect(server.sent() == "70 03 00 05 92")
        #expect(server.completes(message.ticket) == nil)
        #expect(server.sent() == "50 02 00 05")
    }

    @Test("messages count towards the receive maximum until PUBCOMP")
    func receiveMaximum() throws {
        var options = MQTTServerOptions()
        options.receiveMaximum = 2
        var server = Transcript.connected(.v5, options: options)
        let first = try server.publish(publish(.v5, qos: .exactlyOnce, id: 1))
        let second = try server.publish(publish(.v5, qos: .exactlyOnce, id: 2))
        #expect(server.completes(first.ticket) == nil)
        #expect(server.completes(second.ticket) == nil)
        #expect(server.machine.isInboundWindowFull)
        _ = server.receives("62 02 00 01")
        #expect(!server.machine.isInboundWindowFull)
        _ = try server.publish(publish(.v5, qos: .atLeastOnce, id: 9))
        _ = server.sent()
        #expect(server.receives(publish(.v5, qos: .exactlyOnce, id: 3)) == .close(.violation(.receiveMaximumExceeded)))
        #expect(server.sent() == "E0 01 93")
    }

    @Test("in a stored session PUBCOMP waits for the owner, and what was received is known on the next connection")
    func storedInbound() throws {
        var server = stored(received: [7, 8])
        #expect(server.receives(publish(.v5, qos: .exactlyOnce, id: 7)) == .none)
        #expect(server.sent() == "50 02 00 07")
        #expect(server.machine.receivedIdentifiers == [7, 8])
        #expect(server.receives("62 02 00 07") == .released(packetIdentifier: 7))
        #expect(server.receives("62 02 00 07") == .none)
        #expect(server.sent() == "")
        server.completesRelease(7)
        #expect(server.sent() == "70 02 00 07")
        server.completesRelease(7)
        #expect(server.sent() == "")
        #expect(try server.publish(publish(.v5, qos: .exactlyOnce, id: 7)).ticket != nil)
    }

    @Test("PUBACK and PUBREC leave in the order of the messages, in every order of storing")
    func interleaved() throws {
        for order in permutations([0, 1, 2, 3]) {
            var server = Transcript.connected(.v3_1_1)
            let tickets = try (0..<4).map { index in
                try server.publish(
                    publish(.v3_1_1, qos: index % 2 == 0 ? .exactlyOnce : .atLeastOnce, id: UInt16(index + 1))
                ).ticket
            }
            var sent: [String] = []
            for index in order {
                _ = server.completes(tickets[index])
                let text = server.sent()
                if !text.isEmpty { sent.append(text) }
            }
            #expect(sent.joined(separator: " ") == "50 02 00 01 40 02 00 02 50 02 00 03 40 02 00 04", "\(order)")
        }
    }

    // MARK: To the client

    @Test("PUBLISH, PUBREC, PUBREL, PUBCOMP; the token comes back at the end")
    func outbound() {
        for version in ProtocolVersion.allCases {
            var server = Transcript.connected(version)
            #expect(server.sends("a", qos: .exactlyOnce, token: 77) == .admitted(packetIdentifier: 1))
            #expect(server.sent().hasPrefix("34 "))
            #expect(server.receives("50 02 00 01") == .none)
            #expect(server.sent() == "62 02 00 01")
            // PUBREC again: PUBREL again.
            #expect(server.receives("50 02 00 01") == .none)
            #expect(server.sent() == "62 02 00 01")
            #expect(server.machine.inFlightCount == 1)
            #expect(server.receives("70 02 00 01") == .acknowledged(token: 77, reason: .success))
            #expect(server.machine.inFlightCount == 0)
            #expect(server.receives("70 02 00 01") == .none)
            #expect(server.sent() == "")
        }
    }

    @Test("a failure in PUBREC is final, and gives the room back")
    func failing() {
        var server = Transcript.connected(.v5) { $0.properties.receiveMaximum = 1 }
        _ = server.sends("a", qos: .exactlyOnce, token: 5)
        #expect(!server.machine.canSend)
        _ = server.sent()
        #expect(server.receives("50 03 00 01 97") == .acknowledged(token: 5, reason: .quotaExceeded))
        #expect(server.sent() == "")
        #expect(server.machine.canSend)
    }

    @Test("the window is taken until PUBCOMP")
    func window() {
        var server = Transcript.connected(.v5) { $0.properties.receiveMaximum = 1 }
        _ = server.sends("a", qos: .exactlyOnce, token: 5)
        _ = server.receives("50 02 00 01")
        #expect(server.sends("a", qos: .atLeastOnce, token: 6) == .windowFull)
        _ = server.receives("70 02 00 01")
        #expect(server.sends("a", qos: .atLeastOnce, token: 6) == .admitted(packetIdentifier: 2))
    }

    @Test("acknowledgements of the other quality are violations")
    func mixed() {
        func after(_ qos: QoS, _ packets: String...) -> MQTTAction {
            var server = Transcript.connected(.v5)
            _ = server.sends("a", qos: qos, token: 1)
            var action = MQTTAction.none
            for packet in packets { action = server.receives(packet) }
            return action
        }
        let violation = MQTTAction.close(.violation(.unexpectedPacket))
        #expect(after(.exactlyOnce, "40 02 00 01") == violation)
        #expect(after(.exactlyOnce, "70 02 00 01") == violation)
        #expect(after(.atLeastOnce, "50 02 00 01") == violation)
        #expect(after(.atLeastOnce, "70 02 00 01") == violation)
        #expect(after(.exactlyOnce, "50 02 00 01", "40 02 00 01") == violation)
    }

    @Test("in a stored session PUBREL waits for the owner")
    func storedOutbound() {
        var server = stored()
        #expect(server.sends("a", qos: .exactlyOnce, token: 9, identifier: 40) == .admitted(packetIdentifier: 40))
        #expect(server.sends("a", qos: .exactlyOnce, token: 10, identifier: 40) == .windowFull)
        #expect(server.sends("a", qos: .atLeastOnce, token: 11) == .admitted(packetIdentifier: 0x8000))
        _ = server.sent()
        #expect(server.receives("50 02 00 28") == .received(packetIdentifier: 40, token: 9))
        #expect(server.receives("50 02 00 28") == .none)
        #expect(server.sent() == "")
        server.releases(40)
        #expect(server.sent() == "62 02 00 28")
        server.releases(40)
        #expect(server.sent() == "")
        #expect(server.receives("70 02 00 28") == .acknowledged(token: 9, reason: .success))
    }

    @Test("an exchange of an earlier connection goes on with PUBREL")
    func resumed() {
        var server = stored()
        server.resumes(300, token: 4)
        #expect(server.sent() == "62 02 01 2C")
        #expect(server.receives("50 02 01 2C") == .none)
        #expect(server.sent() == "62 02 01 2C")
        // A client that has forgotten it says so.
        #expect(server.receives("70 03 01 2C 92") == .acknowledged(token: 4, reason: .success))
    }

    /// Three messages of different quality: the client answers in every order that the protocol allows.
    @Test("every interleaving of acknowledgements ends every exchange once")
    func everyInterleaving() {
        // Message 1 and 3 are of QoS 2 (two answers each, in order), message 2 of QoS 1.
        let answers: [[String]] = [["50 02 00 01", "70 02 00 01"], ["40 02 00 02"], ["50 02 00 03", "70 02 00 03"]]
        var runs = 0
        func walk(_ server: Transcript, _ done: [Int], _ acknowledged: [UInt64]) {
            if done == [2, 1, 2] {
                runs += 1
                #expect(acknowledged.sorted() == [1, 2, 3])
                #expect(server.machine.inFlightCount == 0)
                return
            }
            for message in 0..<3 where done[message] < answers[message].count {
                var next = server
                var progress = done
                var tokens = acknowledged
                let action = next.receives(answers[message][done[message]])
                if case .acknowledged(let token, .success) = action { tokens.append(token) }
                progress[message] += 1
                walk(next, progress, tokens)
            }
        }
        var server = Transcript.connected(.v5)
        _ = server.sends("a", qos: .exactlyOnce, token: 1)
        _ = server.sends("a", qos: .atLeastOnce, token: 2)
        _ = server.sends("a", qos: .exactlyOnce, token: 3)
        walk(server, [0, 0, 0], [])
        #expect(runs == 30)
    }
}

@Suite("Packet identifiers")
struct PacketIdentifierTableTests {
    @Test("the table agrees with a dictionary, under collisions and removals")
    func model() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        for spread: UInt16 in [8, 64, 1_000, 65_535] {
            var table = PacketIdentifierTable()
            var model: [UInt16: UInt64] = [:]
            for step in 0..<UInt64(20_000) {
                // Identifiers that fall on each other's places.
                let identifier = UInt16.random(in: 1...spread, using: &random) & (spread == 64 ? 0x31 : .max) | 1
                if model[identifier] == nil, model.count < 200 {
                    table.insert(identifier, token: step, phase: .published)
                    model[identifier] = step
                } else {
                    #expect(table.remove(identifier)?.token == model.removeValue(forKey: identifier), "seed \(seed)")
                }
                if step % 500 == 0 {
                    #expect(table.count == model.count, "seed \(seed)")
                    #expect(model.allSatisfy { table[$0.key]?.token == $0.value }, "seed \(seed)")
                    #expect(table.entries.map(\.token) == model.values.sorted(), "seed \(seed)")
                }
            }
            #expect(table[0] == nil)
        }
    }
}

func permutations(_ values: [Int]) -> [[Int]] {
    guard values.count > 1 else { return [values] }
    return values.indices.flatMap { index in
        var rest = values
        let value = rest.remove(at: index)
        return permutations(rest).map { [value] + $0 }
    }
}
