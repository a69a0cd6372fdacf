internal import DequeModule
internal import MessageModel
internal import StorageService

/// Messages that were stored before they are published: those whose time comes, those of transactions, dead letters.
extension Shard {
    // MARK: Holding

    /// Stores a batch without publishing it.
    /// - Returns: its position.
    func hold(
        _ batch: BatchView,
        _ hold: StoredBatch.Hold,
        transaction: TransactionID = TransactionID(rawValue: 0),
        to id: PartitionID,
        traits: BatchTraits,
        time: Timestamp
    ) throws(CommitLog.AppendRefusal) -> UInt64 {
        let epoch = log.epoch
        let position = try log.append(.held, payloadBytes: StoredBatch.heldPrefixBytes + batch.byteCount) { payload in
            payload.store32(id.topic.rawValue, at: 0)
            payload.store16(id.index, at: 4)
            payload.store16(traits.rawValue, at: 6)
            payload.store64(0, at: 8)
            payload[8] = hold.rawValue
            payload.store64(transaction.rawValue, at: 16)
            let stored = UnsafeMutableRawBufferPointer(rebasing: payload[StoredBatch.heldPrefixBytes...])
            stored.copyMemory(from: batch.bytes)
            BatchView.stamp(stored, baseOffset: 0, appendTime: time, epoch: epoch)
        }
        state.applyHeld(
            hold,
            transaction: transaction,
            batch: batch,
            partition: id,
            position: position,
            recordBytes: Int(log.end - position),
            traits: traits,
            time: time
        )
        if hold == .scheduled { reclaiming.held[log.active.number, default: 0] += batch.recordCount }
        return position
    }

    // MARK: Publishing

    /// Where a held batch goes, by the bindings of now.
    func item(
        _ batch: BatchView,
        _ traits: BatchTraits,
        topic: TopicState,
        partition: PartitionID,
        position: UInt64,
        recordBytes: UInt32,
        first: Int,
        count: Int,
        due: Timestamp = .zero
    ) -> Publication.Item {
        var routes: [InboxRoute] = []
        state.collectRoutes(batch, topic: topic, first: first, count: count, into: &routes)
        var traces: [MessageTrace] = []
        state.collectTraces(batch, traits, topic: topic, first: first, count: count, into: &traces)
        return Publication.Item(
            partition: partition,
            position: position,
            recordBytes: recordBytes,
            first: UInt16(first),
            count: UInt16(count),
            routes: routes,
            due: due,
            traces: traces
        )
    }

    /// Gives the items the offsets that they will have.
    private func giveOffsets(_ items: inout [Publication.Item]) {
        var next: [PartitionID: UInt64] = [:]
        for place in items.indices {
            let id = items[place].partition
            guard let offset = next[id] ?? state.partition(id)?.partition.nextOffset else { continue }
            items[place].baseOffset = offset
            next[id] = offset + UInt64(items[place].count)
        }
    }

    /// Publishes held messages in one record, with changes of delivery states.
    /// - Parameter copies: their batches, for live subscriptions.
    func publish(
        _ publication: Publication,
        copies: [RoutableBatch],
        now: Timestamp
    ) throws(CommitLog.AppendRefusal) {
        try flushJournal()
        for item in publication.items { try leaveMemory(item.routes) }
        var publication = publication
        giveOffsets(&publication.items)
        var writer = ByteWriter()
        publication.encode(to: &writer)
        let bytes = writer.bytes
        let position = try log.append(.published, payloadBytes: bytes.count) { $0.copyBytes(from: bytes) }
        var reached: [IndexedSequence] = []
        _ = state.apply(publication, position: position, segment: log.active.number, reached: &reached)
        for sequence in reached { grew(sequence) }
        notePublished(publication)
        // Its time has come, or somebody waits for it.
        log.wantDurable()
        for item in publication.items { limit(item.routes, now: now) }
        if !copies.isEmpty {
            unroutedEnd = log.end
            unsettled.append(Unsettled(end: log.end, kind: .published(copies)))
        }
    }

    /// Readers see what a sequence got once it is durable.
    func grew(_ sequence: IndexedSequence) {
        growth.append(Growth(end: log.end, sequence: sequence, nextOffset: sequence.nextOffset))
        if let topic = sequence.topic, topic.policy.trims {
            noteRetention(topic)
            noteSize(topic)
        }
    }

    /// A batch for live subscriptions of what is published later than it was stored.
    func routableCopy(_ batch: BatchView, topic: TopicState, first: Int, count: Int, time: Timestamp) -> RoutableBatch?
    {
        guard filters[topic.tenant]?.table.isEmpty == false else { return nil }
        var copy: [UInt8] = []
        guard BatchExcerpt.write(batch, first: first, count: count, baseOffset: 0, appendTime: time, into: &copy) else {
            return nil
        }
        return RoutableBatch(session: .max, topic: topic, position: 0, isRouted: false, copy: copy)
    }
}
