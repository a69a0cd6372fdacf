package import MessageModel
package import StorageService

/// The ends of leases: what consumers say, what time says, and what the log keeps of it.
extension Shard {
    /// Notes a change of a lane's delivery state for the log.
    func note(_ change: DeliveryChange, _ lane: Lane, _ subscription: Subscription) {
        guard subscription.isLogged else { return }
        journal.append(change, to: lane.key)
        if journalDeadline == nil { journalDeadline = clock.advanced(byMicroseconds: options.lazySyncMicroseconds) }
    }

    /// Messages are done.
    func finish(_ range: Range<UInt64>, of lane: Lane, _ subscription: Subscription) {
        lane.delivery.finish(range)
        note(.done(range), lane, subscription)
        lane.advanced(subscription, state.files)
        if let topic = subscription.topic, topic.policy.retention == .subscriptions { noteRetention(topic) }
        if !lane.delivery.ready.isEmpty { enqueue(subscription) }
    }

    /// Settles what a consumer has, see `StorageSession.settle`.
    package func settle(
        session: UInt64,
        attachment id: UInt32,
        lane number: UInt16,
        first: UInt64,
        last: UInt64,
        _ settlement: Settlement,
        token: UInt64?,
        now: Timestamp
    ) {
        guard let slot = slot(session) else { return }
        guard let attachment = sessions[slot].attachments[id], attachment.leaseOwner != nil,
            let subscription = attachment.subscription
        else {
            if let token { reply(session, token, .request(.failure(unknownAttachment(id)))) }
            return
        }
        guard first <= last, last < .max, let lane = subscription.lane(number) else {
            if let token { answerSettled(session, token, []) }
            return
        }
        var pieces = self.pieces
        self.pieces = []
        pieces.removeAll(keepingCapacity: true)
        lane.delivery.takeLeases(in: first..<last + 1, owner: attachment.owner, into: &pieces)
        for piece in pieces { apply(settlement, to: piece, of: lane, subscription, now: now) }
        self.pieces = pieces
        if lane.delivery.earliestDeadline < lane.timerAt { arm(lane, subscription) }
        // Room in the window may be what consumers wait for, also others than this one.
        if !subscription.isExhausted { enqueue(subscription) }
        if let token { answerSettled(session, token, []) }
    }

    private func unknownAttachment(_ id: UInt32) -> SluiceError {
        SluiceError(.notFound, "no consumer is attached as \(id)")
    }

    /// Settles deliveries by their receipts.
    func settle(_ receipts: [SignedReceipt], _ settlement: Settlement, session: UInt64, token: UInt64, now: Timestamp) {
        guard let slot = slot(session) else { return }
        let tenant = sessions[slot].tenant
        let results = receipts.map { signed in
            seal.isGenuine(signed) ? settle(signed.receipt, settlement, tenant: tenant, now: now) : .denied
        }
        answerSettled(session, token, results)
    }

    private func settle(_ receipt: Receipt, _ settlement: Settlement, tenant: TenantID, now: Timestamp) -> ErrorCode? {
        guard let (lane, subscription) = place(of: receipt, tenant: tenant) else { return .subscriptionNotFound }
        guard let piece = take(receipt, of: lane, subscription, isOver: settlement.endsDelivery) else {
            return .leaseLost
        }
        apply(settlement, to: piece, of: lane, subscription, now: now)
        arm(lane, subscription)
        if !subscription.consumers.isEmpty { enqueue(subscription) }
        return nil
    }

    func place(of receipt: Receipt, tenant: TenantID) -> (Lane, Subscription)? {
        guard let subscription = state.subscriptions[receipt.subscription], subscription.tenant == tenant,
            let lane = subscription.lane(receipt.lane)
        else { return nil }
        return (lane, subscription)
    }

    /// Ends the lease that a receipt is for; nil where it does not count any more.
    /// - Parameter isOver: what was done late counts as long as nobody else has the message; what is only put off does not.
    private func take(
        _ receipt: Receipt,
        of lane: Lane,
        _ subscription: Subscription,
        isOver: Bool
    ) -> DeliveryState.Lease? {
        guard accepts(receipt, lane, subscription) else { return nil }
        let range = receipt.sequence..<receipt.sequence + 1
        var taken: [DeliveryState.Lease] = []
        lane.delivery.takeLeases(in: range, owner: nil, into: &taken)
        if let piece = taken.first { return piece }
        guard isOver else { return nil }
        lane.delivery.takeBack(receipt.sequence)
        return DeliveryState.Lease(
            range: range,
            owner: DeliveryState.receiptOwner,
            deadline: .zero,
            attempt: lane.delivery.failures(receipt.sequence),
            generation: LeaseGeneration(rawValue: receipt.generation)
        )
    }

