import Foundation
import Gateway
import LocalStorage
import Logging
import NIOCore
import NIOPosix
import NativeFront
import SluiceClient
import StorageEngine
import Testing

/// A native server on the loopback interface over a shard on disk.
private final class DeliveryServer: Sendable {
    let host: StorageHost
    let group: MultiThreadedEventLoopGroup
    private let listener: NIOLoopBoundBox<NativeListener?>
    private let directory: URL
    let port: Int

    private init(
        host: StorageHost,
        group: MultiThreadedEventLoopGroup,
        listener: NativeListener,
        directory: URL
    ) async throws {
        self.host = host
        self.group = group
        self.directory = directory
        port = listener.localAddress?.port ?? 0
        self.listener = NIOLoopBoundBox.makeEmptyBox(valueType: NativeListener.self, eventLoop: host.eventLoop)
        let box = self.listener
        try await host.eventLoop.submit { box.value = listener }.get()
    }

    static func start() async throws -> DeliveryServer {
        let directory = FileManager.default.temporaryDirectory.appending(path: "delivery-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        var options = ShardOptions()
        options.segmentBytes = 4 << 20
        options.blockBytes = 64 << 10
        options.tailCacheBytes = 1 << 20
        options.logIdentity = 0xABCD_1234
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let host = try await StorageHost.start(
            shardPath: directory.path,
            options: options,
            eventLoop: group.next(),
            logger: logger
        )
        let listener = try await listen(host, group, port: 0)
        return try await DeliveryServer(host: host, group: group, listener: listener, directory: directory)
    }

    private static func listen(
        _ host: StorageHost,
        _ group: MultiThreadedEventLoopGroup,
        port: Int
    ) async throws -> NativeListener {
        var configuration = NativeConfiguration()
        configuration.shutdownGrace = .milliseconds(100)
        return try await NativeListener.start(
            host: "127.0.0.1",
            port: port,
            group: group,
            configuration: configuration,
            logger: Logger(label: "test")
        ) { _ in Gateway(storage: host.service) }
    }

    /// Cuts every connection and listens again on the same port.
    func cutConnections() async throws {
        let box = listener
        let old = try await host.eventLoop.submit { box.value }.get()
        await old?.stop()
        let new = try await Self.listen(host, group, port: port)
        try await host.eventLoop.submit { box.value = new }.get()
    }

    func client() async throws -> SluiceClient {
        var configuration = ClientConfiguration(host: "127.0.0.1", port: port)
        configuration.minBackoff = .milliseconds(5)
        return try await SluiceClient.connect(configuration)
    }

    func stop() async throws {
        let box = listener
        let last = try await host.eventLoop.submit { box.value }.get()
        await last?.stop()
        try await host.stop()
        try await group.shutdownGracefully()
        try FileManager.default.removeItem(at: directory)
    }
}

private func withServer(_ body: (DeliveryServer, SluiceClient) async throws -> Void) async throws {
    let server = try await DeliveryServer.start()
    let client = try await server.client()
    let result: Result<Void, any Error>
    do { result = .success(try await body(server, client)) } catch { result = .failure(error) }
    await client.close()
    try await server.stop()
    try result.get()
}

private func send(_ client: SluiceClient, _ address: String, _ bodies: [String]) async throws {
    let producer = try await client.producer(to: address)
    for body in bodies { _ = try await producer.send(OutgoingMessage(body)) }
    await producer.close()
}

@Suite("Leased consumption with the client library", .timeLimit(.minutes(1)))
struct NativeDeliveryTests {
    private func options(_ topic: String) -> SubscriptionConsumerOptions {
        var options = SubscriptionConsumerOptions()
        options.source = .topic(topic, from: .first)
        options.policy.lease = .zero
        return options
    }

