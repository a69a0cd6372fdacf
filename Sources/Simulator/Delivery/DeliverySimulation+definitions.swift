package import MessageModel
internal import StorageEngine
package import StorageService

/// What becomes of topics, subscriptions and settlements, as the shard answers.
extension DeliverySimulation {
    func topicCreated(_ index: Int, _ result: Result<StorageReply, SluiceError>) {
        switch result {
        case .success(.topicCreated(let topic, _)):
            model.topics[index].id = topic.id
            model.topics[index].isAnswered = true
            model.topics[index].createdAt = min(model.topics[index].createdAt, model.stamp)
        case .success: model.fail("creating a topic was answered wrongly")
        case .failure(let error):
            if checkRefusal(error, allows: [.alreadyExists]) { model.topics[index].isGone = true }
        }
    }

    func deleteTopicFailed(_ topic: Int, _ result: Result<StorageReply, SluiceError>) {
        guard case .failure(let error) = result, checkRefusal(error) else { return }
        model.topics[topic].isEnding = false
        model.topics[topic].endingAt = DeliveryModel.never
        for subscription in model.subscriptions {
            if case .cursor(topic) = subscription.source,
                !pending.values.contains(where: {
                    if case .deleteSubscription(subscription.number) = $0.kind { true } else { false }
                })
            {
                subscription.isEnding = false
                subscription.endingAt = DeliveryModel.never
            }
        }
    }

    func subscriptionCreated(_ number: Int, _ request: Pending, _ result: Result<StorageReply, SluiceError>) {
        let subscription = model.subscriptions[number]
        switch result {
        case .success(.subscriptionCreated(let seen, let isNew)):
            model.check(isNew && seen.name == subscription.name, "creating \(subscription.name) was answered wrongly")
            subscription.id = seen.id
            if !subscription.isInbox { subscription.start = seen.lanes.map(\.acknowledged) }
            subscription.isAnswered = true
            subscription.createdAt = min(subscription.createdAt, model.stamp)
            for index in subscription.bindings.indices { subscription.bindings[index].addedBy = model.serial }
            if subscription.policy.isDurable { model.journalIsDurable(before: request.moment) }
            for message in model.messages.indices where model.messages[message].isSeen {
                model.becameVisible(message)
            }
        case .success: model.fail("creating a subscription was answered wrongly")
        case .failure(let error):
            let topicIsGone =
                if case .cursor(let topic) = subscription.source { !model.topics[topic].isUsable } else { false }
            if checkRefusal(error, allows: topicIsGone ? [.topicNotFound, .invalidArgument] : []) {
                subscription.isGone = true
            }
        }
    }

    func subscriptionDeleted(_ number: Int, _ result: Result<StorageReply, SluiceError>) {
        let subscription = model.subscriptions[number]
        switch result {
        case .success: subscription.isGone = true
        case .failure(let error):
            if case .cursor(let topic) = subscription.source, !model.topics[topic].isUsable { return }
            if checkRefusal(error) {
                subscription.isEnding = false
                subscription.endingAt = DeliveryModel.never
            }
        }
    }

    func isMissing(_ subscription: ModelSubscription) -> [ErrorCode] {
        subscription.isUsable ? [] : [.subscriptionNotFound]
    }

    func bound(_ number: Int, _ index: Int, _ request: Pending, _ result: Result<StorageReply, SluiceError>) {
        let subscription = model.subscriptions[number]
        switch result {
        case .success:
            subscription.bindings[index].addedBy = model.moment().serial
            if subscription.policy.isDurable { model.journalIsDurable(before: request.moment) }
        case .failure(let error):
            if checkRefusal(error, allows: isMissing(subscription)) {
                subscription.bindings[index].removed = .start
                subscription.bindings[index].removedBy = 0
                subscription.bindings[index].added.serial = DeliveryModel.never
            } else {
                subscription.bindings[index].isUncertain = true
            }
        }
    }

