package import MessageModel
internal import StorageEngine
package import StorageService

/// What the shard says, checked against what may be said.
extension DeliverySimulation: ShardOutput {
    package func warning(_ text: String) {
        note("warning: \(text)")
        // What was refused before anybody wanted it is waited for from now on.
        if text.contains("cannot be read") { readWasRefused() }
        model.check(
            faults.hasFailedLog || faults.failsReads,
            "a warning although nothing had happened to the disk: \(text)"
        )
    }

    package func messageRouted(session: UInt64, _ message: RoutedMessage) {}

    package func consumerChanged(session: UInt64, attachment: UInt32, isActive: Bool) {
        guard isActive else { return }
        note("\(session)/\(attachment) is active")
    }

    package func transactionNeedsResolution(session: UInt64, _ transaction: TransactionID, owner: String) {
        note("transaction \(transaction.rawValue) needs resolution")
        let known = model.transactions.first { $0.id == transaction }
        // It may be told of before it is durable.
        let isBeginning = model.transactions.contains { $0.id == nil && $0.specification.owner == owner }
        model.check(known?.specification.owner == owner || isBeginning, "a check of a transaction that nobody began")
        guard let known else { return }
        model.check(known.committedAt == DeliveryModel.never, "a check of a transaction that is committed")
        model.check(known.rolledBackAt == DeliveryModel.never, "a check of a transaction that was rolled back")
    }

    package func attachmentEnded(session: UInt64, attachment: UInt32, error: SluiceError) {
        note("attachment \(session)/\(attachment) ended: \(error)")
        if refused.remove(attachment) != nil {
            return model.check(error.code == .subscriptionInUse, "a second exclusive consumer was refused: \(error)")
        }
        for subscription in model.subscriptions {
            guard let consumer = subscription.attached(session, attachment) else { continue }
            remove(consumer, from: subscription)
            switch error.code {
            case .subscriptionNotFound, .topicNotFound:
                model.check(
                    !subscription.isUsable || subscription.expiresUnused,
                    "\(subscription.name) is said to be gone"
                )
            default: model.fail("attachment \(session)/\(attachment) ended: \(error)")
            }
            return
        }
        model.fail("attachment \(session)/\(attachment) ended, which was not there")
    }

    // MARK: Deliveries

    package func batchDelivered(session: UInt64, _ delivery: BatchDelivery) {
        guard let lease = delivery.lease, let subscription = model.subscription(lease.subscription),
            let consumer = subscription.attached(session, delivery.attachment)
        else {
            return model.fail("a batch was delivered to \(session)/\(delivery.attachment), which is not attached there")
        }
        let place = subscription.consumers.firstIndex {
            $0.session == session && $0.attachment == delivery.attachment
        }
        let who = "\(session)/\(delivery.attachment) of \(subscription.name)"
        let mode = subscription.policy.consumers
        if consumer.asked == nil {
            model.check(consumer.hasCredit && place != nil, "\(who) was given messages without credit")
            if subscription.pendingPolicies.isEmpty, mode == .exclusive || mode == .failover {
                model.check(place == 0, "\(who) was given messages and is not the active one")
            } else if subscription.pendingPolicies.isEmpty {
                model.check(
                    !subscription.consumers.contains { $0.priority > consumer.priority && $0.hasCredit },
                    "\(who) was given messages though one with a higher priority has credit"
                )
            }
        }
        checkDeadline(lease.deadline, subscription, consumer, who)
        checkPriority(lease.lane, subscription, who)
        var messages = 0
        let firstIndex = delivery.ranges.first.map { Int($0.first) } ?? 0
        var cursor = delivery.batch.records
        var wanted: [Int] = []
        for range in delivery.ranges {
            model.check(
                range.first <= range.last && Int(range.last) < delivery.batch.recordCount,
                "\(who): a bad range"
            )
            guard range.first <= range.last else { return }
            wanted += (range.first...range.last).map(Int.init)
        }
        var next = wanted[...]
        let stampsAreRight = delivery.batch.hasValidStamp
        model.check(stampsAreRight, "\(who) was given a batch with damaged stamps")
        while let record = cursor.next(), let index = next.first {
            guard cursor.index - 1 == index else { continue }
            next.removeFirst()
            messages += 1
            guard let message = recognize(record) else { return }
            let isCursor = !subscription.isInbox
            // What is in memory only has no offset, and nobody has said yet whether this is.
            let isPlain =
                model.batches[model.messages[message].batch].kind == .plain && subscription.policy.isDurable
            model.saw(
                message,
                offset: isCursor || isPlain ? delivery.batch.baseOffset + UInt64(index) : nil,
                appendTime: isCursor || isPlain ? delivery.batch.appendTime : nil
            )
            let sequence = lease.firstSequence + UInt64(index - firstIndex)
            let attempt = lease.attempt
            note(
                "\(who) was given \(model.text(message)) as \(lease.lane)/\(sequence), delivery \(attempt), lease \(lease.generation >> 32).\(lease.generation & 0xFFFF_FFFF), until \(lease.deadline.rawValue)"
            )
            model.delivered(
                DeliveryModel.Delivered(
                    message: message,
                    lane: lease.lane,
                    sequence: sequence,
                    attempt: attempt,
                    lease: lease.generation,
                    deadline: lease.deadline
                ),
                to: consumer,
                of: subscription
            )
            report.delivered += 1
            if attempt > 1 { report.redelivered += 1 }
            let item = Held(
                session: session,
                attachment: delivery.attachment,
                subscription: subscription.number,
                id: lease.subscription,
                lane: lease.lane,
                message: message,
                sequence: sequence,
                lease: lease.generation,
                terms: lease
            )
            if consumer.isDraining { toAccept.append(item) } else { held.append(item) }
        }
        model.check(
            messages == wanted.count && messages > 0,
            "\(who) was given \(wanted.count) messages of \(messages)"
        )
        guard let place else { return took(messages, consumer, of: subscription) }
        model.check(Int64(messages) <= max(1, consumer.messageCredit), "\(who) was given more than its credit")
        subscription.consumers[place].creditMessages -= Int64(messages)
        consumer.group?.messages -= Int64(messages)
        subscription.consumers[place].creditBytes -= Int64(
            max(1, delivery.batch.byteCount * messages / max(1, delivery.batch.recordCount))
        )
    }

