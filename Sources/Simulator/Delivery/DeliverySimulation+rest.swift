internal import MessageModel
internal import StorageEngine
internal import StorageService

/// Bringing everything to rest, and what must be true then; and what is looked at when a life begins.
extension DeliverySimulation {
    /// What nobody will answer any more: it may have happened.
    func abandoned(_ request: Pending) {
        switch request.kind {
        case .append(let batch):
            if case .prepared(let transaction) = model.batches[batch].kind {
                model.transactions[transaction].pending -= 1
                model.transactions[transaction].isUncertain = true
            }
        case .bind(let number, let index), .unbind(let number, let index):
            model.subscriptions[number].bindings[index].isUncertain = true
        case .begin(let transaction), .rollBack(let transaction):
            model.transactions[transaction].isUncertain = true
        case .stage(let transaction, _):
            model.transactions[transaction].pending -= 1
            model.transactions[transaction].isUncertain = true
        case .commit(let transaction):
            model.transactions[transaction].isUncertain = true
            for staged in model.transactions[transaction].staged {
                model.subscriptions[staged.subscription].entries[staged.message]?.isVague = true
                model.subscriptions[staged.subscription].entries[staged.message]?.isStaged = false
            }
        case .createTopic, .deleteTopic, .createSubscription, .deleteSubscription, .update, .pause, .seek, .settle,
            .settleByAttachment, .lease, .describe, .adopt, .cancel, .look:
            break
        }
    }

    func recover(isClean: Bool) throws(Violation) {
        for subscription in model.subscriptions where !subscription.policy.isDurable { subscription.isGone = true }
        isRecovering = true
        defer { isRecovering = false }
        disk.faults.read = .never
        let found = try observe()
        model.now = max(model.now, scheduler.now)
        model.verify(found, stamp: DeliveryModel.end, isCrash: !isClean)
        try throwViolation()
        model.adopt(found, isNewLife: true, isCrash: !isClean)
        try throwViolation()
        note("recovered")
    }

    /// Everything in memory: nothing has to be read from the disk.
    var isAllInMemory: Bool {
        guard lives == Lives(), let shard else { return false }
        // The index of a segment that is full goes to a file, and what is too much of a newer one.
        guard shard.indexIsInMemory else { return false }
        let end = shard.health.end.rawValue + UInt64(shardOptions.blockBytes)
        return end < UInt64(min(shardOptions.tailCacheBytes, shardOptions.segmentBytes))
    }

    func acceptAll() {
        guard !toAccept.isEmpty, let shard else { return }
        let items = toAccept
        toAccept = []
        for item in items where sessions.contains(item.session) {
            let token = nextToken
            nextToken += 1
            settle(.accept, item, first: item.sequence, last: item.sequence, token: token, shard)
        }
    }

    /// Gives every subscription a consumer that accepts all, and lets time pass until nothing happens any more. Then
    /// every message has come to its end.
    func rest() throws(Violation) {
        if faults.isFull || faults.hasFailedLog || faults.hasFailedSync || !isServing { return }
        isResting = true
        defer { isResting = false }
        report.rests += 1
        note("everything comes to rest")
        disk.faults = DiskFaults()
        guard let shard else { return }
        // A segment that was refused is asked for again first.
        _ = try run { pending.isEmpty && isQuiet && shard.health.acceptsWrites }
        try resumeAll(shard)
        for subscription in model.subscriptions where subscription.isUsable { drain(subscription, shard) }
        held = []
        acceptAll()
        called()
        // Nothing that a shard waits for takes longer than a lease by receipt.
        _ = try run { (scheduler.nextTime ?? .never) > scheduler.now.advanced(byMicroseconds: 40_000_000) }
        note("at rest: \(shard.health)")
        checkAnswered()
        try throwViolation()
        let found = try observe()
        model.verifyRest(found)
        try throwViolation()
        model.adopt(found, isNewLife: false, isCrash: false)
        report.deadLetters = max(report.deadLetters, found.deadLetters.count)
        for subscription in model.subscriptions where subscription.isUsable {
            for consumer in subscription.consumers where consumer.isDraining || random.percent(50) {
                detach(consumer, from: subscription, shard)
            }
            for other in subscription.others where random.percent(50) { detach(other, from: subscription, shard) }
        }
        called()
    }

    /// Ends all pauses. The first to write behind a full disk may still be refused.
    private func resumeAll(_ shard: Shard) throws(Violation) {
        for _ in 0..<3 {
            let paused = model.subscriptions.filter { $0.isUsable && ($0.isPaused || !$0.pendingPauses.isEmpty) }
            guard !paused.isEmpty else { return }
            for subscription in paused {
                subscription.pendingPauses = [false]
                send(.pause(name: subscription.name, isPaused: false), .pause(subscription.number, false))
            }
            called()
            _ = try run { pending.isEmpty && isQuiet && shard.health.acceptsWrites }
        }
    }

