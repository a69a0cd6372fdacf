import MessageModel
import StorageService
import Testing

@testable import StorageEngine

@Suite("Consumers with priorities, and with shared credit")
struct SharedCreditTests {
    private func consume(
        _ bench: DeliveryBench,
        _ name: String = "q",
        as id: UInt32,
        credit: UInt64 = 100,
        priority: Int32 = 0,
        group: UInt32? = nil
    ) {
        let request = AttachRequest(
            source: .consumer(of: name, .attachment),
            creditMessages: credit,
            creditBytes: 1 << 30,
            priority: priority,
            creditGroup: group
        )
        bench.shard.attach(session: bench.session, request, attachment: id, now: bench.now)
        bench.settle()
    }

    private func grant(_ bench: DeliveryBench, group: UInt32, _ messages: UInt64) {
        bench.shard.grantCredit(session: bench.session, group: group, messages: messages)
        bench.settle()
    }

    private func grant(_ bench: DeliveryBench, to id: UInt32, _ messages: UInt64) {
        bench.shard.grantCredit(session: bench.session, attachment: id, messages: messages, bytes: 1 << 20)
        bench.settle()
    }

    private func publish(_ bench: DeliveryBench, _ topic: TopicID, _ numbers: Range<Int>) {
        for number in numbers { bench.publish(topic, "\(number)") }
    }

    @Test("the lower ones get what the higher ones have no credit for")
    func priorities() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t"])
        consume(bench, as: 1)
        consume(bench, as: 2, credit: 2, priority: 10)
        consume(bench, as: 3, credit: 2, priority: 5)
        consume(bench, as: 4, credit: 2, priority: 10)
        consume(bench, as: 5, credit: 1, priority: -1)
        publish(bench, topic, 0..<8)
        let got = bench.take().map(\.consumer)
        #expect(got.prefix(4).sorted() == [2, 2, 4, 4] && got.dropFirst(4) == [3, 3, 1, 1])
        grant(bench, to: 3, 1)
        grant(bench, to: 2, 1)
        publish(bench, topic, 8..<11)
        #expect(bench.take().map(\.consumer) == [2, 3, 1])
        for id in 1...4 as ClosedRange<UInt32> { bench.shard.detach(session: bench.session, attachment: id) }
        bench.settle()
        #expect(bench.take().map(\.consumer) == [5])
    }

    @Test("without priorities they take turns")
    func turns() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t"])
        for id in 1...3 as ClosedRange<UInt32> { consume(bench, as: id, priority: 7) }
        publish(bench, topic, 0..<6)
        #expect(bench.take().map(\.consumer) == [1, 2, 3, 1, 2, 3])
    }

    @Test("the active consumer stays, and the highest is the next")
    func failover() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t"]) { $0.consumers = .failover }
        consume(bench, as: 1)
        consume(bench, as: 2)
        consume(bench, as: 3, priority: 5)
        #expect(bench.active == [1: true, 2: false, 3: false])
        publish(bench, topic, 0..<1)
        #expect(bench.take().map(\.consumer) == [1])
        bench.shard.retire(session: bench.session, attachment: 1)
        bench.settle()
        #expect(bench.active[3] == true)
        publish(bench, topic, 1..<2)
        #expect(bench.take().map(\.consumer) == [3])
        // It does not matter any more who is the first.
        var policy = try bench.describe("q").policy
        policy.consumers = .shared
        _ = bench.ask(.updateSubscription(name: "q", policy))
        consume(bench, as: 4, priority: 9)
        publish(bench, topic, 2..<4)
        #expect(bench.take().map(\.consumer) == [4, 4])
    }

    @Test("a group gets no more together than it was granted, and each no more than its own")
    func groups() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        for name in ["p", "q"] { try bench.inbox(name, ["t"]) }
        consume(bench, "p", as: 1, group: 1)
        consume(bench, "q", as: 2, credit: 2, group: 1)
        consume(bench, "q", as: 3, credit: 0, group: 2)
        publish(bench, topic, 0..<10)
        #expect(bench.take() == [])
        grant(bench, group: 1, 3)
        #expect(bench.take().count == 3)
        grant(bench, group: 2, 5)
        #expect(bench.take() == [])
        var counts: [UInt32: Int] = [:]
        for _ in 0..<8 {
            grant(bench, group: 1, 1)
            for got in bench.take() { counts[got.consumer, default: 0] += 1 }
        }
        // The one with credit of its own gets what the other cannot take.
        #expect(counts.values.reduce(0, +) == 8 && (counts[2] ?? 0) <= 2 && (counts[1] ?? 0) >= 6)
        grant(bench, to: 3, 10)
        #expect(bench.take().count == 5)
        consume(bench, "p", as: 4, group: 2)
        #expect(bench.take() == [])
        grant(bench, group: 2, .max)
        grant(bench, group: 2, .max)
        let left = bench.take().count
        #expect(try bench.describe("p").lanes[0].leased + bench.describe("q").lanes[0].leased == 20, "\(left)")
    }

    @Test("credit of a group stays when its attachments go, and goes with its session")
    func ends() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t"])
        grant(bench, group: 1, 2)
        consume(bench, as: 1, group: 1)
        publish(bench, topic, 0..<1)
        #expect(bench.take().map(\.body) == ["0"])
        bench.shard.detach(session: bench.session, attachment: 1)
        consume(bench, as: 2, group: 1)
        #expect(bench.take().map(\.description) == ["0@0#2>2"])
        publish(bench, topic, 1..<2)
        #expect(bench.take() == [])
        bench.shard.closeSession(bench.session)
        bench.session = bench.shard.openSession(tenant: .default)
        consume(bench, as: 1, group: 1)
        #expect(bench.take() == [])
        grant(bench, group: 1, 9)
        #expect(bench.take().map(\.body) == ["0", "1"])
    }

    @Test("a reader by position can be in a group as well")
    func readers() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        let request = AttachRequest(
            source: .topic(topic, .first),
            creditMessages: 100,
            creditBytes: 1 << 20,
            creditGroup: 3
        )
        bench.shard.attach(session: bench.session, request, attachment: 1, now: bench.now)
        publish(bench, topic, 0..<3)
        #expect(bench.read == [])
        grant(bench, group: 3, 2)
        #expect(bench.read == ["0", "1"])
        grant(bench, group: 3, 1)
        #expect(bench.read == ["0", "1", "2"])
    }
}
