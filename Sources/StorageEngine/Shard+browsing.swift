internal import DequeModule
internal import MessageModel
internal import StorageService

extension Shard {
    /// Reads what waits in a subscription, and changes nothing.
    func browse(
        _ name: String,
        lane number: UInt16,
        from: UInt64,
        _ maxMessages: Int,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64
    ) throws(Refusal) {
        let subscription = try subscription(named: name, tenant)
        guard let lane = subscription.lane(number) else {
            guard subscription.isInbox, number <= UInt16(subscription.policy.maxPriority) else {
                throw .error(SluiceError(.invalidArgument, "'\(name)' has no lane \(number)"))
            }
            return answer(session, token, .browsed([], next: nil))
        }
        let start = max(from, lane.delivery.firstUnfinished)
        let task = BrowseTask(
            session: session,
            token: token,
            lane: lane,
            offset: start,
            limit: max(1, min(maxMessages, 1_000)),
            shard: self
        )
        task.advance(self)
    }
}

/// Looks through a lane.
final class BrowseTask: ReaderOwner {
    private let session: UInt64
    private let token: UInt64
    private let lane: Lane
    private let limit: Int
    private var found: [FoundMessage] = []
    private var bytes = 0
    private var reader: SequenceReader?
    private unowned let shard: Shard

    init(session: UInt64, token: UInt64, lane: Lane, offset: UInt64, limit: Int, shard: Shard) {
        self.session = session
        self.token = token
        self.lane = lane
        self.limit = limit
        self.shard = shard
        reader = SequenceReader(lane.sequence, offset: offset, owner: self)
        shard.browsing[ObjectIdentifier(self)] = self
    }

    func readerBecameReady(_ reader: SequenceReader) {
        advance(shard)
    }

    func advance(_ shard: Shard) {
        guard let reader else { return }
        while found.count < limit, bytes < 1 << 20 {
            switch reader.next(log: shard.log, requests: &shard.coldRequests) {
            case .batch(let batch, let place):
                take(batch, place, from: reader.offset)
                reader.advance(behind: place)
                if let last = found.last, last.sequence + 1 < place.nextOffset, found.count >= limit {
                    reader.seek(last.sequence + 1)
                }
            case .damaged(let range):
                reader.seek(range.upperBound)
            case .failed:
                return finish(shard, .failure(shard.unreadable()))
            case .atEnd:
                return finish(shard, next: nil)
            case .pending:
                return
            }
        }
        finish(shard, next: reader.offset)
    }

    private func take(_ batch: BatchView, _ place: SequenceReader.Place, from offset: UInt64) {
        var sequence = max(offset, place.baseOffset)
        while sequence < place.nextOffset, found.count < limit {
            defer { sequence += 1 }
            guard !lane.delivery.isDone(sequence) else { continue }
            let index = place.first + Int(sequence - place.baseOffset)
            var excerpt: [UInt8] = []
            guard
                BatchExcerpt.write(
                    batch,
                    first: index,
                    count: 1,
                    baseOffset: batch.baseOffset &+ UInt64(index),
                    appendTime: batch.appendTime,
                    into: &excerpt
                )
            else { continue }
            bytes += excerpt.count
            found.append(
                FoundMessage(
                    partition: place.partition,
                    offset: batch.baseOffset &+ UInt64(index),
                    record: 0,
                    batch: excerpt,
                    sequence: sequence,
                    attempts: lane.delivery.lease(holding: sequence)?.attempt ?? lane.delivery.failures(sequence)
                )
            )
        }
    }

    private func finish(_ shard: Shard, next: UInt64?) { finish(shard, .success(.browsed(found, next: next))) }

    private func finish(_ shard: Shard, _ result: Result<StorageReply, SluiceError>) {
        shard.browsing[ObjectIdentifier(self)] = nil
        reader?.owner = nil
        reader = nil
        shard.reply(session, token, .request(result))
    }
}
