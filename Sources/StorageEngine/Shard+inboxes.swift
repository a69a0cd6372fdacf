internal import DequeModule
internal import MessageModel
internal import StorageService

/// What inboxes do not keep: too many messages, too old ones, and themselves when nobody uses them.
extension Shard {
    // MARK: Room

    /// Whether inboxes that refuse what they have no room for have room for these messages.
    func hasRoom(for routes: [InboxRoute]) -> Bool {
        var taken: [SubscriptionID: InboxRoom] = [:]
        for route in routes {
            guard let subscription = state.subscriptions[route.lane.subscription],
                subscription.rules.overflow == .reject
            else { continue }
            var room = taken[subscription.id] ?? InboxRoom(of: subscription)
            guard room.take(messages: UInt64(route.count), bytes: UInt64(route.bytes)) else { return false }
            if routes.count > 1 { taken[subscription.id] = room }
        }
        return true
    }

    /// Messages went to inboxes: those that have more than they may let the oldest go.
    func limit(_ routes: [InboxRoute], expires: Bool = false, now: Timestamp) {
        for route in routes {
            guard let subscription = state.subscriptions[route.lane.subscription],
                let lane = subscription.lane(route.lane.lane)
            else { continue }
            let rules = subscription.rules
            if rules.overflow != .reject, rules.limitsLength {
                dropOldest(of: subscription)
            }
            if expires { lane.mayExpire = true }
            guard lane.headExpiry == .never, subscription.consumers.isEmpty else { continue }
            if rules.messageTTLMicroseconds > 0 {
                lane.headExpiry = tick(state.lastTime.advanced(byMicroseconds: rules.messageTTLMicroseconds))
                arm(lane, subscription)
            }
        }
    }

    /// What was routed to an inbox is durable.
    func grew(_ inbox: Subscription, lane number: UInt16) {
        guard let lane = inbox.lane(number) else { return }
        // What was condemned before it was durable can be read now.
        if !lane.delivery.dying.isEmpty { enqueueDead(lane) }
        guard inbox.consumers.isEmpty else { return enqueue(inbox) }
        if lane.mayExpire, lane.headExpiry == .never { timeIsUp(lane, inbox) }
    }

    private func dropOldest(of subscription: Subscription) {
        let rules = subscription.rules
        while (rules.maxMessages > 0 && subscription.waiting > rules.maxMessages)
            || (rules.maxBytes > 0 && subscription.waitingBytes > rules.maxBytes)
        {
            // The least important go first.
            var hasDropped = false
            for lane in subscription.lanes {
                guard let lane,
                    let oldest = lane.delivery.oldestWaiting(
                        before: lane.sequence.nextOffset,
                        passesDelivered: rules.keepsDelivered
                    )
                else { continue }
                if rules.hasDeadLetters {
                    condemn(oldest..<oldest + 1, "maximum length", of: lane, subscription)
                } else {
                    finish(oldest..<oldest + 1, of: lane, subscription)
                }
                hasDropped = true
                break
            }
            guard hasDropped else { return }
        }
    }

    // MARK: Age

    /// The head of a lane is to be looked at soon.
    func timeIsUp(_ lane: Lane, _ subscription: Subscription) {
        lane.headExpiry = .zero
        arm(lane, subscription)
    }

    /// Lets go what waits at the head of an inbox for too long.
    func expireHead(of lane: Lane, _ subscription: Subscription, now: Timestamp) {
        lane.headExpiry = .never
        for _ in 0..<256 {
            guard
                let head = lane.delivery.oldestWaiting(
                    before: lane.sequence.visibleOffset,
                    passesDelivered: subscription.rules.keepsDelivered
                )
            else { return }
            let reader = reader(\.dead, of: lane, subscription, at: head)
            switch reader.next(log: log, requests: &coldRequests) {
            case .batch(let batch, let place):
                lane.deadPause.end()
                guard place.baseOffset <= head else {
                    finish(head..<place.baseOffset, of: lane, subscription)
                    continue
                }
                guard let expiry = expiry(ofSequence: head, batch, place, subscription.rules) else { return }
                guard expiry <= now else {
                    lane.headExpiry = tick(expiry)
                    return
                }
                condemn(head..<head + 1, "expired", of: lane, subscription)
                // What waited for a delay took room in the window.
                enqueue(subscription)
            case .pending:
                // The answer brings it back here.
                lane.headExpiry = Lane.expiryIsBeingRead
                return
            case .atEnd:
                return
            case .damaged(let range):
                finish(range, of: lane, subscription)
            case .failed:
                _ = lane.deadPause.begin(now: now)
                lane.headExpiry = lane.deadPause.until
                return
            }
        }
        timeIsUp(lane, subscription)
    }

