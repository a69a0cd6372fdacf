internal import MessageModel
internal import StorageService

/// The state of a shard at a position of its log, as a file.
///
/// Header of 32 bytes: magic u64, version u32, CRC32C of the version and everything behind this field (seeded with the
/// log's identity) u32, position u64, flags u32 (1: taken at a clean stop, nothing follows it), zero u32. Then epoch u32, last time u64,
/// the next ids of topics and subscriptions, and the topics with their partitions' indexes, the subscriptions and the
/// producers, as `encode` writes them. Derived from the log.
enum Snapshot {
    static let version: UInt32 = 1
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
                    captures: topic.info.captures
                )
            ).encode(to: &writer)
            for partition in topic.partitions { encode(partition, to: &writer) }
        }
        let subscriptions = state.subscriptions.values.sorted { $0.id.rawValue < $1.id.rawValue }
        writer.write32(UInt32(subscriptions.count))
        for subscription in subscriptions {
            SubscriptionDefinition(
                id: subscription.id,
                tenant: subscription.tenant,
                createdAt: subscription.createdAt,
                topic: subscription.topic,
                name: subscription.name,
                acknowledged: subscription.acknowledged
            ).encode(to: &writer)
        }
        writer.write32(UInt32(state.producers.states.count))
        for (key, producer) in state.producers.states.sorted(by: { $0.value.lastUse < $1.value.lastUse }) {
            encode(key, producer, to: &writer)
        }
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

    private static func encode(_ partition: PartitionState, to writer: inout ByteWriter) {
        writer.write64(partition.nextOffset)
        writer.write32(UInt32(partition.index.runs.count))
        for run in partition.index.runs {
            writer.write64(run.segment)
            writer.write32(run.epoch)
            writer.write64(run.firstOffset)
            writer.write64(run.nextOffset)
            writer.write64(run.firstTime)
            writer.write64(run.lastTime)
            writer.write64(run.fileOffset)
            writer.write32(run.count)
        }
        writer.write32(UInt32(partition.index.entries.count))
        for entry in partition.index.entries {
            writer.write64(entry.baseOffset)
            writer.write64(entry.position)
            writer.write64(entry.appendTime)
            writer.write32(entry.recordBytes)
            writer.write32(entry.count)
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

    /// - Parameter segmentOf: the number of the segment that holds a position; nil where none does.
    static func decode(
        _ bytes: [UInt8],
        identity: UInt32,
        producersRemembered: Int,
        segmentOf: (UInt64) -> UInt64?
    ) -> Reading {
        bytes.withUnsafeBytes { file in
            guard file.count >= headerBytes, file.load64(0) == magic else { return .unusable }
            guard checksum(file, identity: identity) == file.load32(12) else { return .unusable }
            guard file.load32(8) <= version else { return .newerVersion(file.load32(8)) }
            var state = ShardState(producersRemembered: producersRemembered)
            var reader = ByteReader(file.slice(headerBytes..<file.count))
            guard decode(&state, from: &reader, segmentOf: segmentOf) != nil, reader.remaining == 0 else {
                return .unusable
            }
            return .read(state, position: file.load64(16), isClean: file.load32(24) & isCleanFlag != 0)
        }
    }

    /// Nil where the bytes end early or make no sense.
    private static func decode(
        _ state: inout ShardState,
        from reader: inout ByteReader,
        segmentOf: (UInt64) -> UInt64?
    ) -> Void? {
        guard let epoch = reader.read32(), let lastTime = reader.read64(), let nextTopic = reader.read32(),
            let nextSubscription = reader.read32(), let topicCount = reader.read32()
        else { return nil }
        for _ in 0..<topicCount {
            guard let definition = TopicDefinition(from: &reader) else { return nil }
            for partition in state.applyTopicCreated(definition).partitions {
                guard decode(partition, &state, from: &reader, segmentOf: segmentOf) != nil else { return nil }
            }
        }
        guard let subscriptionCount = reader.read32() else { return nil }
        for _ in 0..<subscriptionCount {
            guard let definition = SubscriptionDefinition(from: &reader) else { return nil }
            state.applySubscriptionCreated(definition)
        }
        guard let producerCount = reader.read32() else { return nil }
        for _ in 0..<producerCount {
            guard let (key, producer) = decodeProducer(from: &reader) else { return nil }
            state.producers.restore(key, producer)
        }
        state.epoch = epoch
        state.lastTime = Timestamp(rawValue: lastTime)
        state.nextTopic = nextTopic
        state.nextSubscription = nextSubscription
        return ()
    }

    private static func decode(
        _ partition: PartitionState,
        _ state: inout ShardState,
        from reader: inout ByteReader,
        segmentOf: (UInt64) -> UInt64?
    ) -> Void? {
        guard let nextOffset = reader.read64(), let runCount = reader.read32() else { return nil }
        partition.nextOffset = nextOffset
        for _ in 0..<runCount {
            guard let segment = reader.read64(), let epoch = reader.read32(), let first = reader.read64(),
                let next = reader.read64(), let firstTime = reader.read64(), let lastTime = reader.read64(),
                let place = reader.read64(), let count = reader.read32()
            else { return nil }
            partition.index.append(
                IndexRun(
                    segment: segment,
                    epoch: epoch,
                    firstOffset: first,
                    nextOffset: next,
                    firstTime: firstTime,
                    lastTime: lastTime,
                    fileOffset: place,
                    count: count
                )
            )
        }
        guard let entryCount = reader.read32() else { return nil }
        for _ in 0..<entryCount {
            guard let offset = reader.read64(), let position = reader.read64(), let time = reader.read64(),
                let recordBytes = reader.read32(), let count = reader.read32()
            else { return nil }
            partition.index.append(
                IndexEntry(
                    baseOffset: offset,
                    position: position,
                    appendTime: time,
                    recordBytes: recordBytes,
                    count: count
                )
            )
            if let segment = segmentOf(position), partition.lastSegment != segment {
                partition.lastSegment = segment
                state.touched[segment, default: []].append(partition)
            }
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
