internal import DequeModule
internal import MessageModel
internal import StorageService

/// Messages that are dead are copied to where the policy says, and done where they were.
extension Shard {
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
            let origin = state.topicName(place.partition.topic)
            let letters = DeadLetters(subscription: subscription.name, topic: origin, place: place)
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
