internal import DequeModule
package import MessageModel
package import StorageService

extension Shard {
    /// Appends a verified batch, see `StorageSession.append`.
    package func append(
        session: UInt64,
        batch: BatchView,
        to id: PartitionID,
        options appending: AppendOptions,
        token: UInt64,
        now: Timestamp
    ) {
        guard let (topic, partition) = state.partition(id) else {
            reply(session, token, .append(AppendResult(error: .topicNotFound)))
            return
        }
        // One that waited for a segment was checked before, and is stored though its session may be closed.
        if let slot = slot(session), sessions[slot].tenant != topic.tenant {
            reply(session, token, .append(AppendResult(error: .topicNotFound)))
            return
        }
        guard deferred.isEmpty, hasOpened else {
            deferAppend(session, batch, id, appending, token)
            return
        }
        guard !refusesMessages else {
            reply(session, token, .append(AppendResult(error: .storageFull)))
            return
        }
        guard batch.byteCount <= options.batchBytes,
            log.canHold(
                payloadBytes: StoredBatch.copyPrefixBytes + MovedRecord.prefixBytes + batch.byteCount
                    + (appending.state?.byteCount ?? 0)
            )
        else {
            reply(session, token, .append(AppendResult(error: .tooLarge)))
            return
        }
        if let changes = appending.state, let problem = problem(of: changes, tenant: topic.tenant) {
            reply(session, token, .append(AppendResult(error: problem.code)))
            return
        }
        if batch.producer != .anonymous,
            answerKnown(batch, partition, session: session, token: token, appending.acknowledgement)
        {
            return
        }
        let time = recordTime(now)
        let traits = appending.traits ?? batch.traits()
        do throws(CommitLog.AppendRefusal) {
            if topic.policy.deduplicationMicroseconds > 0, traits.contains(.hasMessageIDs) {
                try storeNew(of: batch, traits, topic, partition, appending, session, token, time)
            } else {
                try store(batch, traits, topic, partition, appending, session, token, time)
            }
        } catch {
            refuse(error, now: now) { code in
                reply(session, token, .append(AppendResult(error: code)))
            } deferring: {
                deferAppend(session, batch, id, appending, token)
            }
        }
    }

    /// Stores a batch: visible at once, at a time, or with a transaction.
    /// - Parameter places: of its records in the batch that was sent, where that had others besides.
    func store(
        _ batch: BatchView,
        _ traits: BatchTraits,
        _ topic: TopicState,
        _ partition: IndexedSequence,
        _ appending: AppendOptions,
        _ session: UInt64,
        _ token: UInt64,
        _ time: Timestamp,
        places: [UInt32]? = nil
    ) throws(CommitLog.AppendRefusal) {
        let id = partition.partition
        if let transaction = appending.transaction {
            guard isOpen(transaction, topic.tenant) else {
                reply(session, token, .append(AppendResult(error: .notFound)))
                return
            }
            _ = try hold(batch, .prepared, transaction: transaction, to: id, traits: traits, time: time)
            if let changes = appending.state { gather(changes, now: time) }
            held(session, token, batch, nil, appending.acknowledgement)
            return
        }
        if traits.contains(.hasDeliverAt), let latest = batch.latestDelivery, latest > time {
            guard latest <= time.advanced(byMicroseconds: topic.policy.maxDelayMicroseconds) else {
                reply(session, token, .append(AppendResult(error: .invalidArgument)))
                return
            }
            let position = try hold(batch, .scheduled, to: id, traits: traits, time: time)
            let first = ScheduledID(position: LogPosition(rawValue: position), record: 0)
            if let changes = appending.state { gather(changes, now: time) }
            held(session, token, batch, first, appending.acknowledgement)
            return
        }
        try publishNow(session, token, batch, topic, partition, traits, time, appending, places)
    }

    func isOpen(_ transaction: TransactionID, _ tenant: TenantID) -> Bool {
        state.transactions[transaction]?.tenant == tenant && !committing.contains(transaction)
    }

    /// A batch was stored that is published later.
    private func held(
        _ session: UInt64,
        _ token: UInt64,
        _ batch: BatchView,
        _ scheduled: ScheduledID?,
        _ acknowledgement: Acknowledgement
    ) {
        guard acknowledgement != .none else { return }
        let result = AppendResult(
            baseOffset: .max,
            recordCount: UInt32(batch.recordCount),
            position: LogPosition(rawValue: log.end),
            scheduled: scheduled
        )
        log.wantDurable()
        unsettled.append(Unsettled(end: log.end, kind: .answered(session: session, token: token, result)))
    }

