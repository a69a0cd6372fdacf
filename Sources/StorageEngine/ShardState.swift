internal import MessageModel
internal import StorageService

/// Everything that the records of the log add up to: made by applying them in order, from the beginning or from a
/// snapshot on.
struct ShardState {
    /// The tenants' topics by name and capture; shared with the owner of the shard.
    let directory: TopicDirectory
    var topics: [TopicID: TopicState] = [:]
    var subscriptions: [SubscriptionID: CursorSubscription] = [:]
    var subscriptionsByName: [SubscriptionKey: CursorSubscription] = [:]
    var producers: ProducerTable
    var nextTopic: UInt32 = 1
    var nextSubscription: UInt32 = 1
    /// The epoch of the newest record.
    var epoch: UInt32 = 0
    /// The newest time in the log: times never go back.
    var lastTime = Timestamp.zero
    /// The partitions that have batches in each segment whose index is not in a file yet.
    var touched: [UInt64: [PartitionState]] = [:]

    struct SubscriptionKey: Hashable {
        var tenant: TenantID
        var name: String
    }

    init(producersRemembered: Int) {
        directory = TopicDirectory()
        producers = ProducerTable(limit: producersRemembered)
    }

    func partition(_ id: PartitionID) -> (topic: TopicState, partition: PartitionState)? {
        guard let topic = topics[id.topic], Int(id.index) < topic.partitions.count else { return nil }
        return (topic, topic.partitions[Int(id.index)])
    }

    func topic(named name: String, tenant: TenantID) -> TopicState? {
        directory.topic(named: name, tenant: tenant).flatMap { topics[$0.id] }
    }

    func subscription(named name: String, tenant: TenantID) -> CursorSubscription? {
        subscriptionsByName[SubscriptionKey(tenant: tenant, name: name)]
    }

    /// The names of the index files that the partitions' indexes need.
    var indexFiles: Set<String> {
        var files = Set<IndexFile.Key>()
        for topic in topics.values {
            for partition in topic.partitions {
                for run in partition.index.runs { files.insert(IndexFile.Key(segment: run.segment, epoch: run.epoch)) }
            }
        }
        return Set(files.map { IndexFile.name(segment: $0.segment, epoch: $0.epoch) })
    }

    /// A part of the log is damaged: what stood there had offsets that somebody may have seen. Every partition goes on
    /// with one that cannot have been among them, since no message takes less than a byte, until a batch behind the damage
    /// tells the right one.
    func leaveGaps(for region: DamagedRegion) {
        for topic in topics.values {
            for partition in topic.partitions { partition.nextOffset += region.end - region.start }
        }
    }

    // MARK: Applying

    /// A batch stands in the log, with these stamps. `batch` may be the copy that its producer sent, without them.
    mutating func applyStored(
        baseOffset: UInt64,
        count: UInt32,
        appendTime: Timestamp,
        batch: BatchView,
        in partition: PartitionState,
        position: UInt64,
        recordBytes: Int,
        segment: UInt64
    ) {
        let entry = IndexEntry(
            baseOffset: baseOffset,
            position: position,
            appendTime: appendTime.rawValue,
            recordBytes: UInt32(recordBytes),
            count: count
        )
        partition.index.append(entry)
        partition.nextOffset = entry.nextOffset
        if partition.lastSegment != segment {
            partition.lastSegment = segment
            touched[segment, default: []].append(partition)
        }
        lastTime = max(lastTime, appendTime)
        if batch.producer != .anonymous {
            producers.stored(
                producer: batch.producer,
                epoch: batch.producerEpoch,
                baseSequence: batch.baseSequence,
                count: count,
                baseOffset: baseOffset,
                partition: partition.id
            )
        }
    }

    @discardableResult
    mutating func applyTopicCreated(_ definition: TopicDefinition) -> TopicState {
        let info = TopicInfo(
            id: definition.id,
            name: definition.specification.name,
            partitions: definition.specification.partitions,
            captures: definition.specification.captures
        )
        let topic = TopicState(info: info, tenant: definition.tenant, createdAt: definition.createdAt)
        topics[definition.id] = topic
        directory.insert(info, tenant: definition.tenant)
        nextTopic = max(nextTopic, definition.id.rawValue + 1)
        lastTime = max(lastTime, definition.createdAt)
        return topic
    }

