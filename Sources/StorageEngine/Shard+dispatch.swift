internal import DequeModule
internal import MessageModel
internal import StorageService

/// Consumers: messages are leased to those that have credit, in the order of their sequences, those that are to be
/// delivered again before fresh ones.
extension Shard {
    func enqueue(_ subscription: Subscription) {
        guard !subscription.isQueued, !subscription.isDeleted else { return }
        subscription.isQueued = true
        readySubscriptions.append(subscription)
    }

    func dispatch(now: Timestamp, output: any ShardOutput) {
        // Those that are queued while this runs have their turn in the next round.
        for _ in 0..<readySubscriptions.count {
            guard let subscription = readySubscriptions.popFirst() else { return }
            subscription.isQueued = false
            guard !subscription.isDeleted else { continue }
            if !subscription.leaseRequests.isEmpty { serveLeaseRequests(of: subscription, now: now, output: output) }
            guard !subscription.isPaused, !subscription.consumers.isEmpty else { continue }
            dispatch(subscription, now: now, output: output)
        }
    }

    enum Step {
        /// Something was delivered, of so many bytes.
        case delivered(Int)
        /// Something was passed over: go on.
        case passed
        case nothing
        /// Something is being read from the device.
        case waits
        /// Something cannot be read now.
        case failed
    }

    private func dispatch(_ subscription: Subscription, now: Timestamp, output: any ShardOutput) {
        var budget = options.deliveryBytesPerRound
        // Passing over what nobody wants costs time too.
        var passes = 1_000
        while budget > 0, passes > 0 {
            guard let consumer = nextConsumer(of: subscription) else { return }
            switch deliverNext(of: subscription, to: consumer, now: now, output: output) {
            case .delivered(let bytes):
                budget -= bytes
                if subscription.consumers.count > 1,
                    let place = subscription.consumers.firstIndex(where: { $0 === consumer })
                {
                    subscription.turn = (place + 1) % subscription.consumers.count
                }
            case .passed:
                passes -= 1
            case .nothing, .waits, .failed:
                return
            }
            guard !subscription.isExhausted else { return }
        }
        enqueue(subscription)
    }

    /// Delivers from the first lane that has something; what others wait for is told where none has.
    func deliverNext(
        of subscription: Subscription,
        to consumer: Attachment,
        now: Timestamp,
        output: any ShardOutput
    ) -> Step {
        let count = subscription.lanes.count
        var result = Step.nothing
        for step in 0..<count {
            // Inboxes have the highest priority last; partitions take turns.
            let number = subscription.isInbox ? count - 1 - step : (subscription.laneTurn + step) % count
            guard let lane = subscription.lanes[number] else { continue }
            guard !lane.readPause.isOn(at: now) else {
                if case .nothing = result { result = .failed }
                continue
            }
            let outcome = deliverNext(of: lane, subscription, to: consumer, now: now, output: output)
            switch outcome {
            case .delivered:
                subscription.laneTurn = (number + 1) % count
                return outcome
            case .passed:
                return outcome
            case .waits:
                result = .waits
            case .failed:
                if case .nothing = result { result = .failed }
            case .nothing:
                break
            }
        }
        return result
    }

    /// Who gets the next message; nil where nobody can take one.
    private func nextConsumer(of subscription: Subscription) -> Attachment? {
        if subscription.consumers.count == 1 {
            let consumer = subscription.consumers[0]
            return canTake(consumer) ? consumer : nil
        }
        let consumers = subscription.consumers
        switch subscription.rules.consumers {
        case .exclusive, .failover:
            return consumers.first.flatMap { canTake($0) ? $0 : nil }
        case .shared, .orderedByKey:
            var best: Attachment?
            for step in 0..<consumers.count {
                let consumer = consumers[(subscription.turn + step) % consumers.count]
                if let best, consumer.priority <= best.priority { continue }
                guard canTake(consumer) else { continue }
                guard subscription.hasPriorities else { return consumer }
                best = consumer
            }
            return best
        }
    }