    func unbound(_ number: Int, _ index: Int, _ request: Pending, _ result: Result<StorageReply, SluiceError>) {
        let subscription = model.subscriptions[number]
        switch result {
        case .success:
            subscription.bindings[index].removedBy = model.moment().serial
            if subscription.policy.isDurable { model.journalIsDurable(before: request.moment) }
        case .failure(let error):
            if checkRefusal(error, allows: isMissing(subscription)) {
                subscription.bindings[index].removed.serial = DeliveryModel.never
            } else {
                subscription.bindings[index].isUncertain = true
            }
        }
    }

    func updated(
        _ number: Int,
        _ policy: SubscriptionPolicy,
        _ request: Pending,
        _ result: Result<StorageReply, SluiceError>
    ) {
        let subscription = model.subscriptions[number]
        if case .failure(let error) = result, !checkRefusal(error, allows: isMissing(subscription)) { return }
        if let place = subscription.pendingPolicies.firstIndex(of: policy) {
            subscription.pendingPolicies.remove(at: place)
        }
        switch result {
        case .success(.subscription(let seen)):
            model.check(seen.policy == policy || !subscription.pendingPolicies.isEmpty, "another policy was set")
            for entry in subscription.entries.values where entry.isOpen && subscription.isSpent(entry) {
                subscription.entries[entry.message]?.isVague = true
            }
            subscription.policy = policy
        case .success: model.fail("an update was answered wrongly")
        case .failure(let error): checkRefusal(error, allows: isMissing(subscription))
        }
    }

    func paused(
        _ number: Int,
        _ isPaused: Bool,
        _ request: Pending,
        _ result: Result<StorageReply, SluiceError>
    ) {
        let subscription = model.subscriptions[number]
        if case .failure(let error) = result, !checkRefusal(error, allows: isMissing(subscription)) { return }
        if let place = subscription.pendingPauses.firstIndex(of: isPaused) {
            subscription.pendingPauses.remove(at: place)
        }
        switch result {
        case .success: subscription.isPaused = isPaused
        case .failure(let error): checkRefusal(error, allows: isMissing(subscription))
        }
    }

    func sought(_ number: Int, _ result: Result<StorageReply, SluiceError>) {
        let subscription = model.subscriptions[number]
        if case .failure(let error) = result, error.code == .indeterminate { return }
        subscription.pendingSeeks -= 1
        subscription.soughtBy = model.moment().serial
        switch result {
        case .success(.subscription(let seen)):
            if subscription.start != nil { subscription.start = seen.lanes.map(\.acknowledged) }
        case .success: model.fail("a seek was answered wrongly")
        case .failure(let error):
            if checkRefusal(error, allows: isMissing(subscription) + [.offsetOutOfRange, .invalidArgument]) {
                subscription.start = subscription.startBeforeSeek
            }
        }
    }

    func settled(_ expected: [Bool?], _ request: Pending, _ result: Result<StorageReply, SluiceError>) {
        switch result {
        case .success(.settled(let codes)):
            model.journalIsDurable(before: request.moment)
            model.check(codes.count == expected.count, "a settlement was answered for other receipts")
            for (code, expected) in zip(codes, expected) {
                guard let expected else { continue }
                model.check(
                    (code == nil) == expected,
                    "a receipt was \(code == nil ? "accepted" : "refused as \(code?.rendering.name ?? "")"), against what it should be"
                )
            }
        case .success: model.fail("a settlement was answered wrongly")
        case .failure(let error): checkRefusal(error)
        }
    }

    func described(_ number: Int, _ leased: UInt64?, _ result: Result<StorageReply, SluiceError>) {
        guard case .success(.subscription(let seen)) = result, let leased else { return }
        let count = seen.lanes.reduce(0) { $0 + $1.leased }
        model.check(
            count == leased,
            "\(seen.name) is said to have \(count) leased messages, and has \(leased)"
        )
        for lane in seen.lanes {
            model.check(lane.backlog >= lane.leased, "\(seen.name) has more leased than in its backlog")
        }
    }
}
