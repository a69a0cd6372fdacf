internal import DequeModule
internal import MessageModel
internal import StorageService

/// Messages of topics that keep nothing, for inboxes that end with the process: they never reach the log.
///
/// A lane of such an inbox is either in memory or in the log, and begins in memory whenever it is empty. What a topic
/// keeps, or another inbox stores, has a copy in memory for lanes that are there. One that gets too long goes into the
/// log as a whole and stays there until it is empty.
extension Shard {
    /// Whether a batch for these inboxes need not be stored.
    func staysInMemory(
        _ batch: BatchView,
        _ traits: BatchTraits,
        _ topic: TopicState,
        _ routes: [InboxRoute],
        _ appending: AppendOptions
    ) -> Bool {
        guard topic.policy.retention == .subscriptions, topic.cursors.isEmpty, topic.readers == 0,
            appending.state == nil, batch.producer == .anonymous,
            traits.isDisjoint(with: [.hasRetained, .hasTombstones])
        else { return false }
        let recordBytes = LogRecord.headerBytes + LogRecord.batchPrefixBytes + batch.byteCount
        return routes.allSatisfy { isInMemory($0.lane, recordBytes: recordBytes, canBegin: true) }
    }

    /// Whether a lane is in memory, or can be because it is empty, and has room for a record there.
    private func isInMemory(_ key: LaneKey, recordBytes: Int, canBegin: Bool) -> Bool {
        guard key.subscription.rawValue >= SubscriptionID.firstTransient,
            log.memory.byteCount <= options.memoryRecordBytes,
            let subscription = state.subscriptions[key.subscription]
        else { return false }
        guard let sequence = subscription.lane(key.lane)?.sequence else { return canBegin }
        guard sequence.memory != nil || canBegin && sequence.index.isEmpty else { return false }
        return sequence.index.bytes + UInt64(recordBytes) <= UInt64(memoryLaneBytes)
    }

    /// One lane goes into the log in a piece, for which a new segment must have room.
    private var memoryLaneBytes: Int { min(options.memoryLaneBytes, options.segmentBytes / 8) }

    /// Publishes a batch that stays in memory.
    func publishInMemory(
        _ session: UInt64,
        _ token: UInt64,
        _ batch: BatchView,
        _ traits: BatchTraits,
        _ topic: TopicState,
        _ partition: PartitionID,
        _ routes: [InboxRoute],
        _ time: Timestamp,
        _ appending: AppendOptions,
        _ report: AppendReport
    ) {
        var report = report
        state.lastTime = max(state.lastTime, time)
        let isWatched = filters[topic.tenant].map { !$0.table.isEmpty } ?? false
        if isWatched || !routes.isEmpty {
            let (position, recordBytes) = makeMemoryRecord(batch, traits, partition, baseOffset: 0, time)
            let entry = IndexEntry(
                baseOffset: 0,
                position: position,
                appendTime: time.rawValue,
                recordBytes: UInt32(recordBytes),
                count: UInt16(batch.recordCount)
            )
            var reached: [(sequence: IndexedSequence, from: UInt64)] = []
            for (number, route) in routes.enumerated() {
                guard let sequence = begin(entry, route) else { continue }
                reached.append((sequence, sequence.nextOffset - UInt64(route.count)))
                if !report.refusals.isEmpty { report.refusals.note(route, number, next: sequence.nextOffset) }
            }
            refuse(report.refusals)
            limit(routes, expires: traits.contains(.hasExpiry), now: time)
            for (sequence, from) in reached { show(sequence, from: from) }
            if isWatched { showLive(batch, at: position, session, token, topic, appending) }
        }
        guard appending.acknowledgement != .none else { return }
        var result = AppendResult(
            baseOffset: .max,
            recordCount: UInt32(batch.recordCount),
            position: LogPosition(rawValue: log.end)
        )
        report.write(to: &result)
        guard definitionsEnd > log.durable else { return reply(session, token, .append(result)) }
        // That no stored inbox wants it must not be forgotten once it is answered.
        log.wantDurable()
        unsettled.append(Unsettled(end: log.end, kind: .answered(session: session, token: token, result)))
    }

    /// Consumers get it at once, unless what is before it in a lane is not durable yet.
    private func show(_ sequence: IndexedSequence, from offset: UInt64) {
        guard sequence.visibleOffset >= offset else { return grew(sequence) }
        sequence.visibleOffset = max(sequence.visibleOffset, sequence.nextOffset)
        if let inbox = sequence.inbox { grew(inbox, lane: sequence.id.index) }
    }

    /// Live filters get it at once, unless what was published before it still waits to be durable.
    private func showLive(
        _ batch: BatchView,
        at position: UInt64,
        _ session: UInt64,
        _ token: UInt64,
        _ topic: TopicState,
        _ appending: AppendOptions
    ) {
        log.memory.retain(position)
        let isRouted =
            batch.attributes.contains(.atMostOnce) || (unsettled.first.map { $0.end > unroutedEnd } ?? true)
        let routable = RoutableBatch(
            session: session,
            owners: appending.owners,
            topic: topic,
            position: position,
            isRouted: isRouted
        )
        if isRouted {
            self.routable.append(routable)
        } else {
            unsettled.append(Unsettled(end: log.end, kind: .published([routable])))
        }
    }

    private func makeMemoryRecord(
        _ batch: BatchView,
        _ traits: BatchTraits,
        _ partition: PartitionID,
        baseOffset: UInt64,
        _ time: Timestamp
    ) -> (position: UInt64, recordBytes: Int) {
        let epoch = log.epoch
        return log.memory.append(.batch, payloadBytes: LogRecord.batchPrefixBytes + batch.byteCount) { payload in
            StoredBatch.write(batch, traits, partition, to: payload, baseOffset: baseOffset, time: time, epoch: epoch)
        }
    }