    private func checkDeadline(
        _ deadline: Timestamp,
        _ subscription: ModelSubscription,
        _ consumer: ModelSubscription.Consumer,
        _ who: String
    ) {
        guard subscription.pendingPolicies.isEmpty else { return }
        var duration = subscription.policy.leaseMicroseconds
        if duration == 0, consumer.isByReceipt { duration = SubscriptionPolicy().leaseMicroseconds }
        let expected = duration == 0 ? .never : model.tick(scheduler.now.advanced(byMicroseconds: duration))
        model.check(deadline == expected, "\(who): a lease until \(deadline.rawValue), not \(expected.rawValue)")
    }

    /// Where everything is in memory, nothing of a lower priority comes before what waits with a higher one.
    private func checkPriority(_ lane: UInt16, _ subscription: ModelSubscription, _ who: String) {
        guard subscription.isInbox, lane < UInt16(subscription.policy.maxPriority), isAllInMemory,
            subscription.policy.window > 100, !subscription.isVague
        else { return }
        for entry in subscription.entries.values {
            guard case .waiting = entry.state, !entry.isVague, !entry.isStaged, entry.mayBeHeldUntil <= model.now,
                let other = subscription.lane(of: model.messages[entry.message]), other > lane,
                !model.isDroppable(entry.message, subscription), !model.isBlocked(entry, subscription),
                !subscription.isSpent(entry)
            else { continue }
            note(model.summary(subscription))
            model.fail(
                "\(who) was given messages of priority \(lane), and \(model.text(entry.message)) waits with \(other)"
            )
        }
    }

    /// The message that a record is; nil where nobody sent it.
    func recognize(_ record: RecordView) -> Int? {
        guard let batch = MessageText.batch(of: record.body), batch < model.batches.count,
            let index = MessageText.index(of: record.body), index < model.batches[batch].count
        else {
            model.fail("somebody was given a message that nobody sent")
            return nil
        }
        let message = model.batches[batch].first + index
        let expected = MessageText.body(batch: batch, index: index, bytes: record.body.count)
        let isSame = expected.withUnsafeBytes { bytesEqual($0, record.body) }
        model.check(isSame, "\(model.text(message)) came back with another body")
        return message
    }

    // MARK: Answers

