internal import MessageModel
internal import StorageService

/// The letters of one topic on their way back.
final class RedriveTask: ReaderOwner {
    let topic: TopicState
    /// Who waits for its end; nil where that was before a restart.
    var asker: (session: UInt64, token: UInt64)?
    var isQueued = false
    let subscription: Subscription
    /// It is over, and that is not in the log yet.
    private var end: (error: SluiceError?, moved: UInt64)?
    private let filter: MessageFilter
    let selector: String
    let rate: UInt64
    let limit: UInt64
    private let ends: [UInt64]
    private var goesSingly = false
    private var partition = 0
    private var offset: UInt64 = 0
    private var reader: SequenceReader?
    /// Not before this time.
    private var next = Timestamp.zero
    /// Since letters could not be read.
    private var pause = ReadPause()
    private weak var shard: Shard?

    private static let lettersAtOnce = 256
    private static let bytesAtOnce = 1 << 20
    /// While the log takes nothing it is tried again after so long.
    private static let retryMicroseconds: UInt64 = 10_000

    init(
        _ run: RedriveRun,
        topic: TopicState,
        subscription: Subscription,
        filter: MessageFilter,
        asker: (session: UInt64, token: UInt64)?,
        shard: Shard
    ) {
        self.topic = topic
        self.subscription = subscription
        self.filter = filter
        self.asker = asker
        self.shard = shard
        selector = run.selector
        rate = run.rate
        limit = run.limit
        ends = run.ends
    }

    /// Letters that were sent, over all lives.
    var moved: UInt64 { end?.moved ?? subscription.redrive?.moved ?? 0 }

    func readerBecameReady(_ reader: SequenceReader) { shard?.enqueue(self) }

    /// Sends letters until it is another's turn, or something has to be waited for.
    func advance(_ shard: Shard, now: Timestamp) {
        if let end { return finish(shard, end.error, now) }
        guard !subscription.isDeleted else {
            return shard.finish(self, SluiceError(.subscriptionNotFound, "'\(subscription.name)' was deleted"))
        }
        if let failure = shard.log.failure { return shard.finish(self, shard.unavailable(failure)) }
        guard now >= next else { return shard.wake(self, at: next) }
        // What wakes it now stands among the timers.
        guard !pause.isOn(at: now) else { return }
        guard shard.hasOpened, shard.deferred.isEmpty, shard.retryDeadline == nil else { return retry(shard, now) }
        for _ in 0..<16 {
            guard moved < limit, let lane = laneToRead() else { return finish(shard, nil, now) }
            let reader = self.reader ?? SequenceReader(lane.sequence, offset: offset, owner: self)
            self.reader = reader
            if reader.offset != offset { reader.seek(offset) }
            switch reader.next(log: shard.log, requests: &shard.coldRequests) {
            case .pending:
                return
            case .atEnd:
                offset = .max
            case .damaged(let range):
                offset = range.upperBound
            case .failed:
                _ = pause.begin(now: now)
                return shard.wake(self, at: pause.until)
            case .batch(let batch, let place):
                pause.end()
                let part = max(offset, place.baseOffset)..<min(place.nextOffset, ends[partition])
                guard !part.isEmpty else {
                    offset = .max
                    continue
                }
                guard send(part, batch, place, lane, shard, now) else { return }
            }
            if next > now { return shard.wake(self, at: next) }
        }
        shard.enqueue(self)
    }

    /// Notes in the log that it is over, then says so.
    private func finish(_ shard: Shard, _ error: SluiceError?, _ now: Timestamp) {
        if end == nil { end = (error, moved) }
        do throws(Shard.Refusal) {
            try shard.endRedrive(self)
        } catch {
            if let failure = shard.log.failure { return shard.finish(self, shard.unavailable(failure)) }
            if case .log(let refusal) = error { shard.retryLater(refusal) }
            return retry(shard, now)
        }
        shard.finish(self, error)
    }

    private func retry(_ shard: Shard, _ now: Timestamp) {
        shard.wake(self, at: now.advanced(byMicroseconds: Self.retryMicroseconds))
    }

    /// The lane that has letters left, with `offset` at the first of them.
    private func laneToRead() -> Lane? {
        while partition < ends.count {
            if let lane = subscription.lane(UInt16(partition)) {
                offset = max(offset, lane.delivery.firstUnfinished, lane.sequence.firstOffset)
                if offset < ends[partition] { return lane }
            }
            partition += 1
            offset = 0
            reader = nil
        }
        return nil
    }

