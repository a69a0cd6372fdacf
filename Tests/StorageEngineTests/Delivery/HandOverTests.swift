import MessageModel
import Simulator
import StorageService
import Testing

@testable import StorageEngine

@Suite("Handing over")
struct HandOverTests {
    private static let key: UInt64 = 9 << 56

    private func handOver(
        _ bench: DeliveryBench,
        _ sequences: ClosedRange<UInt64>,
        from attachment: UInt32 = 1,
        to inbox: String = "own"
    ) -> HandOver {
        HandOver(
            attachment: attachment,
            lane: 0,
            first: sequences.lowerBound,
            last: sequences.upperBound,
            inbox: inbox,
            key: Self.key,
            value: [7]
        )
    }

    private func state(_ bench: DeliveryBench, _ name: String = "own") throws -> [UInt64] {
        guard case .success(.state(_, let entries)) = bench.ask(.getState(name: name)) else {
            throw SluiceError(.internal, "no state")
        }
        return entries.map(\.key)
    }

    private func prepared(_ bodies: [String]) throws -> (DeliveryBench, TopicID) {
        let bench = try DeliveryBench()
        let topic = try bench.topic("a")
        try bench.inbox("group", ["a/#"])
        try bench.inbox("own", ["b"])
        bench.publish(topic, bodies.map { DeliveryBench.Message($0) })
        return (bench, topic)
    }

    @Test("messages that are handed over are done here and wait there, over crashes and restarts")
    func moves() throws {
        let (bench, _) = try prepared(["0", "1", "2", "3", "4"])
        bench.consume("group")
        #expect(bench.take().count == 5)
        guard case .success(.queued(0, 2, nil)) = bench.ask(.handOver(handOver(bench, 1...2))),
            case .success(.queued(2, 1, nil)) = bench.ask(.handOver(handOver(bench, 4...4)))
        else { throw SluiceError(.internal, "not handed over") }
        #expect(try bench.backlog("group") == 2)
        for life in 0..<3 {
            if life == 1 { try bench.crash() }
            if life == 2 { try bench.restart { $0.hasPrefix("snapshot-") } }
            #expect(try state(bench) == [Self.key, Self.key + 1, Self.key + 2])
            bench.consume("own", as: 2)
            #expect(bench.take().filter { $0.consumer == 2 }.map(\.body) == ["1", "2", "4"])
            bench.shard.detach(session: bench.session, attachment: 2)
        }
        bench.consume("group", as: 3)
        #expect(bench.take().map(\.body) == ["0", "3"])
        bench.consume("own", as: 2)
        for message in bench.take() { bench.accept(message) }
        bench.pass(milliseconds: 100)
        try bench.crash()
        #expect(try bench.backlog("own") == 0)
    }

    @Test("what is not leased to the consumer any more stays where it is")
    func onlyLeased() throws {
        let (bench, _) = try prepared(["0", "1", "2", "3"])
        bench.consume("group", as: 1, credit: 2)
        let first = bench.take()
        bench.consume("group", as: 2, credit: 2)
        #expect(bench.take().count == 2)
        bench.settle(first[0], .release(delayMicroseconds: 1_000_000, countsAttempt: true))
        guard case .success(.queued(0, 1, nil)) = bench.ask(.handOver(handOver(bench, 0...3))) else {
            throw SluiceError(.internal, "not handed over")
        }
        #expect(try bench.backlog("own") == 1)
        #expect(try bench.backlog("group") == 3)
        guard case .success(.queued(_, 0, nil)) = bench.ask(.handOver(handOver(bench, 0...3))) else {
            throw SluiceError(.internal, "not answered")
        }
    }

