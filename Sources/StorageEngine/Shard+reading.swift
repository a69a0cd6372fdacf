internal import DequeModule
package import MessageModel
package import StorageService

/// Readers: attached ones that are pushed to, and searches for a time.
extension Shard {
    // MARK: Queues

    func enqueue(_ attachment: Attachment) {
        guard !attachment.isQueued, !attachment.isDetached else { return }
        attachment.isQueued = true
        readyAttachments.append(attachment)
    }

    func enqueue(_ task: FetchTask) {
        guard !task.isQueued, !task.isDone else { return }
        task.isQueued = true
        readyFetches.append(task)
    }

    func enqueue(_ search: TimeSearch) {
        guard !search.isQueued else { return }
        search.isQueued = true
        searches[ObjectIdentifier(search)] = search
        readySearches.append(search)
    }

    func wakeReaders(of partition: IndexedSequence) {
        guard !partition.waiters.isEmpty else { return }
        let waiters = partition.waiters
        partition.waiters.removeAll(keepingCapacity: true)
        for reader in waiters { reader.owner?.readerBecameReady(reader) }
    }

    // MARK: Attachments

    /// Attaches a reader, see `StorageSession.attach`.
    package func attach(session: UInt64, _ request: AttachRequest, attachment id: UInt32, now: Timestamp) {
        guard let slot = slot(session) else { return }
        do throws(SluiceError) {
            guard sessions[slot].attachments[id] == nil else {
                throw SluiceError(.invalidArgument, "attachment \(id) is in use on this connection")
            }
            try attach(session: session, slot: slot, request, id: id)
        } catch {
            reply(session, 0, .attachmentEnded(id, error))
        }
    }

    private func attach(
        session: UInt64,
        slot: Int,
        _ request: AttachRequest,
        id: UInt32
    ) throws(SluiceError) {
        let tenant = sessions[slot].tenant
        if !request.filter.isEmpty {
            let problem = request.filter.withUnsafeBytes { bytes -> SluiceError? in
                do throws(SluiceError) { try NameRules.checkFilter(bytes) } catch { return error }
                return nil
            }
            if let problem { throw problem }
        }
        switch request.source {
        case .topic(let topicID, let start):
            guard let topic = state.topics[topicID], topic.tenant == tenant else { throw unknownTopic() }
            let attachment = makeAttachment(session, id, topic, request, nil)
            topic.readers += 1
            begin(attachment, partitions: topic.partitions, at: start)
        case .partition(let partitionID, let start):
            guard let (topic, partition) = state.partition(partitionID), topic.tenant == tenant else {
                throw unknownTopic()
            }
            let attachment = makeAttachment(session, id, topic, request, nil)
            topic.readers += 1
            begin(attachment, partitions: [partition], at: start)
        case .subscription(let name):
            guard let subscription = state.subscription(named: name, tenant: tenant) else {
                throw unknownSubscription(name)
            }
            guard let topic = subscription.topic, subscription.consumers.isEmpty else {
                throw SluiceError(
                    .subscriptionInUse,
                    subscription.isInbox
                        ? "'\(name)' is an inbox: it has no positions" : "subscription '\(name)' has consumers",
                    hint: "attach as a consumer"
                )
            }
            if let other = subscription.reader, !other.isDetached {
                guard !request.consumer.isEmpty, other.consumer == request.consumer else {
                    throw SluiceError(
                        .subscriptionInUse,
                        "subscription '\(name)' has a reader already",
                        hint: "one reader at a time; a consumer with the same consumer name takes over"
                    )
                }
                end(other, SluiceError(.attachmentFenced, "consumer '\(request.consumer)' attached again elsewhere"))
            }
            let attachment = makeAttachment(session, id, topic, request, subscription)
            subscription.reader = attachment
            for (index, partition) in topic.partitions.enumerated() {
                attachment.readers.append(
                    SequenceReader(
                        partition,
                        offset: subscription.lane(UInt16(index))?.delivery.watermark ?? partition.firstOffset,
                        owner: attachment
                    )
                )
            }
            enqueue(attachment)
        case .consumer(let name, _):
            try attachConsumer(of: name, session: session, tenant: tenant, request, id: id)
        case .getter(let name):
            try attachGetter(of: name, session: session, tenant: tenant, request, id: id)
        }
    }

    func unknownTopic() -> SluiceError { SluiceError(.topicNotFound, "the topic does not exist") }

    func unknownSubscription(_ name: String) -> SluiceError {
        SluiceError(.subscriptionNotFound, "there is no subscription '\(name)'")
    }

    func makeAttachment(
        _ session: UInt64,
        _ id: UInt32,
        _ topic: TopicState?,
        _ request: AttachRequest,
        _ subscription: Subscription?
    ) -> Attachment {
        let slot = slot(session)
        let attachment = Attachment(
            session: session,
            id: id,
            tenant: slot.map { sessions[$0].tenant } ?? .default,
            topic: topic,
            request: request,
            subscription: subscription,
            flow: slot.map { sessions[$0].flow } ?? SessionFlow(),
            group: slot.flatMap { slot in request.memberOf.map { creditGroup($0, slot: slot) } },
            shard: self
        )
        attachment.group?.join(attachment)
        if let slot {
            sessions[slot].attachments[id] = attachment
            attachment.isStopped = sessions[slot].isStopped && attachment.leaseOwner != nil
        }
        return attachment
    }

