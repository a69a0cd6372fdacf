import MessageModel
import Simulator
import StorageService

@testable import StorageEngine

/// A shard on a simulated disk whose consumers and their messages read like a transcript.
final class DeliveryBench: ShardOutput {
    /// A message as a consumer got it.
    struct Got: Equatable, CustomStringConvertible {
        var consumer: UInt32
        var body: String
        var sequence: UInt64
        var lane: UInt16
        var attempt: UInt32
        var generation: UInt64
        var subscription: SubscriptionID
        var description: String { "\(body)@\(sequence)#\(attempt)>\(consumer)" }
        var lease: BatchDelivery.Lease
        var receipt: SignedReceipt { lease.receipt(sequence) }
    }

    var disk: SimulatedDisk
    var options = ShardOptions()
    var shard: Shard
    var session: UInt64 = 0
    var now = Timestamp(rawValue: 1_000_000)
    var got: [Got] = []
    /// Bodies of whole batches that readers by position were given.
    var read: [String] = []
    var properties: [String: [String: String]] = [:]
    var routed: [String] = []
    var active: [UInt32: Bool] = [:]
    var warnings: [String] = []
    var asked: [TransactionID] = []
    var appends: [UInt64: AppendResult] = [:]
    var replies: [UInt64: Result<StorageReply, SluiceError>] = [:]
    var ended: [UInt32: ErrorCode] = [:]
    private var nextToken: UInt64 = 1

    init(options change: (inout ShardOptions) -> Void = { _ in }) throws {
        disk = SimulatedDisk(seed: 1, order: .fifo)
        options.segmentBytes = 64 << 10
        options.blockBytes = 4 << 10
        options.tailCacheBytes = 8 << 10
        options.logIdentity = 5
        change(&options)
        shard = try Shard.open(device: disk, options: options)
        settle()
        session = shard.openSession(tenant: .default)
    }

    /// The process ends without a word; what was synced is there.
    func crash() throws {
        disk = disk.crashed(seed: 7)
        shard = try Shard.open(device: disk, options: options)
        settle()
        session = shard.openSession(tenant: .default)
        got = []
    }

    /// A stop in order, and a new start without some of the side files.
    func restart(without isRemoved: (String) -> Bool = { _ in false }) throws {
        shard.close()
        settle()
        for file in try disk.listFilesNow() where isRemoved(file) { disk.removeFile(file) }
        while disk.completeNext() != nil {}
        shard = try Shard.open(device: disk, options: options)
        settle()
        session = shard.openSession(tenant: .default)
        got = []
    }

    // MARK: What the shard says

    func appendCompleted(session: UInt64, token: UInt64, result: AppendResult) { appends[token] = result }

    func batchDelivered(session: UInt64, _ delivery: BatchDelivery) {
        guard let lease = delivery.lease else {
            var records = delivery.batch.records
            while let record = records.next() { read.append(String(decoding: record.body, as: UTF8.self)) }
            return
        }
        var cursor = delivery.batch.records
        var first: UInt32?
        while let record = cursor.next() {
            let index = UInt32(cursor.index - 1)
            guard delivery.ranges.contains(where: { $0.first <= index && index <= $0.last }) else { continue }
            let start = first ?? index
            first = start
            let body = String(decoding: record.body, as: UTF8.self)
            var user: [String: String] = [:]
            var properties = PropertyCursor(record.properties)
            while let (id, value) = properties.next() {
                guard id == PropertyID.user.rawValue, let (name, value) = PropertyCursor.splitUser(value) else {
                    continue
                }
                user[String(decoding: name, as: UTF8.self)] = String(decoding: value, as: UTF8.self)
            }
            self.properties[body] = user
            got.append(
                Got(
                    consumer: delivery.attachment,
                    body: body,
                    sequence: lease.firstSequence + UInt64(index - start),
                    lane: lease.lane,
                    attempt: lease.attempt,
                    generation: lease.generation,
                    subscription: lease.subscription,
                    lease: lease
                )
            )
        }
    }

    func messageRouted(session: UInt64, _ message: RoutedMessage) {
        routed.append(String(decoding: message.record.body, as: UTF8.self))
    }

    func consumerChanged(session: UInt64, attachment: UInt32, isActive: Bool) { active[attachment] = isActive }
    func transactionNeedsResolution(session: UInt64, _ transaction: TransactionID, owner: String) {
        asked.append(transaction)
    }
    func attachmentEnded(session: UInt64, attachment: UInt32, error: SluiceError) { ended[attachment] = error.code }
    func requestCompleted(session: UInt64, token: UInt64, result: Result<StorageReply, SluiceError>) {
        replies[token] = result
    }
    func warning(_ text: String) { warnings.append(text) }

    // MARK: Time

    /// Rounds and answers of the disk until nothing happens.
    func settle() {
        for _ in 0..<10_000 {
            while shard.runRound(now: now, output: self) {}
            guard let event = disk.completeNext() else { return }
            shard.deviceCompleted(event)
        }
    }

    /// Lets time pass, with a round at each deadline.
    func pass(milliseconds: UInt64) {
        let end = now.advanced(byMicroseconds: milliseconds * 1_000)
        while let deadline = shard.nextDeadline, deadline <= end {
            now = max(now, deadline)
            settle()
            if shard.nextDeadline == deadline { now = now.advanced(byMicroseconds: 1) }
        }
        now = end
        settle()
    }

    // MARK: What is asked

    @discardableResult
    func ask(_ request: StorageRequest) -> Result<StorageReply, SluiceError>? {
        nextToken += 1
        let token = nextToken
        shard.perform(session: session, request, token: token, now: now)
        settle()
        return replies[token]
    }

