internal import MessageModel
internal import StorageEngine
internal import StorageService

/// Subscriptions that come, change and go.
extension DeliverySimulation {
    func somePolicy(isInbox: Bool) -> SubscriptionPolicy {
        var policy = SubscriptionPolicy()
        policy.consumers = pick(Array(SubscriptionPolicy.Consumers.allCases)) ?? .shared
        vary(&policy, isInbox: isInbox)
        if random.percent(20) {
            policy.tags = random.percent(50) ? "red" : ""
            policy.nameFilter = Array((random.percent(50) ? "+/a/#" : "").utf8)
        }
        if random.percent(20) { policy.selector = pick(SimulatedSelector.all) ?? "" }
        guard isInbox else { return policy }
        policy.isDurable = random.percent(85)
        policy.maxPriority = random.percent(40) ? .random(in: 1...9, using: &random) : 0
        policy.takesAtMostOnce = random.percent(70)
        return policy
    }

    /// What may change later.
    func vary(_ policy: inout SubscriptionPolicy, isInbox: Bool) {
        policy.leaseMicroseconds = pick([0, 2_000, 10_000, 50_000, 300_000, 300_000]) ?? 0
        policy.maxAttempts = pick([0, 0, 1, 2, 3, 5]) ?? 0
        policy.deadLetterTopic = random.percent(50) ? "dead" : nil
        policy.backoff =
            switch Int.random(in: 0..<4, using: &random) {
            case 0: try? Backoff(fixed: [1, 5, 20])
            case 1: try? Backoff(exponential: 2, factorHundredths: 200, max: 40)
            default: nil
            }
        policy.window = pick([65_536, 65_536, 65_536, 1, 3, 10]) ?? 1
        guard isInbox else { return }
        policy.messageTTLMicroseconds = random.percent(10) ? .random(in: 1_000...200_000, using: &random) : 0
        policy.maxMessages = random.percent(15) ? .random(in: 1...20, using: &random) : 0
        policy.maxBytes = random.percent(5) ? .random(in: 200...2_000, using: &random) : 0
        policy.overflow =
            policy.deadLetterTopic == nil
            ? pick([.dropHead, .reject]) ?? .dropHead
            : pick(Array(SubscriptionPolicy.Overflow.allCases)) ?? .dropHead
    }

    func createSubscription() {
        guard let shard, model.subscriptions.count(where: \.isUsable) < 7 else { return }
        let isInbox = random.percent(60)
        let number = model.subscriptions.count
        let name = "s\(number)"
        let policy = somePolicy(isInbox: isInbox)
        let session = anySession(shard)
        let source: SubscriptionSpecification.Source
        let known: ModelSubscription
        if isInbox {
            var bindings: [Binding] = []
            for _ in 0..<Int.random(in: 0...2, using: &random) {
                let binding = someBinding()
                if !bindings.contains(binding) { bindings.append(binding) }
            }
            source = .inbox(bindings: bindings)
            let moment = model.moment()
            known = ModelSubscription(number: number, name: name, source: .inbox, policy: policy, submitted: moment)
            known.bindings = bindings.map { ModelSubscription.Bound(binding: $0, added: moment) }
            if !policy.isDurable { known.ownerSession = session }
        } else {
            guard
                let topic = pick(
                    model.topics.indices.filter { model.topics[$0].isUsable && !model.topics[$0].isForDead }
                ),
                let id = model.topics[topic].id
            else { return }
            source = .cursor(topic: id, start: pick([.first, .next, .offset(3), .time(scheduler.now)]) ?? .first)
            known = ModelSubscription(
                number: number,
                name: name,
                source: .cursor(topic: topic),
                policy: policy,
                submitted: model.moment()
            )
        }
        model.subscriptions.append(known)
        send(
            .createSubscription(SubscriptionSpecification(name: name, source: source, policy: policy)),
            .createSubscription(number),
            session: session
        )
    }

    func usable(_ condition: (ModelSubscription) -> Bool = { _ in true }) -> ModelSubscription? {
        pick(model.subscriptions.filter { $0.isUsable && condition($0) })
    }

    func deleteSubscription() {
        guard let subscription = usable() else { return }
        subscription.isEnding = true
        subscription.endingAt = model.stamp
        send(.deleteSubscription(name: subscription.name), .deleteSubscription(subscription.number))
    }

    func someBinding() -> Binding {
        if random.percent(60) { return Binding(filter: pick(Self.filters) ?? "#") }
        var binding = someExchangeBinding()
        guard random.percent(25) else { return binding }
        for _ in 0..<Int.random(in: 1...2, using: &random) {
            // Of the same exchange, so that its key may hold.
            let other = someExchangeBinding(of: binding.topic)
            binding.also.append(
                Binding.Condition(kind: other.kind, pattern: other.pattern, arguments: other.arguments)
            )
        }
        return binding
    }