    private func begin(_ attachment: Attachment, partitions: [IndexedSequence], at start: StartPosition) {
        find(start, in: partitions) { [weak attachment] shard, offsets in
            guard let attachment, !attachment.isDetached else { return }
            attachment.readers = zip(partitions, offsets).map { partition, offset in
                SequenceReader(partition, offset: offset, owner: attachment)
            }
            shard.enqueue(attachment)
        }
    }

    /// Finds where a start position is in each of some partitions.
    func find(
        _ start: StartPosition,
        in partitions: [IndexedSequence],
        completion: @escaping (Shard, [UInt64]) -> Void
    ) {
        switch start {
        case .first: completion(self, partitions.map(\.firstOffset))
        case .next: completion(self, partitions.map(\.visibleOffset))
        case .offset(let offset): completion(self, partitions.map { max(offset, $0.firstOffset) })
        case .time(let time):
            enqueue(
                TimeSearch(time: time, partitions: partitions, shard: self) { shard, found in
                    completion(shard, found.map(\.offset))
                }
            )
        }
    }

    package func grantCredit(session: UInt64, attachment id: UInt32, messages: UInt64, bytes: UInt64) {
        guard let slot = slot(session), let attachment = sessions[slot].attachments[id], !attachment.isGetter,
            !attachment.isRetired
        else { return }
        attachment.grant(messages: messages, bytes: bytes)
        if attachment.hasCredit { callUp(attachment) }
    }

    /// Leases nothing more to a session's consumers, see `StorageSession.stopDelivering`.
    package func stopDelivering(session: UInt64) {
        guard let slot = slot(session) else { return }
        sessions[slot].isStopped = true
        for attachment in sessions[slot].attachments.values where attachment.leaseOwner != nil {
            attachment.isStopped = true
        }
    }

    package func detach(session: UInt64, attachment id: UInt32) {
        guard let slot = slot(session) else { return }
        // Its end may be on its way to the session, which could use the number again before it comes.
        outbox.removeAll { reply in
            guard case .attachmentEnded(id, _) = reply.kind else { return false }
            return reply.session == session
        }
        if let attachment = sessions[slot].attachments[id] { detach(attachment) }
    }

    func detach(_ attachment: Attachment) {
        if !attachment.isDetached, attachment.subscription == nil { attachment.topic?.readers -= 1 }
        attachment.isDetached = true
        attachment.group?.leave(attachment)
        for reader in attachment.readers {
            reader.sequence.waiters.removeAll { $0 === reader }
            reader.owner = nil
        }
        attachment.readers = []
        if attachment.leaseOwner != nil { detachConsumer(attachment) }
        if let subscription = attachment.subscription, subscription.reader === attachment { subscription.reader = nil }
        if let slot = slot(attachment.session) { sessions[slot].attachments[attachment.id] = nil }
    }

    /// Ends an attachment from this side.
    func end(_ attachment: Attachment, _ error: SluiceError) {
        guard !attachment.isDetached else { return }
        detach(attachment)
        reply(attachment.session, 0, .attachmentEnded(attachment.id, error))
    }

    // MARK: Delivery

    func deliver(output: any ShardOutput) {
        // Those that are queued while this runs have their turn in the next round.
        for _ in 0..<readyAttachments.count {
            guard let attachment = readyAttachments.popFirst() else { return }
            attachment.isQueued = false
            guard !attachment.isDetached else { continue }
            pump(attachment, output: output)
        }
    }

    private func pump(_ attachment: Attachment, output: any ShardOutput) {
        var budget = options.deliveryBytesPerRound
        let count = attachment.readers.count
        guard count > 0 else { return }
        let first = attachment.nextReader
        for step in 0..<count {
            // It ends where a reader meets damage.
            guard !attachment.isDetached else { return }
            let place = (first + step) % count
            // What it was given, or told, may have ended it.
            guard !attachment.isDetached, place < attachment.readers.count else { return }
            attachment.nextReader = place
            let reader = attachment.readers[place]
            while true {
                guard !attachment.isDetached, canTake(attachment) else { return }
                guard budget > 0 else {
                    attachment.nextReader = (place + 1) % count
                    enqueue(attachment)
                    return
                }
                guard let bytes = deliverNext(of: reader, to: attachment, output: output) else { break }
                budget -= bytes
            }
        }
    }

