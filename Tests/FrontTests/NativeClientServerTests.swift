import Gateway
import Logging
import MessageModel
import NIOCore
import NIOPosix
import NativeFront
import SluiceClient
import Testing

/// A native server on the loopback interface over a storage in memory.
final class NativeTestServer: Sendable {
    /// Belongs to the server's event loop.
    final class Box: @unchecked Sendable {
        let storage = NativeTestStorage()
    }

    let box = Box()
    let group: MultiThreadedEventLoopGroup
    let listener: NativeListener

    init(port: Int = 0, configuration: NativeConfiguration = NativeConfiguration(), box: Box? = nil) async throws {
        let box = box ?? self.box
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let gateway = UncheckedGateway(Gateway(storage: box.storage))
        try await loop.submit {
            box.storage.sessions = []
            box.storage.wake = { loop.execute { box.storage.runRound() } }
        }.get()
        listener = try await NativeListener.start(
            host: "127.0.0.1",
            port: port,
            group: group,
            configuration: configuration,
            logger: Logger(label: "test")
        ) { _ in gateway.gateway }
    }

    var port: Int { listener.localAddress?.port ?? 0 }

    func onStorage<Value: Sendable>(_ body: @escaping @Sendable (NativeTestStorage) -> Value) async throws -> Value {
        let box = box
        return try await group.next().submit { body(box.storage) }.get()
    }

    func stop() async throws {
        await listener.stop()
        try await group.shutdownGracefully()
    }

    func client() async throws -> SluiceClient {
        var configuration = ClientConfiguration(host: "127.0.0.1", port: port)
        configuration.minBackoff = .milliseconds(5)
        return try await SluiceClient.connect(configuration)
    }
}

private final class UncheckedGateway: @unchecked Sendable {
    let gateway: Gateway
    init(_ gateway: Gateway) { self.gateway = gateway }
}

@Suite("The client library against the native front", .timeLimit(.minutes(1)))
struct NativeClientServerTests {
    @Test("what is sent comes back with its name, key, properties and offset")
    func roundTrip() async throws {
        let server = try await NativeTestServer()
        let client = try await server.client()
        try await client.createTopic("orders")
        let producer = try await client.producer(to: "orders/eu/created")
        var message = OutgoingMessage("hello", orderingKey: "customer-7")
        message.properties.contentType = "text/plain"
        message.properties.user = [.init(name: "a", value: "1"), .init(name: "a", value: "2")]
        let first = try await producer.send(message)
        let second = try await producer.send(OutgoingMessage("there", routingKey: "us/created"))
        #expect(first.offset == 0)
        #expect(second.offset == 1)

        var options = ConsumerOptions()
        options.start = .first
        let consumer = try await client.consumer(of: "orders", options: options)
        var iterator = consumer.messages.makeAsyncIterator()
        let one = try #require(try await iterator.next())
        let two = try #require(try await iterator.next())
        #expect(one.name == "orders/eu/created")
        #expect(one.text == "hello")
        #expect(one.orderingKey == Array("customer-7".utf8))
        #expect(one.properties == message.properties)
        #expect(one.offset == 0)
        #expect(two.name == "orders/us/created")
        #expect(two.offset == 1)
        #expect(one.bornAt > 0 && one.storedAt > 0)

        let fetched = try await client.fetch(topic: "orders", offset: 1)
        #expect(fetched.batches.flatMap { $0.map(\.text) } == ["there"])
        #expect(fetched.nextOffset == 2)
        await consumer.close()
        await producer.close()
        await client.close()
        try await server.stop()
    }

    @Test("a filter brings only the names that match")
    func filter() async throws {
        let server = try await NativeTestServer()
        let client = try await server.client()
        try await client.createTopic("orders")
        var options = ConsumerOptions()
        options.start = .first
        let consumer = try await client.consumer(of: "orders/+/created", options: options)
        let producer = try await client.producer(to: "orders")
        for key in ["eu/created", "eu/deleted", "us/created", "x"] {
            try await producer.enqueue(OutgoingMessage(key, routingKey: key))
        }
        try await producer.flush()
        var iterator = consumer.messages.makeAsyncIterator()
        #expect(try await iterator.next()?.text == "eu/created")
        #expect(try await iterator.next()?.text == "us/created")
        await client.close()
        try await server.stop()
    }

