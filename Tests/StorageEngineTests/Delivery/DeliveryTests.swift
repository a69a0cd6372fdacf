import MessageModel
import Simulator
import StorageService
import Testing

@testable import StorageEngine

@Suite("Delivery to consumers")
struct DeliveryTests {
    @Test("messages are leased in order, and done when they are accepted")
    func accept() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        bench.publish(topic, "a", "b")
        bench.publish(topic, "c")
        bench.consume("s")
        #expect(bench.got.map(\.body) == ["a", "b", "c"])
        #expect(bench.got.map(\.sequence) == [0, 1, 2])
        #expect(try bench.backlog("s") == 3)
        #expect(try bench.describe("s").lanes[0].leased == 3)
        let messages = bench.take()
        bench.accept(messages[0], messages[2])
        #expect(try bench.describe("s").lanes[0].acknowledged == 1)
        #expect(try bench.backlog("s") == 1)
        bench.accept(messages[1])
        #expect(try bench.describe("s").lanes[0].acknowledged == 3)
        bench.publish(topic, "d")
        #expect(bench.got.map(\.body) == ["d"])
    }

    @Test("a consumer gets no more than its credit, whatever the size of the batches")
    func credit() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        bench.publish(topic, "a", "b", "c", "d")
        bench.consume("s", credit: 3)
        #expect(bench.got.map(\.body) == ["a", "b", "c"])
        bench.shard.grantCredit(session: bench.session, attachment: 1, messages: 1, bytes: 100)
        bench.settle()
        #expect(bench.got.map(\.body) == ["a", "b", "c", "d"])
    }

    @Test("a released message comes back to its place in the order, with the next attempt")
    func release() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        bench.publish(topic, "a", "b", "c", "d")
        bench.consume("s", credit: 2)
        let first = bench.take()
        bench.settle(first[1], .release(delayMicroseconds: 0, countsAttempt: true))
        bench.settle(first[0], .release(delayMicroseconds: 0, countsAttempt: false))
        bench.shard.grantCredit(session: bench.session, attachment: 1, messages: 10, bytes: 1_000)
        bench.settle()
        #expect(bench.got.map(\.body) == ["a", "b", "c", "d"])
        #expect(bench.got.map(\.attempt) == [1, 2, 1, 1])
    }

    @Test("a message released with a delay waits for it, and wakes the consumer")
    func delayedRelease() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic) { $0.backoff = try? Backoff("50ms,200ms") }
        bench.publish(topic, "a", "b")
        bench.consume("s")
        let first = bench.take()
        bench.settle(first[0], .release(delayMicroseconds: nil, countsAttempt: true))
        bench.pass(milliseconds: 49)
        #expect(bench.take() == [])
        bench.pass(milliseconds: 10)
        let second = bench.take()
        #expect(second.map(\.body) == ["a"] && second[0].attempt == 2)
        bench.settle(second[0], .release(delayMicroseconds: nil, countsAttempt: true))
        bench.pass(milliseconds: 199)
        #expect(bench.take() == [])
        bench.pass(milliseconds: 10)
        #expect(bench.take().map(\.attempt) == [3])
    }

    @Test("a lease that ends gives the message to another within a tick, and late settlements are refused")
    func leaseEnds() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic) { $0.leaseMicroseconds = 100_000 }
        bench.publish(topic, "a")
        bench.consume("s", as: 1, credit: 1)
        let first = bench.take()[0]
        bench.consume("s", as: 2, credit: 5)
        bench.pass(milliseconds: 99)
        #expect(bench.take() == [])
        bench.pass(milliseconds: 11)
        let second = bench.take()[0]
        #expect(second.consumer == 2 && second.attempt == 2)
        bench.accept(first)
        #expect(try bench.backlog("s") == 1)
        guard case .success(.settled(let refused)) = bench.ask(.settle([first.receipt], .accept)) else {
            Issue.record("no answer")
            return
        }
        #expect(refused == [.leaseLost])
        guard case .success(.settled(let accepted)) = bench.ask(.settle([second.receipt], .accept)) else {
            Issue.record("no answer")
            return
        }
        #expect(accepted == [nil])
        #expect(try bench.backlog("s") == 0)
    }

    @Test("an expired lease that was not given out again can still be settled by its receipt")
    func lateReceipt() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic) { $0.leaseMicroseconds = 100_000 }
        bench.publish(topic, "a")
        bench.consume("s", credit: 1, owner: .receipt)
        let message = bench.take()[0]
        bench.shard.detach(session: bench.session, attachment: 1)
        bench.pass(milliseconds: 500)
        guard case .success(.settled(let results)) = bench.ask(.settle([message.receipt], .accept)) else {
            Issue.record("no answer")
            return
        }
        #expect(results == [nil])
        #expect(try bench.backlog("s") == 0)
    }

    @Test("an extended lease does not end before its new time")
    func extend() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic) { $0.leaseMicroseconds = 100_000 }
        bench.publish(topic, "a")
        bench.consume("s")
        let message = bench.take()[0]
        bench.pass(milliseconds: 90)
        bench.settle(message, .extend(byMicroseconds: 300_000))
        bench.pass(milliseconds: 250)
        #expect(bench.take() == [])
        bench.pass(milliseconds: 100)
        #expect(bench.take().map(\.attempt) == [2])
    }

    @Test("what a consumer that goes away had goes to the others, first things first")
    func detach() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        bench.publish(topic, "a", "b", "c")
        bench.consume("s", as: 1, credit: 2)
        bench.consume("s", as: 2, credit: 10)
        #expect(bench.take().map(\.consumer) == [1, 1, 2])
        bench.shard.detach(session: bench.session, attachment: 1)
        bench.settle()
        #expect(bench.take().map(\.description) == ["a@0#2>2", "b@1#2>2"])
    }

    @Test("consumers share messages in turn")
    func shared() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        bench.consume("s", as: 1)
        bench.consume("s", as: 2)
        for body in ["a", "b", "c", "d"] { bench.publish(topic, body) }
        #expect(Set(bench.take().map(\.consumer)) == [1, 2])
    }

    @Test("an exclusive subscription refuses a second consumer")
    func exclusive() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic) { $0.consumers = .exclusive }
        bench.consume("s", as: 1)
        bench.consume("s", as: 2)
        #expect(bench.ended[2] == .subscriptionInUse)
    }

    @Test("with failover the next consumer takes over, and both are told")
    func failover() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic) { $0.consumers = .failover }
        bench.consume("s", as: 1)
        bench.consume("s", as: 2)
        #expect(bench.active == [1: true, 2: false])
        bench.publish(topic, "a", "b")
        #expect(bench.take().map(\.consumer) == [1, 1])
        bench.shard.detach(session: bench.session, attachment: 1)
        bench.settle()
        #expect(bench.active[2] == true)
        #expect(bench.take().map(\.description) == ["a@0#2>2", "b@1#2>2"])
    }

    @Test("messages with one ordering key are out one at a time and in order; others go on")
    func orderedByKey() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic) { $0.consumers = .orderedByKey }
        bench.consume("s", as: 1)
        bench.consume("s", as: 2)
        bench.publish(
            topic,
            [
                .init("a1", orderingKey: "a"), .init("a2", orderingKey: "a"), .init("b1", orderingKey: "b"),
                .init("x"), .init("a3", orderingKey: "a"), .init("b2", orderingKey: "b"),
            ]
        )
        var out = bench.take()
        #expect(out.map(\.body) == ["a1", "b1", "x"])
        bench.settle(out[0], .release(delayMicroseconds: 0, countsAttempt: true))
        let again = bench.take()
        #expect(again.map(\.body) == ["a1"])
        bench.accept(again[0])
        out += bench.take()
        #expect(out.map(\.body) == ["a1", "b1", "x", "a2"])
        bench.accept(out[1])
        #expect(bench.take().map(\.body) == ["b2"])
        bench.accept(out[3])
        #expect(bench.take().map(\.body) == ["a3"])
    }

    @Test("after the last attempt a message goes to the dead letters with its story")
    func deadLetters() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("orders")
        try bench.cursor("s", topic) {
            $0.maxAttempts = 2
            $0.deadLetterTopic = "dead"
        }
        bench.publish(topic, [.init("bad", key: "eu/new", user: ["k": "v"]), .init("good")])
        bench.consume("s")
        let first = bench.take()
        bench.accept(first[1])
        bench.settle(first[0], .release(delayMicroseconds: 0, countsAttempt: true))
        bench.settle(bench.take()[0], .release(delayMicroseconds: 0, countsAttempt: true))
        #expect(bench.take() == [])
        #expect(try bench.backlog("s") == 0)
        guard case .success(.topic(let dead)) = bench.ask(.describeTopic(name: "dead")) else {
            Issue.record("no dead-letter topic")
            return
        }
        try bench.cursor("funeral", dead.id)
        bench.consume("funeral", as: 7)
        #expect(bench.take().map(\.body) == ["bad"])
        let story = bench.properties["bad"]
        #expect(story?["k"] == "v")
        #expect(story?[DeadLetterProperty.reason] == "too many attempts")
        #expect(story?[DeadLetterProperty.subscription] == "s")
        #expect(story?[DeadLetterProperty.name] == "orders/eu/new")
        #expect(story?[DeadLetterProperty.attempts] == "2")
    }

    @Test("a rejected message is dead with the reason that was given; without a dead-letter topic it is gone")
    func reject() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic) { $0.deadLetterTopic = "dead" }
        try bench.cursor("gone", topic)
        bench.publish(topic, "a")
        bench.consume("s", as: 1)
        bench.consume("gone", as: 2)
        for message in bench.take() { bench.settle(message, .reject(reason: "no thanks")) }
        #expect(try bench.backlog("s") == 0 && bench.backlog("gone") == 0)
        guard case .success(.topic(let dead)) = bench.ask(.describeTopic(name: "dead")) else { return }
        try bench.cursor("funeral", dead.id)
        bench.consume("funeral", as: 7)
        #expect(bench.take().map(\.body) == ["a"])
        #expect(bench.properties["a"]?[DeadLetterProperty.reason] == "no thanks")
        #expect(bench.properties["a"]?[DeadLetterProperty.attempts] == "1")
    }

    @Test("a filter on read passes over what does not match, and that counts as done")
    func selector() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic) { $0.selector = "size > 5" }
        bench.publish(topic, [.init("small", user: ["size": "3"]), .init("large", user: ["size": "9"])])
        bench.consume("s")
        #expect(bench.take().map(\.body) == ["large"])
        #expect(try bench.backlog("s") == 1)
    }

    @Test("while it is paused nothing is delivered; when it goes on, everything is")
    func pause() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        bench.consume("s")
        bench.ask(.pause(name: "s", isPaused: true))
        bench.publish(topic, "a")
        #expect(bench.take() == [])
        bench.ask(.pause(name: "s", isPaused: false))
        #expect(bench.take().map(\.body) == ["a"])
    }

    @Test("after a seek it goes on there, and what was leased before does not count")
    func seek() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        bench.publish(topic, "a", "b")
        bench.publish(topic, "c")
        bench.consume("s")
        let first = bench.take()
        bench.accept(first[0], first[1], first[2])
        bench.ask(.seek(name: "s", .offset(partition: 0, 1)))
        #expect(bench.take().map(\.body) == ["b", "c"])
        bench.ask(.seek(name: "s", .next))
        #expect(try bench.backlog("s") == 0)
        bench.publish(topic, "d")
        #expect(bench.take().map(\.body) == ["d"])
        bench.ask(.seek(name: "s", .first))
        #expect(bench.take().map(\.body) == ["a", "b", "c", "d"])
    }

    @Test("after a crash what was accepted durably stays done, the rest comes again with the attempts counted")
    func crash() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        bench.publish(topic, "a", "b", "c")
        bench.consume("s")
        let first = bench.take()
        bench.settle(first[2], .release(delayMicroseconds: 0, countsAttempt: true))
        bench.accept(first[1])
        bench.pass(milliseconds: 50)
        try bench.crash()
        #expect(try bench.backlog("s") == 2)
        bench.consume("s")
        #expect(bench.got.map(\.body) == ["a", "c"])
        #expect(bench.got.map(\.attempt) == [2, 3])
    }

    @Test("a lease that is held by a receipt outlives a crash")
    func receiptOutlivesCrash() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic) { $0.leaseMicroseconds = 1_000_000 }
        bench.publish(topic, "a", "b")
        bench.consume("s", credit: 1, owner: .receipt)
        let message = bench.take()[0]
        bench.pass(milliseconds: 50)
        try bench.crash()
        bench.consume("s")
        #expect(bench.take().map(\.body) == ["b"])
        guard case .success(.settled(let results)) = bench.ask(.settle([message.receipt], .accept)) else {
            Issue.record("no answer")
            return
        }
        #expect(results == [nil])
        bench.pass(milliseconds: 1_500)
        #expect(bench.take().map(\.body) == ["b"])
    }

    @Test("a backlog on the disk is delivered in order, and settled")
    func coldBacklog() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        for index in 0..<1_500 { bench.publish(topic, "m\(index)") }
        bench.consume("s", credit: 5_000)
        let got = bench.take()
        #expect(got.map(\.body) == (0..<1_500).map { "m\($0)" })
        for message in got { bench.accept(message) }
        #expect(try bench.backlog("s") == 0)
    }

    @Test("a stop in order writes what was settled, also where side files are refused")
    func stopWithoutSnapshot() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        bench.consume("s")
        bench.publish(topic, "a", "b")
        for message in bench.take() { bench.accept(message) }
        bench.disk.faults.writeFile = .always
        try bench.restart()
        #expect(try bench.backlog("s") == 0)
    }

    @Test("a seek in one partition leaves the dying of the others their reasons")
    func seekBesideDying() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t", partitions: 2)
        try bench.cursor("s", topic) { $0.deadLetterTopic = "dead" }
        bench.consume("s")
        bench.publish(topic, [.init("a")], partition: 1)
        let got = try #require(bench.take().first)
        bench.shard.settle(
            session: bench.session,
            attachment: 1,
            lane: 1,
            first: got.sequence,
            last: got.sequence,
            .reject(reason: "broken"),
            token: nil,
            now: bench.now
        )
        bench.ask(.seek(name: "s", .offset(partition: 0, 0)))
        let dead = try #require(bench.shard.state.topic(named: "dead", tenant: .default)).info.id
        try bench.cursor("letters", dead)
        bench.consume("letters", as: 2)
        #expect(bench.take().map(\.body) == ["a"])
        #expect(bench.properties["a"]?[DeadLetterProperty.reason] == "broken")
    }
}