    @Test("accepted messages are done, released ones come again, rejected ones are dead")
    func settlements() async throws {
        try await withServer { _, client in
            try await client.createTopic("jobs")
            try await send(client, "jobs/eu", ["accept", "release", "reject"])
            var options = options("jobs")
            options.policy.deadLetterTopic = "dead"
            let consumer = try await client.consumer(subscription: "worker", options: options)
            var messages = consumer.messages.makeAsyncIterator()
            var attempts: [String] = []
            while attempts.count < 4, let message = try await messages.next() {
                attempts.append("\(message.text) \(message.attempt)")
                #expect(message.name == "jobs/eu")
                switch message.text {
                case "accept": try message.accept()
                case "reject": try message.reject(reason: "bad")
                default: if message.attempt == 1 { try message.release() } else { try message.accept() }
                }
            }
            #expect(attempts == ["accept 1", "release 1", "reject 1", "release 2"])
            try await consumer.flush()
            let state = try await client.describeSubscription("worker")
            #expect(state.backlog == 0 || state.partitions[0].acknowledged == 2)
            let dead = try await client.fetch(topic: "dead", offset: 0, wait: .seconds(5))
            #expect(dead.batches.flatMap { $0.map(\.text) } == ["reject"])
            #expect(try await client.describeSubscription("worker").backlog == 0)
            await consumer.close()
        }
    }

    @Test("a prefetch of two holds the rest back until messages are settled")
    func prefetch() async throws {
        try await withServer { _, client in
            try await client.createTopic("jobs")
            try await send(client, "jobs", (0..<6).map(String.init))
            var options = options("jobs")
            options.prefetch = 2
            let consumer = try await client.consumer(subscription: "worker", options: options)
            var messages = consumer.messages.makeAsyncIterator()
            let first = try #require(try await messages.next())
            let second = try #require(try await messages.next())
            #expect(try await client.describeSubscription("worker").leased == 2)
            try second.accept()
            let third = try #require(try await messages.next())
            #expect([first.text, second.text, third.text] == ["0", "1", "2"])
            try await consumer.flush()
            #expect(try await client.describeSubscription("worker").leased == 2)
            await consumer.close()
            #expect(try await client.describeSubscription("worker").leased == 0)
        }
    }

    @Test("after a lost connection messages come again, and the old deliveries cannot be settled")
    func reconnect() async throws {
        try await withServer { server, client in
            try await client.createTopic("jobs")
            try await send(client, "jobs", ["a", "b"])
            let consumer = try await client.consumer(subscription: "worker", options: options("jobs"))
            var messages = consumer.messages.makeAsyncIterator()
            let old = try #require(try await messages.next())
            try await server.cutConnections()
            var again = consumer.messages.makeAsyncIterator()
            let new = try #require(try await again.next())
            #expect(new.text == "a" && new.attempt == 2)
            #expect { try old.accept() } throws: { ($0 as? SluiceClientError)?.code == .leaseLost }
            try new.accept()
            let last = try #require(try await again.next())
            #expect(last.text == "b")
            try last.accept()
            try await consumer.flush()
            #expect(try await client.describeSubscription("worker").backlog == 0)
            await consumer.close()
        }
    }

    @Test("leases that outlive the connection are settled later, by the message or by its receipt")
    func receipts() async throws {
        try await withServer { server, client in
            try await client.createTopic("jobs")
            try await send(client, "jobs", ["a", "b", "c"])
            var options = options("jobs")
            options.policy.lease = .seconds(60)
            options.leasesOutliveConnection = true
            let consumer = try await client.consumer(subscription: "worker", options: options)
            var messages = consumer.messages.makeAsyncIterator()
            let first = try #require(try await messages.next())
            let second = try #require(try await messages.next())
            let third = try #require(try await messages.next())
            let text = second.receipt.description
            try await server.cutConnections()
            let other = try await server.client()
            let receipt = try #require(DeliveryReceipt(text))
            #expect(try await other.settle([receipt]) == [nil])
            #expect(try await other.settle([receipt]).map(\.?.code) == [.leaseLost])
            await other.close()
            _ = try await client.health()
            try first.accept()
            try third.accept()
            while try await client.describeSubscription("worker").backlog > 0 {
                try await Task.sleep(for: .milliseconds(5))
            }
            await consumer.close()
        }
    }

