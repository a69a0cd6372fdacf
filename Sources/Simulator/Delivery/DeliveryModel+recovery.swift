internal import MessageModel
internal import StorageService

/// What must be there when a shard was opened again, and going on from there.
extension DeliveryModel {
    /// Checks what is found behind the disk operations up to `stamp`.
    /// - Parameter isCrash: it was not closed in order, and what nobody was told of may be gone.
    func verify(_ found: DeliveryObservation, stamp: Int, isCrash: Bool) {
        verifyTopics(found, stamp)
        verifyPublished(found, stamp)
        verifyTransactions(found)
        for subscription in subscriptions { verify(subscription, found, stamp, isCrash: isCrash) }
        verifyDeadLetters(found, stamp, isCrash: isCrash)
    }

    private func verifyTopics(_ found: DeliveryObservation, _ stamp: Int) {
        for topic in topics where !topic.isGone && topic.createdAt <= stamp && topic.endingAt > stamp {
            check(
                found.topics[topic.name].map { topic.id == nil || $0.id == topic.id } ?? false,
                "topic \(topic.name) is lost"
            )
        }
        for seen in found.topics.values where seen.name != "dead" {
            check(
                topics.contains { $0.name == seen.name && !($0.isGone && stamp == Self.end) },
                "topic \(seen.name) was not asked for"
            )
        }
    }

    private func verifyPublished(_ found: DeliveryObservation, _ stamp: Int) {
        for (message, place) in found.published {
            let known = messages[message]
            let batch = batches[known.batch]
            check(batch.partition == place.partition, "\(text(message)) is in another partition")
            check(batch.submitted.stamp <= stamp, "\(text(message)) is there before it was sent")
            if stamp == Self.end { saw(message, offset: place.offset, appendTime: place.appendTime) }
            if let offset = known.offset, batch.fate == .durable, isSettled(message, stamp) {
                check(offset == place.offset, "\(text(message)) stood at \(offset) and stands at \(place.offset)")
            }
        }
        for batch in batches {
            guard found.topics[topics[batch.topic].name]?.id == topics[batch.topic].id else { continue }
            let present = batch.messages.count { found.published[$0] != nil }
            if batch.kind != .scheduled, !topics[batch.topic].letsGo {
                check(
                    present == 0 || present == batch.count,
                    "\(present) of \(batch.count) messages of a batch are there"
                )
            }
            for message in batch.messages where found.published[message] == nil && !isLetGo(message, found) {
                check(messages[message].seenAt > stamp, "\(text(message)) was seen, and is lost")
                check(batch.kind != .plain || batch.durableAt > stamp, "\(text(message)) was durable, and is lost")
            }
        }
    }

    /// All messages of a transaction are there, or none.
    private func verifyTransactions(_ found: DeliveryObservation) {
        for (number, transaction) in transactions.enumerated() {
            let stored = transaction.batches.filter {
                batches[$0].fate == .durable
                    && found.topics[topics[batches[$0].topic].name]?.id == topics[batches[$0].topic].id
                    && !topics[batches[$0].topic].isEnding && !topics[batches[$0].topic].letsGo
            }
            let present = stored.filter { found.published[batches[$0].first] != nil }
            check(
                present.isEmpty || present.count == stored.count,
                "\(present.count) of the \(stored.count) batches of transaction \(number) are there"
            )
            guard !present.isEmpty else { continue }
            for staged in transaction.staged {
                let subscription = subscriptions[staged.subscription]
                guard let waiting = found.waiting[subscription.name],
                    subscription.entries[staged.message]?.generation == 0
                else { continue }
                check(
                    waiting[staged.message] == nil,
                    "transaction \(number) was committed, and \(text(staged.message)) still waits in \(subscription.name)"
                )
            }
        }
    }

    /// Its topic does not have it any more, or perhaps has not, where nobody knows its offset.
    private func isLetGo(_ message: Int, _ found: DeliveryObservation) -> Bool {
        let batch = batches[messages[message].batch]
        guard topics[batch.topic].letsGo, let seen = found.topics[topics[batch.topic].name],
            seen.id == topics[batch.topic].id
        else { return false }
        guard let offset = messages[message].offset else { return true }
        return offset < seen.partitions[Int(batch.partition.index)].firstOffset
    }

