internal import MessageModel
internal import StorageEngine
internal import StorageService

/// Consumers, and what they do with their messages.
extension DeliverySimulation {
    func attach(
        _ shard: Shard,
        to subscription: ModelSubscription,
        byReceipt: Bool,
        credit: (messages: UInt64, bytes: UInt64),
        isDraining: Bool = false
    ) {
        let session = subscription.ownerSession ?? anySession(shard)
        let priority: Int32 = isDraining || random.percent(80) ? 0 : .random(in: -1...2, using: &random)
        let group = isDraining || random.percent(85) ? nil : group(.random(in: 0...1, using: &random), of: session)
        let attachment = nextAttachment
        nextAttachment += 1
        let owner = byReceipt ? 0 : nextOwner
        nextOwner += 1
        note(
            "attach \(session)/\(attachment) to \(subscription.name), \(byReceipt ? "by receipt" : "owner \(owner)"), credit \(credit), priority \(priority), group \(group.map { Int($0.number) } ?? -1)"
        )
        if subscription.policy.consumers == .exclusive, !subscription.consumers.isEmpty {
            refused.insert(attachment)
        } else {
            subscription.insert(
                ModelSubscription.Consumer(
                    session: session,
                    attachment: attachment,
                    owner: owner,
                    isByReceipt: byReceipt,
                    creditMessages: Int64(credit.messages),
                    creditBytes: Int64(credit.bytes),
                    isDraining: isDraining,
                    priority: priority,
                    group: group
                )
            )
        }
        shard.attach(
            session: session,
            AttachRequest(
                source: .consumer(of: subscription.name, byReceipt ? .receipt : .attachment),
                creditMessages: credit.messages,
                creditBytes: credit.bytes,
                priority: priority,
                creditGroup: group?.number
            ),
            attachment: attachment,
            now: scheduler.now
        )
        called()
    }

