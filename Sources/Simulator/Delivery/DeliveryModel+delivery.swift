internal import MessageModel
internal import StorageService

/// Deliveries, their ends, and time.
extension DeliveryModel {
    typealias Entry = ModelSubscription.Entry

    // MARK: Ends

    /// A delivery of an entry ended without success.
    private func end(_ entry: inout Entry, of subscription: ModelSubscription, until: Timestamp?, counts: Bool) {
        let attempt = entry.failed + 1
        let limits = ([subscription.policy] + subscription.pendingPolicies).map(\.maxAttempts)
        let verdicts = Set(limits.map { counts && $0 > 0 && attempt >= $0 })
        // Also where it may be dead: a new policy whose answer is on its way may let it live.
        if let until { entry.latestHold = max(entry.latestHold, until) }
        if verdicts.count > 1 { entry.isVague = true }
        if verdicts.contains(true) {
            // A commit whose answer is on its way may have come before.
            if entry.isStaged { entry.isVague = true }
            condemn(&entry, "too many attempts", attempt: attempt, of: subscription)
            return
        }
        let moment = moment()
        entry.failed = counts ? attempt : attempt - 1
        entry.attempts.append((moment, entry.failed))
        entry.state = until.map { .delayed(until: $0) } ?? .waiting
    }

    func condemn(_ entry: inout Entry, _ reason: String, attempt: UInt32, of subscription: ModelSubscription) {
        let moment = moment()
        entry.failed = attempt
        entry.attempts.append((moment, attempt))
        entry.done = moment
        let hasTopic = subscription.policy.deadLetterTopic != nil
        if subscription.pendingPolicies.contains(where: { ($0.deadLetterTopic != nil) != hasTopic }) {
            entry.isVague = true
        }
        entry.state = hasTopic ? .dying(reason: reason) : .done
        entry.hasDied = hasTopic
    }

    private func accept(_ entry: inout Entry) {
        entry.state = .done
        entry.isAccepted = true
        entry.done = moment()
    }

    /// Deadlines that have come.
    /// - Parameter endsLeases: false while a new life is looked at, which what was known of the old one is compared with.
    func timePasses(to time: Timestamp, endsLeases: Bool = true) {
        now = max(now, time)
        for batch in batches.indices where batches[batch].kind == .scheduled {
            for message in batches[batch].messages where messages[message].routedFrom == 0 {
                if let due = messages[message].due, due <= now { messages[message].routedFrom = max(serial, 1) }
            }
        }
        guard endsLeases else { return }
        for subscription in subscriptions where !subscription.isGone {
            for (message, entry) in subscription.entries {
                switch entry.state {
                case .leased(_, let deadline) where deadline <= now:
                    var entry = entry
                    end(&entry, of: subscription, until: nil, counts: true)
                    subscription.entries[message] = entry
                case .delayed(let until) where until <= now:
                    subscription.entries[message]?.state = .waiting
                default: continue
                }
            }
        }
    }

    // MARK: Settling

    func settle(
        _ settlement: Settlement,
        _ message: Int,
        of subscription: ModelSubscription,
        at time: Timestamp
    ) {
        guard var entry = subscription.entries[message] else { return }
        switch settlement {
        case .accept:
            accept(&entry)
        case .release(let delay, let counts):
            let wait = delay ?? (subscription.policy.backoff?.delay(afterAttempt: entry.failed + 1) ?? 0) * 1_000
            if delay == nil, !subscription.pendingPolicies.isEmpty { entry.isVague = true }
            end(
                &entry,
                of: subscription,
                until: wait > 0 ? tick(time.advanced(byMicroseconds: wait)) : nil,
                counts: counts
            )
        case .reject(let reason):
            condemn(&entry, reason.isEmpty ? "rejected" : reason, attempt: entry.failed + 1, of: subscription)
        case .extend(let duration):
            guard case .leased(let owner, _) = entry.state else { break }
            let deadline = tick(time.advanced(byMicroseconds: duration))
            entry.state = .leased(owner: owner, deadline: deadline)
            entry.attempts.append((moment(), entry.failed + 1))
            if owner == 0 { entry.latestHold = max(entry.latestHold, deadline) }
        }
        subscription.entries[message] = entry
    }

