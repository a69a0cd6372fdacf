import MessageModel
import StorageService
import Testing

@testable import StorageEngine

@Suite("Consumers that retire")
struct RetiredConsumerTests {
    private func retire(_ bench: DeliveryBench, _ id: UInt32) {
        bench.shard.retire(session: bench.session, attachment: id)
        bench.settle()
    }

    @Test("get nothing more and keep what they have, which they can still settle")
    func keep() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t"]) { $0.leaseMicroseconds = 0 }
        bench.publish(topic, "a", "b", "c")
        bench.consume("q", as: 1)
        let first = bench.take()
        retire(bench, 1)
        #expect(try bench.describe("q").consumers == 0)
        bench.shard.grantCredit(session: bench.session, attachment: 1, messages: 10, bytes: 1 << 20)
        bench.publish(topic, "d")
        bench.consume("q", as: 2)
        #expect(bench.take().map(\.description) == ["d@3#1>2"])
        bench.accept(first[0])
        bench.settle(first[1], .release(delayMicroseconds: nil, countsAttempt: true))
        #expect(bench.take().map(\.description) == ["b@1#2>2"])
        // It is still its own: another cannot settle it.
        bench.shard.settle(
            session: bench.session,
            attachment: 2,
            lane: 0,
            first: 2,
            last: 2,
            .accept,
            token: nil,
            now: bench.now
        )
        bench.settle()
        #expect(try bench.backlog("q") == 3)
        retire(bench, 1)
        bench.shard.detach(session: bench.session, attachment: 1)
        bench.settle()
        #expect(bench.take().map(\.description) == ["c@2#2>2"])
    }

    @Test("give their place to the next one at once")
    func failover() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t"]) { $0.consumers = .failover }
        bench.consume("q", as: 1, credit: 1)
        bench.consume("q", as: 2)
        bench.publish(topic, "a", "b")
        #expect(bench.take().map(\.description) == ["a@0#1>1"])
        #expect(bench.active == [1: true, 2: false])
        retire(bench, 1)
        #expect(bench.active[2] == true)
        #expect(bench.take().map(\.description) == ["b@1#1>2"])
        // One that retires while it waits changes nothing.
        bench.consume("q", as: 3)
        retire(bench, 3)
        bench.shard.detach(session: bench.session, attachment: 3)
        bench.publish(topic, "c")
        #expect(bench.take().map(\.consumer) == [2])
    }

    @Test("let another be the only one, and an inbox without others expire")
    func unused() throws {
        let bench = try DeliveryBench()
        try bench.topic("t")
        try bench.inbox("q", ["t"]) {
            $0.consumers = .exclusive
            $0.expiresUnusedMicroseconds = 1_000_000
        }
        bench.consume("q", as: 1)
        bench.pass(milliseconds: 2_000)
        retire(bench, 1)
        bench.consume("q", as: 2)
        #expect(bench.ended.isEmpty)
        retire(bench, 2)
        bench.pass(milliseconds: 1_100)
        #expect(throws: SluiceError.self) { try bench.describe("q") }
    }

    @Test("leases of theirs end in their time")
    func time() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t"]) { $0.leaseMicroseconds = 100_000 }
        bench.publish(topic, "a")
        bench.consume("q", as: 1)
        retire(bench, 1)
        bench.got = []
        bench.consume("q", as: 2)
        bench.pass(milliseconds: 150)
        #expect(bench.take().map(\.description) == ["a@0#2>2"])
    }
}