    private func deliverNext(
        of lane: Lane,
        _ subscription: Subscription,
        to consumer: Attachment,
        now: Timestamp,
        output: any ShardOutput
    ) -> Step {
        if subscription.rules.consumers == .orderedByKey, let out = lane.delivery.unclosed.firstRange {
            return closeKeys(of: out, lane, subscription, now: now, output: output)
        }
        let visible = lane.sequence.visibleOffset
        let fresh = lane.delivery.next(before: visible)
        if let again = lane.delivery.ready.firstRange, fresh.map({ again.lowerBound < $0.range.lowerBound }) ?? true {
            return deliverAgain(again, of: lane, subscription, to: consumer, now: now, output: output)
        }
        guard let fresh else {
            // Everything visible was looked at: the reader is told of more.
            lane.delivery.pass(to: max(lane.delivery.scan, min(visible, lane.delivery.done.last.map { $0 + 1 } ?? 0)))
            if !subscription.isInbox { wait(reader(\.fresh, of: lane, subscription, at: visible)) }
            return .nothing
        }
        if fresh.isTaken, subscription.rules.consumers != .orderedByKey {
            lane.delivery.pass(to: fresh.range.upperBound)
            return .passed
        }
        // What is out already takes no more room when it is passed.
        guard fresh.isTaken || lane.room(subscription.rules) > 0 else { return .nothing }
        let reader: SequenceReader
        if let fitting = lane.fresh, fitting.offset == fresh.range.lowerBound {
            reader = fitting
        } else {
            reader = self.reader(\.fresh, of: lane, subscription, at: fresh.range.lowerBound)
        }
        switch reader.next(log: log, requests: &coldRequests) {
        case .batch(let batch, let place):
            lane.readPause.end()
            guard place.baseOffset < fresh.range.upperBound else {
                finish(fresh.range, of: lane, subscription)
                return .passed
            }
            // What is missing before it was let go, or is damaged.
            if place.baseOffset > fresh.range.lowerBound {
                finish(fresh.range.lowerBound..<place.baseOffset, of: lane, subscription)
            }
            let part =
                max(fresh.range.lowerBound, place.baseOffset)..<min(fresh.range.upperBound, place.nextOffset)
            let scope = Scope(batch: batch, place: place, part: part, isFresh: true, isTaken: fresh.isTaken)
            return deliver(scope, of: lane, subscription, to: consumer, now: now, output: output)
        case .atEnd:
            // What is missing behind all the others was let go, or is damaged.
            finish(fresh.range, of: lane, subscription)
            return .passed
        case .pending:
            return .waits
        case .damaged(let range):
            passDamage(range, of: lane, subscription, output: output)
            return .passed
        case .failed(let range):
            pauseReading(range, of: lane, subscription, now: now, output: output)
            return .failed
        }
    }

    /// Messages went out before the order of keys counted, or in another life: what their keys are is read first.
    private func closeKeys(
        of out: Range<UInt64>,
        _ lane: Lane,
        _ subscription: Subscription,
        now: Timestamp,
        output: any ShardOutput
    ) -> Step {
        let reader = reader(\.fresh, of: lane, subscription, at: out.lowerBound)
        switch reader.next(log: log, requests: &coldRequests) {
        case .batch(let batch, let place):
            lane.readPause.end()
            let end = min(out.upperBound, place.nextOffset)
            if BatchTraits(rawValue: place.traits).contains(.hasOrderingKeys) {
                var cursor = batch.records
                while let record = cursor.next() {
                    guard cursor.index > place.first, let key = record.orderingKey else { continue }
                    let sequence = place.baseOffset + UInt64(cursor.index - 1 - place.first)
                    if sequence >= end { break }
                    if sequence >= out.lowerBound { lane.delivery.close(sequence, key: Self.hash(key)) }
                }
            }
            lane.delivery.closed(out.lowerBound..<max(out.lowerBound + 1, end))
            return .passed
        case .pending:
            return .waits
        case .atEnd:
            lane.delivery.closed(out)
            return .passed
        case .damaged(let range):
            lane.delivery.closed(out.lowerBound..<max(out.lowerBound + 1, range.upperBound))
            return .passed
        case .failed(let range):
            pauseReading(range, of: lane, subscription, now: now, output: output)
            return .failed
        }
    }

