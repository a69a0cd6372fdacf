internal import MessageModel
internal import StorageService

/// Messages that come again, told by their ids, in topics that compare them.
extension Shard {
    /// Stores what is new of a batch; where nothing is, it is answered with the place of the first one.
    func storeNew(
        of batch: BatchView,
        _ traits: BatchTraits,
        _ topic: TopicState,
        _ partition: IndexedSequence,
        _ appending: AppendOptions,
        _ session: UInt64,
        _ token: UInt64,
        _ time: Timestamp
    ) throws(CommitLog.AppendRefusal) {
        let known = state.known(batch, of: topic, now: time)
        let isRefused = appending.transaction.map { !isOpen($0, topic.tenant) } ?? false
        guard known.count > 0, !isRefused else {
            try store(batch, traits, topic, partition, appending, session, token, time)
            return
        }
        guard known.count == batch.recordCount else {
            var new: [UInt8] = []
            _ = BatchExcerpt.write(batch, leavingOut: { known.records[$0] }, into: &new)
            var rest = appending
            rest.owners = known.others(of: appending.owners)
            let asks = appending.reportsUnrouted || appending.refusesSingly
            let places = asks ? (0..<UInt32(batch.recordCount)).filter { !known.records[Int($0)] } : nil
            var refusal: CommitLog.AppendRefusal?
            new.withUnsafeBytes { bytes in
                guard let view = BatchView(prefixOf: bytes) else { return }
                do throws(CommitLog.AppendRefusal) {
                    try store(view, view.traits(), topic, partition, rest, session, token, time, places: places)
                } catch {
                    refusal = error
                }
            }
            if let refusal { throw refusal }
            return
        }
        // An offset counts in its partition: one in another says nothing here.
        let isHere = known.first?.partition == partition.partition.index
        let offset = isHere ? known.first?.offset ?? .max : .max
        if batch.producer != .anonymous {
            let skip = ProducerSkip(batch, of: partition.partition, baseOffset: offset)
            var writer = ByteWriter()
            skip.encode(to: &writer)
            let bytes = writer.bytes
            _ = try log.append(.producerSkipped, payloadBytes: bytes.count) { $0.copyBytes(from: bytes) }
            state.apply(skip)
        }
        answerDuplicate(batch, at: offset, session, token, appending.acknowledgement)
    }

    // MARK: Transactions

    /// A message id in a transaction that is being committed.
    struct SeenID: Hashable {
        var topic: TopicID
        var id: DeduplicationWindow.Hash
    }

    /// The messages of a prepared batch that are not known when it is committed, as ranges of their places.
    /// - Parameter seen: the ids of those that the transaction publishes.
    func newRuns(
        of batch: BatchView,
        _ traits: BatchTraits,
        _ topic: TopicState,
        seen: inout Set<SeenID>
    ) -> [Range<Int>] {
        let all = 0..<batch.recordCount
        guard topic.policy.deduplicationMicroseconds > 0, traits.contains(.hasMessageIDs) else { return [all] }
        let window = state.windows[topic.info.id]
        var runs: [Range<Int>] = []
        var cursor = batch.records
        while let record = cursor.next() {
            let index = cursor.index - 1
            if let id = PropertyCursor.first(.messageID, in: record.properties) {
                let hash = DeduplicationWindow.hash(id, state.hash)
                if window?.check(hash, now: state.lastTime.rawValue) != nil { continue }
                guard seen.insert(SeenID(topic: topic.info.id, id: hash)).inserted else { continue }
            }
            if let last = runs.last, last.upperBound == index {
                runs[runs.count - 1] = last.lowerBound..<index + 1
            } else {
                runs.append(index..<index + 1)
            }
        }
        return runs
    }

    func isAnyKnown(_ items: [Publication.Item]) -> Bool {
        items.contains { item in
            guard let window = state.windows[item.partition.topic] else { return false }
            return item.traces.contains { trace in
                guard case .messageID(let hash) = trace.kind else { return false }
                return window.check(hash, now: state.lastTime.rawValue) != nil
            }
        }
    }
}

extension ShardState {
    /// Messages of a batch that were stored before.
    struct KnownMessages {
        /// For each message whether it was; empty where none was.
        var records: [Bool] = []
        var count = 0
        /// Where the first of them is.
        var first: DeduplicationWindow.Place?

        /// Whose the other messages are.
        func others(of owners: [RecordOwner]) -> [RecordOwner] {
            var start = 0
            return owners.map { owner in
                let end = min(records.count, start + owner.count)
                defer { start = end }
                let left = records[min(start, end)..<end].count { !$0 }
                return RecordOwner(session: owner.session, count: left)
            }
        }
    }

    /// Finds messages whose ids are known, or came before in the same batch.
    func known(_ batch: BatchView, of topic: TopicState, now: Timestamp) -> KnownMessages {
        var known = KnownMessages()
        let window = windows[topic.info.id]
        var seen = Set<DeduplicationWindow.Hash>()
        var cursor = batch.records
        while let record = cursor.next() {
            guard let id = PropertyCursor.first(.messageID, in: record.properties) else { continue }
            let hash = DeduplicationWindow.hash(id, hash)
            let place = window?.check(hash, now: now.rawValue)
            guard !seen.insert(hash).inserted || place != nil else { continue }
            if known.records.isEmpty { known.records = Array(repeating: false, count: batch.recordCount) }
            known.records[cursor.index - 1] = true
            known.count += 1
            known.first = known.first ?? place
        }
        return known
    }
}