    /// A settlement that may count or not: a message of which nobody knows what became may be held as long as it says.
    func maySettle(_ settlement: Settlement, _ message: Int, of subscription: ModelSubscription, at time: Timestamp) {
        var wait: UInt64 = 0
        switch settlement {
        case .accept, .reject: return
        case .extend(let duration): wait = duration
        case .release(let delay, _):
            let backoffs = ([subscription.policy] + subscription.pendingPolicies).compactMap(\.backoff)
            let longest = backoffs.flatMap { backoff in (1...20).map { backoff.delay(afterAttempt: $0) } }.max() ?? 0
            wait = delay ?? longest * 1_000
        }
        guard let entry = subscription.entries[message] else { return }
        subscription.entries[message]?.latestHold = max(entry.latestHold, tick(time.advanced(byMicroseconds: wait)))
    }

    /// Whether a receipt counts now.
    /// - Returns: nil where that is not known.
    func accepts(
        _ entry: Entry?,
        lease: UInt64,
        _ settlement: Settlement?,
        in subscription: ModelSubscription
    ) -> Bool? {
        guard let entry, !entry.isVague else { return nil }
        switch entry.state {
        case .leased: return entry.lease != lease ? false : mayLose(subscription) ? nil : true
        case .waiting, .delayed:
            guard !entry.mayBeSought else { return nil }
            // Where the record of the last lease is lost, the one before may be the last that is known.
            guard entry.lease == lease else { return entry.mayHaveLostLease ? nil : false }
            if isDroppable(entry.message, subscription) || subscription.isSpent(entry) { return nil }
            // A crash left open whether it is still leased.
            if entry.mayBeHeldUntil > now { return settlement == nil || settlement == .accept ? true : nil }
            switch settlement {
            case .accept, .reject, nil: return true
            case .release, .extend: return false
            }
        case .done, .dying: return false
        }
    }

    /// Settles by a receipt that counts.
    func settleByReceipt(
        _ settlement: Settlement,
        _ message: Int,
        of subscription: ModelSubscription,
        at time: Timestamp
    ) {
        guard var entry = subscription.entries[message] else { return }
        if case .leased = entry.state { return settle(settlement, message, of: subscription, at: time) }
        switch settlement {
        case .accept: accept(&entry)
        case .reject(let reason):
            // What that delivery counts for was said when it ended.
            condemn(&entry, reason.isEmpty ? "rejected" : reason, attempt: entry.failed, of: subscription)
        case .release, .extend: break
        }
        subscription.entries[message] = entry
    }

    /// A consumer is gone.
    func detached(owner: UInt64, of subscription: ModelSubscription) {
        guard owner != 0 else { return }
        for (message, entry) in subscription.entries {
            guard case .leased(owner, _) = entry.state else { continue }
            var entry = entry
            end(&entry, of: subscription, until: nil, counts: true)
            subscription.entries[message] = entry
        }
    }

    // MARK: Deliveries

    struct Delivered {
        var message: Int
        var lane: UInt16
        var sequence: UInt64
        var attempt: UInt32
        var lease: UInt64
        var deadline: Timestamp
    }

