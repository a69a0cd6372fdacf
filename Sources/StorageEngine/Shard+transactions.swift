internal import DequeModule
internal import MessageModel
internal import StorageService

/// Transactions: messages and settlements that take effect together, with one record of the log.
extension Shard {
    private static let shortestCheckMicroseconds: UInt64 = 10_000

    func beginTransaction(
        _ specification: TransactionSpecification,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64,
        _ now: Timestamp
    ) throws(Refusal) {
        guard specification.owner.utf8.count <= Limits.subscriptionNameBytes else {
            throw .error(SluiceError(.invalidArgument, "an owner has at most \(Limits.subscriptionNameBytes) bytes"))
        }
        // Each question is a record of the log: who asked all the time would fill it.
        guard specification.checkAfterMicroseconds >= Self.shortestCheckMicroseconds else {
            throw .error(
                SluiceError(
                    .invalidArgument,
                    "a transaction is asked about after \(Self.shortestCheckMicroseconds / 1_000) ms at the earliest"
                )
            )
        }
        guard state.transactions.count < options.openTransactions else {
            throw .error(SluiceError(.busy, "\(state.transactions.count) transactions are open"))
        }
        guard hasOpened else { throw .log(.waitsForSegment) }
        // The epoch is new with each opening of the log, so no number comes twice.
        let id = TransactionID(rawValue: UInt64(log.epoch) << 32 | UInt64(nextTransaction))
        try append(.begun(tenant: tenant, specification, at: recordTime(now)), of: id)
        nextTransaction &+= 1
        arm(id)
        answerDurably(session, token, .transaction(id))
    }

    private func append(_ change: TransactionChange, of id: TransactionID) throws(Refusal) {
        try appendRecord(.transactionChanged) { writer in
            writer.write64(id.rawValue)
            change.encode(to: &writer)
        }
        state.apply(change, to: id)
    }

    func transaction(_ id: TransactionID, _ tenant: TenantID) throws(Refusal) -> OpenTransaction {
        guard let transaction = state.transactions[id], transaction.tenant == tenant else {
            throw .error(
                SluiceError(
                    .notFound,
                    "there is no open transaction \(id.rawValue)",
                    hint: "it was committed, rolled back, or open for too long"
                )
            )
        }
        guard !committing.contains(id) else { throw .error(SluiceError(.busy, "the transaction is being committed")) }
        return transaction
    }

    func settleInTransaction(
        _ id: TransactionID,
        _ receipts: [SignedReceipt],
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64
    ) throws(Refusal) {
        _ = try transaction(id, tenant)
        let results: [ErrorCode?] = receipts.map { signed in
            guard seal.isGenuine(signed) else { return .denied }
            let receipt = signed.receipt
            guard let (lane, subscription) = place(of: receipt, tenant: tenant) else { return .subscriptionNotFound }
            return accepts(receipt, lane, subscription) ? nil : .leaseLost
        }
        let accepted = zip(receipts, results).compactMap { $1 == nil ? $0.receipt : nil }
        if !accepted.isEmpty { try append(.settles(accepted), of: id) }
        answerDurably(session, token, .settled(results))
    }

    func rollBackTransaction(
        _ id: TransactionID,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64
    ) throws(Refusal) {
        _ = try transaction(id, tenant)
        try append(.rolledBack, of: id)
        answerDurably(session, token, .done)
    }

    func commitTransaction(
        _ id: TransactionID,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64,
        _ now: Timestamp
    ) throws(Refusal) {
        let transaction = try transaction(id, tenant)
        guard hasOpened, deferred.isEmpty else { throw .log(.waitsForSegment) }
        committing.insert(id)
        var items: [Publication.Item] = []
        var copies: [RoutableBatch] = []
        let held = transaction.held
        var seen = Set<SeenID>()
        var isDamaged = false
        let fetch = RecordFetch(held.map(\.position), readBytes: options.coldReadBytes) { shard, place, stored in
            let batch = held[place]
            if stored == nil { isDamaged = true }
            guard let stored, let (topic, _) = shard.state.partition(batch.partition) else {
                return
            }
            let traits = BatchTraits(rawValue: stored.traits)
            for run in shard.newRuns(of: stored.batch, traits, topic, seen: &seen) {
                items.append(
                    shard.item(
                        stored.batch,
                        traits,
                        topic: topic,
                        partition: batch.partition,
                        position: batch.position,
                        recordBytes: batch.recordBytes,
                        first: run.lowerBound,
                        count: run.count
                    )
                )
                if let copy = shard.routableCopy(
                    stored.batch,
                    topic: topic,
                    first: run.lowerBound,
                    count: run.count,
                    time: now
                ) {
                    copies.append(copy)
                }
            }
        } completion: { shard in
            shard.committing.remove(id)
            guard !isDamaged else {
                let error = SluiceError(
                    .internal,
                    "messages of the transaction are damaged on disk",
                    hint: "roll the transaction back"
                )
                return shard.reply(session, token, .request(.failure(error)))
            }
            shard.finishCommit(id, items, copies, session: session, token: token, now: now)
        } failure: { shard in
            shard.committing.remove(id)
            shard.reply(session, token, .request(.failure(shard.unreadable())))
        }
        enqueue(fetch)
    }

