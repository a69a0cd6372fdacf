import MessageModel
import Simulator
import StorageService
import Testing

@testable import StorageEngine

@Suite("Inboxes")
struct InboxTests {
    @Test("an inbox holds what its bindings route to it from then on, from all topics")
    func routing() throws {
        let bench = try DeliveryBench()
        let orders = try bench.topic("orders")
        let other = try bench.topic("other")
        bench.publish(orders, [.init("before", key: "eu/new")])
        try bench.inbox("q", ["orders/+/new", "other"])
        bench.publish(orders, [.init("a", key: "eu/new"), .init("b", key: "eu/old"), .init("c", key: "us/new")])
        bench.publish(other, "d")
        bench.consume("q")
        #expect(bench.got.map(\.body) == ["a", "c", "d"])
        #expect(bench.take().map(\.sequence) == [0, 1, 2])
        bench.ask(.unbind(name: "q", Binding(filter: "other")))
        bench.publish(other, "e")
        #expect(bench.take() == [])
        bench.ask(.bind(name: "q", Binding(kind: .topic, topic: "orders", pattern: Array("#.old".utf8))))
        bench.publish(orders, [.init("f", key: "eu/old")])
        #expect(bench.take().map(\.body) == ["f"])
    }

    @Test("a message is in an inbox once, however many of its bindings match")
    func once() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t/#", "t/+", "t/a"])
        bench.publish(topic, [.init("x", key: "a")])
        bench.consume("q")
        #expect(bench.take().map(\.body) == ["x"])
    }

    @Test("a message that expires while it waits to be delivered again makes room for the next one")
    func expiryInWindow() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t"]) { $0.window = 1 }
        let expiry = bench.now.advanced(byMicroseconds: 100_000)
        bench.publish(topic, [.init("a", expiry: expiry), .init("b")])
        bench.consume("q", as: 1, credit: 1)
        bench.settle(bench.take()[0], .release(delayMicroseconds: 10_000_000, countsAttempt: false))
        bench.shard.detach(session: bench.session, attachment: 1)
        bench.settle()
        bench.consume("q", as: 2)
        #expect(bench.take() == [])
        bench.pass(milliseconds: 200)
        #expect(bench.take().map(\.body) == ["b"])
    }

    @Test("headers decide where the binding asks for them")
    func headers() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", [])
        let binding = Binding(
            kind: .headers,
            topic: "t",
            pattern: [],
            arguments: [.init(name: Array("color".utf8), value: Array("red".utf8))]
        )
        bench.ask(.bind(name: "q", binding))
        bench.publish(topic, [.init("r", user: ["color": "red"]), .init("g", user: ["color": "green"])])
        bench.consume("q")
        #expect(bench.take().map(\.body) == ["r"])
    }

    @Test("a filter binding can ask for properties, also after a crash, and is removed with them")
    func conditions() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", [])
        let binding = Binding(filter: "t/+", selector: "color = 'red' AND size > 2")
        bench.ask(.bind(name: "q", binding))
        func publish() {
            bench.publish(
                topic,
                [
                    .init("a", key: "x", user: ["color": "red", "size": "3"]),
                    .init("b", user: ["color": "red", "size": "3"]),
                    .init("c", key: "x", user: ["color": "red", "size": "2"]), .init("d", key: "x"),
                ]
            )
        }
        publish()
        try bench.crash()
        #expect(try bench.backlog("q") == 1)
        publish()
        bench.consume("q")
        #expect(bench.take().map(\.body) == ["a", "a"])
        bench.ask(.unbind(name: "q", Binding(filter: "t/+")))
        publish()
        #expect(bench.take().map(\.body) == ["a"])
        bench.ask(.unbind(name: "q", binding))
        publish()
        #expect(bench.take().isEmpty)
    }

    @Test("a condition that is none is refused, and says where", arguments: ["color =", "'a"])
    func wrongConditions(selector: String) throws {
        let bench = try DeliveryBench()
        _ = try bench.topic("t")
        try bench.inbox("q", [])
        func refusal(_ binding: Binding) -> ErrorCode? {
            guard case .failure(let error) = bench.ask(.bind(name: "q", binding)) else { return nil }
            return error.code
        }
        #expect(refusal(Binding(filter: "t/+", selector: selector)) == .invalidArgument)
        let twice = Binding.Argument(name: Array("tags".utf8), value: Array("a".utf8))
        let binding = Binding(kind: .filter, pattern: Array("t".utf8), arguments: [twice, twice])
        #expect(refusal(binding) == .invalidArgument)
    }

    @Test("an inbox, its messages and what was done with them survive a crash")
    func crash() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t/#"])
        for index in 0..<600 { bench.publish(topic, "m\(index)") }
        bench.consume("q", credit: 300)
        for message in bench.take() where message.sequence != 7 { bench.accept(message) }
        bench.pass(milliseconds: 50)
        try bench.crash()
        #expect(try bench.backlog("q") == 301)
        bench.consume("q")
        #expect(bench.got.first?.body == "m7" && bench.got.first?.attempt == 2)
        #expect(bench.got.dropFirst().map(\.body) == (300..<600).map { "m\($0)" })
    }

    @Test("higher priorities go first, in their order each")
    func priorities() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t/#"]) { $0.maxPriority = 5 }
        bench.publish(topic, [.init("low1", priority: 1), .init("none"), .init("high1", priority: 200)])
        bench.publish(topic, [.init("high2", priority: 5), .init("low2", priority: 1)])
        bench.consume("q")
        #expect(bench.take().map(\.body) == ["high1", "high2", "low1", "low2", "none"])
    }

    @Test("a full inbox lets its oldest go")
    func dropHead() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t/#"]) { $0.maxMessages = 3 }
        bench.publish(topic, "a", "b")
        bench.publish(topic, "c", "d", "e")
        bench.consume("q")
        #expect(bench.take().map(\.body) == ["c", "d", "e"])
        try bench.crash()
        bench.consume("q")
        #expect(bench.take().map(\.body) == ["c", "d", "e"])
    }

    @Test("a full inbox that refuses takes nothing more, and the publisher is told")
    func rejects() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t/#"]) {
            $0.maxMessages = 2
            $0.overflow = .reject
        }
        #expect(bench.publish(topic, "a", "b")?.error == nil)
        #expect(bench.publish(topic, "c")?.error == .quotaExceeded)
        #expect(try bench.backlog("q") == 2)
    }

    @Test("what makes room goes to the dead letters where the inbox has them")
    func overflowToDeadLetters() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t/#"]) {
            $0.maxMessages = 1
            $0.overflow = .deadLetter
            $0.deadLetterTopic = "dead"
        }
        try bench.inbox("funeral", ["dead/#"])
        bench.publish(topic, "a", "b")
        bench.consume("funeral")
        #expect(bench.take().map(\.body) == ["a"])
        #expect(bench.properties["a"]?[DeadLetterProperty.reason] == "maximum length")
    }

    @Test("what waits longer than the inbox allows goes, without a consumer too")
    func timeToLive() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t/#"]) {
            $0.messageTTLMicroseconds = 100_000
            $0.deadLetterTopic = "dead"
        }
        try bench.inbox("funeral", ["dead/#"])
        bench.consume("funeral")
        bench.publish(topic, "a")
        bench.pass(milliseconds: 60)
        bench.publish(topic, "b")
        bench.pass(milliseconds: 60)
        #expect(bench.take().map(\.body) == ["a"])
        bench.pass(milliseconds: 60)
        #expect(bench.take().map(\.body) == ["b"])
        #expect(try bench.backlog("q") == 0)
    }

    @Test("a message's own expiry counts, also while it waits behind nothing")
    func expiry() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t/#"])
        bench.publish(topic, [.init("short", expiry: bench.now.advanced(byMicroseconds: 50_000)), .init("long")])
        bench.pass(milliseconds: 100)
        #expect(try bench.backlog("q") == 1)
        bench.consume("q")
        #expect(bench.take().map(\.body) == ["long"])
    }

    @Test("an inbox that nobody uses is deleted after its time")
    func unused() throws {
        let bench = try DeliveryBench()
        try bench.inbox("q", ["t/#"]) { $0.expiresUnusedMicroseconds = 1_000_000 }
        bench.pass(milliseconds: 900)
        bench.consume("q")
        bench.pass(milliseconds: 5_000)
        #expect(throws: Never.self) { try bench.describe("q") }
        bench.shard.detach(session: bench.session, attachment: 1)
        bench.pass(milliseconds: 900)
        #expect(throws: Never.self) { try bench.describe("q") }
        bench.pass(milliseconds: 200)
        #expect(throws: SluiceError.self) { try bench.describe("q") }
    }

    @Test("a shorter time until an inbox expires counts from when it was set")
    func shorterExpiry() throws {
        let bench = try DeliveryBench()
        try bench.inbox("q", ["t"]) { $0.expiresUnusedMicroseconds = 60_000_000 }
        bench.pass(milliseconds: 5_000)
        var policy = try bench.describe("q").policy
        policy.expiresUnusedMicroseconds = 1_000_000
        bench.ask(.updateSubscription(name: "q", policy))
        bench.pass(milliseconds: 900)
        #expect(throws: Never.self) { try bench.describe("q") }
        bench.pass(milliseconds: 200)
        #expect(throws: SluiceError.self) { try bench.describe("q") }
    }

    @Test("a transient inbox works like others and ends with its session")
    func transient() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t/#"]) { $0.isDurable = false }
        bench.publish(topic, "a")
        bench.consume("q")
        #expect(bench.take().map(\.body) == ["a"])
        bench.shard.closeSession(bench.session)
        bench.session = bench.shard.openSession(tenant: .default)
        bench.settle()
        #expect(throws: SluiceError.self) { try bench.describe("q") }
    }

    @Test("browsing shows what is there and changes nothing")
    func browse() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t/#"])
        bench.publish(topic, "a", "b", "c")
        bench.consume("q", credit: 1)
        guard
            case .success(.browsed(let found, let next)) = bench.ask(
                .browse(name: "q", lane: 0, from: 0, maxMessages: 2)
            )
        else {
            Issue.record("no answer")
            return
        }
        #expect(found.map(\.sequence) == [0, 1] && found.map(\.attempts) == [1, 0] && next == 2)
        bench.consume("q", as: 2)
        #expect(bench.take().map(\.body) == ["a", "b", "c"])
    }

    @Test("a seek to the end empties an inbox")
    func purge() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t/#"])
        bench.publish(topic, "a", "b")
        bench.ask(.seek(name: "q", .next))
        #expect(try bench.backlog("q") == 0)
        bench.publish(topic, "c")
        bench.consume("q")
        #expect(bench.take().map(\.body) == ["c"])
    }

    @Test("what damage took from the end of an inbox is not waited for")
    func damagedEnd() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        let other = try bench.topic("u")
        try bench.inbox("q", ["t/#"])
        bench.publish(topic, "a")
        let position = bench.shard.log.end
        bench.publish(topic, "b")
        bench.publish(other, "c")
        bench.publish(other, "d")
        let (segment, offset) = try #require(bench.shard.log.locate(position))
        let disk = bench.disk.crashed(seed: 1)
        disk.flipBit(segment: segment.number, offset: offset + 60, bit: 1)
        try bench.reopen(disk, withoutFiles: true)
        #expect(bench.shard.damaged.count == 1)
        bench.consume("q")
        let got = bench.take()
        #expect(got.map(\.body) == ["a"])
        for message in got { bench.accept(message) }
        #expect(try bench.backlog("q") == 0)
        bench.publish(topic, "e")
        #expect(bench.take().map(\.body) == ["e"])
    }
}