    private func someExchangeBinding(of exchange: String? = nil) -> Binding {
        let kind = pick([Binding.Kind.direct, .topic, .fanout, .headers]) ?? .fanout
        // Nothing of the whole tree that dead letters match.
        let isWhole = exchange.map { $0 == "amq.topic" } ?? ((kind == .direct || kind == .topic) && random.percent(25))
        let topic = exchange ?? (isWhole ? "amq.topic" : pick(Self.topicNames) ?? "t0")
        let key =
            switch kind {
            case .direct: pick(isWhole ? ["t0.a", "t2.deep.x", "t1"] : ["a", "a.b", "", "x"]) ?? ""
            case .topic:
                pick(isWhole ? ["t0.#", "*.a", "t2.deep.*", "t1.#.b"] : ["#", "*", "a.*", "#.d", "*.c.#", "a"]) ?? "#"
            default: ""
            }
        var arguments: [Binding.Argument] = []
        if kind == .headers {
            if random.percent(50) { arguments.append(Self.argument("x-match", pick(["any", "all"]))) }
            if random.percent(80) { arguments.append(Self.argument("number", pick(["0", "1", nil]) ?? nil)) }
            if random.percent(20) { arguments.append(Self.argument("absent", nil)) }
        }
        return Binding(kind: kind, topic: topic, pattern: Array(key.utf8), arguments: arguments)
    }

    static func argument(_ name: String, _ value: String?) -> Binding.Argument {
        Binding.Argument(name: Array(name.utf8), value: value.map { Array($0.utf8) })
    }

    func bind() {
        guard let subscription = usable({ $0.isInbox }) else { return }
        let binding = someBinding()
        guard !subscription.bindings.contains(where: { $0.binding == binding && $0.removedBy == DeliveryModel.never })
        else { return }
        subscription.bindings.append(ModelSubscription.Bound(binding: binding, added: model.moment()))
        send(
            .bind(name: subscription.name, binding),
            .bind(subscription.number, subscription.bindings.count - 1)
        )
    }

    func unbind() {
        guard let subscription = usable({ $0.isInbox }),
            let index = pick(
                subscription.bindings.indices.filter {
                    let bound = subscription.bindings[$0]
                    return bound.addedBy != DeliveryModel.never && bound.removed.serial == DeliveryModel.never
                }
            )
        else { return }
        subscription.bindings[index].removed = model.moment()
        send(
            .unbind(name: subscription.name, subscription.bindings[index].binding),
            .unbind(subscription.number, index)
        )
    }

    func update() {
        guard let subscription = usable() else { return }
        var policy = subscription.policy
        vary(&policy, isInbox: subscription.isInbox)
        if random.percent(30), policy.consumers == .shared || policy.consumers == .orderedByKey {
            policy.consumers = policy.consumers == .shared ? .orderedByKey : .shared
        }
        // What was delivered as often as it may be under the old one may be gone already.
        for entry in subscription.entries.values where entry.isOpen && subscription.isSpent(entry) {
            subscription.entries[entry.message]?.isVague = true
        }
        subscription.pendingPolicies.append(policy)
        subscription.mayHave(policy)
        send(.updateSubscription(name: subscription.name, policy), .update(subscription.number, policy))
    }

    func pause() {
        guard let subscription = usable() else { return }
        let isPaused = !subscription.isPaused
        subscription.pendingPauses.append(isPaused)
        send(.pause(name: subscription.name, isPaused: isPaused), .pause(subscription.number, isPaused))
    }

    func seek() {
        guard let subscription = usable({ $0.pendingSeeks == 0 }) else { return }
        let target: SeekTarget
        if subscription.isInbox {
            target = pick([.first, .next, .next]) ?? .first
        } else {
            target = pick([.first, .next, .offset(partition: 0, 0), .time(scheduler.now)]) ?? .first
        }
        subscription.pendingSeeks += 1
        subscription.wasSought = true
        subscription.startBeforeSeek = subscription.start
        if let start = subscription.start { subscription.start = start.map { _ in 0 } }
        report.seeks += 1
        for message in subscription.entries.keys {
            subscription.entries[message]?.isVague = true
            subscription.entries[message]?.generation += 1
            subscription.entries[message]?.mayBeSought = true
        }
        send(.seek(name: subscription.name, target), .seek(subscription.number))
    }

    func describe() {
        guard let subscription = usable() else { return }
        let isExact =
            !subscription.isVague && !model.mayLose(subscription)
            && !subscription.entries.values.contains { $0.isVague || $0.isStaged }
            && !subscription.entries.values.contains { $0.mayBeHeldUntil > model.now }
        let leased = subscription.entries.values.count { if case .leased = $0.state { true } else { false } }
        send(
            .describeSubscription(name: subscription.name),
            .describe(subscription.number, leased: isExact ? UInt64(leased) : nil)
        )
    }
}