    /// Its topic had it and does not have it any more.
    private func wasLetGo(_ message: Int, _ found: DeliveryObservation) -> Bool {
        messages[message].offset != nil && found.published[message] == nil && isLetGo(message, found)
    }

    private func verify(
        _ subscription: ModelSubscription,
        _ found: DeliveryObservation,
        _ stamp: Int,
        isCrash: Bool
    ) {
        guard subscription.policy.isDurable else { return }
        guard let seen = found.subscriptions[subscription.name] else {
            check(
                subscription.isGone || subscription.createdAt > stamp || subscription.endingAt <= stamp,
                "subscription \(subscription.name) is lost"
            )
            return
        }
        check(!subscription.isGone || stamp != Self.end, "subscription \(subscription.name) is there again")
        check(
            subscription.submitted.stamp <= stamp,
            "subscription \(subscription.name) is there before it was asked for"
        )
        if stamp == Self.end {
            check(
                ([subscription.policy] + subscription.pendingPolicies).contains(seen.policy),
                "\(seen.name) has another policy"
            )
            check(
                ([subscription.isPaused] + subscription.pendingPauses).contains(seen.isPaused),
                "\(seen.name) is paused, or not"
            )
            verifyBindings(subscription, found)
        }
        guard let waiting = found.waiting[subscription.name] else { return }
        // Where a seek has been since, what is known is not what was.
        if stamp != Self.end, subscription.wasSought { return }
        for (message, shown) in waiting {
            // What is published after a crash goes where the bindings of then say, in an order of its own.
            guard isSettled(message, stamp) else { continue }
            check(
                placing(message, subscription) != .never,
                "\(text(message)) is in \(subscription.name), and does not belong there"
            )
            verify(message, shown, in: subscription, stamp, isCrash: isCrash)
        }
        for message in found.published.keys where waiting[message] == nil && isSettled(message, stamp) {
            verifyMissing(message, in: subscription, found, stamp, isCrash: isCrash)
        }
        for message in messages.indices
        where waiting[message] == nil && wasLetGo(message, found) && messages[message].seenAt <= stamp {
            verifyMissing(message, in: subscription, found, stamp, isCrash: isCrash)
        }
        // What was routed to an inbox stays there when its topic goes.
        for message in subscription.entries.keys
        where subscription.isInbox && waiting[message] == nil && found.published[message] == nil
            && messages[message].seenAt <= stamp && topics[batches[messages[message].batch].topic].endingAt <= stamp
        {
            verifyMissing(message, in: subscription, found, stamp, isCrash: isCrash)
        }
    }

    /// It was published before `stamp`, or when it was sent.
    private func isSettled(_ message: Int, _ stamp: Int) -> Bool {
        stamp == Self.end || messages[message].seenAt <= stamp
    }

    private func verifyBindings(_ subscription: ModelSubscription, _ found: DeliveryObservation) {
        guard subscription.isInbox, let seen = found.bindings[subscription.name] else { return }
        let filters = Set(seen)
        for bound in subscription.bindings
        where bound.addedBy != Self.never && bound.removed.serial == Self.never && !bound.isUncertain {
            check(filters.contains(bound.binding), "\(subscription.name) has lost a binding")
        }
        for filter in filters {
            check(
                subscription.bindings.contains {
                    $0.binding == filter && $0.removedBy == Self.never && $0.added.serial != Self.never
                },
                "\(subscription.name) has a binding that it should not have"
            )
        }
    }