    /// A message was given to a consumer.
    func delivered(
        _ delivery: Delivered,
        to consumer: ModelSubscription.Consumer,
        of subscription: ModelSubscription
    ) {
        let message = delivery.message
        let text = "\(self.text(message)), delivery \(delivery.attempt) to \(subscription.name)"
        check(!subscription.isPaused || !subscription.pendingPauses.isEmpty, "\(text): it is paused")
        checkRouted(delivery, subscription, text)
        var entry = subscription.entries[message] ?? Entry(message: message)
        if !entry.isVague, subscription.pendingSeeks == 0 {
            switch entry.state {
            case .waiting: break
            case .leased(let owner, let deadline):
                fail("\(text): it is leased to \(owner) until \(deadline.rawValue)")
            case .delayed(let until): fail("\(text): it is delayed until \(until.rawValue)")
            case .done: fail("\(text): it is \(entry.isAccepted ? "accepted" : "done")")
            case .dying(let reason): fail("\(text): it is dying: \(reason)")
            }
            check(delivery.attempt == entry.failed + 1, "\(text): \(entry.failed) deliveries ended")
            check(entry.heldUntil <= now, "\(text): it is not free before \(entry.heldUntil.rawValue)")
        }
        check(!isExpiredNow(message, subscription), "\(text): it has expired")
        entry.lane = delivery.lane
        entry.sequence = delivery.sequence
        subscription.entries[message] = entry
        checkOrder(entry, subscription, text)
        if entry.isVague {
            // What became of it before is known no better than that: a crash may go back to any of it.
            let unknown = self.moment()
            entry.attempts = (entry.attempts.map(\.count) + [delivery.attempt - 1]).map { (unknown, $0) }
        }
        let moment = moment()
        entry.failed = delivery.attempt - 1
        entry.attempts.append((moment, delivery.attempt))
        check(delivery.lease > entry.lease, "\(text): its lease \(delivery.lease) is not behind \(entry.lease)")
        check(entry.leases.insert(delivery.lease).inserted, "\(text): an earlier lease was \(delivery.lease), too")
        entry.lease = delivery.lease
        entry.mayHaveLostLease = false
        entry.mayBeSought = subscription.pendingSeeks > 0
        // A seek that is on its way may come behind it.
        entry.isVague = subscription.pendingSeeks > 0
        entry.heldUntil = .zero
        entry.mayBeHeldUntil = .zero
        entry.done = nil
        entry.state = .leased(owner: consumer.owner, deadline: delivery.deadline)
        if consumer.owner == 0 { entry.latestHold = max(entry.latestHold, delivery.deadline) }
        subscription.entries[message] = entry
    }

    private func isExpiredNow(_ message: Int, _ subscription: ModelSubscription) -> Bool {
        if let expiry = messages[message].expiry, expiry <= now { return true }
        guard subscription.pendingPolicies.isEmpty, subscription.policy.messageTTLMicroseconds > 0,
            let stored = messages[message].appendTime, batches[messages[message].batch].kind == .plain
        else { return false }
        return stored.advanced(byMicroseconds: subscription.policy.messageTTLMicroseconds) <= now
    }

    private func checkRouted(_ delivery: Delivered, _ subscription: ModelSubscription, _ text: String) {
        let known = messages[delivery.message]
        check(expectation(delivery.message, subscription) != .never, "\(text): it does not belong there")
        if let lane = subscription.lane(of: known) {
            check(lane == delivery.lane, "\(text): it came from lane \(delivery.lane), not \(lane)")
        }
        if case .cursor = subscription.source {
            check(delivery.lane == batches[known.batch].partition.index, "\(text): it came from another partition")
            check(known.offset == delivery.sequence, "\(text): it came as sequence \(delivery.sequence)")
        }
        let place = ModelSubscription.Place(lane: delivery.lane, sequence: delivery.sequence)
        if let other = subscription.places[place] {
            check(other == delivery.message, "\(text): its place \(place.sequence) is that of \(self.text(other))")
        }
        if let entry = subscription.entries[delivery.message], let sequence = entry.sequence {
            check(sequence == delivery.sequence, "\(text): it had sequence \(sequence), and has \(delivery.sequence)")
        }
        subscription.places[place] = delivery.message
    }

    /// Whether one entry stands before another of the same lane; nil where that is not known.
    private func isBefore(_ left: Entry, _ right: Entry, _ subscription: ModelSubscription) -> Bool? {
        if let first = left.sequence, let second = right.sequence {
            return left.lane == right.lane ? first < second : nil
        }
        let first = messages[left.message]
        let second = messages[right.message]
        if subscription.isInbox {
            guard subscription.lane(of: first) == subscription.lane(of: second), batches[first.batch].kind == .plain,
                batches[second.batch].kind == .plain
            else { return nil }
            let numbers = (batches[first.batch].submitted.serial, batches[second.batch].submitted.serial)
            return numbers.0 == numbers.1 ? first.index < second.index : numbers.0 < numbers.1
        }
        guard batches[first.batch].partition == batches[second.batch].partition, let one = first.offset,
            let other = second.offset
        else { return nil }
        return one < other
    }

