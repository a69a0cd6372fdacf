internal import DequeModule
internal import MessageModel
internal import StorageService

/// Subscriptions: their making and unmaking, their bindings and places, and who consumes from them.
extension Shard {
    func subscription(named name: String, _ tenant: TenantID) throws(Refusal) -> Subscription {
        guard let subscription = state.subscription(named: name, tenant: tenant) else {
            throw .error(unknownSubscription(name))
        }
        return subscription
    }

    // MARK: Making

    func createSubscription(
        _ specification: SubscriptionSpecification,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64,
        _ now: Timestamp
    ) throws(Refusal) {
        let nameBytes = specification.name.utf8.count
        guard nameBytes > 0, nameBytes <= Limits.subscriptionNameBytes else {
            throw .error(
                SluiceError(.invalidName, "a subscription's name has 1 to \(Limits.subscriptionNameBytes) bytes")
            )
        }
        guard !specification.name.hasPrefix(Self.redrivePrefix) else {
            throw .error(SluiceError(.invalidName, "subscriptions below '\(Self.redrivePrefix)' are the server's own"))
        }
        do throws(SluiceError) { try check(specification.policy, tenant) } catch { throw .error(error) }
        switch specification.source {
        case .cursor(let topicID, let start):
            guard let topic = state.topics[topicID], topic.tenant == tenant else {
                throw .error(SluiceError(.topicNotFound, "the topic does not exist"))
            }
            guard specification.policy.isDurable else {
                throw .error(SluiceError(.invalidArgument, "only an inbox can be transient"))
            }
            if try answerExisting(specification, tenant, session, token) { return }
            guard hasOpened, deferred.isEmpty else { throw .log(.waitsForSegment) }
            find(start, in: topic.partitions) { shard, offsets in
                // A search takes time: those who asked may be gone, and the topic too.
                guard shard.slot(session) != nil else { return }
                shard.finishCreation(specification, .cursor(topicID, offsets), topic, tenant, session, token, now)
            }
        case .inbox(let bindings):
            for binding in bindings {
                do throws(SluiceError) { _ = try BindingPattern(binding) } catch { throw .error(error) }
            }
            if try answerExisting(specification, tenant, session, token) { return }
            try create(specification, .inbox(bindings), tenant, session, token, now)
        }
    }

    private func finishCreation(
        _ specification: SubscriptionSpecification,
        _ source: SubscriptionDefinition.Source,
        _ topic: TopicState,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64,
        _ now: Timestamp
    ) {
        do throws(Refusal) {
            guard state.topics[topic.info.id] === topic else {
                throw .error(SluiceError(.topicNotFound, "the topic does not exist"))
            }
            // Another may have created it meanwhile.
            if try answerExisting(specification, tenant, session, token) { return }
            try create(specification, source, tenant, session, token, now)
        } catch {
            switch error {
            case .error(let error): reply(session, token, .request(.failure(error)))
            case .log(let refusal):
                refuse(refusal, now: now) { code in
                    reply(session, token, .request(.failure(SluiceError(code, code.rendering.title))))
                } deferring: {
                    deferRequest(session, .createSubscription(specification), token)
                }
            }
        }
    }

    private func create(
        _ specification: SubscriptionSpecification,
        _ source: SubscriptionDefinition.Source,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64,
        _ now: Timestamp
    ) throws(Refusal) {
        let isDurable = specification.policy.isDurable
        let definition = SubscriptionDefinition(
            id: SubscriptionID(rawValue: isDurable ? state.nextSubscription : nextTransient),
            tenant: tenant,
            createdAt: recordTime(now),
            name: specification.name,
            source: source,
            policy: specification.policy
        )
        if isDurable {
            try appendRecord(.subscriptionCreated) { definition.encode(to: &$0) }
        } else {
            nextTransient += 1
        }
        let created = state.applySubscriptionCreated(definition)
        prepare(created, now: now)
        if !isDurable, let slot = slot(session) {
            created.ownerSession = session
            sessions[slot].subscriptions.append(created.id)
        }
        answerDurably(session, token, .subscriptionCreated(describe(created), isNew: true))
    }

