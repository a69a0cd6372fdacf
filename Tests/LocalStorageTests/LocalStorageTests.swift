import LocalStorage
import MessageModel
import StorageEngine
import StorageService
import TestSupport
import Testing

@Suite("A storage in this process")
struct LocalStorageTests {
    private let directory = try! TemporaryDirectory()

    private func fetch(_ client: StorageClient, _ partition: PartitionID, from offset: UInt64) async throws
        -> FetchReply
    {
        let request = FetchRequest(partition: partition, offset: offset, maxBytes: 1 << 20)
        guard case .fetched(let reply) = try await client.perform(.fetch(request)) else {
            throw SluiceError(.internal, "not a fetch reply")
        }
        return reply
    }

    private func createTopic(_ client: StorageClient, _ name: String, partitions: Int = 1) async throws
        -> TopicDescription
    {
        let specification = TopicSpecification(name: name, partitions: partitions)
        guard case .topicCreated(let topic, _) = try await client.perform(.createTopic(specification)) else {
            throw SluiceError(.internal, "not a topic")
        }
        return topic
    }

    @Test("what is appended can be fetched, and is there after a restart")
    func appendFetchRestart() async throws {
        let client = try await StorageClient(path: directory.path)
        let topic = try await createTopic(client, "orders")
        let partition = PartitionID(topic: topic.id, index: 0)
        let first = try await client.append(["a", "b", "c"], to: partition)
        #expect(first.error == nil)
        #expect(first.baseOffset == 0)
        let second = try await client.append(["d"], to: partition)
        #expect(second.baseOffset == 3)
        #expect(bodies(try await fetch(client, partition, from: 1).batches, from: 1) == ["b", "c", "d"])
        try await client.stop()

        let again = try await StorageClient(path: directory.path)
        #expect(bodies(try await fetch(again, partition, from: 0).batches) == ["a", "b", "c", "d"])
        let third = try await again.append(["e"], to: partition)
        #expect(third.baseOffset == 4)
        try await again.stop()
    }

    @Test("what was acknowledged is there when the server was killed")
    func recoveryWithoutCleanStop() async throws {
        let client = try await StorageClient(path: directory.path)
        let topic = try await createTopic(client, "orders")
        let partition = PartitionID(topic: topic.id, index: 0)
        for number in 0..<20 { _ = try await client.append(["m\(number)"], to: partition) }
        try await client.abandon()

        let again = try await StorageClient(path: directory.path)
        #expect(bodies(try await fetch(again, partition, from: 0).batches) == (0..<20).map { "m\($0)" })
        try await again.stop()
    }

