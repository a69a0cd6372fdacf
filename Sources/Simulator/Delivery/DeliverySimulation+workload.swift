internal import MessageModel
internal import StorageEngine
internal import StorageService

/// What the clients do.
extension DeliverySimulation {
    static let topicNames = ["t0", "t1", "t2/deep"]
    static let routingKeys = ["", "a", "a/b", "b/c/d", "x"]
    static let filters = ["+/a/#", "t0/#", "t1/+", "t0/a", "+/a", "t2/deep/#", "t1/#", "+/a/b"]

    func pick<Element>(_ elements: [Element]) -> Element? { elements.randomElement(using: &random) }

    func doSomething() throws(Violation) {
        guard let shard else { return }
        if hasFaults, try actOnFaults() { return }
        if hasFaults { failReads() }
        switch Int.random(in: 0..<200, using: &random) {
        case 0..<4: openSession(shard)
        case 4..<6: closeSession(shard)
        case 6..<9: createTopic()
        case 9..<10: if random.percent(10) { deleteTopic() }
        case 10..<20: createSubscription()
        case 20..<21: if random.percent(40) { deleteSubscription() }
        case 21..<26: bind()
        case 26..<29: unbind()
        case 29..<32: update()
        case 32..<35: pause()
        case 35..<37: seek()
        case 37..<52: attach(shard)
        case 52..<57: lease(shard)
        case 57..<59: detach(shard)
        case 59..<60: retire(shard)
        case 60..<78: grant(shard)
        case 78..<105: settleByAttachment(shard)
        case 105..<120: settleByReceipt()
        case 120..<124: describe()
        case 124..<128: begin()
        case 128..<134: stage()
        case 134..<139: endTransaction()
        case 139..<143: cancel()
        case 143..<144: try rest()
        case 144..<150: passTime(0...50_000)
        case 150..<151: passTime(0...2_000_000)
        default: for _ in 0..<Int.random(in: 1...3, using: &random) { publish(shard) }
        }
        called()
    }

    /// Now and then the disk refuses all that is to be read, for a while.
    private func failReads() {
        if case .always = disk.faults.read {
            guard random.percent(25) else { return }
            note("the disk reads again")
            disk.faults.read = .never
        } else if random.percent(1) {
            note("fault: the disk refuses to read")
            faults.failsReads = true
            disk.faults.read = .always
        }
    }

    private func passTime(_ span: ClosedRange<UInt64>) {
        // In steps, as the world does: what is due in between is done in between.
        let end = scheduler.now.advanced(byMicroseconds: .random(in: span, using: &random))
        _ = try? run { (scheduler.nextTime ?? .never) > end }
        scheduler.advance(to: end)
    }

    @discardableResult
    func send(_ request: StorageRequest, _ kind: Pending.Kind, session: UInt64? = nil) -> DeliveryModel.Moment {
        guard let shard else { return .start }
        let session = session ?? anySession(shard)
        let token = nextToken
        nextToken += 1
        let moment = model.moment()
        pending[token] = Pending(session: session, kind: kind, moment: moment)
        note("request \(token): \(Self.text(request))")
        shard.perform(session: session, request, token: token, now: scheduler.now)
        called()
        return moment
    }

    private static func text(_ request: StorageRequest) -> String {
        switch request {
        case .createTopic(let topic): "create topic \(topic.name) with \(topic.partitions) partitions, \(topic.policy)"
        case .createSubscription(let subscription):
            switch subscription.source {
            case .inbox(let bindings):
                "create inbox \(subscription.name) for \(bindings.map(text)), \(text(subscription.policy))"
            case .cursor(let topic, let start):
                "create \(subscription.name) of topic \(topic.rawValue) from \(start), \(text(subscription.policy))"
            }
        case .updateSubscription(let name, let policy): "update \(name): \(text(policy))"
        case .bind(let name, let binding): "bind \(name) to \(text(binding))"
        case .unbind(let name, let binding): "unbind \(name) from \(text(binding))"
        case .settle(let receipts, let settlement):
            "settle \(receipts.map { "\($0.receipt.subscription.rawValue):\($0.receipt.lane)/\($0.receipt.sequence)#\($0.receipt.generation >> 32).\($0.receipt.generation & 0xFFFF_FFFF)" }), \(settlement)"
        case .settleInTransaction(let id, let receipts):
            "stage in \(id.rawValue) \(receipts.map { "\($0.receipt.subscription.rawValue):\($0.receipt.lane)/\($0.receipt.sequence)#\($0.receipt.generation >> 32).\($0.receipt.generation & 0xFFFF_FFFF)" })"
        default: "\(request)"
        }
    }