    mutating func applyTopicDeleted(_ id: TopicID) {
        guard let topic = topics.removeValue(forKey: id) else { return }
        directory.remove(id, tenant: topic.tenant)
        for partition in topic.partitions { partition.isDeleted = true }
        for subscription in subscriptions.values where subscription.topic == id {
            applySubscriptionDeleted(subscription.id)
        }
        producers.forget(topic: id)
    }

    @discardableResult
    mutating func applySubscriptionCreated(_ definition: SubscriptionDefinition) -> CursorSubscription {
        let subscription = CursorSubscription(
            id: definition.id,
            name: definition.name,
            tenant: definition.tenant,
            topic: definition.topic,
            createdAt: definition.createdAt,
            acknowledged: definition.acknowledged
        )
        subscriptions[definition.id] = subscription
        subscriptionsByName[SubscriptionKey(tenant: definition.tenant, name: definition.name)] = subscription
        nextSubscription = max(nextSubscription, definition.id.rawValue + 1)
        return subscription
    }

    mutating func applySubscriptionDeleted(_ id: SubscriptionID) {
        guard let subscription = subscriptions.removeValue(forKey: id) else { return }
        subscriptionsByName[SubscriptionKey(tenant: subscription.tenant, name: subscription.name)] = nil
    }

    mutating func applyCommit(_ id: SubscriptionID, partition: Int, offset: UInt64) {
        guard let subscription = subscriptions[id], partition < subscription.acknowledged.count else { return }
        subscription.acknowledged[partition] = max(subscription.acknowledged[partition], offset)
    }

    /// Applies a record that recovery found.
    /// - Returns: false where its content is not what its kind needs, which a right checksum leaves to a fault of ours.
    mutating func apply(_ record: LogRecord.View, segment: UInt64) -> Bool {
        epoch = max(epoch, record.epoch)
        var reader = ByteReader(record.payload)
        switch record.kind {
        case .batch:
            guard let topic = reader.read32(), let index = reader.read16(), reader.read16() != nil,
                let batch = BatchView(
                    prefixOf: record.payload.slice(LogRecord.batchPrefixBytes..<record.payload.count)
                )
            else { return false }
            // The record of a topic that is unknown here was damaged. Its number is not used again.
            let id = PartitionID(topic: TopicID(rawValue: topic), index: index)
            guard let (_, partition) = partition(id) else {
                nextTopic = max(nextTopic, topic &+ 1)
                return true
            }
            applyStored(
                baseOffset: batch.baseOffset,
                count: UInt32(batch.recordCount),
                appendTime: batch.appendTime,
                batch: batch,
                in: partition,
                position: record.position,
                recordBytes: record.bytes.count,
                segment: segment
            )
        case .topicCreated:
            guard let definition = TopicDefinition(from: &reader) else { return false }
            applyTopicCreated(definition)
        case .topicDeleted:
            guard let id = reader.read32() else { return false }
            applyTopicDeleted(TopicID(rawValue: id))
        case .subscriptionCreated:
            guard let definition = SubscriptionDefinition(from: &reader) else { return false }
            applySubscriptionCreated(definition)
        case .subscriptionDeleted:
            guard let id = reader.read32() else { return false }
            applySubscriptionDeleted(SubscriptionID(rawValue: id))
        case .commit:
            guard let id = reader.read32(), let partition = reader.read16(), reader.read16() != nil,
                let offset = reader.read64()
            else { return false }
            applyCommit(SubscriptionID(rawValue: id), partition: Int(partition), offset: offset)
        case .opened:
            guard let time = reader.read64() else { return false }
            lastTime = max(lastTime, Timestamp(rawValue: time))
        case .segmentEnd:
            break
        }
        return true
    }
}
