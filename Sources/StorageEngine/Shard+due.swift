internal import DequeModule
internal import MessageModel
internal import StorageService

/// Messages that wait for their time: published when it has come, or withdrawn before.
extension Shard {
    var canPublishDue: Bool {
        dueFetch == nil && hasOpened && log.failure == nil && deferred.isEmpty && retryDeadline == nil
    }

    /// Publishes messages whose time has come, in the order of their times.
    func publishDue(now: Timestamp) {
        guard canPublishDue else { return }
        let isDue = state.held.timers.first.map { $0.due <= now.rawValue } ?? false
        guard isDue || !state.held.leaving.isEmpty else { return }
        if let pause = duePause, now < pause { return }
        duePause = nil
        let time = recordTime(now)
        while state.held.leaving.count < options.publishedAtOnce, state.held.popDue(now: time) != nil {}
        readDue(now: now)
    }

    private func readDue(now: Timestamp) {
        let due = Array(state.held.leaving.prefix(options.publishedAtOnce))
        guard !due.isEmpty else { return }
        // Messages of one batch that are due together are read once.
        var positions: [UInt64] = []
        for entry in due where positions.last != entry.payload { positions.append(entry.payload) }
        var items: [Publication.Item] = []
        var copies: [RoutableBatch] = []
        var entries = due[...]
        var alone: DueCopy?
        // With many inboxes or long names to note, fewer fit into one record: the others follow with the next.
        var room = min(1 << 20, options.segmentBytes / 4)
        let fetch = RecordFetch(positions, readBytes: 4_096) { shard, place, stored in
            while room > 0, let entry = entries.first, entry.payload == positions[place] {
                entries.removeFirst()
                let count = copies.count
                shard.collectDue(entry, stored, &items, &copies)
                room -= items.last?.encodedBytes ?? 0
                guard !shard.canHold(items), let large = items.popLast() else { continue }
                // It follows with the next, or goes alone.
                room = 0
                copies.removeLast(copies.count - count)
                if items.isEmpty, let stored { alone = shard.copy(of: large, stored) }
            }
        } completion: { shard in
            shard.dueFetch = nil
            shard.dueReadPause.end()
            if let alone { shard.publishAlone(alone) } else { shard.publishDue(items, copies) }
        } failure: { shard in
            shard.dueFetch = nil
            _ = shard.dueReadPause.begin(now: shard.clock)
            shard.duePause = shard.dueReadPause.until
        }
        dueFetch = fetch
        enqueue(fetch)
    }

    private func collectDue(
        _ entry: TimerEntry,
        _ stored: StoredBatch?,
        _ items: inout [Publication.Item],
        _ copies: inout [RoutableBatch]
    ) {
        let due = Timestamp(rawValue: entry.due)
        let record = Int(entry.detail)
        guard let stored, record < stored.batch.recordCount, let (topic, _) = state.partition(stored.partition) else {
            // Its topic is gone, or it is damaged: it counts as published, and reaches nobody.
            items.append(
                Publication.Item(
                    partition: PartitionID(topic: TopicID(rawValue: .max), index: 0),
                    position: entry.payload,
                    recordBytes: 0,
                    first: UInt16(record),
                    count: 1,
                    routes: [],
                    due: due
                )
            )
            return
        }
        items.append(
            item(
                stored.batch,
                BatchTraits(rawValue: stored.traits),
                topic: topic,
                partition: stored.partition,
                position: entry.payload,
                recordBytes: UInt32(
                    LogRecord.roundUp(LogRecord.headerBytes + StoredBatch.heldPrefixBytes + stored.batch.byteCount)
                ),
                first: record,
                count: 1,
                due: due
            )
        )
        if let copy = routableCopy(stored.batch, topic: topic, first: record, count: 1, time: state.lastTime) {
            copies.append(copy)
        }
    }

    /// A due message that is published by a copy.
    private struct DueCopy {
        var bytes: [UInt8]
        var partition: PartitionID
        var mark: HeldMessages.Mark
    }

    private func copy(of item: Publication.Item, _ stored: StoredBatch) -> DueCopy {
        var copy = DueCopy(
            bytes: [],
            partition: item.partition,
            mark: HeldMessages.Mark(due: item.due, position: item.position, record: UInt32(item.first))
        )
        _ = BatchExcerpt.write(
            stored.batch,
            first: Int(item.first),
            count: Int(item.count),
            baseOffset: 0,
            appendTime: .zero,
            into: &copy.bytes
        )
        return copy
    }