    private func deliverAgain(
        _ again: Range<UInt64>,
        of lane: Lane,
        _ subscription: Subscription,
        to consumer: Attachment,
        now: Timestamp,
        output: any ShardOutput
    ) -> Step {
        let reader = reader(\.again, of: lane, subscription, at: again.lowerBound)
        switch reader.next(log: log, requests: &coldRequests) {
        case .batch(let batch, let place):
            lane.readPause.end()
            guard place.baseOffset < again.upperBound else {
                finish(again, of: lane, subscription)
                return .passed
            }
            if place.baseOffset > again.lowerBound {
                finish(again.lowerBound..<place.baseOffset, of: lane, subscription)
            }
            let part = max(again.lowerBound, place.baseOffset)..<min(again.upperBound, place.nextOffset)
            let scope = Scope(batch: batch, place: place, part: part, isFresh: false, isTaken: false)
            return deliver(scope, of: lane, subscription, to: consumer, now: now, output: output)
        case .pending:
            return .waits
        case .atEnd:
            finish(again, of: lane, subscription)
            return .passed
        case .damaged(let range):
            passDamage(range, of: lane, subscription, output: output)
            return .passed
        case .failed(let range):
            pauseReading(range, of: lane, subscription, now: now, output: output)
            return .failed
        }
    }

    func reader(
        _ path: ReferenceWritableKeyPath<Lane, SequenceReader?>,
        of lane: Lane,
        _ subscription: Subscription,
        at offset: UInt64
    ) -> SequenceReader {
        subscription.shard = self
        if let reader = lane[keyPath: path] {
            if reader.offset != offset { reader.seek(offset) }
            return reader
        }
        let reader = SequenceReader(lane.sequence, offset: offset, owner: subscription)
        lane[keyPath: path] = reader
        return reader
    }

    /// What a lane delivers cannot be read now: it waits, and others go on.
    private func pauseReading(
        _ range: Range<UInt64>,
        of lane: Lane,
        _ subscription: Subscription,
        now: Timestamp,
        output: any ShardOutput
    ) {
        if lane.readPause.begin(now: now) { warnOfReading(range, subscription, output) }
        arm(lane, subscription)
    }

    func warnOfReading(_ range: Range<UInt64>, _ subscription: Subscription, _ output: any ShardOutput) {
        output.warning(
            "messages \(range.lowerBound) to \(range.upperBound - 1) of subscription '\(subscription.name)' cannot be read; this is tried again"
        )
    }

    private func passDamage(
        _ range: Range<UInt64>,
        of lane: Lane,
        _ subscription: Subscription,
        output: any ShardOutput
    ) {
        output.warning(
            "messages \(range.lowerBound) to \(range.upperBound - 1) of subscription '\(subscription.name)' are damaged on disk and passed over"
        )
        finish(range, of: lane, subscription)
    }

    /// Messages of one batch that may be delivered now.
    private struct Scope {
        let batch: BatchView
        let place: SequenceReader.Place
        let part: Range<UInt64>
        let isFresh: Bool
        let isTaken: Bool

        func index(_ sequence: UInt64) -> Int { place.first + Int(sequence - place.baseOffset) }
        func sequence(_ index: Int) -> UInt64 { place.baseOffset + UInt64(index - place.first) }
        var traits: BatchTraits { BatchTraits(rawValue: place.traits) }
    }

