internal import MessageModel
internal import StorageService

extension ShardState {
    /// Applies a record that recovery found.
    /// - Returns: false where its content is not what its kind needs, which a right checksum leaves to a fault of ours.
    mutating func apply(_ record: LogRecord.View, segment: UInt64) -> Bool {
        epoch = max(epoch, record.epoch)
        var reader = ByteReader(record.payload)
        switch record.kind {
        case .batch, .held:
            guard let stored = StoredBatch(record) else { return false }
            return apply(stored, record, segment: segment) && applySessionState(stored.rest)
        case .topicCreated:
            guard let definition = TopicDefinition(from: &reader) else { return false }
            applyTopicCreated(definition)
        case .topicDeleted:
            guard let id = reader.read32() else { return false }
            applyTopicDeleted(TopicID(rawValue: id), end: record.position + UInt64(record.bytes.count))
        case .subscriptionCreated:
            guard let definition = SubscriptionDefinition(from: &reader) else { return false }
            applySubscriptionCreated(definition)
        case .subscriptionDeleted:
            guard let id = reader.read32() else { return false }
            applySubscriptionDeleted(SubscriptionID(rawValue: id))
        case .subscriptionChanged:
            guard let id = reader.read32(), let change = SubscriptionChange(from: &reader) else { return false }
            apply(change, to: SubscriptionID(rawValue: id))
        case .commit:
            guard let id = reader.read32(), let partition = reader.read16(), reader.read16() != nil,
                let offset = reader.read64()
            else { return false }
            applyCommit(SubscriptionID(rawValue: id), partition: Int(partition), offset: offset)
        case .delivery:
            return applyDelivery(record.payload)
        case .queued:
            guard let queueing = Queueing(from: &reader) else { return false }
            apply(queueing, segment: segment)
        case .handedOver:
            guard let handedOver = HandedOver(from: &reader) else { return false }
            return apply(handedOver, segment: segment).isWellFormed
        case .sessionState:
            return applySessionState(record.payload)
        case .published:
            guard let publication = Publication(from: &reader) else { return false }
            var reached: [IndexedSequence] = []
            return apply(publication, position: record.position, segment: segment, reached: &reached)
        case .transactionChanged:
            guard let id = reader.read64(), let change = TransactionChange(from: &reader) else { return false }
            apply(change, to: TransactionID(rawValue: id))
        case .withdrawn:
            guard let position = reader.read64(), let place = reader.read32() else { return false }
            held.withdraw(ScheduledID(position: LogPosition(rawValue: position), record: place))
        case .topicTrimmed:
            guard let trim = TopicTrim(from: &reader) else { return false }
            apply(trim)
        case .producerSkipped:
            guard let skip = ProducerSkip(from: &reader) else { return false }
            apply(skip)
        case .partitionCompacted:
            guard let compaction = PartitionCompaction(from: &reader) else { return false }
            apply(compaction)
        case .opened:
            guard let time = reader.read64() else { return false }
            lastTime = max(lastTime, Timestamp(rawValue: time))
            // The life before ended here, and with it what was leased to its attachments.
            restartDelivery()
        case .topicChanged:
            guard let id = reader.read32(), let policy = TopicPolicy(from: &reader) else { return false }
            topics[TopicID(rawValue: id)]?.policy = policy
        case .indexCopy:
            guard let part = IndexCopyPart(record.payload) else { return false }
            apply(part, position: record.position, recordBytes: record.bytes.count, segment: segment)
        case .checkpoint:
            // What it says is what the records before it have said.
            return CheckpointPart(record.payload) != nil
        case .moved:
            guard let moved = MovedRecord(record.payload) else { return false }
            apply(moved, position: record.position, recordBytes: record.bytes.count, segment: segment)
        case .segmentEnd:
            break
        }
        return true
    }