    private func publishAlone(_ due: DueCopy) {
        do throws(CommitLog.AppendRefusal) {
            try withBatch(due.bytes) { (batch) throws(CommitLog.AppendRefusal) in
                try publishCopy(batch, to: due.partition, scheduled: due.mark, changes: [], now: state.lastTime)
            }
        } catch {
            dueWasRefused(error)
        }
    }

    private func dueWasRefused(_ refusal: CommitLog.AppendRefusal) {
        // They stand in `leaving` and are tried again.
        if case .waitsForSegment = refusal { return }
        retryDeadline = retryDeadline ?? state.lastTime.advanced(byMicroseconds: options.fullRetryMicroseconds)
    }

    func withBatch(
        _ bytes: [UInt8],
        _ body: (BatchView) throws(CommitLog.AppendRefusal) -> Void
    ) throws(CommitLog.AppendRefusal) {
        var refusal: CommitLog.AppendRefusal?
        bytes.withUnsafeBytes { bytes in
            guard let batch = BatchView(prefixOf: bytes) else { return }
            do throws(CommitLog.AppendRefusal) { try body(batch) } catch { refusal = error }
        }
        if let refusal { throw refusal }
    }

    private func publishDue(_ items: [Publication.Item], _ copies: [RoutableBatch]) {
        let publication = Publication(time: state.lastTime, reason: .due, items: items)
        do throws(CommitLog.AppendRefusal) {
            try publish(publication, copies: copies, now: state.lastTime)
            let oldest = items.first?.due ?? .never
            if state.lastTime.rawValue > oldest.rawValue &+ 1_000_000 {
                // A backlog: the rest follows at a rate.
                let pause = UInt64(items.count) * 1_000_000 / UInt64(max(1, options.overduePerSecond))
                duePause = state.lastTime.advanced(byMicroseconds: pause)
            }
        } catch {
            dueWasRefused(error)
        }
    }

    /// Withdraws a message that waits for its time.
    func cancelScheduled(_ id: ScheduledID, tenant: TenantID, session: UInt64, token: UInt64, now: Timestamp) {
        let unknown = SluiceError(.notFound, "no message waits for its time under this id")
        let fetch = RecordFetch([id.position.rawValue], readBytes: 4_096) { shard, _, stored in
            guard let stored, stored.hold == .scheduled, let (topic, _) = shard.state.partition(stored.partition),
                topic.tenant == tenant, let due = stored.due(record: Int(id.record))
            else { return shard.reply(session, token, .request(.failure(unknown))) }
            shard.withdraw(id, due: due, session: session, token: token, now: now, unknown: unknown)
        } completion: { _ in
        } failure: { shard in
            shard.reply(session, token, .request(.failure(shard.unreadable())))
        }
        enqueue(fetch)
    }

    private func withdraw(
        _ id: ScheduledID,
        due: Timestamp,
        session: UInt64,
        token: UInt64,
        now: Timestamp,
        unknown: SluiceError
    ) {
        let mark = HeldMessages.Mark(due: due, position: id.position.rawValue, record: id.record)
        let isLeaving = state.held.leaving.contains {
            $0.payload == id.position.rawValue && $0.detail == id.record
        }
        guard mark > state.held.published, mark > state.held.passed, !state.held.withdrawn.contains(id), !isLeaving
        else {
            return reply(session, token, .request(.failure(unknown)))
        }
        do throws(CommitLog.AppendRefusal) {
            guard hasOpened, deferred.isEmpty else { throw .waitsForSegment }
            _ = try log.append(.withdrawn, payloadBytes: 12) { payload in
                payload.store64(id.position.rawValue, at: 0)
                payload.store32(id.record, at: 8)
            }
            state.held.withdraw(id)
            noteUnheld(id.position.rawValue)
            answerDurably(session, token, .done)
        } catch {
            refuse(error, now: now) { code in
                reply(session, token, .request(.failure(SluiceError(code, code.rendering.title))))
            } deferring: {
                deferRequest(session, .cancelScheduled(id), token)
            }
        }
    }
}

extension StoredBatch {
    /// When a message of a scheduled batch is due.
    func due(record index: Int) -> Timestamp? {
        guard index < batch.recordCount else { return nil }
        var cursor = batch.records
        while let record = cursor.next() {
            guard cursor.index - 1 == index else { continue }
            let due = PropertyCursor.number(.deliverAt, in: record.properties) ?? 0
            return Timestamp(rawValue: max(due, batch.appendTime.rawValue))
        }
        return nil
    }
}