    private func deliver(
        _ scope: Scope,
        of lane: Lane,
        _ subscription: Subscription,
        to consumer: Attachment,
        now: Timestamp,
        output: any ShardOutput
    ) -> Step {
        let rules = subscription.rules
        let isOrdered = rules.consumers == .orderedByKey && scope.isFresh && scope.traits.contains(.hasOrderingKeys)
        let needsLook =
            isOrdered || scope.isTaken || subscription.filter != nil || scope.traits.contains(.hasExpiry)
            || rules.messageTTLMicroseconds > 0 || (rules.maxAttempts > 0 && !lane.delivery.past.isEmpty)
        var ranges = rangeScratch
        rangeScratch = []
        ranges.removeAll(keepingCapacity: true)
        defer { rangeScratch = ranges }
        let deadline = leaseEnd(rules, consumer, now)
        let turn: DeliveryState.Turn
        if needsLook {
            guard
                let found = select(
                    scope,
                    of: lane,
                    subscription,
                    consumer,
                    isOrdered: isOrdered,
                    deadline: deadline,
                    now: now,
                    ranges: &ranges
                )
            else { return .passed }
            turn = found
        } else {
            let room = scope.isFresh ? lane.room(rules) : .max
            let count = max(1, min(consumer.messageCredit, room, Int64(scope.part.upperBound - scope.part.lowerBound)))
            let end = min(scope.part.upperBound, scope.part.lowerBound + UInt64(count))
            let (range, next) = lane.delivery.uniform(scope.part.lowerBound..<end)
            lease(range, of: lane, subscription, consumer, deadline)
            if scope.isFresh { lane.delivery.pass(to: range.upperBound) }
            ranges.append(
                RecordRange(
                    first: UInt32(scope.index(range.lowerBound)),
                    last: UInt32(scope.index(range.upperBound - 1))
                )
            )
            turn = next
        }
        guard let first = ranges.first else { return .passed }
        let messages = ranges.reduce(0) { $0 + Int($1.last - $1.first) + 1 }
        let bytes = max(1, scope.batch.byteCount * messages / max(1, scope.batch.recordCount))
        consumer.use(messages: messages, bytes: bytes)
        if lane.delivery.earliestDeadline < lane.timerAt { arm(lane, subscription) }
        let firstSequence = scope.sequence(Int(first.first))
        let lastSequence = scope.sequence(Int((ranges.last ?? first).last))
        let generation = LeaseGeneration(epoch: log.epoch, number: turn.number).rawValue
        ranges.withUnsafeBufferPointer { ranges in
            output.batchDelivered(
                session: consumer.session,
                BatchDelivery(
                    attachment: consumer.id,
                    partition: scope.place.partition,
                    batch: scope.batch,
                    ranges: ranges,
                    lease: BatchDelivery.Lease(
                        subscription: subscription.id,
                        lane: lane.key.lane,
                        firstSequence: firstSequence,
                        lastSequence: lastSequence,
                        attempt: turn.attempt,
                        generation: generation,
                        signature: seal.sign(
                            subscription.id,
                            lane: lane.key.lane,
                            first: firstSequence,
                            last: lastSequence,
                            generation: generation
                        ),
                        deadline: deadline,
                        isRedelivered: lane.delivery.isRepeated(turn)
                    )
                )
            )
        }
        return .delivered(bytes)
    }

    private func leaseEnd(_ rules: DeliveryRules, _ consumer: Attachment, _ now: Timestamp) -> Timestamp {
        var duration = rules.leaseMicroseconds
        if duration == 0 {
            guard consumer.leaseOwner == .receipt else { return .never }
            duration = SubscriptionPolicy().leaseMicroseconds
        }
        return tick(now.advanced(byMicroseconds: duration))
    }

    /// Deadlines are at whole ticks, so that those that are close together are one.
    func tick(_ time: Timestamp) -> Timestamp {
        let tick = options.timerTickMicroseconds
        guard time.rawValue < .max - tick else { return .never }
        return Timestamp(rawValue: (time.rawValue + tick - 1) / tick * tick)
    }

    private func lease(
        _ range: Range<UInt64>,
        of lane: Lane,
        _ subscription: Subscription,
        _ consumer: Attachment,
        _ deadline: Timestamp
    ) {
        lane.delivery.lease(range, owner: consumer.owner, deadline: deadline, epoch: log.epoch)
        note(consumer.leaseOwner == .receipt ? .leasedUntil(range, deadline) : .leased(range), lane, subscription)
    }

