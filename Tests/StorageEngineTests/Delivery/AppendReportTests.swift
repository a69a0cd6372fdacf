import MessageModel
import StorageService
import Testing

@testable import StorageEngine

@Suite("What an append tells of single messages")
struct AppendReportTests {
    private func unrouted(_ options: inout AppendOptions) { options.reportsUnrouted = true }
    private func singly(_ options: inout AppendOptions) { options.refusesSingly = true }

    private func full(_ bench: DeliveryBench, messages: UInt64 = 0, bytes: UInt64 = 0) throws {
        try bench.inbox("full", ["t/a/#"]) { policy in
            policy.maxMessages = messages
            policy.maxBytes = bytes
            policy.overflow = .reject
        }
    }

    private func waiting(_ bench: DeliveryBench, _ name: String, as id: UInt32 = 1) -> [String] {
        bench.consume(name, as: id)
        return bench.take().filter { $0.consumer == id }.map(\.body)
    }

    @Test("messages that no inbox and no live filter takes are named where that is asked for")
    func unrouted() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", ["t/a"])
        try bench.cursor("c", topic)
        let messages: [DeliveryBench.Message] = [
            .init("0", key: "a"), .init("1", key: "b"), .init("2", key: "c"), .init("3"), .init("4", key: "a"),
            .init("5", key: "b"),
        ]
        #expect(bench.publish(topic, messages)?.unrouted == [])
        #expect(bench.publish(topic, messages, options: unrouted)?.unrouted == [1, 2, 3, 5])
        for (id, filter) in ["t/b", "t/+/x"].enumerated() {
            Array(filter.utf8).withUnsafeBytes {
                _ = bench.shard.addFilter(session: bench.session, $0, id: UInt32(id), group: 7)
            }
        }
        #expect(bench.publish(topic, messages, options: unrouted)?.unrouted == [2, 3])
        let result = bench.publish(topic, [.init("x", key: "b")], options: unrouted)
        #expect(result?.unrouted == [] && result?.refused == [])
    }

    @Test("asking takes no turn of a group of live filters")
    func turns() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        let other = bench.shard.openSession(tenant: .default)
        for session in [bench.session, other] {
            Array("t/#".utf8).withUnsafeBytes { _ = bench.shard.addFilter(session: session, $0, id: 1, group: 1) }
        }
        for number in 0..<6 { bench.publish(topic, [.init("\(number)", key: "a")], options: unrouted) }
        #expect(bench.routed == ["0", "1", "2", "3", "4", "5"])
    }

    @Test("a full inbox refuses the whole batch, or only what it has no room for")
    func singly() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try full(bench, messages: 2)
        try bench.inbox("other", ["t/#"])
        let messages: [DeliveryBench.Message] = [
            .init("0", key: "a"), .init("1", key: "b"), .init("2", key: "a/x"), .init("3", key: "a"),
            .init("4", key: "c"), .init("5", key: "a"),
        ]
        #expect(bench.publish(topic, messages)?.error == .quotaExceeded)
        let result = bench.publish(topic, messages, options: singly)
        #expect(result?.error == nil && result?.refused == [3, 5] && result?.recordCount == 6)
        #expect(bench.publish(topic, [.init("6", key: "a")], options: singly)?.refused == [0])
        #expect(bench.publish(topic, [.init("7", key: "b")], options: singly)?.refused == [])
        #expect(try bench.backlog("full") == 2)
        for _ in 0..<2 {
            #expect(waiting(bench, "full") == ["0", "2"])
            #expect(waiting(bench, "other", as: 2) == ["0", "1", "2", "3", "4", "5", "6", "7"])
            try bench.crash()
        }
        bench.consume("full")
        for message in bench.take() { bench.accept(message) }
        #expect(bench.publish(topic, [.init("8", key: "a")], options: singly)?.refused == [])
        #expect(bench.take().map(\.body) == ["8"])
    }

    @Test("with a limit of bytes a smaller message may still fit")
    func bytes() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try full(bench, bytes: 100)
        let long = String(repeating: "x", count: 60)
        let messages: [DeliveryBench.Message] = [
            .init(long, key: "a"), .init(long + "y", key: "a"), .init("small", key: "a"),
        ]
        #expect(bench.publish(topic, messages, options: singly)?.refused == [1])
        #expect(waiting(bench, "full") == [long, "small"])
    }

    @Test("a batch whose messages are not next to each other has no more room than others")
    func apart() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try full(bench, messages: 1)
        let messages: [DeliveryBench.Message] = [.init("0", key: "a"), .init("1", key: "b"), .init("2", key: "a")]
        #expect(bench.publish(topic, messages)?.error == .quotaExceeded)
        #expect(bench.publish(topic, messages, options: singly)?.refused == [2])
    }

    @Test("indexes are those of the batch that was sent, also where some of it is known")
    func known() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t") { $0.deduplicationMicroseconds = 60_000_000 }
        try full(bench, messages: 1)
        bench.publish(topic, [.init("known", key: "c", id: "1")])
        let result = bench.publish(
            topic,
            [
                .init("known", key: "c", id: "1"), .init("0", key: "a", id: "2"), .init("known", key: "c", id: "1"),
                .init("1", key: "a", id: "3"), .init("2", key: "c", id: "4"),
            ]
        ) {
            $0.reportsUnrouted = true
            $0.refusesSingly = true
        }
        #expect(result?.recordCount == 3 && result?.refused == [3] && result?.unrouted == [4])
    }
}
