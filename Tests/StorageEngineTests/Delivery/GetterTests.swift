import MessageModel
import StorageService
import Testing

@testable import StorageEngine

@Suite("Messages that are asked for one by one")
struct GetterTests {
    private func get(_ bench: DeliveryBench, _ count: Int = 1, as id: UInt32 = 9) throws -> (Int, UInt64) {
        switch bench.ask(.lease(attachment: id, maxMessages: count)) {
        case .success(.leased(let count, let remaining)): return (count, remaining)
        case .failure(let error): throw error
        default: throw SluiceError(.internal, "no answer")
        }
    }

    private func attach(_ bench: DeliveryBench, _ name: String = "q", as id: UInt32 = 9) {
        bench.shard.attach(
            session: bench.session,
            AttachRequest(source: .getter(of: name), creditMessages: 100, creditBytes: 1 << 20),
            attachment: id,
            now: bench.now
        )
        bench.settle()
    }

    @Test("are leased as far as they are ready, and none is sent without being asked for")
    func get() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t"])
        attach(bench)
        #expect(try get(bench) == (0, 0))
        bench.publish(topic, "a", "b", "c", "d")
        #expect(bench.got == [])
        #expect(try bench.describe("q").consumers == 0)
        #expect(try get(bench) == (1, 3))
        #expect(bench.got.map(\.body) == ["a"])
        #expect(try get(bench, 2) == (2, 1))
        #expect(try get(bench, 5) == (1, 0))
        #expect(try get(bench, 5) == (0, 0))
        let got = bench.take()
        #expect(got.map(\.body) == ["a", "b", "c", "d"])
        bench.accept(got[1])
        bench.settle(got[2], .release(delayMicroseconds: nil, countsAttempt: true))
        #expect(try get(bench, 5) == (1, 0))
        #expect(bench.got.map(\.lease.isRedelivered) == [true] && got.allSatisfy { !$0.lease.isRedelivered })
        #expect(bench.take().map(\.description) == ["c@2#2>9"])
        bench.shard.detach(session: bench.session, attachment: 9)
        bench.settle()
        attach(bench)
        #expect(try get(bench, 5) == (3, 0))
        #expect(bench.take().map(\.body) == ["a", "c", "d"])
    }

    @Test("come beside an exclusive consumer, and beside the active one of several")
    func beside() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        for (name, consumers) in [("e", SubscriptionPolicy.Consumers.exclusive), ("f", .failover)] {
            try bench.inbox(name, ["t"]) { $0.consumers = consumers }
        }
        attach(bench, "e", as: 8)
        attach(bench, "f", as: 9)
        bench.consume("e", as: 1, credit: 1)
        bench.consume("f", as: 2, credit: 1)
        bench.publish(topic, "a", "b")
        #expect(bench.take().map(\.consumer).sorted() == [1, 2])
        #expect(try get(bench, as: 8) == (1, 0) && get(bench, as: 9) == (1, 0))
        #expect(bench.take().map(\.description) == ["b@1#1>8", "b@1#1>9"])
        #expect(bench.ended.isEmpty)
    }

    @Test("that are on the disk only come before the answer")
    func cold() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t"])
        for number in 0..<1_500 { bench.publish(topic, "m\(number)" + String(repeating: "x", count: 200)) }
        #expect(bench.shard.log.segments.count > 3)
        attach(bench)
        var place = 0
        while place < 1_500 {
            let count = place % 7 + 1
            let (leased, remaining) = try get(bench, count)
            #expect(leased == min(count, 1_500 - place) && Int(remaining) == 1_500 - place - leased)
            let got = bench.take()
            #expect(got.map(\.sequence) == (place..<place + leased).map(UInt64.init))
            place += leased
            for message in got { bench.accept(message) }
        }
    }

    @Test("what cannot be given is said: no such attachment, a consumer, a subscription that is gone or held")
    func refused() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t"])
        bench.consume("q", as: 1, credit: 0)
        #expect(throws: SluiceError.self) { try get(bench, as: 1) }
        #expect(throws: SluiceError.self) { try get(bench, as: 9) }
        attach(bench, "none", as: 3)
        #expect(bench.ended == [3: .subscriptionNotFound])
        attach(bench)
        bench.publish(topic, "a")
        _ = bench.ask(.pause(name: "q", isPaused: true))
        #expect(try get(bench) == (0, 1))
        _ = bench.ask(.pause(name: "q", isPaused: false))
        _ = bench.ask(.deleteSubscription(name: "q"))
        #expect(bench.ended[9] == .subscriptionNotFound)
        #expect(throws: SluiceError.self) { try get(bench) }
    }

    @Test("those of other partitions, of higher priority, and with a filter, follow the same rules as for consumers")
    func rules() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t/#"]) { $0.maxPriority = 5 }
        try bench.cursor("c", topic) { $0.selector = "color = 'red'" }
        attach(bench)
        attach(bench, "c", as: 8)
        let expiry = bench.now.advanced(byMicroseconds: 500)
        bench.publish(
            topic,
            [
                .init("low", key: "a", priority: 1), .init("high", key: "b", priority: 4, user: ["color": "red"]),
                .init("gone", key: "b", priority: 5, expiry: expiry),
            ]
        )
        bench.pass(milliseconds: 10)
        #expect(try get(bench) == (1, 1) && get(bench) == (1, 0) && get(bench, 4, as: 8) == (1, 0))
        #expect(bench.take().map(\.body) == ["high", "low", "high"])
    }

    @Test("asking keeps an inbox that would expire when nobody uses it")
    func use() throws {
        let bench = try DeliveryBench()
        try bench.topic("t")
        try bench.inbox("q", ["t"]) { $0.expiresUnusedMicroseconds = 1_000_000 }
        attach(bench)
        for _ in 0..<10 {
            bench.pass(milliseconds: 600)
            #expect(try get(bench) == (0, 0))
        }
        bench.pass(milliseconds: 1_200)
        #expect(throws: SluiceError.self) { try bench.describe("q") }
    }
}
