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
        case 37..<57: attach(shard)
        case 57..<60: detach(shard)
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
        return "\(binding.kind) \(binding.topic) '\(String(decoding: binding.pattern, as: UTF8.self))' \(arguments)"
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
        shard.closeSession(session)
        for subscription in model.subscriptions {
            for consumer in subscription.consumers where consumer.session == session {
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
    private func remove(_ consumer: ModelSubscription.Consumer, from subscription: ModelSubscription) {
        subscription.consumers.removeAll { $0.owner == consumer.owner && $0.attachment == consumer.attachment }
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

    // MARK: Subscriptions

    private func somePolicy(isInbox: Bool) -> SubscriptionPolicy {
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
    private func vary(_ policy: inout SubscriptionPolicy, isInbox: Bool) {
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

    private func createSubscription() {
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

    private func deleteSubscription() {
        guard let subscription = usable() else { return }
        subscription.isEnding = true
        subscription.endingAt = model.stamp
        send(.deleteSubscription(name: subscription.name), .deleteSubscription(subscription.number))
    }

    private func someBinding() -> Binding {
        if random.percent(60) { return Binding(filter: pick(Self.filters) ?? "#") }
        let kind = pick([Binding.Kind.direct, .topic, .fanout, .headers]) ?? .fanout
        // Nothing of the whole tree that dead letters match.
        let isWhole = (kind == .direct || kind == .topic) && random.percent(25)
        let topic = isWhole ? "amq.topic" : pick(Self.topicNames) ?? "t0"
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

    private static func argument(_ name: String, _ value: String?) -> Binding.Argument {
        Binding.Argument(name: Array(name.utf8), value: value.map { Array($0.utf8) })
    }

    private func bind() {
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

    private func unbind() {
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

    private func update() {
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

    private func pause() {
        guard let subscription = usable() else { return }
        let isPaused = !subscription.isPaused
        subscription.pendingPauses.append(isPaused)
        send(.pause(name: subscription.name, isPaused: isPaused), .pause(subscription.number, isPaused))
    }

    private func seek() {
        guard let subscription = usable({ $0.pendingSeeks == 0 }) else { return }
        let target: SeekTarget
        if subscription.isInbox {
            target = pick([.first, .next, .next]) ?? .first
        } else {
            target = pick([.first, .next, .offset(partition: 0, 0), .time(scheduler.now)]) ?? .first
        }
        subscription.pendingSeeks += 1
        subscription.wasSought = true
        if let start = subscription.start { subscription.start = start.map { _ in 0 } }
        report.seeks += 1
        for message in subscription.entries.keys {
            subscription.entries[message]?.isVague = true
            subscription.entries[message]?.generation += 1
            subscription.entries[message]?.mayBeSought = true
        }
        send(.seek(name: subscription.name, target), .seek(subscription.number))
    }

    private func describe() {
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

    // MARK: Consumers

    func attach(
        _ shard: Shard,
        to subscription: ModelSubscription,
        byReceipt: Bool,
        credit: (messages: UInt64, bytes: UInt64),
        isDraining: Bool = false
    ) {
        let session = subscription.ownerSession ?? anySession(shard)
        let attachment = nextAttachment
        nextAttachment += 1
        let owner = byReceipt ? 0 : nextOwner
        nextOwner += 1
        note(
            "attach \(session)/\(attachment) to \(subscription.name), \(byReceipt ? "by receipt" : "owner \(owner)"), credit \(credit)"
        )
        if subscription.policy.consumers == .exclusive, !subscription.consumers.isEmpty {
            refused.insert(attachment)
        } else {
            subscription.consumers.append(
                ModelSubscription.Consumer(
                    session: session,
                    attachment: attachment,
                    owner: owner,
                    isByReceipt: byReceipt,
                    creditMessages: Int64(credit.messages),
                    creditBytes: Int64(credit.bytes),
                    isDraining: isDraining
                )
            )
        }
        shard.attach(
            session: session,
            AttachRequest(
                source: .consumer(of: subscription.name, byReceipt ? .receipt : .attachment),
                creditMessages: credit.messages,
                creditBytes: credit.bytes
            ),
            attachment: attachment,
            now: scheduler.now
        )
        called()
    }

    private func attach(_ shard: Shard) {
        guard let subscription = usable({ $0.consumers.count < 3 }) else { return }
        if let owner = subscription.ownerSession, !sessions.contains(owner) { return }
        attach(
            shard,
            to: subscription,
            byReceipt: random.percent(40),
            credit: (
                .random(in: 0...12, using: &random), random.percent(80) ? 1 << 20 : .random(in: 0...400, using: &random)
            )
        )
    }

    private func detach(_ shard: Shard) {
        guard let subscription = usable({ !$0.consumers.isEmpty }), let consumer = pick(subscription.consumers) else {
            return
        }
        detach(consumer, from: subscription, shard)
    }

    func detach(_ consumer: ModelSubscription.Consumer, from subscription: ModelSubscription, _ shard: Shard) {
        note("detach \(consumer.session)/\(consumer.attachment) from \(subscription.name)")
        remove(consumer, from: subscription)
        shard.detach(session: consumer.session, attachment: consumer.attachment)
        called()
    }

    func grant(
        _ consumer: Int,
        of subscription: ModelSubscription,
        messages: UInt64,
        bytes: UInt64,
        _ shard: Shard
    ) {
        let known = subscription.consumers[consumer]
        note("credit \(messages), \(bytes) for \(known.session)/\(known.attachment)")
        subscription.consumers[consumer].creditMessages += Int64(messages)
        subscription.consumers[consumer].creditBytes += Int64(bytes)
        shard.grantCredit(session: known.session, attachment: known.attachment, messages: messages, bytes: bytes)
        called()
    }

    private func grant(_ shard: Shard) {
        guard let subscription = usable({ !$0.consumers.isEmpty }),
            let consumer = subscription.consumers.indices.randomElement(using: &random)
        else { return }
        grant(
            consumer,
            of: subscription,
            messages: .random(in: 1...20, using: &random),
            bytes: random.percent(80) ? 1 << 20 : .random(in: 0...400, using: &random),
            shard
        )
    }

    // MARK: Settling

    private func someSettlement() -> Settlement {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<55: return .accept
        case 55..<65: return .release(delayMicroseconds: nil, countsAttempt: random.percent(70))
        case 65..<73: return .release(delayMicroseconds: 0, countsAttempt: random.percent(70))
        case 73..<82:
            return .release(
                delayMicroseconds: .random(in: 1_000...60_000, using: &random),
                countsAttempt: random.percent(70)
            )
        case 82..<92: return .reject(reason: random.percent(50) ? "" : "broken")
        default: return .extend(byMicroseconds: .random(in: 1_000...100_000, using: &random))
        }
    }

    private func count(_ settlement: Settlement) {
        switch settlement {
        case .accept: report.accepted += 1
        case .release: report.released += 1
        case .reject: report.rejected += 1
        case .extend: break
        }
    }

    func settle(
        _ settlement: Settlement,
        _ held: Held,
        first: UInt64,
        last: UInt64,
        token: UInt64?,
        _ shard: Shard
    ) {
        let subscription = model.subscriptions[held.subscription]
        let moment = model.moment()
        if let token { pending[token] = Pending(session: held.session, kind: .settleByAttachment, moment: moment) }
        note(
            "\(held.session)/\(held.attachment) settles \(first)...\(last) of lane \(held.lane), \(settlement), \(token.map(String.init) ?? "no token")"
        )
        if let consumer = subscription.consumers.first(where: {
            $0.session == held.session && $0.attachment == held.attachment
        }), subscription.isUsable || !subscription.isGone {
            for (message, entry) in subscription.entries where entry.lane == held.lane {
                guard let sequence = entry.sequence, sequence >= first, sequence <= last else { continue }
                if entry.isVague {
                    continue
                }
                if consumer.isByReceipt, entry.mayBeHeldUntil > model.now, case .waiting = entry.state {
                    // A crash left open whether it is leased to whoever has the receipt.
                    subscription.entries[message]?.isVague = true
                }
                guard case .leased(consumer.owner, _) = entry.state else { continue }
                if entry.isStaged {
                    // The commit may have come before it.
                    subscription.entries[message]?.isVague = true
                    continue
                }
                count(settlement)
                model.settle(settlement, message, of: subscription, at: scheduler.now)
            }
        }
        shard.settle(
            session: held.session,
            attachment: held.attachment,
            lane: held.lane,
            first: first,
            last: last,
            settlement,
            token: token,
            now: scheduler.now
        )
        called()
    }

    private func settleByAttachment(_ shard: Shard) {
        guard let index = held.indices.randomElement(using: &random) else { return }
        let held = held[index]
        let isRange = random.percent(40)
        let first = isRange ? held.sequence - min(held.sequence, .random(in: 0...5, using: &random)) : held.sequence
        let last = isRange ? held.sequence + .random(in: 0...5, using: &random) : held.sequence
        var token: UInt64?
        if random.percent(60), sessions.contains(held.session) {
            token = nextToken
            nextToken += 1
        }
        let settlement = someSettlement()
        settle(settlement, held, first: first, last: last, token: token, shard)
        if !random.percent(10) {
            self.held.removeAll {
                $0.subscription == held.subscription && $0.lane == held.lane && $0.sequence >= first
                    && $0.sequence <= last && $0.attachment == held.attachment
            }
        }
    }

    func settleByReceipt() {
        guard !held.isEmpty || !heldBefore.isEmpty else { return }
        var chosen: [Held] = []
        if random.percent(30), let index = heldBefore.indices.randomElement(using: &random) {
            chosen.append(heldBefore[index])
            if !random.percent(15) { heldBefore.remove(at: index) }
        }
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            guard let index = held.indices.randomElement(using: &random) else { break }
            chosen.append(held[index])
            if !random.percent(15) { held.swapAt(index, held.count - 1); held.removeLast() }
        }
        let settlement = someSettlement()
        var expected: [Bool?] = []
        for item in chosen {
            let subscription = model.subscriptions[item.subscription]
            guard !subscription.isGone, !subscription.isEnding else {
                expected.append(subscription.isGone ? false : nil)
                continue
            }
            let entry = subscription.entries[item.message]
            let isRight = entry?.sequence == item.sequence && entry?.isStaged != true && subscription.pendingSeeks == 0
            let verdict = isRight ? model.accepts(entry, lease: item.lease, settlement, in: subscription) : nil
            expected.append(verdict)
            if verdict == true {
                count(settlement)
                if case .leased = entry?.state {} else { report.lateReceipts += 1 }
                model.settleByReceipt(
                    settlement,
                    item.message,
                    of: subscription,
                    at: scheduler.now
                )
            } else if verdict == nil {
                subscription.entries[item.message]?.isVague = true
            } else {
                report.lateReceipts += 1
            }
        }
        send(.settle(chosen.map { $0.receipt }, settlement), .settle(expected))
    }
}

extension DeliverySimulation.Held {
    /// What is not a delivery has one that nobody gave out.
    var receipt: SignedReceipt {
        let receipt = Receipt(subscription: id, lane: lane, sequence: sequence, generation: lease)
        return terms?.receipt(sequence) ?? SignedReceipt(receipt, first: sequence, last: sequence, signature: 0)
    }
}