    private func verify(
        _ message: Int,
        _ shown: DeliveryObservation.Waiting,
        in subscription: ModelSubscription,
        _ stamp: Int,
        isCrash: Bool
    ) {
        guard let entry = subscription.entries[message] else {
            check(
                shown.attempts == 0,
                "\(text(message)) has \(shown.attempts) attempts in \(subscription.name), and had none"
            )
            return
        }
        if let sequence = entry.sequence, entry.generation == 0 {
            check(sequence == shown.sequence, "\(text(message)) had sequence \(sequence) and has \(shown.sequence)")
        }
        guard !entry.isVague, entry.generation == 0 else { return }
        let frontier = isCrash ? frontier(at: stamp) : Self.never
        let isDying = if case .dying = entry.state { true } else { entry.hasDied && stamp != Self.end }
        if let done = entry.done, done.serial < frontier, done.stamp <= stamp, !isDying {
            fail(
                "\(text(message)) was \(entry.isAccepted ? "accepted" : "done") in \(subscription.name), durably, and waits there again"
            )
        }
        var allowed: Set<UInt32> = []
        var last: UInt32 = 0
        for change in entry.attempts where change.moment.stamp <= stamp {
            if change.moment.serial < frontier { last = change.count } else { allowed.insert(change.count) }
        }
        allowed.insert(last)
        check(
            allowed.contains(shown.attempts),
            "\(text(message)) has \(shown.attempts) attempts in \(subscription.name), not one of \(allowed.sorted())"
        )
    }

    /// A message is published and does not wait in a subscription that it belongs to.
    private func verifyMissing(
        _ message: Int,
        in subscription: ModelSubscription,
        _ found: DeliveryObservation,
        _ stamp: Int,
        isCrash: Bool
    ) {
        guard expectation(message, subscription) == .certainly, !isDroppable(message, subscription) else { return }
        // One that was asked for in the meantime may have come before its messages, or behind them.
        guard subscription.createdAt <= stamp, subscription.pendingSeeks == 0 else { return }
        if subscription.entries[message] == nil, messages[message].routedFrom <= subscription.soughtBy { return }
        let isDead = found.deadLetters.contains { $0.message == message && $0.subscription == subscription.name }
        if isDead { return }
        if let entry = subscription.entries[message] {
            if entry.isVague || entry.isStaged || entry.generation > 0 { return }
            if let done = entry.done, done.stamp <= stamp { return }
            let most = entry.attempts.map(\.count).max() ?? 0
            if subscription.limitsOfAttempts.contains(where: { $0 > 0 && most >= $0 }) { return }
            if transactions.contains(where: { transaction in
                (transaction.isUncertain || transaction.commitSubmitted != nil)
                    && transaction.staged.contains { $0.subscription == subscription.number && $0.message == message }
            }) {
                return
            }
        }
        fail(
            "\(text(message)) is lost in \(subscription.name): \(subscription.entries[message].map { "\($0)" } ?? "never seen there")"
        )
    }

    // MARK: Dead letters

    private func verifyDeadLetters(_ found: DeliveryObservation, _ stamp: Int, isCrash: Bool) {
        var counts: [String: [Int: Int]] = [:]
        for letter in found.deadLetters {
            counts[letter.subscription, default: [:]][letter.message, default: 0] += 1
            guard let subscription = subscriptions.last(where: { $0.name == letter.subscription }) else {
                fail("a dead letter of \(letter.subscription), which is not known")
                continue
            }
            let what =
                "\(text(letter.message)) died in \(subscription.name) (\(letter.reason), \(letter.attempts) attempts)"
            check(
                placing(letter.message, subscription) != .never || subscription.soughtBy > 0,
                "\(what), and does not belong there"
            )
            switch letter.reason {
            case "expired": check(isExpired(letter.message, subscription), "\(what), and has not expired")
            case "maximum length": check(subscription.mayDrop, "\(what), and there is no limit")
            case "too many attempts":
                check(subscription.limitsOfAttempts.contains { $0 > 0 && letter.attempts >= $0 }, "\(what), too early")
            case "rejected", "broken": break
            default: fail("\(what), for no reason")
            }
            guard stamp == Self.end, let entry = subscription.entries[letter.message], entry.generation == 0 else {
                continue
            }
            let isCertain = !isCrash || entry.done.map { $0.serial < frontier(at: stamp) } ?? false
            check(!(entry.state == .done && entry.isAccepted && isCertain), "\(what), and was accepted")
            if case .dying(let reason) = entry.state, !entry.isVague,
                isCrash ? entry.done.map({ $0.serial < frontier(at: stamp) }) ?? false : true
            {
                check(reason == letter.reason, "\(what), and should have of \(reason)")
                check(letter.attempts == entry.failed, "\(what), after \(entry.failed) attempts")
            }
            if let sequence = entry.sequence {
                check(sequence == letter.sequence, "\(what) as \(letter.sequence), and was \(sequence)")
            }
        }
        for (name, messages) in counts {
            guard let subscription = subscriptions.last(where: { $0.name == name }) else { continue }
            for (message, count) in messages {
                let generation = subscription.entries[message]?.generation ?? 0
                check(
                    count <= generation + 1 || subscription.wasSought,
                    "\(text(message)) died \(count) times in \(name)"
                )
                if stamp == Self.end { subscription.entries[message]?.deadLetters = count }
            }
        }
    }