    private static func text(_ binding: Binding) -> String {
        let arguments = binding.arguments.map { argument in
            let value = argument.value.map { String(decoding: $0, as: UTF8.self) }
            return "\(String(decoding: argument.name, as: UTF8.self))=\(value ?? "any")"
        }
        let also = binding.also.map { "\($0.kind) '\(String(decoding: $0.pattern, as: UTF8.self))'" }
        return
            "\(binding.kind) \(binding.topic) '\(String(decoding: binding.pattern, as: UTF8.self))' \(arguments)\(also)"
    }

    private static func text(_ policy: SubscriptionPolicy) -> String {
        """
        \(policy.consumers), lease \(policy.leaseMicroseconds), attempts \(policy.maxAttempts), \(policy.backoff?.description ?? "no back-off"), \
        dead \(policy.deadLetterTopic ?? "none"), selector '\(policy.selector)', tags '\(policy.tags)', names '\(String(decoding: policy.nameFilter, as: UTF8.self))', \
        window \(policy.window), \(policy.isDurable ? "durable" : "transient"), TTL \(policy.messageTTLMicroseconds), \
        limits \(policy.maxMessages)/\(policy.maxBytes) \(policy.overflow), priorities \(policy.maxPriority), \
        at most once \(policy.takesAtMostOnce)
        """
    }

    // MARK: Sessions

    private func openSession(_ shard: Shard) {
        guard sessions.count < 4 else { return }
        sessions.append(shard.openSession(tenant: .default))
        note("session \(sessions[sessions.count - 1]) opened")
    }

    private func closeSession(_ shard: Shard) {
        guard sessions.count > 1, let session = pick(sessions) else { return }
        close(session, shard)
    }

    func close(_ session: UInt64, _ shard: Shard) {
        note("session \(session) closed")
        sessions.removeAll { $0 == session }
        groups.removeAll { $0.session == session }
        shard.closeSession(session)
        for subscription in model.subscriptions {
            for consumer in subscription.consumers + subscription.others where consumer.session == session {
                remove(consumer, from: subscription)
            }
            if subscription.ownerSession == session { subscription.isGone = true }
        }
        for (token, request) in pending where request.session == session {
            pending[token] = nil
            abandoned(request)
        }
    }

    /// The transient ones' consumers have other numbers in the engine; nothing of them is compared.
    func remove(_ consumer: ModelSubscription.Consumer, from subscription: ModelSubscription) {
        subscription.consumers.removeAll { $0.owner == consumer.owner && $0.attachment == consumer.attachment }
        subscription.others.removeAll { $0.owner == consumer.owner && $0.attachment == consumer.attachment }
        model.detached(owner: consumer.isByReceipt ? 0 : consumer.owner, of: subscription)
    }

    func anySession(_ shard: Shard) -> UInt64 {
        if sessions.isEmpty { openSession(shard) }
        return sessions[Int.random(in: sessions.indices, using: &random)]
    }

    // MARK: Topics

    private func createTopic() {
        let dead = random.percent(20)
        guard let name = dead ? "dead" : pick(Self.topicNames),
            !model.topics.contains(where: { $0.name == name && !$0.isGone })
        else { return }
        if dead, model.subscriptions.contains(where: { $0.policy.deadLetterTopic != nil }) { return }
        let partitions = dead ? 1 : Int.random(in: 1...3, using: &random)
        var topic = DeliveryModel.Topic(name: name, partitions: partitions, isForDead: dead, submitted: model.moment())
        if !dead { topic.policy = retention() }
        model.topics.append(topic)
        send(
            .createTopic(TopicSpecification(name: name, partitions: partitions, policy: topic.policy)),
            .createTopic(model.topics.count - 1)
        )
    }

    /// Mostly what lets segments go and does not let subscriptions lose anything.
    private func retention() -> TopicPolicy {
        var policy = TopicPolicy()
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<6: policy.retention = .subscriptions
        case 6: policy.maxBytes = .random(in: 500...20_000, using: &random)
        case 7: policy.maxAgeMicroseconds = .random(in: 1_000...500_000, using: &random)
        default: break
        }
        return policy
    }

    private func deleteTopic() {
        guard let topic = pick(model.topics.indices.filter { model.topics[$0].isUsable && !model.topics[$0].isForDead })
        else { return }
        model.topics[topic].isEnding = true
        model.topics[topic].endingAt = model.stamp
        for subscription in model.subscriptions {
            if case .cursor(topic) = subscription.source {
                subscription.isEnding = true
                subscription.endingAt = min(subscription.endingAt, model.stamp)
            }
        }
        send(.deleteTopic(name: model.topics[topic].name), .deleteTopic(topic))
    }
}