    @Test("what is settled one by one shares ranges, and batches are settled whole")
    func coalescing() async throws {
        try await withServer { _, client in
            try await client.createTopic("jobs")
            let producer = try await client.producer(to: "jobs")
            for number in 0..<2_000 { try await producer.enqueue(OutgoingMessage("\(number)")) }
            try await producer.flush()
            let consumer = try await client.consumer(subscription: "worker", options: options("jobs"))
            var count = 0
            while count < 2_000, let delivery = try await consumer.next() {
                count += delivery.count
                if count % 2 == 0 {
                    try delivery.accept()
                } else {
                    for message in delivery { try message.accept() }
                }
            }
            try await consumer.flush()
            let lane = try await client.describeSubscription("worker").partitions[0]
            #expect(lane.acknowledged == 2_000 && lane.backlog == 0)
            await consumer.close()
            await producer.close()
        }
    }

    @Test("an inbox has what its bindings route to it, from several topics")
    func inbox() async throws {
        try await withServer { _, client in
            try await client.createTopic("orders")
            try await client.createTopic("alarms")
            var options = SubscriptionConsumerOptions()
            options.source = .inbox([.filter("orders/+/paid"), .filter("alarms/#")])
            options.policy.maxPriority = 9
            let consumer = try await client.consumer(subscription: "desk", options: options)
            try await send(client, "orders/eu/paid", ["paid"])
            try await send(client, "orders/eu/created", ["created"])
            try await send(client, "alarms/fire", ["fire"])
            var messages = consumer.messages.makeAsyncIterator()
            for expected in [("orders/eu/paid", "paid"), ("alarms/fire", "fire")] {
                let message = try #require(try await messages.next())
                #expect((message.name, message.text) == expected)
                try message.accept()
            }
            #expect(try await client.bindings(of: "desk").count == 2)
            try await client.unbind("desk", .filter("alarms/#"))
            #expect(try await client.bindings(of: "desk") == [.filter("orders/+/paid")])
            let state = try await client.describeSubscription("desk")
            #expect(state.isInbox && state.policy.maxPriority == 9)
            await consumer.close()
        }
    }

