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

    // MARK: Due messages

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

    // MARK: Dead letters

    func enqueueDead(_ lane: Lane) {
        guard queuedDead.insert(lane.key).inserted else { return }
        readyDead.append(lane.key)
    }

    /// Moves what is dying to its dead-letter topic.
    func runDead(now: Timestamp, output: any ShardOutput) {
        for _ in 0..<readyDead.count {
            guard let key = readyDead.popFirst() else { return }
            queuedDead.remove(key)
            guard let subscription = state.subscriptions[key.subscription], let lane = subscription.lane(key.lane),
                let first = lane.delivery.dying.firstRange
            else { continue }
            guard !lane.deadPause.isOn(at: now) else { continue }
            guard hasOpened, log.failure == nil, deferred.isEmpty, retryDeadline == nil else {
                // Tried again when there is room.
                waitingDead.insert(key)
                continue
            }
            moveDead(first, of: lane, subscription, now: now, output: output)
        }
    }

    /// What was read for dead letters, or for the head of an inbox, is there.
    func readerOfDeadBecameReady(_ lane: Lane, _ subscription: Subscription) {
        waitingDead.remove(lane.key)
        if !lane.delivery.dying.isEmpty { enqueueDead(lane) }
        if lane.headExpiry < .never { timeIsUp(lane, subscription) }
    }

    /// There may be room again for what waits.
    func wakeDead() {
        let waiting = waitingDead
        waitingDead.removeAll()
        for key in waiting {
            if let lane = state.lane(key) { enqueueDead(lane) }
        }
    }

    private func moveDead(
        _ range: Range<UInt64>,
        of lane: Lane,
        _ subscription: Subscription,
        now: Timestamp,
        output: any ShardOutput
    ) {
        let reader = reader(\.dead, of: lane, subscription, at: range.lowerBound)
        switch reader.next(log: log, requests: &coldRequests) {
        case .batch(let batch, let place):
            lane.deadPause.end()
            let part =
                max(
                    range.lowerBound,
                    place.baseOffset
                )..<min(range.upperBound, place.nextOffset, range.lowerBound + (batch.byteCount > 256 << 10 ? 1 : 256))
            guard !part.isEmpty else {
                finish(range.lowerBound..<min(range.upperBound, place.baseOffset), of: lane, subscription)
                break
            }
            bury(part, batch, place, of: lane, subscription, now: now)
        case .pending:
            // The answer queues the subscription; the lane is looked at then.
            waitingDead.insert(lane.key)
            return
        case .atEnd:
            // It grows when what was published is durable, and is looked at again then.
            guard range.lowerBound < lane.sequence.visibleOffset else { return }
            finish(range, of: lane, subscription)
        case .damaged(let damaged):
            output.warning("dead letters of subscription '\(subscription.name)' are damaged on disk and dropped")
            finish(damaged, of: lane, subscription)
        case .failed(let unreadable):
            if lane.deadPause.begin(now: now) { warnOfReading(unreadable, subscription, output) }
            arm(lane, subscription)
            return
        }
        if !lane.delivery.dying.isEmpty, !waitingDead.contains(lane.key) { enqueueDead(lane) }
    }

    /// Copies messages to the dead-letter topic and finishes them, in one step.
    private func bury(
        _ part: Range<UInt64>,
        _ batch: BatchView,
        _ place: SequenceReader.Place,
        of lane: Lane,
        _ subscription: Subscription,
        now: Timestamp
    ) {
        let time = recordTime(now)
        do throws(CommitLog.AppendRefusal) {
            guard let topic = try deadLetterTopic(of: subscription, time: time) else {
                finish(part, of: lane, subscription)
                return
            }
            let origin = state.topics[place.partition.topic]
            let letters = DeadLetters(
                subscription: subscription.name,
                topic: origin?.info.nameBytes ?? [],
                place: place
            )
            var changes = DeliveryJournal()
            if subscription.isLogged { changes.append(.done(part), to: lane.key) }
            let id = PartitionID(topic: topic.info.id, index: 0)
            var builder = BatchBuilder(capacity: 4_096)
            letters.write(batch, part, lane: lane, into: &builder)
            var refusal: CommitLog.AppendRefusal?
            var isTooLarge = false
            builder.finish { bytes in
                guard let copy = BatchView(prefixOf: bytes),
                    log.canHold(
                        payloadBytes: StoredBatch.copyPrefixBytes + MovedRecord.prefixBytes + 32 + copy.byteCount
                    )
                else {
                    isTooLarge = true
                    return
                }
                do throws(CommitLog.AppendRefusal) {
                    try flushJournal()
                    var item = self.item(
                        copy,
                        copy.traits(),
                        topic: topic,
                        partition: id,
                        position: 0,
                        recordBytes: 0,
                        first: 0,
                        count: copy.recordCount
                    )
                    let done = changes.next()
                    guard canHold([item], changes: done.count) else {
                        return try publishCopy(copy, to: id, scheduled: nil, changes: done, now: now)
                    }
                    item.position = try hold(copy, .internalCopy, to: id, traits: copy.traits(), time: time)
                    item.recordBytes = UInt32(log.end - item.position)
                    let routable = routableCopy(copy, topic: topic, first: 0, count: copy.recordCount, time: time)
                    try publish(
                        Publication(time: time, reason: .moved, items: [item], changes: done),
                        copies: routable.map { [$0] } ?? [],
                        now: now
                    )
                } catch {
                    refusal = error
                }
            }
            if let refusal { throw refusal }
            for sequence in part { lane.reasons[sequence] = nil }
            if !subscription.isLogged || isTooLarge { finish(part, of: lane, subscription) }
            // What was dying took room in the window, and held its keys.
            enqueue(subscription)
        } catch {
            waitingDead.insert(lane.key)
            if case .waitsForSegment = error { return }
            retryDeadline = retryDeadline ?? now.advanced(byMicroseconds: options.fullRetryMicroseconds)
        }
    }

    /// The topic that takes a subscription's dead letters; made where it is not there.
    private func deadLetterTopic(
        of subscription: Subscription,
        time: Timestamp
    ) throws(CommitLog.AppendRefusal) -> TopicState? {
        guard let name = subscription.policy.deadLetterTopic else { return nil }
        if let topic = state.topic(named: name, tenant: subscription.tenant) { return topic }
        let specification = TopicSpecification(name: name)
        guard state.directory.conflict(of: specification, tenant: subscription.tenant) == nil else { return nil }
        let definition = TopicDefinition(
            id: TopicID(rawValue: state.nextTopic),
            tenant: subscription.tenant,
            createdAt: time,
            specification: specification
        )
        var writer = ByteWriter()
        definition.encode(to: &writer)
        let bytes = writer.bytes
        _ = try log.append(.topicCreated, payloadBytes: bytes.count) { $0.copyBytes(from: bytes) }
        return state.applyTopicCreated(definition)
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

/// Copies messages with the story of their deaths as properties.
struct DeadLetters {
    let subscription: String
    /// The topic that they were published to.
    let topic: [UInt8]
    let place: SequenceReader.Place

    /// Their names are below the dead-letter topic what they were.
    func write(_ batch: BatchView, _ part: Range<UInt64>, lane: Lane, into builder: inout BatchBuilder) {
        var properties = PropertyWriter()
        var name: [UInt8] = []
        var cursor = batch.records
        builder.begin()
        while let record = cursor.next() {
            let index = cursor.index - 1
            guard index >= place.first else { continue }
            let sequence = place.baseOffset + UInt64(index - place.first)
            guard sequence >= part.lowerBound else { continue }
            guard sequence < part.upperBound else { break }
            let attempts = lane.delivery.failures(sequence)
            let reason = lane.reasons[sequence] ?? "too many attempts"
            name.removeAll(keepingCapacity: true)
            topic.withUnsafeBytes { record.appendName(topic: $0, to: &name) }
            properties.removeAll()
            var old = PropertyCursor(record.properties)
            while let (id, value) = old.next() {
                // It is not to expire or to wait again there.
                if id == PropertyID.expiry.rawValue || id == PropertyID.deliverAt.rawValue { continue }
                if id == PropertyID.user.rawValue {
                    guard let (name, value) = PropertyCursor.splitUser(value),
                        !name.starts(with: DeadLetterProperty.prefix.utf8)
                    else { continue }
                    properties.appendUser(name: name, value: value)
                } else if let known = PropertyID(rawValue: id) {
                    properties.append(known, value)
                }
            }
            properties.appendUser(name: DeadLetterProperty.reason, value: reason)
            properties.appendUser(name: DeadLetterProperty.subscription, value: subscription)
            properties.appendUser(name: DeadLetterProperty.topic, value: String(decoding: topic, as: UTF8.self))
            properties.appendUser(name: DeadLetterProperty.partition, value: String(place.partition.index))
            properties.appendUser(name: DeadLetterProperty.name, value: String(decoding: name, as: UTF8.self))
            properties.appendUser(name: DeadLetterProperty.attempts, value: String(attempts))
            properties.appendUser(name: DeadLetterProperty.offset, value: String(sequence))
            properties.withBytes { properties in
                name.withUnsafeBytes { name in
                    var fields = RecordFields()
                    fields.routingKey = name
                    fields.orderingKey = record.orderingKey
                    fields.properties = properties
                    fields.body = record.body
                    fields.deliveryClass = record.deliveryClass == .atMostOnce ? .atLeastOnce : record.deliveryClass
                    fields.born = Timestamp(rawValue: batch.baseTimestamp.rawValue &+ record.timestampDelta)
                    builder.append(fields)
                }
            }
        }
    }
}

/// What a dead letter says of itself, as user properties.
package enum DeadLetterProperty {
    package static let prefix = "dead-letter-"
    package static let reason = "dead-letter-reason"
    package static let subscription = "dead-letter-subscription"
    package static let topic = "dead-letter-topic"
    package static let partition = "dead-letter-partition"
    package static let name = "dead-letter-name"
    package static let attempts = "dead-letter-attempts"
    package static let offset = "dead-letter-offset"
}