    private mutating func apply(_ stored: StoredBatch, _ record: LogRecord.View, segment: UInt64) -> Bool {
        // The record of a topic that is unknown here was damaged. Its number is not used again.
        guard let (topic, partition) = partition(stored.partition) else {
            nextTopic = max(nextTopic, stored.partition.topic.rawValue &+ 1)
            return true
        }
        let batch = stored.batch
        if stored.hold == .publishedCopy {
            let place = CopyPlace(
                baseOffset: batch.baseOffset,
                time: batch.appendTime,
                position: record.position,
                recordBytes: record.bytes.count,
                segment: segment
            )
            let traits = BatchTraits(rawValue: stored.traits)
            var routes: [InboxRoute] = []
            _ = applyCopy(batch, traits, topic, partition, place, scheduled: stored.scheduled, routes: &routes)
            return applyDelivery(stored.changes)
        }
        if let hold = stored.hold {
            applyHeld(
                hold,
                transaction: TransactionID(rawValue: stored.transaction),
                batch: batch,
                partition: stored.partition,
                position: record.position,
                recordBytes: record.bytes.count,
                traits: BatchTraits(rawValue: stored.traits),
                time: batch.appendTime
            )
            return true
        }
        applyStored(
            baseOffset: batch.baseOffset,
            appendTime: batch.appendTime,
            batch: batch,
            in: partition,
            position: record.position,
            recordBytes: record.bytes.count,
            segment: segment
        )
        leaveTraces(
            of: batch,
            BatchTraits(rawValue: stored.traits),
            topic: topic,
            partition: stored.partition,
            baseOffset: batch.baseOffset,
            time: batch.appendTime,
            position: record.position,
            recordBytes: record.bytes.count,
            segment: segment
        )
        guard hasInboxes(topic.tenant) else { return true }
        var routes: [InboxRoute] = []
        collectRoutes(batch, topic: topic, first: 0, count: batch.recordCount, into: &routes)
        let entry = IndexEntry(
            baseOffset: batch.baseOffset,
            position: record.position,
            appendTime: batch.appendTime.rawValue,
            recordBytes: UInt32(record.bytes.count),
            count: UInt16(batch.recordCount)
        )
        for route in routes { _ = apply(route, entry, segment: segment) }
        return true
    }

    func apply(_ part: IndexCopyPart, position: UInt64, recordBytes: Int, segment: UInt64) {
        let copy = IndexFileTable.Copy(
            position: position,
            segment: segment,
            recordBytes: UInt32(recordBytes),
            fileOffset: part.fileOffset,
            length: UInt32(part.bytes.count)
        )
        files.noteCopy(part.key, copy, isLast: part.isLast)
    }

    mutating func apply(_ moved: MovedRecord, position: UInt64, recordBytes: Int, segment: UInt64) {
        if let topic = moved.topic { former.moved(topic, until: position + UInt64(recordBytes)) }
        let home = Relocations.Home(position: position, recordBytes: UInt32(recordBytes), segment: segment)
        relocations.insert(moved.position, origin: moved.originSegment, base: moved.originBase, home: home)
    }

    mutating func apply(_ trim: TopicTrim) {
        guard let (_, partition) = partition(trim.partition), trim.offset > partition.trimmedOffset else { return }
        partition.trimmedOffset = trim.offset
        files.dropped(partition.index.drop(before: trim.offset))
        // What is not there any more is done, for every subscription.
        guard let (topic, _) = self.partition(trim.partition) else { return }
        for id in topic.cursors {
            guard let lane = subscriptions[id]?.lane(trim.partition.index), lane.delivery.watermark < trim.offset else {
                continue
            }
            lane.delivery.apply(.done(lane.delivery.watermark..<trim.offset), epoch: epoch)
        }
    }
}

/// What stands before an offset of a partition is let go: topic u32, partition u16, zero u16, offset u64.
struct TopicTrim: Equatable {
    var partition: PartitionID
    var offset: UInt64

    func encode(to writer: inout ByteWriter) {
        writer.write32(partition.topic.rawValue)
        writer.write16(partition.index)
        writer.write16(0)
        writer.write64(offset)
    }

    init(partition: PartitionID, offset: UInt64) {
        self.partition = partition
        self.offset = offset
    }

    init?(from reader: inout ByteReader) {
        guard let topic = reader.read32(), let index = reader.read16(), reader.read16() != nil,
            let offset = reader.read64()
        else { return nil }
        self.init(partition: PartitionID(topic: TopicID(rawValue: topic), index: index), offset: offset)
    }
}