    @discardableResult
    func topic(
        _ name: String,
        partitions: Int = 1,
        captures: [String] = [],
        _ change: (inout TopicPolicy) -> Void = { _ in }
    ) throws -> TopicID {
        var policy = TopicPolicy()
        change(&policy)
        let specification = TopicSpecification(
            name: name,
            partitions: partitions,
            captures: captures,
            policy: policy
        )
        guard case .success(.topicCreated(let topic, _)) = ask(.createTopic(specification)) else {
            throw SluiceError(.internal, "no topic")
        }
        return topic.id
    }

    func cursor(_ name: String, _ topic: TopicID, _ change: (inout SubscriptionPolicy) -> Void = { _ in }) throws {
        var policy = SubscriptionPolicy()
        change(&policy)
        try make(SubscriptionSpecification(name: name, topic: topic, start: .first, policy: policy))
    }

    func inbox(_ name: String, _ filters: [String], _ change: (inout SubscriptionPolicy) -> Void = { _ in }) throws {
        var policy = SubscriptionPolicy()
        change(&policy)
        let source = SubscriptionSpecification.Source.inbox(bindings: filters.map { Binding(filter: $0) })
        try make(SubscriptionSpecification(name: name, source: source, policy: policy))
    }

    private func make(_ specification: SubscriptionSpecification) throws {
        switch ask(.createSubscription(specification)) {
        case .success(.subscriptionCreated): break
        case .failure(let error): throw error
        default: throw SluiceError(.internal, "no answer")
        }
    }

    func describe(_ name: String) throws -> SubscriptionDescription {
        guard case .success(.subscription(let description)) = ask(.describeSubscription(name: name)) else {
            throw SluiceError(.internal, "no description")
        }
        return description
    }

    func backlog(_ name: String) throws -> UInt64 { try describe(name).lanes.reduce(0) { $0 + $1.backlog } }

    func consume(
        _ name: String,
        as id: UInt32 = 1,
        credit: UInt64 = 1_000,
        owner: AttachRequest.LeaseOwner = .attachment
    ) {
        let request = AttachRequest(
            source: .consumer(of: name, owner),
            creditMessages: credit,
            creditBytes: 1 << 30
        )
        shard.attach(session: session, request, attachment: id, now: now)
        settle()
    }

    func settle(_ message: Got, _ settlement: Settlement) {
        shard.settle(
            session: session,
            attachment: message.consumer,
            lane: message.lane,
            first: message.sequence,
            last: message.sequence,
            settlement,
            token: nil,
            now: now
        )
        settle()
    }

    func accept(_ messages: Got...) { for message in messages { settle(message, .accept) } }

    /// Takes what has come.
    func take() -> [Got] {
        defer { got = [] }
        return got
    }

    struct Message {
        var body: String
        var key: String?
        var orderingKey: String?
        var priority: UInt8?
        var expiry: Timestamp?
        var deliverAt: Timestamp?
        var user: [String: String] = [:]
        var id: String?
        var keys: [String]
        var isRetained: Bool

        init(
            _ body: String,
            key: String? = nil,
            orderingKey: String? = nil,
            priority: UInt8? = nil,
            expiry: Timestamp? = nil,
            deliverAt: Timestamp? = nil,
            user: [String: String] = [:],
            id: String? = nil,
            keys: [String] = [],
            isRetained: Bool = false
        ) {
            self.body = body
            self.key = key
            self.orderingKey = orderingKey
            self.priority = priority
            self.expiry = expiry
            self.deliverAt = deliverAt
            self.user = user
            self.id = id
            self.keys = keys
            self.isRetained = isRetained
        }
    }

    @discardableResult
    func publish(_ topic: TopicID, _ bodies: String..., transaction: TransactionID? = nil) -> AppendResult? {
        publish(topic, bodies.map { Message($0) }, transaction: transaction)
    }

    @discardableResult
    func publish(
        _ topic: TopicID,
        _ messages: [Message],
        partition: UInt16 = 0,
        producer: ProducerID = .anonymous,
        sequence: UInt32 = 0,
        transaction: TransactionID? = nil,
        options change: (inout AppendOptions) -> Void = { _ in }
    ) -> AppendResult? {
        nextToken += 1
        let token = nextToken
        var options = AppendOptions(transaction: transaction)
        change(&options)
        var builder = BatchBuilder()
        for message in messages {
            var properties = PropertyWriter()
            if let priority = message.priority { properties.append(.priority, byte: priority) }
            if let expiry = message.expiry { properties.append(.expiry, number: expiry.rawValue) }
            if let time = message.deliverAt { properties.append(.deliverAt, number: time.rawValue) }
            if let id = message.id { properties.append(.messageID, id) }
            for key in message.keys { properties.append(.key, key) }
            for (name, value) in message.user { properties.appendUser(name: name, value: value) }
            let key = message.key.map { Array($0.utf8) } ?? []
            let orderingKey = message.orderingKey.map { Array($0.utf8) } ?? []
            key.withUnsafeBytes { key in
                orderingKey.withUnsafeBytes { orderingKey in
                    Array(message.body.utf8).withUnsafeBytes { body in
                        properties.withBytes { properties in
                            var fields = RecordFields()
                            if message.key != nil { fields.routingKey = key }
                            if message.orderingKey != nil { fields.orderingKey = orderingKey }
                            fields.properties = properties
                            fields.isRetained = message.isRetained
                            fields.body = body
                            builder.append(fields)
                        }
                    }
                }
            }
        }
        builder.finish(producer: producer, baseSequence: sequence) { bytes in
            guard let view = BatchView(prefixOf: bytes) else { return }
            shard.append(
                session: session,
                batch: view,
                to: PartitionID(topic: topic, index: partition),
                options: options,
                token: token,
                now: now
            )
        }
        settle()
        return appends[token]
    }
}
