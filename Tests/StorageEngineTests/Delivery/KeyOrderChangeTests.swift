import MessageModel
import StorageService
import Testing

@testable import StorageEngine

@Suite("An order by key that begins while messages are out")
struct KeyOrderChangeTests {
    private func bench() throws -> DeliveryBench {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic) { $0.leaseMicroseconds = 1_000_000 }
        bench.publish(
            topic,
            [
                .init("a1", orderingKey: "a"), .init("a2", orderingKey: "a"), .init("b1", orderingKey: "b"),
                .init("a3", orderingKey: "a"), .init("b2", orderingKey: "b"), .init("x"),
            ]
        )
        return bench
    }

    private func change(_ bench: DeliveryBench, _ consumers: SubscriptionPolicy.Consumers) throws {
        var policy = try bench.describe("s").policy
        policy.consumers = consumers
        bench.ask(.updateSubscription(name: "s", policy))
    }

    @Test("keys of messages that are out are closed")
    func closed() throws {
        let bench = try bench()
        bench.consume("s", as: 1, credit: 3)
        let out = bench.take()
        #expect(out.map(\.body) == ["a1", "a2", "b1"])
        try change(bench, .orderedByKey)
        bench.consume("s", as: 2, credit: 100)
        #expect(bench.take().map(\.body) == ["x"])
        bench.accept(out[2])
        #expect(bench.take().map(\.body) == ["b2"])
        bench.accept(out[0])
        #expect(bench.take() == [])
        bench.accept(out[1])
        #expect(bench.take().map(\.body) == ["a3"])
    }

    @Test("what comes back while another of its key is out waits, and keeps its place")
    func released() throws {
        let bench = try bench()
        bench.consume("s", as: 1, credit: 2)
        let out = bench.take()
        #expect(out.map(\.body) == ["a1", "a2"])
        try change(bench, .orderedByKey)
        bench.settle(out[0], .release(delayMicroseconds: 0, countsAttempt: true))
        bench.consume("s", as: 2, credit: 100)
        #expect(bench.take().map(\.body) == ["b1", "x"])
        bench.settle(out[1], .release(delayMicroseconds: 0, countsAttempt: true))
        let again = bench.take()
        #expect(again.map(\.body) == ["a1"])
        bench.accept(again[0])
        let next = bench.take()
        #expect(next.map(\.body) == ["a2"])
        bench.accept(next[0])
        #expect(bench.take().map(\.body) == ["a3"])
    }

    @Test("a delay that ends does not pass a message of its key that is out")
    func delayed() throws {
        let bench = try bench()
        bench.consume("s", as: 1, credit: 2)
        let out = bench.take()
        bench.settle(out[0], .release(delayMicroseconds: 50_000, countsAttempt: true))
        try change(bench, .orderedByKey)
        bench.consume("s", as: 2, credit: 100)
        #expect(bench.take().map(\.body) == ["b1", "x"])
        bench.pass(milliseconds: 100)
        #expect(bench.take() == [])
        bench.accept(out[1])
        #expect(bench.take().map(\.body) == ["a1"])
    }

    @Test("an order by key that ends lets go what waited for it")
    func ended() throws {
        let bench = try bench()
        try change(bench, .orderedByKey)
        bench.consume("s", as: 1, credit: 100)
        #expect(bench.take().map(\.body) == ["a1", "b1", "x"])
        try change(bench, .shared)
        #expect(bench.take().map(\.body) == ["a2", "a3", "b2"])
    }
}