    /// Makes ready what is not in the log of a subscription that was just made or recovered.
    func prepare(_ subscription: Subscription, now: Timestamp) {
        let policy = subscription.policy
        subscription.filter = nil
        if !policy.nameFilter.isEmpty || !policy.tags.isEmpty || !policy.selector.isEmpty {
            // It was checked when it was set.
            subscription.filter = try? Self.filter(of: policy)
        }
        for lane in subscription.lanes {
            guard let lane else { continue }
            if subscription.isInbox, policy.messageTTLMicroseconds > 0, lane.backlog > 0 { lane.headExpiry = .zero }
            arm(lane, subscription)
            if !lane.delivery.dying.isEmpty { enqueueDead(lane) }
        }
        if subscription.consumers.isEmpty { becameUnused(subscription, now: now) }
    }

    private static func filter(of policy: SubscriptionPolicy) throws(SluiceError) -> MessageFilter {
        try MessageFilter(
            name: String(decoding: policy.nameFilter, as: UTF8.self),
            tags: policy.tags,
            selector: policy.selector
        )
    }

    private func check(_ policy: SubscriptionPolicy, _ tenant: TenantID) throws(SluiceError) {
        _ = try Self.filter(of: policy)
        if let topic = policy.deadLetterTopic {
            // One of a front's own has been made by the front.
            let isThere = state.topic(named: topic, tenant: tenant) != nil
            try NameRules.checkTopicName(topic, allowsInternal: isThere)
        }
        guard policy.window > 0 else {
            throw SluiceError(.invalidArgument, "the window has room for at least one message")
        }
        if policy.overflow == .deadLetter, policy.deadLetterTopic == nil {
            throw SluiceError(.invalidArgument, "a full inbox cannot dead-letter without a dead-letter topic")
        }
    }

    private func answerExisting(
        _ specification: SubscriptionSpecification,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64
    ) throws(Refusal) -> Bool {
        guard let known = state.subscription(named: specification.name, tenant: tenant) else { return false }
        switch specification.source {
        case .cursor(let topic, _):
            guard known.topic?.info.id == topic else {
                throw .error(
                    SluiceError(.alreadyExists, "subscription '\(specification.name)' exists on another topic")
                )
            }
        case .inbox:
            guard known.isInbox else {
                throw .error(SluiceError(.alreadyExists, "subscription '\(specification.name)' reads a topic"))
            }
        }
        guard known.policy == specification.policy else {
            throw .error(
                SluiceError(
                    .alreadyExists,
                    "subscription '\(specification.name)' exists with another policy",
                    hint: "update the subscription, or ask for it with the policy that it has"
                )
            )
        }
        if let owner = known.ownerSession, owner != session {
            throw .error(SluiceError(.subscriptionInUse, "'\(specification.name)' belongs to another connection"))
        }
        if case .inbox(let bindings) = specification.source {
            for binding in bindings { try add(binding, to: known) }
        }
        answerDurably(session, token, .subscriptionCreated(describe(known), isNew: false))
        return true
    }

    // MARK: Unmaking

    func deleteSubscription(
        _ name: String,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64
    ) throws(Refusal) {
        try delete(try subscription(named: name, tenant))
        answerDurably(session, token, .done)
    }

    private func delete(_ subscription: Subscription) throws(Refusal) {
        if subscription.isLogged {
            try appendRecord(.subscriptionDeleted) { $0.write32(subscription.id.rawValue) }
        }
        endConsumers(of: subscription, SluiceError(.subscriptionNotFound, "'\(subscription.name)' was deleted"))
        state.applySubscriptionDeleted(subscription.id)
        if let topic = subscription.topic { noteRetention(topic) }
    }

    func endConsumers(of subscription: Subscription, _ error: SluiceError) {
        subscription.isDeleted = true
        if let reader = subscription.reader { end(reader, error) }
        for consumer in subscription.consumers { end(consumer, error) }
        for other in subscription.others { end(other, error) }
    }