    @Test("consumers, inboxes and ranges that are not right are refused, and nothing happens")
    func refused() throws {
        let (bench, topic) = try prepared(["0", "1"])
        try bench.cursor("cursor", topic)
        try bench.inbox("passing", ["c"]) { $0.isDurable = false }
        bench.consume("group")
        bench.consume("cursor", as: 2)
        let requests = [
            handOver(bench, 0...0, from: 9), handOver(bench, 0...0, from: 2), handOver(bench, 0...0, to: "nobody"),
            handOver(bench, 0...0, to: "group"), handOver(bench, 0...0, to: "cursor"),
            handOver(bench, 0...0, to: "passing"), handOver(bench, 0...1_000),
            handOver(bench, (.max - 1) ... .max),
        ]
        for request in requests {
            if case .success(.queued(_, let count, _)) = bench.ask(.handOver(request)) {
                #expect(count == 0 && request.first == .max - 1)
            }
        }
        #expect(try bench.backlog("group") == 2)
        #expect(try state(bench) == [])
    }

    @Test("after a crash they are in one of the two, and never in both", arguments: 0..<60)
    func atomic(seed: UInt64) throws {
        let (bench, _) = try prepared((0..<8).map { "message \($0) of some length, so that it takes sectors" })
        bench.consume("group")
        _ = bench.take()
        bench.shard.perform(
            session: bench.session,
            .handOver(handOver(bench, 2...(3 + seed % 4))),
            token: 9_000,
            now: bench.now
        )
        _ = bench.shard.runRound(now: bench.now, output: bench)
        if seed % 3 == 0, let event = bench.disk.completeNext() { bench.shard.deviceCompleted(event) }
        bench.disk = bench.disk.crashed(seed: seed)
        bench.shard = try Shard.open(device: bench.disk, options: bench.options)
        bench.settle()
        bench.session = bench.shard.openSession(tenant: .default)
        let moved = try bench.backlog("own")
        #expect(moved == 0 || moved == 2 + seed % 4)
        #expect(try bench.backlog("group") == 8 - moved)
        #expect(try state(bench).count == moved)
    }

    @Test("messages whose index is in a file are found, and outlive the segments around them")
    func old() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("a") { $0.retention = .subscriptions }
        try bench.inbox("group", ["a/#"])
        try bench.inbox("own", ["b"])
        let body = String(repeating: "x", count: 1_000)
        for number in 0..<400 { bench.publish(topic, "\(number) \(body)") }
        bench.consume("group", credit: 400)
        #expect(bench.take().count == 400)
        for range in [3...3, 100...103, 250...250] as [ClosedRange<UInt64>] {
            guard case .success(.queued) = bench.ask(.handOver(handOver(bench, range))) else {
                throw SluiceError(.internal, "not handed over")
            }
        }
        bench.shard.settle(
            session: bench.session,
            attachment: 1,
            lane: 0,
            first: 0,
            last: 399,
            .accept,
            token: nil,
            now: bench.now
        )
        bench.settle()
        bench.pass(milliseconds: 60_000)
        for number in 0..<200 { bench.publish(topic, "\(number) \(body)") }
        bench.pass(milliseconds: 60_000)
        try bench.crash()
        bench.consume("own", as: 2)
        let got = bench.take().map { $0.body.prefix { $0 != " " } }
        #expect(got == ["3", "100", "101", "102", "103", "250"])
        #expect(bench.warnings.isEmpty)
    }

    @Test("a record that is cut anywhere is refused and harms nothing")
    func malformed() {
        var journal = DeliveryJournal()
        journal.append(.done(4..<6), to: LaneKey(subscription: SubscriptionID(rawValue: 3), lane: 0))
        var states = StateChanges(subscription: SubscriptionID(rawValue: 300))
        states.put(1 << 60, [1, 2, 3])
        let message = Queueing.Message(position: 4_096, recordBytes: 80, record: 1, bytes: 40)
        let lane = LaneKey(subscription: SubscriptionID(rawValue: 300), lane: 0)
        let whole = HandedOver(
            queueing: Queueing(time: .zero, lane: lane, messages: [message, message]),
            changes: journal.next(),
            states: StateJournal.encode(states)
        )
        var writer = ByteWriter()
        whole.encode(to: &writer)
        let fixed = writer.bytes.count - whole.states.count
        for count in 0...writer.bytes.count {
            writer.bytes[..<count].withUnsafeBytes { bytes in
                var reader = ByteReader(bytes)
                let read = HandedOver(from: &reader)
                #expect((read != nil) == (count >= fixed))
                if count == writer.bytes.count { #expect(read == whole) }
            }
        }
    }
}