    // MARK: Going on

    /// Takes what was found for what is.
    func adopt(_ found: DeliveryObservation, isNewLife: Bool, isCrash: Bool) {
        adoptTopics(found)
        let frontier = isCrash ? frontier(at: Self.end) : Self.never
        for index in batches.indices where isNewLife && batches[index].fate == .open && batches[index].kind == .plain {
            // Of a topic that is gone nobody knows.
            guard found.topics[topics[batches[index].topic].name]?.id == topics[batches[index].topic].id else {
                continue
            }
            let isThere = found.published[batches[index].first] != nil
            if !isThere, isLetGo(batches[index].first, found) { continue }
            batches[index].fate = isThere ? .durable : .lost
        }
        for index in transactions.indices where isNewLife { adoptTransaction(index, found) }
        for subscription in subscriptions where !subscription.isGone {
            guard let seen = found.subscriptions[subscription.name] else {
                subscription.isGone = true
                continue
            }
            subscription.id = seen.id
            subscription.isAnswered = true
            subscription.isEnding = false
            subscription.endingAt = Self.never
            subscription.createdAt = min(subscription.createdAt, stamp)
            subscription.policy = seen.policy
            subscription.pendingPolicies = []
            subscription.isPaused = seen.isPaused
            subscription.pendingPauses = []
            if subscription.pendingSeeks > 0 {
                subscription.soughtBy = serial
                if subscription.start != nil { subscription.start = seen.lanes.map(\.acknowledged) }
            }
            subscription.pendingSeeks = 0
            if case .cursor = subscription.source, subscription.start == nil {
                subscription.start = seen.lanes.map(\.acknowledged)
            }
            adoptBindings(subscription, found)
            adoptEntries(subscription, found, frontier, isNewLife: isNewLife)
        }
        if isNewLife { everythingIsDurable() }
    }

    private func adoptTopics(_ found: DeliveryObservation) {
        for index in topics.indices where !topics[index].isGone {
            guard let seen = found.topics[topics[index].name], topics[index].id == nil || topics[index].id == seen.id
            else {
                topics[index].isGone = true
                continue
            }
            topics[index].id = seen.id
            topics[index].isAnswered = true
            topics[index].isEnding = false
            topics[index].endingAt = Self.never
            topics[index].createdAt = min(topics[index].createdAt, stamp)
        }
        if let seen = found.topics["dead"], !topics.contains(where: { $0.name == "dead" && !$0.isGone }) {
            // It was made for the first dead letter.
            topics.append(
                Topic(name: "dead", partitions: 1, isForDead: true, id: seen.id, submitted: moment(), isAnswered: true)
            )
        }
    }

    private func adoptTransaction(_ index: Int, _ found: DeliveryObservation) {
        transactions[index].pending = 0
        switch transactions[index].state {
        case .beginning: transactions[index].state = .ended
        case .open: break
        case .committing, .endingOtherwise: transactions[index].isUncertain = true
        case .committed, .ended: break
        }
        for batch in transactions[index].batches where batches[batch].fate == .open {
            transactions[index].isUncertain = true
        }
    }