    func endSubscriptions(ofSession session: UInt64) {
        guard let slot = slot(session) else { return }
        for id in sessions[slot].subscriptions {
            if let subscription = state.subscriptions[id] { try? delete(subscription) }
        }
        sessions[slot].subscriptions = []
    }

    // MARK: Changing

    func change(_ change: SubscriptionChange, of subscription: Subscription) throws(Refusal) {
        if subscription.isLogged {
            try appendRecord(.subscriptionChanged) { writer in
                writer.write32(subscription.id.rawValue)
                change.encode(to: &writer)
            }
        }
        state.apply(change, to: subscription.id)
    }

    func updateSubscription(
        _ name: String,
        _ policy: SubscriptionPolicy,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64
    ) throws(Refusal) {
        let subscription = try subscription(named: name, tenant)
        do throws(SluiceError) { try check(policy, tenant) } catch { throw .error(error) }
        guard policy.isDurable == subscription.policy.isDurable, policy.maxPriority == subscription.policy.maxPriority
        else {
            throw .error(
                SluiceError(.invalidArgument, "durability and priorities are fixed when a subscription is made")
            )
        }
        if policy != subscription.policy {
            let isReordered = (policy.consumers == .orderedByKey) != (subscription.policy.consumers == .orderedByKey)
            let isShorter =
                policy.expiresUnusedMicroseconds > 0
                && policy.expiresUnusedMicroseconds < subscription.policy.expiresUnusedMicroseconds
            try change(.policy(policy), of: subscription)
            // A shorter time until it expires counts from now on: it would be over at once otherwise.
            if isShorter, subscription.unusedSince != nil { note(.unused(since: clock), subscription) }
            if isReordered { for lane in subscription.lanes { lane?.delivery.lookAgain() } }
            prepare(subscription, now: state.lastTime)
            enqueue(subscription)
        }
        answerDurably(session, token, .subscription(describe(subscription)))
    }

    func pause(
        _ name: String,
        _ isPaused: Bool,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64
    ) throws(Refusal) {
        let subscription = try subscription(named: name, tenant)
        if subscription.isPaused != isPaused {
            try change(.paused(isPaused), of: subscription)
            enqueue(subscription)
        }
        answerDurably(session, token, .subscription(describe(subscription)))
    }

    func bind(
        _ name: String,
        _ binding: Binding,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64
    ) throws(Refusal) {
        let subscription = try subscription(named: name, tenant)
        guard subscription.isInbox else {
            throw .error(SluiceError(.invalidArgument, "'\(name)' reads a topic: only an inbox has bindings"))
        }
        try add(binding, to: subscription)
        answerDurably(session, token, .done)
    }

    private func add(_ binding: Binding, to subscription: Subscription) throws(Refusal) {
        do throws(SluiceError) { _ = try BindingPattern(binding) } catch { throw .error(error) }
        guard !subscription.bindings.contains(where: { $0.binding == binding }) else { return }
        try change(.bound(binding), of: subscription)
    }

    func unbind(
        _ name: String,
        _ binding: Binding,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64
    ) throws(Refusal) {
        let subscription = try subscription(named: name, tenant)
        guard subscription.bindings.contains(where: { $0.binding == binding }) else {
            throw .error(SluiceError(.notFound, "'\(name)' has no such binding"))
        }
        try change(.unbound(binding), of: subscription)
        answerDurably(session, token, .done)
    }

    // MARK: Describing

    func describe(_ subscription: Subscription) -> SubscriptionDescription {
        SubscriptionDescription(
            id: subscription.id,
            name: subscription.name,
            topic: subscription.topic?.info.id,
            topicName: subscription.topic?.info.name ?? "",
            createdAt: subscription.createdAt,
            isPaused: subscription.isPaused,
            consumers: subscription.consumers.count + (subscription.reader?.isDetached == false ? 1 : 0),
            policy: subscription.policy,
            lanes: subscription.lanes.map { lane in
                guard let lane else { return SubscriptionDescription.Lane(acknowledged: 0, nextOffset: 0) }
                return SubscriptionDescription.Lane(
                    acknowledged: lane.delivery.watermark,
                    nextOffset: lane.sequence.visibleOffset,
                    backlog: lane.backlog,
                    leased: lane.delivery.leasedCount,
                    retrying: UInt64(lane.delivery.past.count),
                    oldest: lane.oldest
                )
            }
        )
    }

