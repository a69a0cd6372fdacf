internal import DequeModule
internal import MessageModel
internal import StorageService

/// Messages that were stored before they are published, and go to more inboxes than one record has room to name.
extension Shard {
    /// Whether a publication fits into a record of the log.
    func canHold(_ items: [Publication.Item], changes: Int = 0) -> Bool {
        log.canHold(payloadBytes: items.reduce(Publication.headBytes + changes) { $0 + $1.encodedBytes })
    }

    /// Publishes a copy of messages that goes where the bindings of now say, with changes of delivery states.
    /// - Parameter scheduled: the message that it is a copy of, where that waited for its time.
    func publishCopy(
        _ copy: BatchView,
        to id: PartitionID,
        scheduled: HeldMessages.Mark?,
        changes: [UInt8],
        now: Timestamp
    ) throws(CommitLog.AppendRefusal) {
        try flushJournal()
        guard let (topic, partition) = state.partition(id) else { return }
        let time = recordTime(now)
        let traits = copy.traits()
        var routes: [InboxRoute] = []
        state.collectRoutes(copy, topic: topic, first: 0, count: copy.recordCount, into: &routes)
        try leaveMemory(routes)
        routes = []
        let baseOffset = partition.nextOffset
        let epoch = log.epoch
        let payloadBytes = StoredBatch.copyPrefixBytes + copy.byteCount + changes.count
        let position = try log.append(.held, payloadBytes: payloadBytes) { payload in
            payload.store32(id.topic.rawValue, at: 0)
            payload.store16(id.index, at: 4)
            payload.store16(traits.rawValue, at: 6)
            payload.store32(UInt32(StoredBatch.Hold.publishedCopy.rawValue), at: 8)
            payload.store32(scheduled?.record ?? 0, at: 12)
            payload.store64(scheduled?.position ?? 0, at: 16)
            payload.store64(scheduled?.due.rawValue ?? 0, at: 24)
            let end = StoredBatch.copyPrefixBytes + copy.byteCount
            let stored = UnsafeMutableRawBufferPointer(rebasing: payload[StoredBatch.copyPrefixBytes..<end])
            stored.copyMemory(from: copy.bytes)
            BatchView.stamp(stored, baseOffset: baseOffset, appendTime: time, epoch: epoch)
            UnsafeMutableRawBufferPointer(rebasing: payload[end...]).copyBytes(from: changes)
        }
        let place = CopyPlace(
            baseOffset: baseOffset,
            time: time,
            position: position,
            recordBytes: Int(log.end - position),
            segment: log.active.number
        )
        let reached = state.applyCopy(copy, traits, topic, partition, place, scheduled: scheduled, routes: &routes)
        for sequence in reached { grew(sequence) }
        if let scheduled { noteUnheld(scheduled.position) }
        _ = changes.withUnsafeBytes { state.applyDelivery($0) }
        log.wantDurable()
        limit(routes, now: now)
        if let routable = routableCopy(copy, topic: topic, first: 0, count: copy.recordCount, time: time) {
            unsettled.append(Unsettled(end: log.end, kind: .published([routable])))
        }
    }
}

/// Where a published copy stands.
struct CopyPlace {
    var baseOffset: UInt64
    var time: Timestamp
    var position: UInt64
    var recordBytes: Int
    var segment: UInt64
}

extension ShardState {
    /// A copy was published when it was stored. Its producer is not looked at: what it is a copy of counted.
    /// - Returns: the sequences that grew.
    mutating func applyCopy(
        _ batch: BatchView,
        _ traits: BatchTraits,
        _ topic: TopicState,
        _ partition: IndexedSequence,
        _ place: CopyPlace,
        scheduled: HeldMessages.Mark?,
        routes: inout [InboxRoute]
    ) -> [IndexedSequence] {
        lastTime = max(lastTime, place.time)
        if let scheduled { held.published(scheduled) }
        // Behind damage the record tells the right offset, as that of a batch does.
        if place.baseOffset >= partition.indexedOffset { partition.nextOffset = place.baseOffset }
        let entry = IndexEntry(
            baseOffset: partition.nextOffset,
            position: place.position,
            appendTime: place.time.rawValue,
            recordBytes: UInt32(place.recordBytes),
            count: UInt16(batch.recordCount)
        )
        append(entry, to: partition, segment: place.segment)
        leaveTraces(
            of: batch,
            traits,
            topic: topic,
            partition: partition.partition,
            baseOffset: entry.baseOffset,
            time: place.time,
            position: place.position,
            recordBytes: place.recordBytes,
            segment: place.segment
        )
        var reached = [partition]
        collectRoutes(batch, topic: topic, first: 0, count: batch.recordCount, into: &routes)
        for route in routes {
            if let lane = apply(route, entry, segment: place.segment) { reached.append(lane.sequence) }
        }
        return reached
    }
}