    /// Whether a receipt counts. What is not in the log does not outlive an epoch.
    func accepts(_ receipt: Receipt, _ lane: Lane, _ subscription: Subscription) -> Bool {
        receipt.sequence < .max
            && lane.delivery.accepts(
                receipt.sequence,
                LeaseGeneration(rawValue: receipt.generation),
                epoch: subscription.isLogged ? log.epoch : 0
            )
    }

    private func apply(
        _ settlement: Settlement,
        to piece: DeliveryState.Lease,
        of lane: Lane,
        _ subscription: Subscription,
        now: Timestamp
    ) {
        switch settlement {
        case .accept:
            finish(piece.range, of: lane, subscription)
        case .release(let delay, let countsAttempt):
            let wait = delay ?? (subscription.policy.backoff?.delay(afterAttempt: piece.attempt) ?? 0) * 1_000
            let until = wait > 0 ? tick(now.advanced(byMicroseconds: wait)) : nil
            release(piece, until: until, countsAttempt: countsAttempt, of: lane, subscription)
        case .reject(let reason):
            condemn(piece.range, reason.isEmpty ? "rejected" : reason, attempt: piece.attempt, of: lane, subscription)
        case .extend(let duration):
            let deadline = tick(now.advanced(byMicroseconds: duration))
            lane.delivery.extend(piece, until: deadline)
            if piece.owner == DeliveryState.receiptOwner {
                note(.leasedUntil(piece.range, deadline), lane, subscription)
            }
        }
    }

    /// What was leased is to be delivered again, or was delivered too often.
    private func release(
        _ piece: DeliveryState.Lease,
        until: Timestamp?,
        countsAttempt: Bool,
        of lane: Lane,
        _ subscription: Subscription
    ) {
        let limit = subscription.rules.maxAttempts
        if countsAttempt, limit > 0, piece.attempt >= limit {
            condemn(piece.range, nil, attempt: piece.attempt, of: lane, subscription)
            return
        }
        lane.delivery.release(piece, until: until, countsAttempt: countsAttempt)
        note(.released(piece.range, until: until, countsAttempt: countsAttempt), lane, subscription)
        if until == nil { enqueue(subscription) }
    }

    /// Gives back what a consumer that goes away had.
    func releaseLeases(of attachment: Attachment) {
        guard attachment.leaseOwner == .attachment, let subscription = attachment.subscription else { return }
        for lane in subscription.lanes {
            guard let lane else { continue }
            var taken: [DeliveryState.Lease] = []
            lane.delivery.takeLeases(of: attachment.serial, into: &taken)
            for piece in taken { release(piece, until: nil, countsAttempt: true, of: lane, subscription) }
            arm(lane, subscription)
        }
    }

    /// Not to be delivered any more: to the dead letters, where the subscription has them.
    func condemn(
        _ range: Range<UInt64>,
        _ reason: String?,
        attempt: UInt32? = nil,
        of lane: Lane,
        _ subscription: Subscription
    ) {
        guard subscription.rules.hasDeadLetters else {
            finish(range, of: lane, subscription)
            return
        }
        let reason = reason ?? "too many attempts"
        lane.delivery.condemn(range, attempt: attempt)
        for sequence in range { lane.reasons[sequence] = reason }
        note(.condemned(range, reason: reason), lane, subscription)
        enqueueDead(lane)
    }

    // MARK: Time

    enum TimerKind: UInt8 {
        /// `payload` is the subscription, `detail` the lane.
        case lane = 1
        /// An inbox that nobody uses; `payload` is the subscription.
        case unused = 2
        /// `payload` is the transaction.
        case transaction = 3
        /// Letters go on being sent back; `payload` is their topic.
        case redrive = 4
        /// Searches whose reading failed are tried again.
        case search = 5
        /// `payload` is the topic.
        case topic = 6
    }

    /// Sees to it that the next deadline of a lane is met.
    func arm(_ lane: Lane, _ subscription: Subscription) {
        var deadline = lane.delivery.nextDeadline ?? .never
        if lane.headExpiry < Lane.expiryIsBeingRead { deadline = min(deadline, lane.headExpiry) }
        deadline = min(deadline, lane.readPause.until, lane.deadPause.until)
        guard deadline < lane.timerAt else { return }
        lane.timerAt = deadline
        timers.insert(
            TimerEntry(
                due: deadline.rawValue,
                payload: UInt64(subscription.id.rawValue),
                detail: UInt32(lane.key.lane),
                kind: TimerKind.lane.rawValue
            )
        )
    }