    @Test("a transaction commits what it sent together with what it accepted, or nothing")
    func transactions() async throws {
        struct Failure: Error {}
        try await withServer { _, client in
            try await client.createTopic("in")
            try await client.createTopic("out")
            try await send(client, "in", ["a", "b"])
            let consumer = try await client.consumer(subscription: "worker", options: options("in"))
            var messages = consumer.messages.makeAsyncIterator()
            let first = try #require(try await messages.next())
            let second = try #require(try await messages.next())
            await #expect(throws: Failure.self) {
                try await client.transaction { transaction in
                    try await transaction.send(OutgoingMessage("never"), to: "out")
                    try await transaction.accept(first)
                    throw Failure()
                }
            }
            #expect(try await client.fetch(topic: "out", offset: 0).batches.isEmpty)
            try await client.transaction { transaction in
                try await transaction.send(OutgoingMessage("one", orderingKey: "k"), to: "out/x")
                try await transaction.send(OutgoingMessage("two"), to: "out")
                try await transaction.accept([first.receipt, second.receipt])
            }
            let out = try await client.fetch(topic: "out", offset: 0).batches.flatMap { $0.map(\.text) }
            #expect(out.sorted() == ["one", "two"])
            #expect(try await client.describeSubscription("worker").backlog == 0)
            await #expect {
                try await client.transaction { try await $0.accept(first) }
            } throws: {
                ($0 as? SluiceClientError)?.code == .leaseLost
            }
            await consumer.close()
        }
    }

    @Test("an owner is asked about a transaction that nobody ended")
    func checkBack() async throws {
        try await withServer { server, client in
            try await client.createTopic("out")
            let other = try await server.client()
            var options = TransactionOptions()
            options.owner = "shop"
            options.checkAfter = .milliseconds(50)
            let transaction = try await other.beginTransaction(options)
            try await transaction.send(OutgoingMessage("paid"), to: "out")
            await other.close()
            try await client.resolveTransactions(of: "shop") { id in id == transaction.id ? .commit : .unknown }
            let out = try await client.fetch(topic: "out", offset: 0, wait: .seconds(10))
            #expect(out.batches.flatMap { $0.map(\.text) } == ["paid"])
        }
    }

    @Test("a scheduled message has an id instead of an offset, and can be withdrawn by it")
    func scheduled() async throws {
        try await withServer { _, client in
            try await client.createTopic("later")
            let producer = try await client.producer(to: "later")
            var message = OutgoingMessage("soon")
            let now = UInt64(Date().timeIntervalSince1970 * 1_000_000)
            message.properties.deliverAtMicroseconds = now + 2_000_000
            let soon = try await producer.send(message)
            message.body = Array("never".utf8)
            message.properties.deliverAtMicroseconds = now + 3_600_000_000
            let never = try await producer.send(message)
            #expect(soon.isWaiting && never.isWaiting)
            let id = try #require(never.scheduledID)
            #expect(ScheduledMessageID(id.description) == id)
            try await client.cancelScheduled(id)
            await #expect {
                try await client.cancelScheduled(id)
            } throws: {
                ($0 as? SluiceClientError)?.code == .notFound
            }
            let out = try await client.fetch(topic: "later", offset: 0, wait: .seconds(10))
            #expect(out.batches.flatMap { $0.map(\.text) } == ["soon"])
            #expect(out.batches.first?.first { _ in true }?.properties.deliverAtMicroseconds == now + 2_000_000)
            await producer.close()
        }
    }

    @Test("the second consumer of an exclusive subscription is told so, the second of a failover one waits")
    func modes() async throws {
        try await withServer { server, client in
            try await client.createTopic("jobs")
            var options = options("jobs")
            options.policy.consumers = .exclusive
            let first = try await client.consumer(subscription: "one", options: options)
            let refused = try await client.consumer(subscription: "one", options: options)
            await #expect {
                _ = try await refused.next()
            } throws: {
                ($0 as? SluiceClientError)?.code == .subscriptionInUse
            }
            await first.close()

            let (changes, continuation) = AsyncStream.makeStream(of: Bool.self)
            options.policy.consumers = .failover
            let active = try await client.consumer(subscription: "two", options: options)
            options.onActivityChange = { continuation.yield($0) }
            let waiting = try await client.consumer(subscription: "two", options: options)
            var seen = changes.makeAsyncIterator()
            #expect(await seen.next() == false)
            try await send(client, "jobs", ["a"])
            _ = try await active.next()
            await active.close()
            #expect(await seen.next() == true)
            #expect(try await waiting.next()?.attempt == 2)
            await waiting.close()
        }
    }

    @Test("a subscription is sought, paused, browsed and changed")
    func places() async throws {
        try await withServer { _, client in
            var policy = TopicPolicy()
            policy.maxAge = .seconds(3_600)
            policy.maxBytes = 1 << 30
            try await client.createTopic("jobs", policy: policy)
            #expect(try await client.describeTopic("jobs").policy == policy)
            try await send(client, "jobs", ["0", "1", "2"])
            try await client.createSubscription("worker", topic: "jobs", start: .first)
            #expect(try await client.browse("worker").map(\.text) == ["0", "1", "2"])
            #expect(try await client.browse("worker", from: 1, limit: 1).map(\.sequence) == [1])
            #expect(try await client.seek("worker", to: .offset(2)).backlog == 1)
            #expect(try await client.seek("worker", to: .next).backlog == 0)
            #expect(try await client.seek("worker", to: .first).oldestStoredAt != nil)
            #expect(try await client.pause("worker").isPaused)
            #expect(try await client.resume("worker").isPaused == false)
            var changed = try await client.describeSubscription("worker").policy
            #expect(changed == SubscriptionPolicy())
            changed.backoff = .list([.seconds(1), .milliseconds(1_500)])
            changed.maxAttempts = 3
            changed.consumers = .ordered
            let after = try await client.updateSubscription("worker", policy: changed).policy
            #expect(after.backoff?.description == "1s,1500ms")
            #expect(after.maxAttempts == 3 && after.consumers == .ordered)
        }
    }
}
