import MessageModel
import StorageService
import Testing

@testable import StorageEngine

@Suite("Receipts and the leases that they are for")
struct LeaseGenerationTests {
    @Test("a release that does not count leaves the attempt, and the next delivery says that it is not the first")
    func marked() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t"]) { $0.leaseMicroseconds = 0 }
        bench.publish(topic, "a", "b")
        bench.consume("q")
        let first = bench.take()
        #expect(first.map(\.attempt) == [1, 1] && first.allSatisfy { !$0.lease.isRedelivered })
        for _ in 0..<2 {
            bench.settle(first[0], .release(delayMicroseconds: nil, countsAttempt: false))
            let again = bench.take()
            #expect(again.map(\.description) == ["a@0#1>1"] && again.allSatisfy { $0.lease.isRedelivered })
        }
        bench.publish(topic, "c")
        #expect(bench.take().map(\.lease.isRedelivered) == [false])
        try bench.restart()
        bench.consume("q")
        let after = bench.take()
        #expect(after.map(\.body) == ["a", "b", "c"] && after.allSatisfy { $0.lease.isRedelivered })
    }

    private func settle(_ bench: DeliveryBench, _ message: DeliveryBench.Got) -> ErrorCode?? {
        guard case .success(.settled(let results)) = bench.ask(.settle([message.receipt], .accept)) else { return nil }
        return results.first
    }

    private func bench() throws -> DeliveryBench {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic) { $0.leaseMicroseconds = 100_000 }
        bench.publish(topic, "a", "b")
        return bench
    }

    @Test(
        "a release that does not count leaves the attempt as it is, and the receipt refused once the message is out again"
    )
    func uncounted() throws {
        let bench = try bench()
        bench.consume("s", credit: 1)
        let first = bench.take()[0]
        bench.settle(first, .release(delayMicroseconds: 0, countsAttempt: false))
        bench.shard.grantCredit(session: bench.session, attachment: 1, messages: 1, bytes: 1_000)
        bench.settle()
        let second = bench.take()[0]
        #expect(first.attempt == 1 && second.attempt == 1 && first.body == second.body)
        #expect(settle(bench, first) == .leaseLost)
        #expect(settle(bench, second) == .some(nil))
    }

    @Test("behind a release that does not count, the receipt counts until the message is out again")
    func released() throws {
        let bench = try bench()
        bench.consume("s", credit: 1)
        let first = bench.take()[0]
        bench.settle(first, .release(delayMicroseconds: 1_000_000, countsAttempt: false))
        #expect(settle(bench, first) == .some(nil))
        #expect(try bench.backlog("s") == 1)
    }

    @Test("behind a crash a receipt counts whether its lease was in the log or not", arguments: [0, 200] as [UInt64])
    func lost(milliseconds: UInt64) throws {
        let bench = try bench()
        bench.consume("s", credit: 1, owner: .receipt)
        let message = bench.take()[0]
        // Either nothing of the lease was synced, or it ended and that was.
        if milliseconds > 0 {
            bench.shard.stopDelivering(session: bench.session)
            bench.pass(milliseconds: milliseconds)
        }
        try bench.crash()
        #expect(settle(bench, message) == .some(nil))
        #expect(try bench.backlog("s") == 1)
    }

    @Test("a lease whose record a crash took is not mixed up with the one that follows")
    func reused() throws {
        let bench = try bench()
        bench.consume("s", credit: 1)
        let first = bench.take()[0]
        try bench.crash()
        bench.consume("s", credit: 1)
        let second = bench.take()[0]
        #expect(first.body == second.body && first.generation < second.generation)
        #expect(settle(bench, first) == .leaseLost)
        #expect(settle(bench, second) == .some(nil))
    }

    @Test("receipts of before a seek count no more, also when the message was not delivered since")
    func sought() throws {
        let bench = try bench()
        bench.consume("s", credit: 1, owner: .receipt)
        let first = bench.take()[0]
        bench.ask(.seek(name: "s", .first))
        #expect(settle(bench, first) == .leaseLost)
        try bench.restart()
        #expect(settle(bench, first) == .leaseLost)
        bench.consume("s", credit: 1)
        let second = bench.take()[0]
        #expect(second.attempt == 1 && second.generation > first.generation)
        #expect(settle(bench, first) == .leaseLost)
    }

    @Test("an extended lease is the same, before and behind a restart")
    func extended() throws {
        let bench = try bench()
        bench.consume("s", credit: 1, owner: .receipt)
        let first = bench.take()[0]
        bench.ask(.settle([first.receipt], .extend(byMicroseconds: 10_000_000)))
        try bench.crash()
        bench.ask(.settle([first.receipt], .extend(byMicroseconds: 10_000_000)))
        try bench.crash()
        #expect(try bench.describe("s").lanes[0].leased == 1)
        #expect(settle(bench, first) == .some(nil))
        #expect(try bench.backlog("s") == 1)
    }

    @Test("a transient inbox does not take receipts of one that had its number before")
    func transient() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("i", ["t/#"]) { $0.isDurable = false }
        bench.publish(topic, "a")
        bench.consume("i", credit: 1)
        let first = bench.take()[0]
        try bench.restart()
        try bench.inbox("i", ["t/#"]) { $0.isDurable = false }
        bench.publish(topic, "b")
        #expect(settle(bench, first) == .leaseLost)
        #expect(try bench.backlog("i") == 1)
    }

    @Test("what comes when a connection is about to end is not leased to it, and no attempt counts")
    func stopped() throws {
        let bench = try bench()
        bench.consume("s", as: 1, credit: 1)
        let first = bench.take()[0]
        bench.shard.stopDelivering(session: bench.session)
        bench.shard.grantCredit(session: bench.session, attachment: 1, messages: 10, bytes: 1_000)
        bench.settle()
        #expect(bench.take() == [])
        // What it has can be settled.
        bench.accept(first)
        #expect(try bench.backlog("s") == 1)
        bench.shard.closeSession(bench.session)
        bench.session = bench.shard.openSession(tenant: .default)
        bench.consume("s", as: 2)
        #expect(bench.take().map(\.description) == ["b@1#1>2"])
    }
}
