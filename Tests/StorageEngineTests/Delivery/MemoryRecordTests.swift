import MessageModel
import Simulator
import StorageService
import Testing

@testable import StorageEngine

@Suite("Messages that never reach the log")
struct MemoryRecordTests {
    /// A topic that keeps nothing.
    private func topic(_ bench: DeliveryBench, _ name: String = "t") throws -> TopicID {
        try bench.topic(name) { $0.retention = .subscriptions }
    }

    private func transient(_ bench: DeliveryBench, _ name: String, _ filters: [String] = ["t/#"]) throws {
        try bench.inbox(name, filters) { $0.isDurable = false }
    }

    @Test("what only transient inboxes want is delivered, answered, and not written")
    func unwritten() throws {
        let bench = try DeliveryBench()
        let topic = try topic(bench)
        try transient(bench, "q")
        try transient(bench, "p")
        let end = bench.shard.log.end
        bench.publish(topic, "a", "b")
        bench.consume("q")
        #expect(bench.take().map(\.body) == ["a", "b"])
        #expect(bench.appends.values.allSatisfy { $0.error == nil && $0.baseOffset == .max && $0.recordCount == 2 })
        bench.consume("p", as: 2)
        #expect(bench.take().map(\.body) == ["a", "b"])
        #expect(bench.shard.log.end == end)
        #expect(bench.shard.state.partition(PartitionID(topic: topic, index: 0))?.partition.nextOffset == 0)
    }

    @Test("what is unacknowledged comes again in its place")
    func again() throws {
        let bench = try DeliveryBench()
        let topic = try topic(bench)
        try transient(bench, "q")
        bench.publish(topic, "a", "b", "c")
        bench.consume("q", credit: 2)
        let first = bench.take()
        #expect(first.map(\.body) == ["a", "b"])
        bench.shard.detach(session: bench.session, attachment: 1)
        bench.settle()
        bench.consume("q", as: 2)
        #expect(bench.take().map(\.body) == ["a", "b", "c"])
    }

    @Test("what a stored inbox wants too is written, and the transient one has it in order")
    func both() throws {
        let bench = try DeliveryBench()
        let topic = try topic(bench)
        try transient(bench, "q")
        try bench.inbox("stored", ["t/x"])
        bench.publish(topic, [.init("a", key: "y")])
        bench.publish(topic, [.init("b", key: "x")])
        bench.publish(topic, [.init("c", key: "y")])
        bench.consume("q")
        bench.consume("stored", as: 2)
        #expect(bench.got.filter { $0.consumer == 1 }.map(\.body) == ["a", "b", "c"])
        #expect(bench.got.filter { $0.consumer == 2 }.map(\.body) == ["b"])
        try bench.crash()
        #expect(try bench.backlog("stored") == 1)
    }

    @Test("a reader or a cursor of the topic has it stored")
    func readers() throws {
        let bench = try DeliveryBench()
        let topic = try topic(bench)
        try transient(bench, "q")
        bench.ask(.createSubscription(SubscriptionSpecification(name: "c", topic: topic, start: .next)))
        bench.publish(topic, "a")
        bench.consume("c", as: 2)
        #expect(bench.take().map(\.body) == ["a"])
        bench.ask(.deleteSubscription(name: "c"))
        bench.consume("q")
        for got in bench.take() { bench.accept(got) }
        let end = bench.shard.log.end
        bench.publish(topic, "b")
        #expect(bench.shard.log.end == end)
        #expect(bench.take().map(\.body) == ["b"])
    }

    @Test("memory that is not used any more is given back", arguments: [1, 7, 300])
    func givenBack(kept: Int) throws {
        let bench = try DeliveryBench { $0.segmentBytes = 4 << 20 }
        let topic = try topic(bench)
        try transient(bench, "q")
        bench.consume("q", credit: 1_000_000)
        let body = String(repeating: "x", count: 1_000)
        var waiting: [DeliveryBench.Got] = []
        for number in 0..<3_000 {
            bench.publish(topic, "\(number) \(body)")
            waiting += bench.take()
            while waiting.count > kept { bench.accept(waiting.removeFirst()) }
        }
        #expect(bench.shard.log.memory.byteCount <= (2 + kept / 200) * 256 << 10)
        for got in waiting { bench.accept(got) }
        bench.settle()
        #expect(bench.shard.log.memory.byteCount <= 256 << 10)
    }