    @Test("readers behind the cache are served from sealed segments, also after a restart")
    func coldReads() async throws {
        let client = try await StorageClient(path: directory.path)
        let topic = try await createTopic(client, "orders", partitions: 2)
        let filler = String(repeating: "x", count: 20_000)
        var expected: [String] = []
        for number in 0..<200 {
            let partition = PartitionID(topic: topic.id, index: UInt16(number % 2))
            let result = try await client.append(["m\(number)", filler], to: partition)
            #expect(result.error == nil)
            if number % 2 == 0 { expected.append("m\(number)") }
        }
        for round in 0..<2 {
            let reader = round == 0 ? client : try await StorageClient(path: directory.path)
            try await reader.onSession { session in
                let source = AttachRequest.Source.partition(PartitionID(topic: topic.id, index: 0), .first)
                session.attach(
                    AttachRequest(source: source, creditMessages: 1 << 30, creditBytes: 1 << 40),
                    attachment: 7
                )
            }
            let delivered = try await reader.waitForDelivery(200)
            #expect(delivered.filter { $0.hasPrefix("m") } == expected)
            #expect(
                bodies(try await fetch(reader, PartitionID(topic: topic.id, index: 0), from: 100).batches, from: 100)
                    .first == "m100"
            )
            try await reader.stop()
        }
    }

    @Test("an attached reader gets no more than its credit")
    func credit() async throws {
        let client = try await StorageClient(path: directory.path)
        let topic = try await createTopic(client, "orders")
        let partition = PartitionID(topic: topic.id, index: 0)
        try await client.onSession { session in
            session.attach(
                AttachRequest(source: .topic(topic.id, .first), creditMessages: 2, creditBytes: 1 << 20),
                attachment: 1
            )
        }
        for number in 0..<5 { _ = try await client.append(["m\(number)"], to: partition) }
        #expect(try await client.delivered() == ["m0", "m1"])
        try await client.onSession { $0.grantCredit(attachment: 1, messages: 1, bytes: 0) }
        #expect(try await client.waitForDelivery(1) == ["m2"])
        try await client.onSession { $0.grantCredit(attachment: 1, messages: 2, bytes: 0) }
        #expect(try await client.waitForDelivery(2) == ["m3", "m4"])
        try await client.stop()
    }

    @Test("a subscription goes on from its acknowledged position, and has one reader")
    func subscription() async throws {
        let client = try await StorageClient(path: directory.path)
        let topic = try await createTopic(client, "orders")
        let partition = PartitionID(topic: topic.id, index: 0)
        _ = try await client.append(["a", "b", "c", "d"], to: partition)
        _ = try await client.perform(
            .createSubscription(SubscriptionSpecification(name: "billing", topic: topic.id, start: .first))
        )
        let request = AttachRequest(
            source: .subscription(name: "billing"),
            consumer: "one",
            creditMessages: 100,
            creditBytes: 1 << 20
        )
        try await client.onSession { $0.attach(request, attachment: 1) }
        #expect(try await client.waitForDelivery(4) == ["a", "b", "c", "d"])
        var other = request
        other.consumer = "two"
        try await client.onSession { [other] in $0.attach(other, attachment: 2) }
        _ = try await client.perform(.health)
        #expect(try await client.endedAttachments()[2]?.code == .subscriptionInUse)
        _ = try await client.perform(.commit(name: "billing", partition, offset: 2))
        try await client.abandon()

        let again = try await StorageClient(path: directory.path)
        try await again.onSession { $0.attach(request, attachment: 1) }
        #expect(try await again.waitForDelivery(2) == ["c", "d"])
        try await again.stop()
    }

    @Test("a batch that comes again is stored once and gets its first offset")
    func deduplication() async throws {
        let client = try await StorageClient(path: directory.path)
        let topic = try await createTopic(client, "orders")
        let partition = PartitionID(topic: topic.id, index: 0)
        guard
            case .producer(let producer) = try await client.perform(
                .openProducer(ProducerRequest(partition: partition))
            )
        else { return }
        _ = try await client.append(["a", "b"], to: partition, producer: producer.producer, sequence: 0)
        let second = try await client.append(["c"], to: partition, producer: producer.producer, sequence: 2)
        let again = try await client.append(["c"], to: partition, producer: producer.producer, sequence: 2)
        #expect(again.isDuplicate)
        #expect(again.baseOffset == second.baseOffset)
        let gap = try await client.append(["e"], to: partition, producer: producer.producer, sequence: 5)
        #expect(gap.error == .sequenceGap)
        #expect(bodies(try await fetch(client, partition, from: 0).batches) == ["a", "b", "c"])
        try await client.abandon()

        let recovered = try await StorageClient(path: directory.path)
        let late = try await recovered.append(["c"], to: partition, producer: producer.producer, sequence: 2)
        #expect(late.isDuplicate)
        try await recovered.stop()
    }

    @Test("live filters get each matching message once, with every filter that matches")
    func liveFilters() async throws {
        let client = try await StorageClient(path: directory.path)
        let builtIn = PartitionID(topic: TopicID(rawValue: 1), index: 0)
        try await client.onSession { session in
            for (id, filter) in ["factory/#", "factory/+/temp", "factory/line1/temp", "other/#"].enumerated() {
                Array(filter.utf8).withUnsafeBytes { #expect(session.addFilter($0, id: UInt32(id)) == nil) }
            }
        }
        _ = try await client.append(["21.5"], to: builtIn, name: "factory/line1/temp")
        _ = try await client.append(["7"], to: builtIn, name: "factory/line2/speed")
        #expect(try await client.waitForDelivery(2) == ["factory/line1/temp=21.5[0,1,2]", "factory/line2/speed=7[0]"])
        #expect(try await client.onSession { $0.removeFilter(id: 0) })
        _ = try await client.append(["8"], to: builtIn, name: "factory/line2/speed")
        _ = try await client.append(["22"], to: builtIn, name: "factory/line1/temp")
        #expect(try await client.waitForDelivery(1) == ["factory/line1/temp=22[1,2]"])
        try await client.stop()
    }

    @Test("each message of a batch of several sessions is told apart")
    func owners() async throws {
        let client = try await StorageClient(path: directory.path)
        let builtIn = PartitionID(topic: TopicID(rawValue: 1), index: 0)
        let number = try await client.onSession { session in
            Array("#".utf8).withUnsafeBytes { #expect(session.addFilter($0, id: 0) == nil) }
            return session.number
        }
        let owners = [
            RecordOwner(session: number, count: 1), RecordOwner(session: number + 1, count: 2),
            RecordOwner(session: number, count: 1),
        ]
        _ = try await client.append(["a", "b", "c", "d"], to: builtIn, name: "n", owners: owners)
        #expect(try await client.waitForDelivery(4) == ["n=a[0]", "n=b[0]", "n=c[0]", "n=d[0]"])
        _ = try await client.append(["e", "f"], to: builtIn, name: "n")
        _ = try await client.waitForDelivery(2)
        #expect(try await client.own() == [true, false, false, true, true, true])
        try await client.stop()
    }

    @Test("a position is found by time")
    func findByTime() async throws {
        let client = try await StorageClient(path: directory.path)
        let topic = try await createTopic(client, "orders")
        let partition = PartitionID(topic: topic.id, index: 0)
        _ = try await client.append(["a"], to: partition)
        try await Task.sleep(for: .milliseconds(5))
        let between = Timestamp.now()
        try await Task.sleep(for: .milliseconds(5))
        _ = try await client.append(["b"], to: partition)
        guard case .offset(let offset, _) = try await client.perform(.findOffset(partition, .time(between))) else {
            return
        }
        #expect(offset == 1)
        try await client.stop()
    }
}