    /// Stores a batch whose messages are visible as soon as it is durable.
    private func publishNow(
        _ session: UInt64,
        _ token: UInt64,
        _ batch: BatchView,
        _ topic: TopicState,
        _ partition: IndexedSequence,
        _ traits: BatchTraits,
        _ time: Timestamp,
        _ appending: AppendOptions,
        _ places: [UInt32]?
    ) throws(CommitLog.AppendRefusal) {
        var changes: [UInt8] = []
        if let state = appending.state {
            // What was changed before stands before it.
            try flushJournal()
            changes = StateJournal.encode(state)
        }
        var routes = self.routes
        self.routes = []
        routes.removeAll(keepingCapacity: true)
        defer { self.routes = routes }
        var areLimited = false
        var refusals = Refusals()
        if state.hasInboxes(topic.tenant) {
            state.collectRoutes(batch, topic: topic, first: 0, count: batch.recordCount, into: &routes)
            areLimited = routes.contains(where: \.isLimited)
            if areLimited, !hasRoom(for: routes) {
                guard appending.refusesSingly else {
                    reply(session, token, .append(AppendResult(error: .quotaExceeded)))
                    return
                }
                refusals = self.refusals(of: batch, routes)
            }
        }
        let unrouted = appending.reportsUnrouted ? unrouted(batch, topic, routes) : []
        let id = partition.partition
        if staysInMemory(batch, traits, topic, routes, appending) {
            let report = AppendReport(unrouted: unrouted, refusals: refusals, places: places)
            return publishInMemory(session, token, batch, traits, topic, id, routes, time, appending, report)
        }
        try makeRoomInMemory(for: batch, routes)
        let baseOffset = partition.nextOffset
        let epoch = log.epoch
        let payloadBytes = LogRecord.batchPrefixBytes + batch.byteCount + changes.count
        let position = try log.append(.batch, payloadBytes: payloadBytes) { payload in
            StoredBatch.write(batch, traits, id, to: payload, baseOffset: baseOffset, time: time, epoch: epoch)
            if !changes.isEmpty {
                let end = LogRecord.batchPrefixBytes + batch.byteCount
                UnsafeMutableRawBufferPointer(rebasing: payload[end...]).copyBytes(from: changes)
            }
        }
        if !changes.isEmpty { _ = changes.withUnsafeBytes { state.applySessionState($0) } }
        let segment = log.active.number
        let recordBytes = Int(log.end - position)
        state.applyStored(
            baseOffset: baseOffset,
            appendTime: time,
            batch: batch,
            in: partition,
            position: position,
            recordBytes: recordBytes,
            segment: segment
        )
        grew(partition)
        state.leaveTraces(
            of: batch,
            traits,
            topic: topic,
            partition: id,
            baseOffset: baseOffset,
            time: time,
            position: position,
            recordBytes: recordBytes,
            segment: segment
        )
        if !routes.isEmpty {
            let entry = IndexEntry(
                baseOffset: baseOffset,
                position: position,
                appendTime: time.rawValue,
                recordBytes: UInt32(recordBytes),
                count: UInt16(batch.recordCount)
            )
            let copy = copyInMemory(batch, traits, id, baseOffset: baseOffset, time, routes)
            for (number, route) in routes.enumerated() {
                guard
                    let sequence = keep(copy, route) ?? state.apply(route, entry, segment: segment)?.sequence
                else { continue }
                grew(sequence)
                if !refusals.isEmpty { refusals.note(route, number, next: sequence.nextOffset) }
            }
            refuse(refusals)
            let expires = traits.contains(.hasExpiry)
            if areLimited || expires { limit(routes, expires: expires, now: time) }
        }
        stored(
            session: session,
            token: token,
            batch: batch,
            topic: topic,
            baseOffset: baseOffset,
            position: position,
            appending,
            AppendReport(unrouted: unrouted, refusals: refusals, places: places)
        )
    }