    @Test("many messages over several partitions arrive once each and in the order of their keys")
    func many() async throws {
        let server = try await NativeTestServer()
        let client = try await server.client()
        try await client.createTopic("many", partitions: 4)
        var producing = ProducerOptions()
        producing.maxBatchRecords = 64
        producing.bufferBytes = 64 << 10
        let producer = try await client.producer(to: "many", options: producing)
        let total = 20_000
        let reading = Task {
            var options = ConsumerOptions()
            options.start = .first
            options.creditMessages = 1_000
            options.creditBytes = 64 << 10
            let consumer = try await client.consumer(of: "many", options: options)
            var last: [UInt8: Int] = [:]
            var count = 0
            for try await message in consumer.messages {
                let key = message.orderingKey?.first ?? 0
                let number = Int(message.text) ?? -1
                if let before = last[key] { #expect(number > before) }
                last[key] = number
                count += 1
                if count == total { break }
            }
            return count
        }
        for number in 0..<total {
            try await producer.enqueue(Array("\(number)".utf8), orderingKey: [UInt8(number % 16)])
        }
        try await producer.flush()
        #expect(try await reading.value == total)
        await client.close()
        try await server.stop()
    }

    @Test("a subscription goes on from its committed position")
    func subscription() async throws {
        let server = try await NativeTestServer()
        let client = try await server.client()
        try await client.createTopic("jobs")
        let producer = try await client.producer(to: "jobs")
        for number in 0..<10 { _ = try await producer.send(OutgoingMessage("\(number)")) }
        var options = ConsumerOptions()
        options.subscription = "workers"
        options.start = .first
        let first = try await client.consumer(of: "jobs", options: options)
        var iterator = first.messages.makeAsyncIterator()
        for number in 0..<4 {
            let message = try #require(try await iterator.next())
            #expect(message.text == "\(number)")
            try await first.commit(message)
        }
        await first.close()
        let description = try await client.describeSubscription("workers")
        #expect(description.partitions.map(\.acknowledged) == [4])
        let second = try await client.consumer(of: "", options: options)
        var again = second.messages.makeAsyncIterator()
        #expect(try await again.next()?.text == "4")
        await client.close()
        try await server.stop()
    }

    @Test("messages that were on their way when the server went are stored once by the next one")
    func reconnect() async throws {
        let server = try await NativeTestServer()
        let port = server.port
        let client = try await server.client()
        try await client.createTopic("log")
        var reading = ConsumerOptions()
        reading.start = .first
        let consumer = try await client.consumer(of: "log", options: reading)
        var producing = ProducerOptions()
        producing.maxBatchRecords = 5
        let producer = try await client.producer(to: "log", options: producing)
        for number in 0..<100 { try await producer.enqueue(Array("\(number)".utf8)) }
        let box = server.box
        try await server.stop()
        for number in 100..<200 { try await producer.enqueue(Array("\(number)".utf8)) }
        let next = try await NativeTestServer(port: port, box: box)
        try await producer.flush()
        var iterator = consumer.messages.makeAsyncIterator()
        for number in 0..<200 {
            let message = try #require(try await iterator.next())
            #expect(message.text == "\(number)")
            #expect(message.offset == UInt64(number))
        }
        await client.close()
        try await next.stop()
    }

    @Test("a batch that the server refuses fails, and the ones behind it are stored")
    func refusal() async throws {
        let server = try await NativeTestServer()
        let client = try await server.client()
        try await client.createTopic("log")
        var options = ProducerOptions()
        options.maxBatchRecords = 1
        let producer = try await client.producer(to: "log", options: options)
        _ = try await producer.send(OutgoingMessage("0"))
        try await server.onStorage { $0.refusals = [.denied] }
        for number in 1..<10 { try await producer.enqueue(Array("\(number)".utf8)) }
        await #expect(throws: SluiceClientError.self) { try await producer.flush() }
        try await server.onStorage { $0.refusals = [.busy] }
        for number in 10..<20 { try await producer.enqueue(Array("\(number)".utf8)) }
        try await producer.flush()
        let batches = try await client.fetch(topic: "log", offset: 0).batches
        let texts: [String] = batches.flatMap { batch in batch.map { message in message.text } }
        let expected: [String] = ["0"] + (2..<20).map { "\($0)" }
        #expect(texts == expected)
        await client.close()
        try await server.stop()
    }

    @Test("errors of the server come typed, with what to do")
    func errors() async throws {
        let server = try await NativeTestServer()
        let client = try await server.client()
        await #expect { try await client.describeTopic("none") } throws: {
            ($0 as? SluiceClientError)?.code == .topicNotFound
        }
        await #expect { _ = try await client.producer(to: "a/+/b") } throws: {
            ($0 as? SluiceClientError)?.code == .invalidName
        }
        await client.close()
        await #expect { try await client.health() } throws: { ($0 as? SluiceClientError)?.code == .closed }
        try await server.stop()
        await #expect { _ = try await server.client() } throws: {
            ($0 as? SluiceClientError)?.code == .connectionLost
        }
    }

    @Test("what is looked up and retained comes with its topic, name and place, page by page")
    func finding() async throws {
        let server = try await NativeTestServer()
        try await server.onStorage { $0.retain(1_200, of: $0.add("orders")) }
        let client = try await server.client()
        let all = try await client.retained(matching: "orders/#")
        #expect(all.count == 1_200)
        #expect(all.last?.name == "orders/n2199")
        #expect(all.last?.message.name == "orders/n2199")
        #expect(all.last?.message.text == "value 1199")
        #expect(all.last?.message.offset == 1_199)
        let found = try await client.lookUp(.key("k"), limit: 2)
        #expect(found.map(\.text) == ["value 0", "value 1"])
        #expect(found.map(\.attempts) == [3, 3] && found.map(\.sequence) == [7, 7])
        await #expect {
            try await client.redrive("orders")
        } throws: {
            ($0 as? SluiceClientError)?.code == .notSupported
        }
        await client.close()
        try await server.stop()
    }
}