    func runTimers(now: Timestamp, output: any ShardOutput) {
        while let entry = timers.popFirst(dueBy: now.rawValue) {
            switch TimerKind(rawValue: entry.kind) {
            case .lane:
                guard let subscription = state.subscriptions[SubscriptionID(rawValue: UInt32(entry.payload))],
                    let lane = subscription.lane(UInt16(entry.detail)), lane.timerAt.rawValue == entry.due
                else { continue }
                lane.timerAt = .never
                laneIsDue(lane, subscription, now: now)
                arm(lane, subscription)
            case .unused:
                guard let subscription = state.subscriptions[SubscriptionID(rawValue: UInt32(entry.payload))] else {
                    continue
                }
                expireUnused(subscription, now: now)
            case .transaction:
                checkTransaction(TransactionID(rawValue: entry.payload), now: now)
            case .search:
                for search in searches.values { enqueue(search) }
            case .redrive:
                wakeRedrive(TopicID(rawValue: UInt32(truncatingIfNeeded: entry.payload)))
            case .topic:
                guard let topic = state.topics[TopicID(rawValue: UInt32(truncatingIfNeeded: entry.payload))],
                    topic.trimAt.rawValue == entry.due
                else { continue }
                topic.trimAt = .never
                trim(topic, now: now)
            case nil:
                continue
            }
        }
    }

    private func laneIsDue(_ lane: Lane, _ subscription: Subscription, now: Timestamp) {
        var expired: [DeliveryState.Lease] = []
        lane.delivery.takeExpired(now: now, into: &expired)
        for piece in expired { release(piece, until: nil, countsAttempt: true, of: lane, subscription) }
        // What was delivered too often is not released: the room that it had is free all the same.
        if lane.delivery.wakeDelayed(now: now) || !expired.isEmpty { enqueue(subscription) }
        if lane.readPause.isOver(at: now) { enqueue(subscription) }
        if lane.deadPause.isOver(at: now), !lane.delivery.dying.isEmpty { enqueueDead(lane) }
        if lane.headExpiry <= now { expireHead(of: lane, subscription, now: now) }
    }

    // MARK: The journal

    private func answerSettled(_ session: UInt64, _ token: UInt64, _ results: [ErrorCode?]) {
        journalWaiters.append(
            Reply(session: session, token: token, kind: .request(.success(.settled(results))))
        )
    }

    /// Writes what came together into the log, where somebody waits for it or enough time has passed.
    func writeJournal(now: Timestamp) {
        guard !journal.isEmpty || !stateJournal.isEmpty || !journalWaiters.isEmpty else {
            journalDeadline = nil
            return
        }
        guard log.failure == nil, !snapshotWork.isSealed else {
            journalDeadline = nil
            return
        }
        let isDue = journalDeadline.map { now >= $0 } ?? false
        guard !journalWaiters.isEmpty || isDue || journal.isFull || stateJournal.isFull || log.isSyncDue(now: now)
        else {
            return
        }
        do throws(CommitLog.AppendRefusal) {
            try flushJournal()
        } catch {
            // A segment that is being made wakes the shard by itself.
            journalDeadline = nil
            if case .waitsForSegment = error { return }
            retryDeadline = retryDeadline ?? now.advanced(byMicroseconds: options.fullRetryMicroseconds)
            return
        }
        journalDeadline = nil
        guard !journalWaiters.isEmpty else { return }
        log.wantDurable()
        for waiting in journalWaiters { unsettled.append(Unsettled(end: log.end, kind: .reply(waiting))) }
        journalWaiters.removeAll(keepingCapacity: true)
    }

    /// Writes the journal now: before a record that must not come before its changes.
    func flushJournal() throws(CommitLog.AppendRefusal) {
        guard !journal.isEmpty || !stateJournal.isEmpty else { return }
        guard hasOpened else { throw .waitsForSegment }
        while !journal.isEmpty {
            let bytes = journal.next()
            _ = try log.append(.delivery, payloadBytes: bytes.count) { $0.copyBytes(from: bytes) }
            journal.written()
        }
        // Behind them: a session state that is gone means that what it was for is settled.
        while !stateJournal.isEmpty {
            let bytes = stateJournal.next()
            _ = try log.append(.sessionState, payloadBytes: bytes.count) { $0.copyBytes(from: bytes) }
            stateJournal.written()
        }
    }
}

extension Settlement {
    /// The message is not delivered again.
    fileprivate var endsDelivery: Bool {
        switch self {
        case .accept, .reject: true
        case .release, .extend: false
        }
    }
}