    private func finishCommit(
        _ id: TransactionID,
        _ items: [Publication.Item],
        _ copies: [RoutableBatch],
        session: UInt64,
        token: UInt64,
        now: Timestamp
    ) {
        guard let transaction = state.transactions[id] else { return }
        do throws(CommitLog.AppendRefusal) {
            guard hasOpened, deferred.isEmpty else { throw .waitsForSegment }
            guard !isAnyKnown(items) else {
                // Another published one of the messages while these were read: look again.
                do throws(Refusal) {
                    return try commitTransaction(id, transaction.tenant, session, token, now)
                } catch {
                    return reply(session, token, .request(.failure(SluiceError(.busy, "the log is busy"))))
                }
            }
            guard hasRoom(for: items.flatMap(\.routes)) else {
                let error = SluiceError(.quotaExceeded, "an inbox that messages of the transaction go to is full")
                return reply(session, token, .request(.failure(error)))
            }
            var changes = DeliveryJournal()
            var lost = 0
            var settled: [(Receipt, Lane, Subscription)] = []
            for receipt in transaction.receipts {
                guard let (lane, subscription) = place(of: receipt, tenant: transaction.tenant),
                    accepts(receipt, lane, subscription)
                else {
                    lost += 1
                    continue
                }
                settled.append((receipt, lane, subscription))
                if subscription.isLogged {
                    changes.append(.done(receipt.sequence..<receipt.sequence + 1), to: lane.key)
                }
            }
            // All or nothing: a message that another has by now must not be done by this one.
            guard lost == 0 else {
                let error = SluiceError(
                    .leaseLost,
                    "\(lost) of the messages that the transaction settles were delivered again or are done",
                    hint: "roll the transaction back"
                )
                return reply(session, token, .request(.failure(error)))
            }
            let publication = Publication(
                time: recordTime(now),
                reason: .committed,
                transaction: id.rawValue,
                items: items,
                changes: changes.next()
            )
            guard log.canHold(payloadBytes: publication.encodedBytes) else {
                let error = SluiceError(.tooLarge, "the transaction is too large for one record of the log")
                return reply(session, token, .request(.failure(error)))
            }
            try publish(publication, copies: copies, now: now)
            for (receipt, lane, subscription) in settled {
                if !subscription.isLogged {
                    let message = receipt.sequence..<receipt.sequence + 1
                    var ended: [DeliveryState.Lease] = []
                    lane.delivery.takeLeases(in: message, owner: nil, into: &ended)
                    finish(message, of: lane, subscription)
                }
                enqueue(subscription)
            }
            answerDurably(session, token, .done)
        } catch {
            refuse(error, now: now) { code in
                reply(session, token, .request(.failure(SluiceError(code, code.rendering.title))))
            } deferring: {
                deferRequest(session, .commitTransaction(id), token)
            }
        }
    }

    // MARK: Checks

    func arm(_ id: TransactionID) {
        guard let transaction = state.transactions[id] else { return }
        timers.insert(
            TimerEntry(
                due: transaction.nextCheck.rawValue,
                payload: id.rawValue,
                kind: TimerKind.transaction.rawValue
            )
        )
    }

    /// A transaction is open for too long: its owner is asked, or in the end it is rolled back.
    func checkTransaction(_ id: TransactionID, now: Timestamp) {
        guard let transaction = state.transactions[id], transaction.nextCheck <= now else { return }
        do throws(Refusal) {
            // One that is being committed is looked at again.
            guard !committing.contains(id) else { throw .log(.waitsForSegment) }
            guard transaction.checks < transaction.specification.checks, !transaction.specification.owner.isEmpty else {
                try append(.rolledBack, of: id)
                return
            }
            try append(.checked(at: recordTime(now)), of: id)
            askOwner(of: id)
        } catch {
            // There is no room for the record now, or never any more.
            guard log.failure == nil else { return }
            if case .log(let refusal) = error { retryLater(refusal) }
            timers.insert(
                TimerEntry(
                    due: now.advanced(byMicroseconds: options.fullRetryMicroseconds).rawValue,
                    payload: id.rawValue,
                    kind: TimerKind.transaction.rawValue
                )
            )
            return
        }
        arm(id)
    }

    private func askOwner(of id: TransactionID) {
        guard let transaction = state.transactions[id] else { return }
        let key = TransactionOwnerKey(tenant: transaction.tenant, owner: transaction.specification.owner)
        let sessions = sessions(answeringFor: key)
        guard !sessions.isEmpty else { return }
        // One after the other, so that one that does not answer is not asked alone.
        let session = sessions[Int(transaction.checks) % sessions.count]
        reply(session, 0, .transactionNeedsResolution(id, owner: key.owner))
    }

    /// Those who answer for just this owner; where there are none, those who do for owners with a prefix of its name.
    private func sessions(answeringFor key: TransactionOwnerKey) -> [UInt64] {
        if let exact = transactionOwners[key], !exact.isEmpty { return exact }
        return transactionOwnerPrefixes.filter { $0.tenant == key.tenant && key.owner.hasPrefix($0.prefix) }
            .map(\.session)
    }

    func adoptTransactions(
        of owner: String,
        asPrefix: Bool,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64
    ) {
        guard let slot = slot(session) else { return }
        let key = TransactionOwnerKey(tenant: tenant, owner: owner)
        if asPrefix {
            let adoption = TransactionOwnerPrefix(tenant: tenant, prefix: owner, session: session)
            if !transactionOwnerPrefixes.contains(adoption) { transactionOwnerPrefixes.append(adoption) }
            return answer(session, token, .done)
        }
        if !sessions[slot].transactionOwners.contains(key) {
            sessions[slot].transactionOwners.append(key)
            transactionOwners[key, default: []].append(session)
        }
        answer(session, token, .done)
    }
}