    /// Messages of a record in memory go to a lane that is there, or is there from now on.
    private func begin(_ template: IndexEntry, _ route: InboxRoute) -> IndexedSequence? {
        guard let subscription = state.subscriptions[route.lane.subscription] else { return nil }
        let lane = subscription.makeLane(route.lane.lane, epoch: state.epoch)
        var entry = template
        entry.baseOffset = lane.sequence.nextOffset
        entry.first = route.first
        entry.count = route.count
        lane.sequence.memory = log.memory
        log.memory.retain(entry.position)
        lane.sequence.index.append(entry, segment: log.active.number)
        lane.sequence.nextOffset = entry.nextOffset
        lane.added(count: Int(route.count), bytes: route.bytes, limitsBytes: subscription.rules.maxBytes > 0)
        return lane.sequence
    }

    // MARK: Beside the log

    /// A batch is about to be stored: lanes in memory that have no room for a copy of it go into the log. So do those for
    /// which it comes of a producer that is known: a copy in the log would count as another batch of it.
    func makeRoomInMemory(for batch: BatchView, _ routes: [InboxRoute]) throws(CommitLog.AppendRefusal) {
        let recordBytes = LogRecord.headerBytes + LogRecord.batchPrefixBytes + batch.byteCount
        for route in routes {
            guard let lane = laneInMemory(route.lane) else { continue }
            if batch.producer == .anonymous, isInMemory(route.lane, recordBytes: recordBytes, canBegin: false) {
                continue
            }
            try sink(lane)
        }
    }

    /// Messages that were stored before are about to be published: the lanes that they go to are in the log from now on.
    func leaveMemory(_ routes: [InboxRoute]) throws(CommitLog.AppendRefusal) {
        for route in routes {
            if let lane = laneInMemory(route.lane) { try sink(lane) }
        }
    }

    private func laneInMemory(_ key: LaneKey) -> Lane? {
        guard key.subscription.rawValue >= SubscriptionID.firstTransient,
            let lane = state.subscriptions[key.subscription]?.lane(key.lane), lane.sequence.memory != nil
        else { return nil }
        return lane
    }

    /// A batch was stored that may also go to lanes in memory.
    /// - Returns: the copy for them; nil where there are none.
    func copyInMemory(
        _ batch: BatchView,
        _ traits: BatchTraits,
        _ partition: PartitionID,
        baseOffset: UInt64,
        _ time: Timestamp,
        _ routes: [InboxRoute]
    ) -> IndexEntry? {
        guard routes.contains(where: { laneInMemory($0.lane) != nil }) else { return nil }
        let (position, recordBytes) = makeMemoryRecord(batch, traits, partition, baseOffset: baseOffset, time)
        return IndexEntry(
            baseOffset: 0,
            position: position,
            appendTime: time.rawValue,
            recordBytes: UInt32(recordBytes),
            count: UInt16(batch.recordCount)
        )
    }

    /// Messages of a copy go to a lane, where that is in memory.
    func keep(_ copy: IndexEntry?, _ route: InboxRoute) -> IndexedSequence? {
        guard let copy, laneInMemory(route.lane) != nil else { return nil }
        return begin(copy, route)
    }

    /// Moves what a lane has in memory into the log: records that are not published by themselves, to which its entries
    /// point from then on.
    private func sink(_ lane: Lane) throws(CommitLog.AppendRefusal) {
        let sequence = lane.sequence
        guard let memory = sequence.memory else { return }
        var places: [UInt64: (position: UInt64, recordBytes: UInt32)] = [:]
        var entries: [IndexEntry] = []
        for var entry in sequence.index.entries {
            if places[entry.position] == nil {
                guard let bytes = memory.bytes(at: entry.position),
                    let view = LogRecord.View(
                        prefixOf: bytes,
                        position: entry.position,
                        identity: log.options.logIdentity
                    ),
                    let stored = StoredBatch(view)
                else { continue }
                let position = try hold(
                    stored.batch,
                    .internalCopy,
                    to: stored.partition,
                    traits: BatchTraits(rawValue: stored.traits),
                    time: stored.batch.appendTime
                )
                places[entry.position] = (position, UInt32(log.end - position))
            }
            guard let place = places[entry.position] else { continue }
            entry.position = place.position
            entry.recordBytes = place.recordBytes
            entries.append(entry)
        }
        sequence.leaveMemory()
        state.replaceEntries(of: sequence, with: entries, segment: log.active.number)
        for entry in entries { noteEntry(pointingTo: entry.position) }
    }
}

extension IndexedSequence {
    /// Lets go of the records of entries in memory that end at or before an offset.
    func releaseMemory(before offset: UInt64 = .max) {
        guard let memory else { return }
        for entry in index.entries {
            guard entry.nextOffset <= offset else { break }
            memory.release(entry.position)
        }
    }

    /// What it had in memory is elsewhere, or nowhere.
    func leaveMemory() {
        releaseMemory()
        memory = nil
    }
}

extension StoredBatch {
    /// Writes what a record of the kind `batch` begins with.
    static func write(
        _ batch: BatchView,
        _ traits: BatchTraits,
        _ partition: PartitionID,
        to payload: UnsafeMutableRawBufferPointer,
        baseOffset: UInt64,
        time: Timestamp,
        epoch: UInt32
    ) {
        payload.store32(partition.topic.rawValue, at: 0)
        payload.store16(partition.index, at: 4)
        payload.store16(traits.rawValue, at: 6)
        let stored = UnsafeMutableRawBufferPointer(rebasing: payload[LogRecord.batchPrefixBytes...])
        stored.copyMemory(from: batch.bytes)
        BatchView.stamp(stored, baseOffset: baseOffset, appendTime: time, epoch: epoch)
    }
}
