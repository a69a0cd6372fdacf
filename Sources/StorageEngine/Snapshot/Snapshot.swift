internal import DequeModule
internal import MessageModel
internal import StorageService

/// The state of a shard at a position of its log, as a file.
///
/// Header of 32 bytes: magic u64, version u32, CRC32C of the version and everything behind this field (seeded with the
/// log's identity) u32, position u64, flags u32 (1: taken at a clean stop, nothing follows it), zero u32. Then epoch u32, last time u64,
/// the next ids of topics and subscriptions, and the topics with their partitions' indexes, the subscriptions and the
/// producers, as `encode` writes them. Derived from the log.
enum Snapshot {
    static let version: UInt32 = 6
    /// The oldest that is read. It has no names of former topics.
    private static let oldestVersion: UInt32 = 5
    static let headerBytes = 32
    static let prefix = "snapshot-"
    /// "SLUICESN" in ASCII.
    private static let magic: UInt64 = 0x4E53_4543_4955_4C53
    private static let isCleanFlag: UInt32 = 1

    static func name(position: UInt64) -> String { prefix + IndexFile.padded(position) }

    /// The position in a snapshot's name; nil for other files.
    static func position(inName name: String) -> UInt64? {
        name.hasPrefix(prefix) ? UInt64(name.dropFirst(prefix.count)) : nil
    }

    // MARK: Writing

    static func encode(_ state: ShardState, position: UInt64, isClean: Bool, identity: UInt32) -> [UInt8] {
        var writer = ByteWriter()
        writer.write64(magic)
        writer.write32(version)
        writer.write32(0)
        writer.write64(position)
        writer.write32(isClean ? isCleanFlag : 0)
        writer.write32(0)
        writer.write32(state.epoch)
        writer.write64(state.lastTime.rawValue)
        writer.write32(state.nextTopic)
        writer.write32(state.nextSubscription)
        state.files.encode(to: &writer)
        state.relocations.encode(to: &writer)
        let topics = state.topics.values.sorted { $0.info.id < $1.info.id }
        writer.write32(UInt32(topics.count))
        for topic in topics {
            TopicDefinition(
                id: topic.info.id,
                tenant: topic.tenant,
                createdAt: topic.createdAt,
                specification: TopicSpecification(
                    name: topic.info.name,
                    partitions: topic.info.partitions,
                    captures: topic.info.captures,
                    policy: topic.policy
                )
            ).encode(to: &writer)
            for partition in topic.partitions { encode(partition, to: &writer) }
        }
        let subscriptions = state.subscriptions.values.filter(\.isLogged).sorted { $0.id.rawValue < $1.id.rawValue }
        writer.write32(UInt32(subscriptions.count))
        for subscription in subscriptions { encode(subscription, to: &writer) }
        state.held.encode(to: &writer)
        encode(state.transactions, to: &writer)
        writer.write32(UInt32(state.producers.states.count))
        for (key, producer) in state.producers.states.sorted(by: { $0.value.lastUse < $1.value.lastUse }) {
            encode(key, producer, to: &writer)
        }
        state.encodeTraces(to: &writer)
        state.encodeSessionStates(to: &writer)
        state.former.encode(to: &writer)
        var bytes = writer.bytes
        bytes.withUnsafeMutableBytes { file in
            file.store32(checksum(UnsafeRawBufferPointer(file), identity: identity), at: 12)
        }
        return bytes
    }

    /// Covers the version too: one that is damaged must not be taken for a newer one, which would stop the server.
    private static func checksum(_ file: UnsafeRawBufferPointer, identity: UInt32) -> UInt32 {
        let version = Checksum.crc32c(file.slice(8..<12), continuing: identity)
        return Checksum.crc32c(file.slice(16..<file.count), continuing: version)
    }

    private static func encode(_ subscription: Subscription, to writer: inout ByteWriter) {
        subscription.definition.encode(to: &writer)
        writer.write(subscription.redrive != nil)
        subscription.redrive?.encode(to: &writer)
        let lanes = subscription.lanes.compactMap { $0 }
        writer.write32(UInt32(lanes.count))
        for lane in lanes {
            writer.write16(lane.key.lane)
            lane.delivery.encode(to: &writer)
            let reasons = lane.reasons.filter { lane.delivery.dying.contains($0.key) }
            writer.write32(UInt32(reasons.count))
            for (sequence, reason) in reasons.sorted(by: { $0.key < $1.key }) {
                writer.write64(sequence)
                writer.write(reason)
            }
            guard subscription.isInbox else { continue }
            encode(lane.sequence, to: &writer)
            writer.write64(lane.sizesStart)
            writer.write32(UInt32(lane.sizes.count))
            for size in lane.sizes { writer.write32(size) }
        }
    }