    /// Delivers the next batch of one partition.
    /// - Returns: its size; nil where there is none now.
    private func deliverNext(
        of reader: SequenceReader,
        to attachment: Attachment,
        output: any ShardOutput
    ) -> Int? {
        switch reader.next(log: log, requests: &coldRequests) {
        case .batch(let batch, let place):
            let skipped = place.first + (reader.offset > place.baseOffset ? Int(reader.offset - place.baseOffset) : 0)
            var ranges = rangeScratch
            rangeScratch = []
            ranges.removeAll(keepingCapacity: true)
            let messages = selectRecords(of: batch, from: skipped, for: attachment, into: &ranges)
            reader.advance(behind: place)
            if messages > 0 {
                attachment.use(messages: messages, bytes: batch.byteCount)
                ranges.withUnsafeBufferPointer { ranges in
                    output.batchDelivered(
                        session: attachment.session,
                        BatchDelivery(
                            attachment: attachment.id,
                            partition: place.partition,
                            batch: batch,
                            ranges: ranges
                        )
                    )
                }
            }
            rangeScratch = ranges
            return batch.byteCount
        case .atEnd:
            wait(reader)
            return nil
        case .pending:
            return nil
        case .damaged(let range), .failed(let range):
            end(attachment, damage(range, reader.sequence))
            return nil
        }
    }

    /// The reader's owner is told when there is more.
    func wait(_ reader: SequenceReader) {
        if !reader.sequence.waiters.contains(where: { $0 === reader }) { reader.sequence.waiters.append(reader) }
    }

    func damage(_ range: Range<UInt64>, _ sequence: IndexedSequence) -> SluiceError {
        SluiceError(
            .internal,
            "messages \(range.lowerBound) to \(range.upperBound - 1) of partition \(sequence.id.index) are damaged on disk",
            hint: "read on from offset \(range.upperBound), or commit it for a subscription"
        )
    }

    /// The records of a batch, from an index on, that an attachment wants.
    /// - Returns: how many.
    private func selectRecords(
        of batch: BatchView,
        from first: Int,
        for attachment: Attachment,
        into ranges: inout [RecordRange]
    ) -> Int {
        let count = batch.recordCount
        guard first < count else { return 0 }
        guard !attachment.filter.isEmpty else {
            ranges.append(RecordRange(first: UInt32(first), last: UInt32(count - 1)))
            return count - first
        }
        var messages = 0
        var cursor = batch.records
        attachment.filter.withUnsafeBytes { filter in
            (attachment.topic?.info.nameBytes ?? []).withUnsafeBytes { topic in
                while let record = cursor.next() {
                    let index = cursor.index - 1
                    guard index >= first, withName(of: record, topic: topic, { NameFilter.matches(filter, name: $0) })
                    else { continue }
                    messages += 1
                    if let last = ranges.last, Int(last.last) == index - 1 {
                        ranges[ranges.count - 1].last = UInt32(index)
                    } else {
                        ranges.append(RecordRange(first: UInt32(index), last: UInt32(index)))
                    }
                }
            }
        }
        return messages
    }

    /// Lends the full name of a message: as it stands in the record where that is the whole.
    func withName<Result>(
        of record: RecordView,
        topic: UnsafeRawBufferPointer,
        _ body: (UnsafeRawBufferPointer) -> Result
    ) -> Result {
        if record.hasAbsoluteName, let name = record.routingKey { return body(name) }
        if record.routingKey == nil { return body(topic) }
        var name = nameScratch
        nameScratch = []
        name.removeAll(keepingCapacity: true)
        record.appendName(topic: topic, to: &name)
        defer { nameScratch = name }
        return name.withUnsafeBytes(body)
    }

    // MARK: Searches

    func runSearches() {
        for _ in 0..<readySearches.count {
            guard let search = readySearches.popFirst() else { return }
            search.isQueued = false
            advance(search)
        }
    }

    private func advance(_ search: TimeSearch) {
        guard !search.pause.isOn(at: clock) else { return }
        var hasFailed = false
        for (index, reader) in search.readers.enumerated() where search.found[index] == nil {
            guard reader.outstanding == nil else { continue }
            let entry = reader.entry(for: .time(search.time), log: log, requests: &coldRequests)
            let visible = reader.sequence.visibleOffset
            if let entry {
                let isVisible = entry.baseOffset < visible
                search.found[index] = (
                    max(min(entry.baseOffset, visible), reader.sequence.trimmedOffset),
                    Timestamp(rawValue: isVisible ? entry.appendTime : 0)
                )
            } else if reader.outstanding == nil {
                guard !reader.takeFailure() else {
                    hasFailed = true
                    continue
                }
                search.found[index] = (visible, .zero)
            }
        }
        if hasFailed {
            // Another place than the right one would be worse than a late one.
            _ = search.pause.begin(now: clock)
            timers.insert(TimerEntry(due: search.pause.until.rawValue, payload: 0, kind: TimerKind.search.rawValue))
            return
        }
        let found = search.found.compactMap { $0 }
        guard found.count == search.found.count else { return }
        searches[ObjectIdentifier(search)] = nil
        for reader in search.readers { reader.owner = nil }
        search.completion(self, found)
    }
}

extension AttachRequest {
    /// A getter is given what it asks for.
    fileprivate var memberOf: UInt32? {
        if case .getter = source { nil } else { creditGroup }
    }
}
