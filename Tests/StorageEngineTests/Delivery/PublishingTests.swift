import MessageModel
import StorageService
import Testing

@testable import StorageEngine

@Suite("Messages that are published later than they are stored")
struct PublishingTests {
    @Test("a scheduled message comes at its time, in the order of times, to everybody")
    func scheduled() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        try bench.inbox("q", ["t/#"])
        _ = Array("t/#".utf8).withUnsafeBytes { bench.shard.addFilter(session: bench.session, $0, id: 1) }
        bench.consume("s", as: 1)
        bench.consume("q", as: 2)
        let result = bench.publish(
            topic,
            [
                .init("later", deliverAt: bench.now.advanced(byMicroseconds: 200_000)),
                .init("now"),
                .init("soon", deliverAt: bench.now.advanced(byMicroseconds: 100_000)),
            ]
        )
        #expect(result?.scheduled != nil && result?.baseOffset == .max)
        #expect(bench.take().map(\.body) == ["now", "now"])
        bench.pass(milliseconds: 99)
        #expect(bench.take() == [])
        bench.pass(milliseconds: 11)
        #expect(bench.take().map(\.description) == ["soon@1#1>1", "soon@1#1>2"])
        bench.pass(milliseconds: 100)
        #expect(bench.take().map(\.body) == ["later", "later"])
        #expect(bench.routed == ["now", "soon", "later"])
    }

    @Test("a message that is cancelled in time never comes, and only once")
    func cancel() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        bench.consume("s")
        let result = bench.publish(topic, [.init("a", deliverAt: bench.now.advanced(byMicroseconds: 100_000))])
        let id = try #require(result?.scheduled)
        guard case .success(.done) = bench.ask(.cancelScheduled(id)) else {
            Issue.record("not cancelled")
            return
        }
        guard case .failure(let error) = bench.ask(.cancelScheduled(id)), error.code == .notFound else {
            Issue.record("cancelled twice")
            return
        }
        bench.pass(milliseconds: 500)
        #expect(bench.take() == [])
        // Nor is it known when its time has come.
        guard case .failure(let late) = bench.ask(.cancelScheduled(id)), late.code == .notFound else {
            Issue.record("cancelled behind its time")
            return
        }
    }

    @Test("what was scheduled survives a crash, and what was overdue comes in order")
    func scheduledCrash() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        for index in 0..<50 as Range<UInt64> {
            let time = bench.now.advanced(byMicroseconds: 1_000_000 - index * 10_000)
            bench.publish(topic, [.init("m\(index)", deliverAt: time)])
        }
        bench.pass(milliseconds: 600)
        try bench.crash()
        bench.now = bench.now.advanced(byMicroseconds: 86_400_000_000)
        bench.settle()
        bench.pass(milliseconds: 2_000)
        bench.consume("s")
        #expect(bench.take().map(\.body) == (0..<50).reversed().map { "m\($0)" })
    }

    @Test("a delay beyond the topic's limit is refused")
    func delayLimit() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        let far = bench.now.advanced(byMicroseconds: 400 * 86_400 * 1_000_000)
        #expect(bench.publish(topic, [.init("a", deliverAt: far)])?.error == .invalidArgument)
    }

    private func begin(_ bench: DeliveryBench, _ specification: TransactionSpecification = .init()) throws
        -> TransactionID
    {
        guard case .success(.transaction(let id)) = bench.ask(.beginTransaction(specification)) else {
            throw SluiceError(.internal, "no transaction")
        }
        return id
    }

    @Test("what a transaction publishes and settles takes effect together")
    func commit() throws {
        let bench = try DeliveryBench()
        let first = try bench.topic("a")
        let second = try bench.topic("b")
        try bench.cursor("work", first)
        try bench.inbox("q", ["a/#", "b/#"])
        bench.publish(first, "input")
        bench.consume("work", as: 1, credit: 1)
        let input = bench.take()[0]
        let id = try begin(bench)
        bench.publish(first, "x", transaction: id)
        bench.publish(second, "y", "z", transaction: id)
        guard case .success(.settled(let results)) = bench.ask(.settleInTransaction(id, [input.receipt])) else {
            Issue.record("no answer")
            return
        }
        #expect(results == [nil])
        bench.consume("q", as: 2)
        #expect(bench.take().map(\.body) == ["input"])
        #expect(try bench.backlog("work") == 1)
        guard case .success(.done) = bench.ask(.commitTransaction(id)) else {
            Issue.record("not committed")
            return
        }
        #expect(bench.take().map(\.body) == ["x", "y", "z"])
        #expect(try bench.describe("work").lanes[0].acknowledged == 1)
        try bench.crash()
        #expect(try bench.describe("work").lanes[0].acknowledged == 1)
        bench.consume("q", as: 2)
        #expect(bench.take().map(\.body) == ["input", "x", "y", "z"])
    }

    @Test("what a transaction that is rolled back has published is never seen")
    func rollBack() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        bench.consume("s")
        let id = try begin(bench)
        bench.publish(topic, "x", transaction: id)
        bench.ask(.rollBackTransaction(id))
        bench.publish(topic, "y")
        #expect(bench.take().map(\.body) == ["y"])
        guard case .failure(let error) = bench.ask(.commitTransaction(id)), error.code == .notFound else {
            Issue.record("committed")
            return
        }
        #expect(bench.publish(topic, "late", transaction: id)?.error == .notFound)
    }

    @Test("the owner is asked, also after a crash, and in the end it is rolled back")
    func checks() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        let id = try begin(bench, .init(owner: "shop", checkAfterMicroseconds: 1_000_000, checks: 2))
        bench.publish(topic, "x", transaction: id)
        bench.ask(.adoptTransactions(owner: "shop"))
        bench.pass(milliseconds: 1_100)
        #expect(bench.asked == [id])
        try bench.crash()
        bench.ask(.adoptTransactions(owner: "shop"))
        bench.pass(milliseconds: 1_100)
        #expect(bench.asked == [id, id])
        bench.pass(milliseconds: 1_100)
        guard case .failure(let error) = bench.ask(.commitTransaction(id)), error.code == .notFound else {
            Issue.record("still open")
            return
        }
    }

    @Test("a transaction that is open over a crash can be committed")
    func commitAfterCrash() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        let id = try begin(bench)
        bench.publish(topic, "x", transaction: id)
        for index in 0..<800 { bench.publish(topic, "m\(index)") }
        try bench.crash()
        guard case .success(.done) = bench.ask(.commitTransaction(id)) else {
            Issue.record("not committed")
            return
        }
        bench.consume("s", credit: 2_000)
        #expect(bench.got.last?.body == "x" && bench.got.count == 801)
    }

    @Test("a commit ends the leases of a transient inbox, and frees its window")
    func commitInTransientInbox() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t"]) { policy in
            policy.isDurable = false
            policy.window = 2
        }
        bench.consume("q")
        bench.publish(topic, "a", "b", "c")
        let got = bench.take()
        #expect(got.map(\.body) == ["a", "b"])
        let id = try begin(bench)
        bench.ask(.settleInTransaction(id, got.map(\.receipt)))
        guard case .success(.done) = bench.ask(.commitTransaction(id)) else {
            Issue.record("not committed")
            return
        }
        #expect(bench.take().map(\.body) == ["c"])
        #expect(try bench.describe("q").lanes.map(\.leased) == [1])
    }
}