    private func checkOrder(_ entry: Entry, _ subscription: ModelSubscription, _ text: String) {
        guard subscription.pendingSeeks == 0 else { return }
        let isOrdered = subscription.policy.consumers == .orderedByKey && subscription.pendingPolicies.isEmpty
        let key = messages[entry.message].key
        for other in subscription.entries.values where other.message != entry.message && !other.isVague {
            guard isBefore(other, entry, subscription) == true else {
                if isOrdered, key != nil, messages[other.message].key == key, case .leased = other.state,
                    isBefore(entry, other, subscription) == true
                {
                    fail("\(text): a later one with its key is out, \(self.text(other.message))")
                }
                continue
            }
            if isOrdered, key != nil, messages[other.message].key == key, other.isOpen, !other.isStaged,
                !subscription.isSpent(other), !isDroppable(other.message, subscription)
            {
                fail("\(text): an earlier one with its key is not done, \(self.text(other.message))")
            }
            guard case .waiting = other.state, other.mayBeHeldUntil <= now, !other.isStaged,
                !subscription.isSpent(other),
                !isDroppable(other.message, subscription), !isBlocked(other, subscription)
            else { continue }
            fail("\(text): an earlier one waits, \(self.text(other.message))")
        }
    }

    /// Whether the order of its key holds an entry back.
    func isBlocked(_ entry: Entry, _ subscription: ModelSubscription) -> Bool {
        guard subscription.policy.consumers == .orderedByKey || !subscription.pendingPolicies.isEmpty,
            let key = messages[entry.message].key
        else { return false }
        return subscription.entries.values.contains { other in
            guard other.message != entry.message, messages[other.message].key == key else { return false }
            // One that is dying holds its key until it is with the dead letters.
            if case .dying = other.state, other.deadLetters == 0 {
                return isBefore(other, entry, subscription) != false
            }
            guard other.isOpen || other.isVague else { return false }
            if case .leased = other.state { return true }
            // A crash left open whether it is leased.
            if other.mayBeHeldUntil > now { return true }
            return isBefore(other, entry, subscription) != false
        }
    }

    /// An entry that could be delivered now, and to somebody; nil where there is none.
    func neglected(_ subscription: ModelSubscription) -> Int? {
        guard subscription.isUsable, !subscription.isVague, !subscription.isPaused else { return nil }
        let policy = subscription.policy
        let isOneOnly = policy.consumers == .exclusive || policy.consumers == .failover
        let candidates = isOneOnly ? Array(subscription.consumers.prefix(1)) : subscription.consumers
        guard candidates.contains(where: \.hasCredit) else { return nil }
        var tracked = 0
        var found: Int?
        for entry in subscription.entries.values {
            switch entry.state {
            case .done: if entry.isVague { tracked += 1 }
            case .dying, .leased, .delayed: tracked += 1
            case .waiting:
                if entry.failed > 0 || entry.isVague || entry.mayBeHeldUntil > now || isBlocked(entry, subscription) {
                    tracked += 1
                }
                if !entry.isVague, entry.mayBeHeldUntil <= now, !isDroppable(entry.message, subscription),
                    !isBlocked(entry, subscription), !entry.isStaged, !subscription.isSpent(entry)
                {
                    found = entry.message
                }
            }
        }
        // Messages that are not known to be there may wait for their keys, and take room.
        if policy.consumers == .orderedByKey, policy.window < 100, tracked > 0 { return nil }
        return tracked < Int(policy.window) ? found : nil
    }

    /// What is open in a subscription, for the trace.
    func summary(_ subscription: ModelSubscription) -> String {
        let open = subscription.entries.values.filter { $0.state != .done }.sorted {
            ($0.lane ?? 0, $0.sequence ?? 0) < ($1.lane ?? 0, $1.sequence ?? 0)
        }
        let lines = open.map { entry in
            let place = "\(entry.lane.map(String.init) ?? "?")/\(entry.sequence.map(String.init) ?? "?")"
            return
                "\(place) \(text(entry.message)) \(entry.state), \(entry.failed) failed, key \(messages[entry.message].key ?? [])"
        }
        return "\(subscription.name): \(lines), consumers \(subscription.consumers)"
    }
}