    package func appendCompleted(session: UInt64, token: UInt64, result: AppendResult) {
        guard let request = pending.removeValue(forKey: token), case .append(let batch) = request.kind else {
            return model.fail("append \(token) was answered twice, or never asked for")
        }
        let known = model.batches[batch]
        let asksForRoutes = asksForRoutes.remove(token) != nil
        if case .prepared(let transaction) = known.kind { model.transactions[transaction].pending -= 1 }
        if let error = result.error {
            note("append \(token), batch \(batch), refused: \(error)")
            if error != .indeterminate { model.batches[batch].fate = .refused }
            checkAppendRefusal(error, known)
            return
        }
        note("append \(token): batch \(batch) at \(result.baseOffset)")
        report.unrouted += result.unrouted.count
        report.refused += result.refused.count
        checkReport(result, known, asksForRoutes: asksForRoutes)
        model.batches[batch].fate = .durable
        model.batches[batch].storedBy = min(model.batches[batch].storedBy, scheduler.now)
        model.batches[batch].durableAt = min(model.batches[batch].durableAt, model.stamp)
        switch known.kind {
        case .plain where result.baseOffset == .max:
            // It is in memory only, because nothing that outlives the process wants it.
            model.check(model.topics[known.topic].letsGo, "batch \(batch) was not stored, and its topic keeps messages")
            for message in known.messages {
                for subscription in model.subscriptions where subscription.isUsable && subscription.policy.isDurable {
                    model.check(
                        model.expectation(message, subscription) != .certainly,
                        "\(model.text(message)) was not stored, and \(subscription.name) needs it"
                    )
                }
                model.messages[message].seenAt = min(model.messages[message].seenAt, model.stamp)
                model.becameVisible(message)
            }
        case .plain:
            for (place, message) in known.messages.enumerated() {
                let offset = result.baseOffset + UInt64(place)
                if let other = model.messages[message].offset {
                    model.check(
                        other == offset,
                        "\(model.text(message)) is said to be at \(offset), and was at \(other)"
                    )
                }
                model.messages[message].offset = offset
                model.messages[message].seenAt = min(model.messages[message].seenAt, model.stamp)
                model.becameVisible(message)
            }
        case .scheduled:
            model.batches[batch].scheduled = result.scheduled
            model.check(
                result.scheduled != nil
                    || known.messages.allSatisfy { model.messages[$0].due.map { $0 <= model.now } ?? true },
                "batch \(batch) is to wait for its time, and has no number"
            )
            if result.baseOffset != .max {
                // It came so late that it was due already.
                for (place, message) in known.messages.enumerated() {
                    model.saw(message, offset: result.baseOffset + UInt64(place), appendTime: nil)
                }
            }
        case .prepared:
            break
        }
    }

    /// What is said of single messages of an append.
    private func checkReport(_ result: AppendResult, _ batch: DeliveryModel.Batch, asksForRoutes: Bool) {
        guard batch.kind == .plain else {
            // One that came so late that it was due already has routes.
            let isHeld = batch.kind != .scheduled || result.scheduled != nil
            model.check(
                result.unrouted.isEmpty && result.refused.isEmpty || !isHeld,
                "a batch that is not published yet has routes"
            )
            for (place, message) in batch.messages.enumerated() {
                model.messages[message].mayBeRefused = result.refused.contains(UInt32(place))
            }
            return
        }
        for (place, message) in batch.messages.enumerated() {
            let text = model.text(message)
            let isRefused = result.refused.contains(UInt32(place))
            let isUnrouted = result.unrouted.contains(UInt32(place))
            if isRefused {
                let mayBe = model.subscriptions.contains {
                    $0.isInbox && $0.mayRefuse && model.placing(message, $0) != .never
                }
                model.check(mayBe && model.messages[message].mayBeRefused, "\(text) is refused, by nobody who could")
            }
            model.messages[message].mayBeRefused = isRefused
            guard asksForRoutes else {
                model.check(!isUnrouted, "\(text) is said to be unrouted, and nobody asked")
                continue
            }
            let inboxes = model.subscriptions.filter(\.isInbox)
            if isUnrouted {
                let taker = inboxes.first {
                    $0.isUsable && !$0.expiresUnused && model.placing(message, $0) == .certainly
                }
                model.check(taker == nil && !isRefused, "\(text) is said to be unrouted, and in \(taker?.name ?? "?")")
            } else {
                let mayBeTaken = inboxes.contains { model.placing(message, $0) != .never }
                model.check(mayBeTaken, "\(text) went nowhere, and is not said to be unrouted")
            }
        }
    }