    private func expiry(
        ofSequence sequence: UInt64,
        _ batch: BatchView,
        _ place: SequenceReader.Place,
        _ rules: DeliveryRules
    ) -> Timestamp? {
        let index = place.first + Int(sequence - place.baseOffset)
        var cursor = batch.records
        while let record = cursor.next() {
            if cursor.index - 1 == index { return expiry(of: record, place, rules) }
        }
        return nil
    }

    // MARK: Use

    func becameUnused(_ subscription: Subscription, now: Timestamp) {
        guard subscription.policy.expiresUnusedMicroseconds > 0 else { return }
        if subscription.unusedSince == nil { note(.unused(since: now), subscription) }
        armUnused(subscription)
    }

    private func armUnused(_ subscription: Subscription) {
        guard let since = subscription.unusedSince else { return }
        timers.insert(
            TimerEntry(
                due: since.advanced(byMicroseconds: subscription.policy.expiresUnusedMicroseconds).rawValue,
                payload: UInt64(subscription.id.rawValue),
                kind: TimerKind.unused.rawValue
            )
        )
    }

    func expireUnused(_ subscription: Subscription, now: Timestamp) {
        guard let since = subscription.unusedSince, subscription.consumers.isEmpty,
            subscription.policy.expiresUnusedMicroseconds > 0
        else { return }
        let end = since.advanced(byMicroseconds: subscription.policy.expiresUnusedMicroseconds)
        // It may have been used since, or have got more time.
        guard end <= now else { return }
        do throws(Refusal) {
            if subscription.isLogged {
                try appendRecord(.subscriptionDeleted) { $0.write32(subscription.id.rawValue) }
            }
            // There are no consumers; others may be attached.
            let error = SluiceError(.subscriptionNotFound, "'\(subscription.name)' was not used for too long")
            endConsumers(of: subscription, error)
            subscription.family?.expired()
            state.applySubscriptionDeleted(subscription.id)
        } catch {
            // There is no room for the record now: looked at again later.
            if case .log(let refusal) = error { retryLater(refusal) }
            subscription.unusedSince = nil
            becameUnused(subscription, now: now)
        }
    }
}

extension Subscription {
    /// Messages that are neither done nor leased, in all lanes.
    var waiting: UInt64 {
        lanes.reduce(0) { sum, lane in
            guard let lane else { return sum }
            let held = lane.delivery.leasedCount + lane.delivery.dying.count
            let backlog = lane.delivery.backlog(before: lane.sequence.nextOffset)
            return sum + (backlog > held ? backlog - held : 0)
        }
    }

    var waitingBytes: UInt64 { lanes.reduce(0) { $0 + ($1?.bytes ?? 0) } }
}

extension Lane {
    /// The head is being read: there is no timer to wait for.
    static let expiryIsBeingRead = Timestamp(rawValue: .max - 1)

    /// When the oldest message that is not done was stored, where that is at hand.
    var oldest: Timestamp? {
        let first = delivery.firstUnfinished
        guard first < sequence.visibleOffset else { return nil }
        if let run = sequence.index.runs.first(where: { $0.nextOffset > first }) {
            return Timestamp(rawValue: run.firstTime)
        }
        let place = sequence.index.firstEntry(notBehind: .offset(first))
        guard place < sequence.index.entries.endIndex else { return nil }
        return Timestamp(rawValue: sequence.index.entries[place].appendTime)
    }
}

extension DeliveryState {
    /// The first message that is not done.
    var firstUnfinished: UInt64 { done.range(holding: watermark)?.upperBound ?? watermark }

    /// The first message that is neither done nor leased nor dying, before `end`.
    /// - Parameter passesDelivered: nor was it ever delivered.
    func oldestWaiting(before end: UInt64, passesDelivered: Bool = false) -> UInt64? {
        var place = watermark
        while place < end {
            if let range = done.range(holding: place) ?? dying.range(holding: place) {
                place = range.upperBound
            } else if let lease = lease(holding: place) {
                place = lease.range.upperBound
            } else if passesDelivered, past[place] != nil {
                place += 1
            } else {
                return place
            }
        }
        return nil
    }
}