    private func adoptBindings(_ subscription: ModelSubscription, _ found: DeliveryObservation) {
        guard subscription.isInbox else { return }
        let filters = Set(found.bindings[subscription.name] ?? [])
        for index in subscription.bindings.indices where subscription.bindings[index].removedBy == Self.never {
            guard subscription.bindings[index].added.serial != Self.never else { continue }
            let isLast = !subscription.bindings[(index + 1)...].contains {
                $0.binding == subscription.bindings[index].binding && $0.added.serial != Self.never
            }
            if filters.contains(subscription.bindings[index].binding), isLast {
                if subscription.bindings[index].addedBy == Self.never { subscription.bindings[index].addedBy = serial }
                subscription.bindings[index].removed.serial = Self.never
            } else if subscription.bindings[index].removed.serial == Self.never {
                // It never came.
                subscription.bindings[index].added.serial = Self.never
            } else {
                subscription.bindings[index].removedBy = serial
            }
            subscription.bindings[index].isUncertain = false
        }
    }

    private func adoptEntries(
        _ subscription: ModelSubscription,
        _ found: DeliveryObservation,
        _ frontier: Int,
        isNewLife: Bool
    ) {
        let waiting = found.waiting[subscription.name] ?? [:]
        for (message, entry) in subscription.entries where waiting[message] == nil {
            guard isNewLife || entry.isVague else { continue }
            subscription.entries[message]?.state = .done
            if entry.done.map({ $0.serial >= frontier }) ?? true { subscription.entries[message]?.isAccepted = false }
            subscription.entries[message]?.done = entry.done ?? Moment(serial: serial, stamp: stamp)
            subscription.entries[message]?.isVague = false
            subscription.entries[message]?.isStaged = false
            subscription.entries[message]?.attempts = []
        }
        for (message, shown) in waiting where subscription.wants(messages[message]) {
            var entry = subscription.entries[message] ?? Entry(message: message)
            guard isNewLife || entry.isVague || subscription.entries[message] == nil else { continue }
            entry.lane = shown.lane
            entry.sequence = shown.sequence
            subscription.places[ModelSubscription.Place(lane: shown.lane, sequence: shown.sequence)] = message
            entry.heldUntil = .zero
            switch entry.state {
            case .leased(0, let deadline):
                if !entry.isVague, entry.attempts.last.map({ $0.moment.serial < frontier }) ?? true {
                    entry.heldUntil = deadline
                }
            case .delayed(let until):
                if !entry.isVague, entry.attempts.last.map({ $0.moment.serial < frontier }) ?? true {
                    entry.heldUntil = until
                }
            default: break
            }
            entry.mayBeHeldUntil = max(entry.latestHold, entry.heldUntil)
            if isNewLife, frontier != Self.never { entry.mayHaveLostLease = true }
            if case .dying = entry.state, !entry.isVague, let done = entry.done, done.serial < frontier {
                // It goes on dying.
                entry.isVague = !isNewLife
                entry.attempts = [(.start, shown.attempts)]
                subscription.entries[message] = entry
                continue
            }
            entry.state = .waiting
            entry.failed = shown.attempts
            entry.attempts = [(.start, shown.attempts)]
            entry.done = nil
            entry.isAccepted = false
            entry.isStaged = false
            // Within a life nobody said whether it is leased.
            entry.isVague = !isNewLife
            // It was delivered as often as it may be: it dies when it is looked at.
            if subscription.policy.maxAttempts > 0, shown.attempts >= subscription.policy.maxAttempts {
                entry.isVague = true
            }
            subscription.entries[message] = entry
        }
        guard isNewLife else { return }
        let gone = subscription.places.filter { waiting[$0.value] == nil && found.published[$0.value] == nil }
        for place in gone.keys { subscription.places[place] = nil }
        for message in subscription.entries.keys
        where found.published[message] == nil && batches[messages[message].batch].fate == .lost {
            subscription.entries[message] = nil
        }
    }
}