    private static func encode(_ transactions: [TransactionID: OpenTransaction], to writer: inout ByteWriter) {
        writer.write32(UInt32(transactions.count))
        for (id, transaction) in transactions.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            writer.write64(id.rawValue)
            TransactionChange.begun(
                tenant: transaction.tenant,
                transaction.specification,
                at: transaction.begunAt
            ).encode(to: &writer)
            writer.write32(UInt32(transaction.held.count))
            for held in transaction.held {
                writer.write32(held.partition.topic.rawValue)
                writer.write16(held.partition.index)
                writer.write64(held.position)
                writer.write32(held.recordBytes)
                writer.write16(held.count)
            }
            writer.write32(UInt32(transaction.receipts.count))
            for receipt in transaction.receipts { writer.write(receipt) }
            writer.write32(transaction.checks)
            writer.write64(transaction.lastCheck?.rawValue ?? .max)
        }
    }

    private static func encode(_ partition: IndexedSequence, to writer: inout ByteWriter) {
        writer.write64(partition.nextOffset)
        writer.write64(partition.trimmedOffset)
        writer.write32(UInt32(partition.index.runs.count))
        var before: IndexRun?
        for run in partition.index.runs {
            run.encode(behind: before, to: &writer)
            before = run
        }
        writer.write32(UInt32(partition.index.entries.count))
        for entry in partition.index.entries {
            writer.write64(entry.baseOffset)
            writer.write64(entry.position)
            writer.write64(entry.appendTime)
            writer.write32(entry.recordBytes)
            writer.write16(entry.first)
            writer.write16(entry.count)
        }
        let start = partition.index.entries.startIndex
        writer.write32(UInt32(partition.index.boundaries.count))
        for boundary in partition.index.boundaries {
            writer.write64(boundary.segment)
            writer.write32(UInt32(max(0, boundary.ordinal - start)))
        }
    }

    private static func encode(_ key: ProducerTable.Key, _ state: ProducerTable.State, to writer: inout ByteWriter) {
        writer.write64(key.producer.rawValue)
        writer.write32(key.partition.topic.rawValue)
        writer.write16(key.partition.index)
        writer.write16(state.epoch)
        writer.write32(state.nextSequence)
        writer.write64(state.lastUse)
        writer.write16(UInt16(state.recent.count))
        for batch in state.recent {
            writer.write32(batch.baseSequence)
            writer.write32(batch.count)
            writer.write64(batch.baseOffset)
        }
    }

    // MARK: Reading

    enum Reading {
        case read(ShardState, position: UInt64, isClean: Bool)
        /// Damaged, or of another log: as good as absent.
        case unusable
        case newerVersion(UInt32)
    }

    static func decode(_ bytes: [UInt8], options: ShardOptions) -> Reading {
        bytes.withUnsafeBytes { file in
            guard file.count >= headerBytes, file.load64(0) == magic else { return .unusable }
            guard checksum(file, identity: options.logIdentity) == file.load32(12) else { return .unusable }
            let written = file.load32(8)
            guard written <= version else { return .newerVersion(written) }
            guard written >= oldestVersion else { return .unusable }
            var state = ShardState(options: options)
            var reader = ByteReader(file.slice(headerBytes..<file.count))
            guard decode(&state, from: &reader) != nil else { return .unusable }
            if written > oldestVersion {
                guard let former = FormerTopics(from: &reader) else { return .unusable }
                state.restore(former)
            }
            guard reader.remaining == 0 else { return .unusable }
            return .read(state, position: file.load64(16), isClean: file.load32(24) & isCleanFlag != 0)
        }
    }

    /// Nil where the bytes end early or make no sense.
    private static func decode(
        _ state: inout ShardState,
        from reader: inout ByteReader
    ) -> Void? {
        guard let epoch = reader.read32(), let lastTime = reader.read64(), let nextTopic = reader.read32(),
            let nextSubscription = reader.read32(), state.files.restore(from: &reader),
            state.relocations.restore(from: &reader), let topicCount = reader.read32()
        else { return nil }
        for _ in 0..<topicCount {
            guard let definition = TopicDefinition(from: &reader) else { return nil }
            for partition in state.applyTopicCreated(definition).partitions {
                guard decode(partition, &state, from: &reader) != nil else { return nil }
            }
        }
        guard let subscriptionCount = reader.read32() else { return nil }
        for _ in 0..<subscriptionCount {
            guard decodeSubscription(&state, from: &reader) != nil else { return nil }
        }
        guard state.held.restore(from: &reader), decodeTransactions(&state, from: &reader) != nil else { return nil }
        guard let producerCount = reader.read32() else { return nil }
        for _ in 0..<producerCount {
            guard let (key, producer) = decodeProducer(from: &reader) else { return nil }
            state.producers.restore(key, producer)
        }
        guard state.decodeTraces(from: &reader) != nil, state.decodeSessionStates(from: &reader) != nil else {
            return nil
        }
        _ = state.files.removeUnused()
        state.epoch = epoch
        state.lastTime = Timestamp(rawValue: lastTime)
        state.nextTopic = nextTopic
        state.nextSubscription = nextSubscription
        return ()
    }

    private static func decode(
        _ partition: IndexedSequence,
        _ state: inout ShardState,
        from reader: inout ByteReader
    ) -> Void? {
        guard let nextOffset = reader.read64(), let trimmed = reader.read64(), let runCount = reader.read32() else {
            return nil
        }
        partition.nextOffset = nextOffset
        partition.trimmedOffset = trimmed
        for _ in 0..<runCount {
            guard let run = IndexRun(behind: partition.index.runs.last, from: &reader) else { return nil }
            state.files.added(run.file)
            partition.index.append(run)
        }
        guard let entryCount = reader.read32() else { return nil }
        var entries: [IndexEntry] = []
        for _ in 0..<entryCount {
            guard let offset = reader.read64(), let position = reader.read64(), let time = reader.read64(),
                let recordBytes = reader.read32(), let first = reader.read16(), let count = reader.read16()
            else { return nil }
            entries.append(
                IndexEntry(
                    baseOffset: offset,
                    position: position,
                    appendTime: time,
                    recordBytes: recordBytes,
                    first: first,
                    count: count
                )
            )
        }
        guard let boundaryCount = reader.read32() else { return nil }
        var boundaries: [PartitionIndex.Boundary] = []
        for _ in 0..<boundaryCount {
            guard let segment = reader.read64(), let place = reader.read32(), Int(place) <= entries.count else {
                return nil
            }
            boundaries.append(PartitionIndex.Boundary(segment: segment, ordinal: Int(place)))
            partition.lastSegment = segment
            state.touched[segment, default: []].append(partition)
        }
        partition.index.restore(entries, boundaries: boundaries)
        return ()
    }

    private static func decodeSubscription(_ state: inout ShardState, from reader: inout ByteReader) -> Void? {
        guard let definition = SubscriptionDefinition(from: &reader), let isRedriving = reader.readBool() else {
            return nil
        }
        let subscription = state.applySubscriptionCreated(definition)
        if isRedriving {
            guard let run = RedriveRun(from: &reader) else { return nil }
            subscription.redrive = run
        }
        guard let laneCount = reader.read32() else { return nil }
        for _ in 0..<laneCount {
            guard let number = reader.read16(), let delivery = DeliveryState(from: &reader),
                let reasonCount = reader.read32()
            else { return nil }
            var reasons: [UInt64: String] = [:]
            for _ in 0..<reasonCount {
                guard let sequence = reader.read64(), let reason = reader.readString() else { return nil }
                reasons[sequence] = reason
            }
            guard subscription.isInbox else {
                guard let lane = subscription.lane(number) else { return nil }
                lane.delivery = delivery
                lane.reasons = reasons
                continue
            }
            let lane = subscription.makeLane(number, epoch: 0)
            lane.delivery = delivery
            lane.reasons = reasons
            guard decode(lane.sequence, &state, from: &reader) != nil, let start = reader.read64(),
                let sizeCount = reader.read32()
            else { return nil }
            lane.sizesStart = start
            for _ in 0..<sizeCount {
                guard let size = reader.read32() else { return nil }
                lane.sizes.append(size)
                lane.bytes += UInt64(size)
            }
        }
        return ()
    }

    private static func decodeTransactions(_ state: inout ShardState, from reader: inout ByteReader) -> Void? {
        guard let count = reader.read32() else { return nil }
        for _ in 0..<count {
            guard let id = reader.read64(), let change = TransactionChange(from: &reader),
                case .begun(let tenant, let specification, let time) = change, let heldCount = reader.read32()
            else { return nil }
            var transaction = OpenTransaction(tenant: tenant, specification: specification, begunAt: time)
            for _ in 0..<heldCount {
                guard let topic = reader.read32(), let index = reader.read16(), let position = reader.read64(),
                    let recordBytes = reader.read32(), let records = reader.read16()
                else { return nil }
                transaction.held.append(
                    HeldBatch(
                        partition: PartitionID(topic: TopicID(rawValue: topic), index: index),
                        position: position,
                        recordBytes: recordBytes,
                        count: records
                    )
                )
            }
            guard let receiptCount = reader.read32() else { return nil }
            for _ in 0..<receiptCount {
                guard let receipt = reader.readReceipt() else { return nil }
                transaction.receipts.append(receipt)
            }
            guard let checks = reader.read32(), let last = reader.read64() else { return nil }
            transaction.checks = checks
            transaction.lastCheck = last == .max ? nil : Timestamp(rawValue: last)
            state.transactions[TransactionID(rawValue: id)] = transaction
        }
        return ()
    }

    private static func decodeProducer(
        from reader: inout ByteReader
    ) -> (ProducerTable.Key, ProducerTable.State)? {
        guard let producer = reader.read64(), let topic = reader.read32(), let index = reader.read16(),
            let epoch = reader.read16(), let nextSequence = reader.read32(), let lastUse = reader.read64(),
            let count = reader.read16()
        else { return nil }
        var recent: [ProducerTable.Remembered] = []
        for _ in 0..<count {
            guard let sequence = reader.read32(), let records = reader.read32(), let offset = reader.read64() else {
                return nil
            }
            recent.append(ProducerTable.Remembered(baseSequence: sequence, count: records, baseOffset: offset))
        }
        let partition = PartitionID(topic: TopicID(rawValue: topic), index: index)
        return (
            ProducerTable.Key(producer: ProducerID(rawValue: producer), partition: partition),
            ProducerTable.State(epoch: epoch, nextSequence: nextSequence, recent: recent, lastUse: lastUse)
        )
    }
}