    // MARK: Consumers

    /// A subscription from which messages can be leased.
    private func leasable(_ name: String, session: UInt64, tenant: TenantID) throws(SluiceError) -> Subscription {
        guard let subscription = state.subscription(named: name, tenant: tenant) else {
            throw unknownSubscription(name)
        }
        if let owner = subscription.ownerSession, owner != session {
            throw SluiceError(.subscriptionInUse, "'\(name)' belongs to another connection")
        }
        if subscription.reader?.isDetached == false {
            throw SluiceError(.subscriptionInUse, "subscription '\(name)' has a reader by position")
        }
        return subscription
    }

    func attachGetter(
        of name: String,
        session: UInt64,
        tenant: TenantID,
        _ request: AttachRequest,
        id: UInt32
    ) throws(SluiceError) {
        let subscription = try leasable(name, session: session, tenant: tenant)
        subscription.shard = self
        subscription.others.append(makeAttachment(session, id, subscription.topic, request, subscription))
    }

    func attachConsumer(
        of name: String,
        session: UInt64,
        tenant: TenantID,
        _ request: AttachRequest,
        id: UInt32
    ) throws(SluiceError) {
        let subscription = try leasable(name, session: session, tenant: tenant)
        if subscription.policy.consumers == .exclusive, !subscription.consumers.isEmpty {
            throw SluiceError(.subscriptionInUse, "subscription '\(name)' is exclusive and has a consumer already")
        }
        let attachment = makeAttachment(session, id, subscription.topic, request, subscription)
        subscription.shard = self
        subscription.insertConsumer(attachment)
        if subscription.unusedSince != nil { note(.used, subscription) }
        if subscription.policy.consumers == .failover {
            reply(session, 0, .consumerChanged(id, isActive: subscription.consumers.count == 1))
        }
        enqueue(subscription)
    }

    /// A consumer is gone: what it had goes to others.
    func detachConsumer(_ attachment: Attachment) {
        guard let subscription = attachment.subscription else { return }
        if let place = subscription.others.firstIndex(where: { $0 === attachment }) {
            subscription.others.remove(at: place)
            refuseLeaseRequests(of: attachment)
            if !subscription.isDeleted { releaseLeases(of: attachment) }
            return
        }
        removeConsumer(attachment, of: subscription, keepsLeases: false)
    }

    /// See `StorageSession.retire`.
    package func retire(session: UInt64, attachment id: UInt32) {
        guard let slot = slot(session), let attachment = sessions[slot].attachments[id],
            attachment.leaseOwner != nil, !attachment.isGetter, !attachment.isRetired,
            let subscription = attachment.subscription
        else { return }
        attachment.isRetired = true
        attachment.setCredit(messages: 0, bytes: 0)
        subscription.others.append(attachment)
        removeConsumer(attachment, of: subscription, keepsLeases: true)
    }

    private func removeConsumer(_ attachment: Attachment, of subscription: Subscription, keepsLeases: Bool) {
        guard let place = subscription.consumers.firstIndex(where: { $0 === attachment }) else { return }
        subscription.removeConsumer(at: place)
        guard !subscription.isDeleted else { return }
        if !keepsLeases { releaseLeases(of: attachment) }
        if subscription.policy.consumers == .failover, place == 0, let next = subscription.consumers.first {
            reply(next.session, 0, .consumerChanged(next.id, isActive: true))
        }
        if subscription.consumers.isEmpty {
            becameUnused(subscription, now: clock)
            for lane in subscription.lanes
            where lane?.mayExpire == true || subscription.policy.messageTTLMicroseconds > 0 {
                if let lane { timeIsUp(lane, subscription) }
            }
        } else {
            enqueue(subscription)
        }
    }
}