    private func checkAppendRefusal(_ error: ErrorCode, _ batch: DeliveryModel.Batch) {
        let topicIsGone = !model.topics[batch.topic].isUsable
        let isExpected: Bool
        switch error {
        case .storageUnavailable: isExpected = faults.hasFailedLog || faults.wasFull
        case .indeterminate: isExpected = faults.hasFailedLog
        case .storageFull: isExpected = faults.wasFull
        case .busy: isExpected = faults.wasFull || shardOptions.deferredBytes < 1 << 20
        case .topicNotFound: isExpected = topicIsGone
        case .quotaExceeded:
            isExpected = model.subscriptions.contains {
                ([$0.policy] + $0.pendingPolicies).contains {
                    $0.overflow == .reject && ($0.maxMessages > 0 || $0.maxBytes > 0)
                }
            }
        case .notFound:
            if case .prepared(let transaction) = batch.kind {
                isExpected =
                    mayBeAbandoned(model.transactions[transaction])
                    || model.transactions[transaction].state != .open
            } else {
                isExpected = false
            }
        default: isExpected = false
        }
        model.check(isExpected, "an append was refused without a reason: \(error)")
    }

    /// What may go wrong with every request that writes.
    /// - Returns: whether it did not happen for certain.
    @discardableResult
    func checkRefusal(_ error: SluiceError, allows codes: [ErrorCode] = []) -> Bool {
        switch error.code {
        case .storageUnavailable:
            model.check(faults.hasFailedLog || faults.wasFull || faults.failsReads, "without a reason: \(error)")
        case .storageFull: model.check(faults.wasFull, "without a reason: \(error)")
        case .busy:
            model.check(
                faults.wasFull || shardOptions.deferredBytes < 1 << 20 || codes.contains(.busy),
                "without a reason: \(error)"
            )
        case .indeterminate:
            model.check(faults.hasFailedLog, "without a reason: \(error)")
            return false
        default: model.check(codes.contains(error.code), "a request was refused: \(error)")
        }
        return true
    }

    package func requestCompleted(session: UInt64, token: UInt64, result: Result<StorageReply, SluiceError>) {
        guard let request = pending.removeValue(forKey: token) else {
            return model.fail("request \(token) was answered twice, or never asked for")
        }
        switch result {
        case .success(let reply): note("request \(token) answered: \(Self.text(reply))")
        case .failure(let error): note("request \(token) failed: \(error)")
        }
        switch request.kind {
        case .append: model.fail("append \(token) was answered as a request")
        case .createTopic(let topic): topicCreated(topic, result)
        case .deleteTopic(let topic):
            if case .success = result { model.topics[topic].isGone = true } else { deleteTopicFailed(topic, result) }
        case .createSubscription(let number): subscriptionCreated(number, request, result)
        case .deleteSubscription(let number): subscriptionDeleted(number, result)
        case .bind(let number, let index): bound(number, index, request, result)
        case .unbind(let number, let index): unbound(number, index, request, result)
        case .update(let number, let policy): updated(number, policy, request, result)
        case .pause(let number, let isPaused): paused(number, isPaused, request, result)
        case .seek(let number): sought(number, result)
        case .settle(let expected): settled(expected, request, result)
        case .settleByAttachment:
            switch result {
            case .success: model.journalIsDurable(before: request.moment)
            case .failure(let error):
                // Its attachment may have ended by itself.
                checkRefusal(error, allows: [.notFound])
            }
        case .lease(let number, let attachment): leased(number, attachment, token, result)
        case .describe(let number, let leased): described(number, leased, result)
        case .begin(let transaction): begun(transaction, result)
        case .stage(let transaction, let staged): self.staged(transaction, staged, result)
        case .commit(let transaction): committed(transaction, request, result)
        case .rollBack(let transaction): rolledBack(transaction, result)
        case .adopt: if case .failure(let error) = result { checkRefusal(error) }
        case .cancel(let message): cancelled(message, result)
        case .look: answers[token] = result
        }
    }

    private static func text(_ reply: StorageReply) -> String {
        switch reply {
        case .settled(let codes): "settled \(codes.map { $0.map { "\($0)" } ?? "ok" })"
        case .transaction(let id): "transaction \(id.rawValue)"
        case .browsed(let found, let next): "browsed \(found.map(\.sequence)), \(String(describing: next))"
        case .subscription(let subscription):
            "\(subscription.name): \(subscription.lanes.map { "\($0.acknowledged)..<\($0.nextOffset) \($0.backlog)/\($0.leased)" })"
        case .done: "done"
        default: "ok"
        }
    }
}