    @Test("an inbox that gets too long goes into the log and loses nothing")
    func sunk() throws {
        let bench = try DeliveryBench()
        let topic = try topic(bench)
        try transient(bench, "q")
        let end = bench.shard.log.end
        // An eighth of a segment is the limit.
        let body = String(repeating: "x", count: 500)
        for number in 0..<60 { bench.publish(topic, "\(number) \(body)") }
        #expect(bench.shard.log.end > end)
        let lane = bench.shard.state.subscription(named: "q", tenant: .default)?.lane(0)
        #expect(lane?.sequence.memory == nil)
        bench.consume("q")
        let got = bench.take()
        #expect(got.map { $0.body.prefix { $0 != " " } } == (0..<60).map { "\($0)"[...] })
        for message in got { bench.accept(message) }
        bench.settle()
        // Empty, it is in memory again.
        let before = bench.shard.log.end
        bench.publish(topic, "last")
        #expect(bench.take().map(\.body) == ["last"])
        #expect(lane?.sequence.memory != nil && bench.shard.log.end == before)
    }

    @Test("what waits for its time reaches an inbox in memory in order")
    func scheduled() throws {
        let bench = try DeliveryBench()
        let topic = try topic(bench)
        try transient(bench, "q")
        bench.publish(topic, "now")
        bench.publish(topic, [.init("later", deliverAt: bench.now.advanced(byMicroseconds: 50_000))])
        bench.pass(milliseconds: 100)
        bench.publish(topic, "last")
        bench.consume("q")
        #expect(bench.take().map(\.body) == ["now", "later", "last"])
    }

    @Test("what expires there without a consumer goes, and as a dead letter where the inbox has them")
    func expiry() throws {
        let bench = try DeliveryBench()
        let topic = try topic(bench)
        try transient(bench, "q")
        try bench.inbox("d", ["t/#"]) {
            $0.isDurable = false
            $0.deadLetterTopic = "dead"
        }
        try bench.inbox("letters", ["dead/#", "t/dead"])
        bench.publish(topic, [.init("a", expiry: bench.now.advanced(byMicroseconds: 50_000)), .init("b")])
        bench.pass(milliseconds: 100)
        #expect(try bench.backlog("q") == 1)
        #expect(try bench.backlog("d") == 1)
        bench.consume("q")
        #expect(bench.take().map(\.body) == ["b"])
    }

    @Test("it is answered when it is durable that no stored inbox wants it")
    func definitions() throws {
        let bench = try DeliveryBench()
        let topic = try topic(bench)
        try bench.inbox("stored", ["t/#"])
        bench.shard.perform(
            session: bench.session,
            .unbind(name: "stored", Binding(filter: "t/#")),
            token: 1 << 40,
            now: bench.now
        )
        var builder = BatchBuilder()
        builder.append(RecordFields())
        builder.finish { bytes in
            guard let batch = BatchView(prefixOf: bytes) else { return }
            bench.shard.append(
                session: bench.session,
                batch: batch,
                to: PartitionID(topic: topic, index: 0),
                options: AppendOptions(),
                token: 1 << 41,
                now: bench.now
            )
        }
        while bench.shard.runRound(now: bench.now, output: bench) {}
        #expect(bench.appends[1 << 41] == nil)
        bench.settle()
        #expect(bench.appends[1 << 41]?.baseOffset == .max)
        #expect(bench.replies[1 << 40] != nil)
    }

    @Test("live filters have it, too")
    func live() throws {
        let bench = try DeliveryBench()
        let topic = try topic(bench)
        let end = bench.shard.log.end
        let problem = Array("t/#".utf8).withUnsafeBytes { bench.shard.addFilter(session: bench.session, $0, id: 1) }
        #expect(problem == nil)
        bench.publish(topic, "a")
        bench.publish(topic, "b")
        #expect(bench.routed == ["a", "b"])
        #expect(bench.shard.log.end == end)
    }
}
