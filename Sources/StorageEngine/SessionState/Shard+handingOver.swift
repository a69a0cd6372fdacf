internal import MessageModel
internal import StorageService

/// Messages that leave one inbox for another, in one record: what comes, as `Queueing` writes it; the length u32 of changes of
/// delivery states, and those, as a `DeliveryJournal` writes them; then changes of session states as a `StateJournal` does.
struct HandedOver: Equatable {
    var queueing: Queueing
    var changes: [UInt8]
    var states: [UInt8]

    func encode(to writer: inout ByteWriter) {
        queueing.encode(to: &writer)
        writer.write(changes)
        writer.writeRest(states)
    }

    init(queueing: Queueing, changes: [UInt8], states: [UInt8]) {
        self.queueing = queueing
        self.changes = changes
        self.states = states
    }

    init?(from reader: inout ByteReader) {
        guard let queueing = Queueing(from: &reader), let changes = reader.readBytes() else { return nil }
        self.init(queueing: queueing, changes: changes, states: Array(reader.readRest()))
    }
}

extension ShardState {
    /// - Returns: the lane that grew, and whether all of it could be read.
    mutating func apply(_ handedOver: HandedOver, segment: UInt64) -> (grown: Lane?, isWellFormed: Bool) {
        let grown = apply(handedOver.queueing, segment: segment)
        let isWellFormed = handedOver.changes.withUnsafeBytes { applyDelivery($0) }
        return (grown, handedOver.states.withUnsafeBytes { applySessionState($0) } && isWellFormed)
    }
}

extension Shard {
    /// Moves messages from a consumer's lease to a stored inbox, see `HandOver`.
    func handOver(
        _ request: HandOver,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64,
        _ now: Timestamp
    ) throws(Refusal) {
        guard request.first <= request.last, request.last < .max, request.last - request.first < HandOver.maxMessages
        else {
            throw .error(SluiceError(.invalidArgument, "1 to \(HandOver.maxMessages) messages are handed over at once"))
        }
        let (_, _, lane) = try lease(of: request, session)
        // What is leased is visible: its entries are there, in memory or in a file.
        let search = EntrySearch(lane.sequence, request.first...request.last, shard: self) { shard, entries in
            guard shard.slot(session) != nil else { return }
            do throws(Refusal) {
                guard let entries else { throw .error(shard.unreadable()) }
                try shard.handOver(request, entries, tenant, session, token, now)
            } catch {
                switch error {
                case .error(let error): shard.reply(session, token, .request(.failure(error)))
                case .log(let refusal):
                    shard.refuse(refusal, now: now) { code in
                        shard.reply(session, token, .request(.failure(SluiceError(code, code.rendering.title))))
                    } deferring: {
                        shard.deferRequest(session, .handOver(request), token)
                    }
                }
            }
        }
        search.advance()
    }

    private func lease(
        of request: HandOver,
        _ session: UInt64
    ) throws(Refusal) -> (attachment: Attachment, subscription: Subscription, lane: Lane) {
        guard let slot = slot(session), let attachment = sessions[slot].attachments[request.attachment],
            attachment.leaseOwner == .attachment, let subscription = attachment.subscription,
            subscription.isInbox, subscription.isLogged, let lane = subscription.lane(request.lane)
        else {
            throw .error(SluiceError(.notFound, "no consumer of a stored inbox is attached as \(request.attachment)"))
        }
        return (attachment, subscription, lane)
    }

    private func handOver(
        _ request: HandOver,
        _ entries: [IndexEntry],
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64,
        _ now: Timestamp
    ) throws(Refusal) {
        let (attachment, source, lane) = try lease(of: request, session)
        let inbox = try subscription(named: request.inbox, tenant)
        guard inbox.isInbox, inbox.isLogged, inbox !== source else {
            throw .error(
                SluiceError(.invalidArgument, "'\(request.inbox)' is no stored inbox besides that of the consumer")
            )
        }
        let key = LaneKey(subscription: inbox.id, lane: 0)
        let first = inbox.lane(0)?.sequence.nextOffset ?? 0
        var messages: [Queueing.Message] = []
        var journal = DeliveryJournal()
        var states = StateChanges(subscription: inbox.id)
        var place = 0
        for sequence in request.first...request.last {
            guard lane.delivery.lease(holding: sequence)?.owner == attachment.owner else { continue }
            journal.append(.done(sequence..<sequence + 1), to: lane.key)
            while place < entries.count, entries[place].nextOffset <= sequence { place += 1 }
            // What is damaged, or was let go, is only done.
            guard place < entries.count, entries[place].baseOffset <= sequence else { continue }
            let entry = entries[place]
            states.put(request.key &+ first &+ UInt64(messages.count), request.value)
            messages.append(
                Queueing.Message(
                    position: entry.position,
                    recordBytes: entry.recordBytes,
                    record: entry.first + UInt16(sequence - entry.baseOffset),
                    bytes: entry.recordBytes / UInt32(max(1, entry.count))
                )
            )
        }
        guard !journal.isEmpty else { return answer(session, token, .queued(first: first, count: 0, next: nil)) }
        if let problem = problem(of: states, tenant: tenant) { throw .error(problem) }
        let handedOver = HandedOver(
            queueing: Queueing(time: recordTime(now), lane: key, messages: messages),
            changes: journal.next(),
            states: StateJournal.encode(states)
        )
        try appendRecord(.handedOver) { handedOver.encode(to: &$0) }
        if let grown = state.apply(handedOver, segment: log.active.number).grown { grew(grown.sequence) }
        for message in messages { noteEntry(pointingTo: message.position) }
        if !messages.isEmpty {
            let bytes = messages.reduce(UInt32(0)) { $0 &+ $1.bytes }
            let route = InboxRoute(lane: key, first: 0, count: UInt16(messages.count), bytes: bytes)
            limit([route], expires: true, now: now)
        }
        // Room in the window may be what its consumers wait for.
        enqueue(source)
        answerDurably(session, token, .queued(first: first, count: messages.count, next: nil))
    }
}

/// Finds the index entries of messages of a sequence, in memory or on the device.
final class EntrySearch: ReaderOwner {
    private let reader: SequenceReader
    private var next: UInt64
    private let last: UInt64
    private var found: [IndexEntry] = []
    /// Called once; nil where an index file could not be read.
    private let completion: (Shard, [IndexEntry]?) -> Void
    private unowned let shard: Shard

    init(
        _ sequence: IndexedSequence,
        _ range: ClosedRange<UInt64>,
        shard: Shard,
        completion: @escaping (Shard, [IndexEntry]?) -> Void
    ) {
        reader = SequenceReader(sequence, offset: range.lowerBound, owner: nil)
        next = range.lowerBound
        last = range.upperBound
        self.shard = shard
        self.completion = completion
    }

    /// Goes on until the device has to be asked.
    func advance() {
        while next <= last {
            guard let entry = reader.entry(for: .offset(next), log: shard.log, requests: &shard.coldRequests) else {
                guard reader.outstanding == nil else {
                    reader.owner = self
                    return
                }
                if reader.takeFailure() { return finish(nil) }
                break
            }
            found.append(entry)
            next = max(next + 1, entry.nextOffset)
        }
        finish(found)
    }

    private func finish(_ entries: [IndexEntry]?) {
        reader.owner = nil
        completion(shard, entries)
    }

    func readerBecameReady(_ reader: SequenceReader) { advance() }
}