    /// Looks at messages one by one, and leases those that may go out, up to the consumer's credit.
    /// - Returns: which lease of them it is; nil where there are none.
    private func select(
        _ scope: Scope,
        of lane: Lane,
        _ subscription: Subscription,
        _ consumer: Attachment,
        isOrdered: Bool,
        deadline: Timestamp,
        now: Timestamp,
        ranges: inout [RecordRange]
    ) -> DeliveryState.Turn? {
        let rules = subscription.rules
        var turn: DeliveryState.Turn?
        var messages: Int64 = 0
        var passed = scope.part.lowerBound
        var cursor = scope.batch.records
        var run: Range<UInt64>?
        func close() {
            if let run { lease(run, of: lane, subscription, consumer, deadline) }
            run = nil
        }
        let room = scope.isFresh && !scope.isTaken ? lane.room(rules) : .max
        let waiting = lane.delivery.gate.waitingCount
        let topicName = state.topicName(scope.place.partition.topic)
        while let record = cursor.next() {
            let index = cursor.index - 1
            guard index >= scope.index(scope.part.lowerBound) else { continue }
            let sequence = scope.sequence(index)
            guard sequence < scope.part.upperBound, messages < max(1, consumer.messageCredit),
                room == .max || messages + Int64(lane.delivery.gate.waitingCount - waiting) < room
            else { break }
            if scope.isTaken {
                // It is out, or waits: the order of its key is kept for it.
                if let key = record.orderingKey { _ = lane.delivery.admit(sequence, key: Self.hash(key)) }
                passed = sequence + 1
                continue
            }
            if let filter = subscription.filter,
                !withName(of: record, topic: topicName, { filter.matches(record: record, name: $0) })
            {
                close()
                passed = sequence + 1
                finish(sequence..<sequence + 1, of: lane, subscription)
                continue
            }
            if let expiry = self.expiry(of: record, scope.place, rules), expiry <= now,
                !rules.keepsDelivered || lane.delivery.past[sequence] == nil
            {
                close()
                passed = sequence + 1
                condemn(sequence..<sequence + 1, "expired", of: lane, subscription)
                continue
            }
            let next = lane.delivery.nextTurn(sequence)
            if rules.maxAttempts > 0, next.attempt > rules.maxAttempts {
                close()
                passed = sequence + 1
                condemn(sequence..<sequence + 1, nil, of: lane, subscription)
                continue
            }
            if turn == nil { turn = next }
            guard turn == next else { break }
            if isOrdered, let key = record.orderingKey, !lane.delivery.admit(sequence, key: Self.hash(key)) {
                close()
                passed = sequence + 1
                continue
            }
            run = (run?.lowerBound ?? sequence)..<sequence + 1
            passed = sequence + 1
            messages += 1
            if let last = ranges.last, Int(last.last) == index - 1 {
                ranges[ranges.count - 1].last = UInt32(index)
            } else {
                ranges.append(RecordRange(first: UInt32(index), last: UInt32(index)))
            }
        }
        close()
        if scope.isFresh { lane.delivery.pass(to: passed) }
        return messages > 0 ? turn : nil
    }

    /// When a message is no longer wanted; nil for never.
    func expiry(of record: RecordView, _ place: SequenceReader.Place, _ rules: DeliveryRules) -> Timestamp? {
        var expiry: Timestamp?
        if BatchTraits(rawValue: place.traits).contains(.hasExpiry),
            let time = PropertyCursor.number(.expiry, in: record.properties)
        {
            expiry = Timestamp(rawValue: time)
        }
        guard rules.messageTTLMicroseconds > 0 else { return expiry }
        let end = Timestamp(rawValue: place.appendTime).advanced(byMicroseconds: rules.messageTTLMicroseconds)
        return expiry.map { min($0, end) } ?? end
    }

    static func hash(_ key: UnsafeRawBufferPointer) -> UInt64 {
        UInt64(Checksum.crc32c(key)) | UInt64(Checksum.crc32c(key, continuing: 0x9E37_79B9)) << 32
    }

    func withName<Result>(
        of record: RecordView,
        topic: [UInt8],
        _ body: (UnsafeRawBufferPointer) -> Result
    ) -> Result {
        topic.withUnsafeBytes { withName(of: record, topic: $0, body) }
    }
}

extension Subscription {
    /// Nothing of it is there to be delivered, and it is woken when something is. Only what is quick to tell: inboxes of
    /// one level, without an order by key.
    var isExhausted: Bool {
        guard lanes.count == 1, isInbox, rules.consumers != .orderedByKey, let lane = lanes[0] else { return false }
        return lane.delivery.scan >= lane.sequence.visibleOffset && lane.delivery.ready.isEmpty
    }
}

extension Lane {
    /// How many more fresh messages may be leased or passed over. What is to be delivered again takes no room: it can go
    /// out by itself.
    fileprivate func room(_ rules: DeliveryRules) -> Int64 {
        Int64(rules.window) - Int64(delivery.trackedCount) + Int64(delivery.ready.count)
    }
}