    /// Publishes letters of a batch, and notes that they are done, with one record.
    /// - Returns: false where it cannot go on now.
    private func send(
        _ part: Range<UInt64>,
        _ batch: BatchView,
        _ place: SequenceReader.Place,
        _ lane: Lane,
        _ shard: Shard,
        _ now: Timestamp
    ) -> Bool {
        let atOnce = goesSingly ? 1 : rate == 0 ? Self.lettersAtOnce : min(Self.lettersAtOnce, Int(rate / 20) + 1)
        let room = Int(min(UInt64(atOnce), limit - moved))
        var copies = LetterCopies(batchBytes: min(256 << 10, shard.options.segmentBytes / 4))
        let end = collect(part, batch, place, lane, shard, room: room, into: &copies)
        copies.close()
        guard copies.count > 0 else {
            offset = end
            return true
        }
        let time = shard.recordTime(now)
        do throws(CommitLog.AppendRefusal) {
            try shard.flushJournal()
            var items: [Publication.Item] = []
            var routables: [Shard.RoutableBatch] = []
            for copy in copies.batches {
                try shard.holdLetters(copy, time: time, items: &items, routables: &routables)
            }
            guard shard.hasRoom(for: items.flatMap(\.routes)) else {
                let error = SluiceError(
                    .quotaExceeded,
                    "an inbox that letters go back to is full; \(moved) were sent back before"
                )
                finish(shard, error, now)
                return false
            }
            var changes = DeliveryJournal()
            for sequence in copies.sequences { changes.append(.done(sequence..<sequence + 1), to: lane.key) }
            let done = changes.next()
            if shard.canHold(items, changes: done.count) {
                let publication = Publication(time: time, reason: .moved, items: items, changes: done)
                try shard.publish(publication, copies: routables, now: now)
            } else if copies.count == 1, let copy = copies.batches.first {
                try shard.withBatch(copy.bytes) { (batch) throws(CommitLog.AppendRefusal) in
                    try shard.publishCopy(batch, to: copy.partition, scheduled: nil, changes: done, now: now)
                }
            } else {
                // They go to so many inboxes that each needs a record of its own.
                goesSingly = true
                return true
            }
        } catch {
            if let failure = shard.log.failure {
                shard.finish(self, shard.unavailable(failure))
            } else {
                // It goes on when there is room.
                shard.refuse(error, now: now) { _ in
                } deferring: {
                }
                retry(shard, now)
            }
            return false
        }
        offset = end
        if rate > 0 { next = max(next, now).advanced(byMicroseconds: UInt64(copies.count) * 1_000_000 / rate) }
        return true
    }

    /// Copies letters as they were before they died.
    /// - Returns: the sequence behind the last one that was looked at.
    private func collect(
        _ part: Range<UInt64>,
        _ batch: BatchView,
        _ place: SequenceReader.Place,
        _ lane: Lane,
        _ shard: Shard,
        room: Int,
        into copies: inout LetterCopies
    ) -> UInt64 {
        var properties = PropertyWriter()
        var cursor = batch.records
        while let record = cursor.next() {
            let index = cursor.index - 1
            guard index >= place.first else { continue }
            let sequence = place.baseOffset + UInt64(index - place.first)
            guard sequence >= part.lowerBound else { continue }
            guard sequence < part.upperBound else { break }
            guard copies.count < room, copies.bytes < Self.bytesAtOnce else { return sequence }
            if lane.delivery.isDone(sequence) { continue }
            let isWanted = shard.withName(of: record, topic: topic.info.nameBytes) { name in
                filter.matches(record: record, name: name, batch: batch)
            }
            // A letter whose topic is not there any more stays.
            guard isWanted, let origin = DeadLetterOrigin(record),
                let target = shard.state.topic(named: origin.topic, tenant: topic.tenant)
            else { continue }
            properties.removeAll()
            DeadLetterOrigin.copyProperties(of: record, into: &properties)
            let born = Timestamp(rawValue: batch.baseTimestamp.rawValue &+ record.timestampDelta)
            properties.withBytes {
                copies.append(record, origin, born: born, to: target, properties: $0, sequence: sequence)
            }
        }
        return part.upperBound
    }
}