    /// Accepts what a consumer has.
    private func acceptAll(
        of consumer: ModelSubscription.Consumer,
        _ subscription: ModelSubscription,
        _ shard: Shard
    ) {
        for lane in Set(subscription.entries.values.compactMap(\.lane)).sorted() {
            let all = Held(
                session: consumer.session,
                attachment: consumer.attachment,
                subscription: subscription.number,
                id: subscription.id ?? SubscriptionID(rawValue: 0),
                lane: lane,
                message: 0,
                sequence: 0,
                lease: 0
            )
            let token = nextToken
            nextToken += 1
            settle(.accept, all, first: 0, last: .max - 1, token: token, shard)
        }
    }

    private func drain(_ subscription: ModelSubscription, _ shard: Shard) {
        for index in subscription.consumers.indices {
            subscription.consumers[index].isDraining = true
            grant(index, of: subscription, messages: 1 << 30, bytes: 1 << 40, shard)
            if let group = subscription.consumers[index].group { grant(1 << 30, to: group, shard) }
            acceptAll(of: subscription.consumers[index], subscription, shard)
        }
        for other in subscription.others { acceptAll(of: other, subscription, shard) }
        if subscription.consumers.isEmpty {
            if let owner = subscription.ownerSession, !sessions.contains(owner) { return }
            attach(shard, to: subscription, byReceipt: random.percent(30), credit: (1 << 30, 1 << 40), isDraining: true)
        }
    }
}

extension DeliveryModel {
    /// Everything was delivered and accepted that could be.
    func verifyRest(_ found: DeliveryObservation) {
        verify(found, stamp: Self.end, isCrash: false)
        for (message, _) in found.published { becameVisible(message) }
        for subscription in subscriptions where subscription.isUsable && !subscription.consumers.isEmpty {
            guard let seen = found.subscriptions[subscription.name] else {
                fail("\(subscription.name) is gone")
                continue
            }
            for lane in seen.lanes {
                check(
                    lane.backlog == 0 && lane.leased == 0,
                    "\(lane.backlog) messages wait in \(subscription.name), \(lane.leased) of them leased"
                )
            }
            for entry in subscription.entries.values { verifyEnd(entry, subscription) }
        }
        verifySchedule(found)
    }

    private func verifyEnd(_ entry: Entry, _ subscription: ModelSubscription) {
        let message = entry.message
        switch entry.state {
        case .done: return
        case .dying:
            check(
                entry.deadLetters == entry.generation + 1 || entry.isVague || entry.generation > 0
                    || subscription.mayDropTheDead || mayLose(subscription),
                "\(text(message)) died in \(subscription.name), and is not with the dead letters"
            )
        case .waiting, .leased, .delayed:
            subscription.entries[message]?.done = Moment(serial: serial, stamp: stamp)
            let isSpent = subscription.limitsOfAttempts.contains { $0 > 0 && entry.failed >= $0 }
            check(
                entry.isVague || isDroppable(message, subscription) || isSpent || entry.deadLetters > 0,
                "\(text(message)) is not in \(subscription.name) any more, and was not accepted: \(entry.state)"
            )
        }
        subscription.entries[message]?.state = .done
        subscription.entries[message]?.isVague = false
    }

    /// What was due is there, in the order of its times.
    private func verifySchedule(_ found: DeliveryObservation) {
        var last: [PartitionID: (due: Timestamp, message: Int)] = [:]
        let scheduled = found.published.filter { batches[messages[$0.key].batch].kind == .scheduled }
            .sorted { ($0.value.offset) < ($1.value.offset) }
        for (message, place) in scheduled {
            guard let due = messages[message].due else { continue }
            // A message is not due before it is stored, which may be later than it was sent.
            let storedBy = batches[messages[message].batch].storedBy
            if let before = last[place.partition], before.due > max(due, storedBy) {
                // The later one may have been sent when the earlier had been published.
                let sent = batches[messages[message].batch].submitted.serial
                check(
                    sent > messages[before.message].routedFrom,
                    "\(text(before.message)) came before \(text(message)), which was due earlier"
                )
            }
            if last[place.partition].map({ $0.due <= due }) ?? true { last[place.partition] = (due, message) }
        }
        for batch in batches
        where batch.kind == .scheduled && batch.fate == .durable && topics[batch.topic].isUsable
            && !topics[batch.topic].letsGo
        {
            for message in batch.messages where found.published[message] == nil && !messages[message].mayBeWithdrawn {
                check(
                    messages[message].due.map { $0.advanced(byMicroseconds: 1_000_000) > now } ?? false,
                    "\(text(message)) was due at \(messages[message].due?.rawValue ?? 0), and is not there"
                )
            }
        }
    }
}
