package import MessageModel
package import StorageService

/// What protocol sessions must find again, kept with their subscriptions.
extension Shard {
    /// Changes a session state, see `StorageSession.putState`.
    package func putState(session: UInt64, _ changes: StateChanges, token: UInt64?, now: Timestamp) {
        guard let slot = slot(session) else { return }
        if let problem = problem(of: changes, tenant: sessions[slot].tenant) {
            if let token { reply(session, token, .request(.failure(problem))) }
            return
        }
        gather(changes, now: now)
        guard let token else { return }
        journalWaiters.append(Reply(session: session, token: token, kind: .request(.success(.done))))
    }

    /// Why changes are refused; nil where they are not.
    func problem(of changes: StateChanges, tenant: TenantID) -> SluiceError? {
        guard let subscription = state.subscriptions[changes.subscription], subscription.tenant == tenant else {
            return SluiceError(.subscriptionNotFound, "the subscription of this session is gone")
        }
        let longest = changes.changes.reduce(0) { max($0, $1.value?.count ?? 0) }
        guard longest <= StateChanges.maxValueBytes, log.canHold(payloadBytes: longest + 64) else {
            return SluiceError(.tooLarge, "a value of a session state has at most \(StateChanges.maxValueBytes) bytes")
        }
        return nil
    }

    /// Makes changes that are written with the others of this round.
    func gather(_ changes: StateChanges, now: Timestamp) {
        guard !changes.changes.isEmpty, let subscription = state.subscriptions[changes.subscription] else { return }
        for change in changes.changes { subscription.set(change.key, change.value) }
        guard subscription.isLogged else { return }
        stateJournal.append(changes)
        noteJournal(subscription)
    }

    /// Makes a change, and notes it for the log.
    func note(_ change: SessionChange, _ subscription: Subscription) {
        subscription.apply(change)
        guard subscription.isLogged else { return }
        stateJournal.append(change, to: subscription.id)
        noteJournal(subscription)
    }

    private func noteJournal(_ subscription: Subscription) {
        subscription.stateGeneration = stateJournal.generation
        if journalDeadline == nil { journalDeadline = clock.advanced(byMicroseconds: options.lazySyncMicroseconds) }
    }

    /// What a crash could take back is not answered: steps of exchanges follow from it.
    func getState(_ name: String, _ tenant: TenantID, _ session: UInt64, _ token: UInt64) throws(Refusal) {
        let subscription = try subscription(named: name, tenant)
        let entries = subscription.sessionState.map { StateEntry(key: $0.key, value: $0.value) }
            .sorted { $0.key < $1.key }
        let reply = StorageReply.state(describe(subscription), entries)
        if !stateJournal.isEmpty, subscription.stateGeneration == stateJournal.generation {
            // It has changed in this round, or in one that found no room in the log.
            journalWaiters.append(Reply(session: session, token: token, kind: .request(.success(reply))))
        } else if log.durable < log.end, subscription.isLogged {
            answerDurably(session, token, reply)
        } else {
            answer(session, token, reply)
        }
    }

    /// The values under one number, of all subscriptions that have one.
    func scanState(
        _ key: UInt64,
        after: String?,
        limit: Int,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64
    ) {
        let all = state.subscriptions.values.filter { $0.tenant == tenant && $0.sessionState[key] != nil }
            .map(\.name).sorted()
        let (names, next) = Self.page(all, after: after, limit: limit)
        let found = names.compactMap { name -> SubscriptionState? in
            guard let subscription = state.subscription(named: name, tenant: tenant),
                let value = subscription.sessionState[key]
            else { return nil }
            return SubscriptionState(id: subscription.id, name: name, isUsed: subscription.hasConsumers, value: value)
        }
        answer(session, token, .states(found, next: next))
    }
}