    func attach(_ shard: Shard) {
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

    func detach(_ shard: Shard) {
        guard let subscription = usable({ !$0.consumers.isEmpty || !$0.others.isEmpty }),
            let consumer = pick(subscription.consumers + subscription.others)
        else { return }
        detach(consumer, from: subscription, shard)
    }

    /// A consumer is to be none any more, and keeps what it has.
    func retire(_ shard: Shard) {
        guard let subscription = usable({ !$0.consumers.isEmpty }),
            let place = subscription.consumers.indices.randomElement(using: &random)
        else { return }
        let consumer = subscription.consumers.remove(at: place)
        note("retire \(consumer.session)/\(consumer.attachment) of \(subscription.name)")
        subscription.others.append(consumer)
        report.retired += 1
        shard.retire(session: consumer.session, attachment: consumer.attachment)
        called()
    }

    // MARK: One by one

    private func attachGetter(of subscription: ModelSubscription, _ shard: Shard) {
        if let owner = subscription.ownerSession, !sessions.contains(owner) { return }
        let session = subscription.ownerSession ?? anySession(shard)
        note("attach \(session)/\(nextAttachment) to \(subscription.name), owner \(nextOwner), to get messages")
        subscription.others.append(
            ModelSubscription.Consumer(
                session: session,
                attachment: nextAttachment,
                owner: nextOwner,
                isByReceipt: false,
                creditMessages: 0,
                creditBytes: 0,
                asked: []
            )
        )
        let request = AttachRequest(source: .getter(of: subscription.name))
        shard.attach(session: session, request, attachment: nextAttachment, now: scheduler.now)
        nextAttachment += 1
        nextOwner += 1
        called()
    }

    func lease(_ shard: Shard) {
        guard let subscription = usable({ $0.hasWaiting }) ?? usable({ $0.hasGetter }) else { return }
        if !subscription.hasGetter { attachGetter(of: subscription, shard) }
        guard
            let place = subscription.others.indices.filter({ subscription.others[$0].asked != nil })
                .randomElement(using: &random)
        else { return }
        let getter = subscription.others[place]
        let count = Int.random(in: 0...8, using: &random)
        subscription.others[place].asked?.append(ModelSubscription.Asked(token: nextToken, count: count))
        send(
            .lease(attachment: getter.attachment, maxMessages: count),
            .lease(subscription.number, attachment: getter.attachment),
            session: getter.session
        )
    }

    /// A getter was given messages.
    func took(_ messages: Int, _ getter: ModelSubscription.Consumer, of subscription: ModelSubscription) {
        guard let place = subscription.others.firstIndex(where: { $0.attachment == getter.attachment }) else {
            return model.fail("\(getter.attachment) of \(subscription.name) is gone and was given messages")
        }
        subscription.others[place].taken += messages
        report.asked += messages
        let wanted = (getter.asked ?? []).reduce(0) { $0 + $1.count }
        model.check(
            subscription.others[place].taken <= wanted,
            "\(getter.attachment) of \(subscription.name) was given more than it asked for"
        )
    }

    func leased(_ number: Int, _ attachment: UInt32, _ token: UInt64, _ result: Result<StorageReply, SluiceError>) {
        let subscription = model.subscriptions[number]
        guard let place = subscription.others.firstIndex(where: { $0.attachment == attachment }) else {
            if case .failure(let error) = result, error.code == .notFound { return }
            return model.fail("request \(token) of an attachment that is gone is answered")
        }
        guard let asked = subscription.others[place].asked?.first, asked.token == token else {
            return model.fail("request \(token) is answered before an earlier one")
        }
        subscription.others[place].asked?.removeFirst()
        switch result {
        case .success(.leased(let count, _)):
            subscription.others[place].taken -= count
            model.check(count <= asked.count, "request \(token) leased \(count) messages of \(asked.count)")
        case .success: model.fail("request \(token) is answered with something else")
        case .failure(let error):
            model.check(
                error.code == .storageUnavailable && faults.failsReads
                    || error.code == .notFound && (!subscription.isUsable || subscription.expiresUnused),
                "nothing can be got of \(subscription.name): \(error)"
            )
        }
        let left = subscription.others[place].taken
        let isLast = subscription.others[place].asked?.isEmpty == true
        model.check(left >= 0 && (!isLast || left == 0), "request \(token): \(left) messages are not counted right")
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

    private func group(_ number: UInt32, of session: UInt64) -> ModelSubscription.Group {
        if let group = groups.first(where: { $0.session == session && $0.number == number }) { return group }
        let group = ModelSubscription.Group(session: session, number: number)
        groups.append(group)
        return group
    }

    func grant(_ messages: UInt64, to group: ModelSubscription.Group, _ shard: Shard) {
        note("credit \(messages) for group \(group.session)/\(group.number)")
        group.messages += Int64(messages)
        shard.grantCredit(session: group.session, group: group.number, messages: messages)
        called()
    }

    func grant(_ shard: Shard) {
        if let group = pick(groups), random.percent(20) {
            return grant(.random(in: 1...20, using: &random), to: group, shard)
        }
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

    func someSettlement() -> Settlement {
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

    func count(_ settlement: Settlement) {
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
        if let consumer = subscription.attached(held.session, held.attachment),
            subscription.isUsable || !subscription.isGone
        {
            for (message, entry) in subscription.entries where entry.lane == held.lane {
                guard let sequence = entry.sequence, sequence >= first, sequence <= last else { continue }
                if entry.isVague {
                    model.maySettle(settlement, message, of: subscription, at: scheduler.now)
                    continue
                }
                if consumer.isByReceipt, entry.mayBeHeldUntil > model.now, case .waiting = entry.state {
                    // A crash left open whether it is leased to whoever has the receipt.
                    subscription.entries[message]?.isVague = true
                    model.maySettle(settlement, message, of: subscription, at: scheduler.now)
                }
                guard case .leased(consumer.owner, _) = entry.state else { continue }
                if entry.isStaged {
                    // The commit may have come before it.
                    subscription.entries[message]?.isVague = true
                    model.maySettle(settlement, message, of: subscription, at: scheduler.now)
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

    func settleByAttachment(_ shard: Shard) {
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
                model.maySettle(settlement, item.message, of: subscription, at: scheduler.now)
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