    /// The batch is in the log's memory: who is to be told, and when.
    private func stored(
        session: UInt64,
        token: UInt64,
        batch: BatchView,
        topic: TopicState,
        baseOffset: UInt64,
        position: UInt64,
        _ appending: AppendOptions,
        _ report: AppendReport
    ) {
        let acknowledgement = appending.acknowledgement
        // What its publisher does not wait for is not waited for by live filters, unless something before it is.
        let isRouted =
            batch.attributes.contains(.atMostOnce)
            || (acknowledgement == .received && (unsettled.first.map { $0.end > unroutedEnd } ?? true))
        if !isRouted { unroutedEnd = log.end }
        let routable = RoutableBatch(
            session: session,
            owners: appending.owners,
            topic: topic,
            position: position,
            isRouted: isRouted
        )
        if routable.isRouted { self.routable.append(routable) }
        var result = AppendResult(
            baseOffset: baseOffset,
            recordCount: UInt32(batch.recordCount),
            position: LogPosition(rawValue: log.end)
        )
        report.write(to: &result)
        unsettled.append(
            Unsettled(
                end: log.end,
                kind: .batch(
                    session: session,
                    token: token,
                    routable,
                    result,
                    acknowledges: acknowledgement == .durable
                )
            )
        )
        switch acknowledgement {
        case .none: break
        case .received:
            unwritten.append(
                Unsettled(
                    end: log.end,
                    kind: .batch(session: session, token: token, routable, result, acknowledges: true)
                )
            )
        case .durable: log.wantDurable()
        }
    }

    /// Answers a batch that must not be appended; false for a new one.
    private func answerKnown(
        _ batch: BatchView,
        _ partition: IndexedSequence,
        session: UInt64,
        token: UInt64,
        _ acknowledgement: Acknowledgement
    ) -> Bool {
        switch state.producers.judge(batch, partition: partition.partition) {
        case .new:
            return false
        case .fenced:
            reply(session, token, .append(AppendResult(error: .producerFenced)))
        case .gap:
            reply(session, token, .append(AppendResult(error: .sequenceGap)))
        case .duplicate(let baseOffset):
            answerDuplicate(batch, at: baseOffset ?? .max, session, token, acknowledgement)
        }
        return true
    }

    /// All of a batch was stored before.
    func answerDuplicate(
        _ batch: BatchView,
        at baseOffset: UInt64,
        _ session: UInt64,
        _ token: UInt64,
        _ acknowledgement: Acknowledgement
    ) {
        guard acknowledgement != .none else { return }
        guard log.failure == nil else {
            reply(session, token, .append(AppendResult(error: .storageUnavailable)))
            return
        }
        let result = AppendResult(
            baseOffset: baseOffset,
            recordCount: UInt32(batch.recordCount),
            isDuplicate: true,
            position: LogPosition(rawValue: log.end)
        )
        // The first one may still be on its way to the disk: everything so far must be there before this is said.
        log.wantDurable()
        unsettled.append(Unsettled(end: log.end, kind: .answered(session: session, token: token, result)))
    }

    private func deferAppend(
        _ session: UInt64,
        _ batch: BatchView,
        _ id: PartitionID,
        _ options: AppendOptions,
        _ token: UInt64
    ) {
        if log.failure != nil {
            reply(session, token, .append(AppendResult(error: .storageUnavailable)))
            return
        }
        guard deferredBytes + batch.byteCount <= self.options.deferredBytes else {
            reply(session, token, .append(AppendResult(error: .busy)))
            return
        }
        deferredBytes += batch.byteCount
        deferred.append(.append(session: session, Array(batch.bytes), id, options, token: token))
    }

    /// Why the log took no record, as its caller hears it.
    func refuse(
        _ refusal: CommitLog.AppendRefusal,
        now: Timestamp,
        _ answer: (ErrorCode) -> Void,
        deferring: () -> Void
    ) {
        switch refusal {
        case .waitsForSegment:
            deferring()
        case .full:
            retryDeadline = retryDeadline ?? now.advanced(byMicroseconds: options.fullRetryMicroseconds)
            answer(.storageFull)
        case .failed:
            // Where only the next segment could not be made, it is tried again.
            if log.failure == nil {
                retryDeadline = retryDeadline ?? now.advanced(byMicroseconds: options.fullRetryMicroseconds)
            }
            answer(.storageUnavailable)
        }
    }

    /// Something that nobody waits for found no room in the log: a segment that was refused is asked for again.
    func retryLater(_ refusal: CommitLog.AppendRefusal) {
        // One that is being made wakes the shard by itself.
        if case .waitsForSegment = refusal { return }
        guard log.failure == nil else { return }
        retryDeadline = retryDeadline ?? clock.advanced(byMicroseconds: options.fullRetryMicroseconds)
    }
}

extension BatchView {
    /// The latest time that a record waits for; nil where none does.
    var latestDelivery: Timestamp? {
        var latest: UInt64?
        var cursor = records
        while let record = cursor.next() {
            if let time = PropertyCursor.number(.deliverAt, in: record.properties) { latest = max(latest ?? 0, time) }
        }
        return latest.map { Timestamp(rawValue: $0) }
    }
}
