internal import MessageModel
internal import StorageEngine
internal import StorageService

/// What is published: at once, for later, and in transactions.
extension DeliverySimulation {
    func publish(_ shard: Shard) {
        guard let topic = pick(model.topics.indices.filter { model.topics[$0].isUsable && !model.topics[$0].isForDead })
        else { return }
        let batch = makeBatch(topic)
        append(batch, shard)
    }

    private func append(_ batch: Int, _ shard: Shard) {
        let session = anySession(shard)
        let token = nextToken
        nextToken += 1
        let known = model.batches[batch]
        var options = AppendOptions(acknowledgement: .durable)
        if case .prepared(let transaction) = known.kind {
            options.transaction = model.transactions[transaction].id
            model.transactions[transaction].pending += 1
        }
        options.reportsUnrouted = random.percent(30)
        options.refusesSingly = random.percent(50)
        if options.refusesSingly, options.transaction == nil {
            for message in known.messages { model.messages[message].mayBeRefused = true }
        }
        if options.reportsUnrouted { asksForRoutes.insert(token) }
        pending[token] = Pending(session: session, kind: .append(batch: batch), moment: known.submitted)
        report.published += known.count
        note("append \(token): batch \(batch) of \(known.count) to \(ShardModel.text(known.partition)), \(known.kind)")
        known.bytes.withUnsafeBytes { bytes in
            guard let view = BatchView(prefixOf: bytes) else { return }
            shard.append(
                session: session,
                batch: view,
                to: known.partition,
                options: options,
                token: token,
                now: scheduler.now
            )
        }
    }

    private func makeBatch(_ topic: Int) -> Int {
        let known = model.topics[topic]
        let index = Int.random(in: 0..<known.partitions, using: &random)
        let partition = PartitionID(topic: known.id ?? TopicID(rawValue: 0), index: UInt16(index))
        let id = model.batches.count
        let count = random.percent(70) ? Int.random(in: 1...3, using: &random) : .random(in: 3...12, using: &random)
        var kind = DeliveryModel.Batch.Kind.plain
        if random.percent(20), let transaction = usableTransaction() {
            kind = .prepared(transaction: transaction)
            model.transactions[transaction].batches.append(id)
        } else if random.percent(18) {
            kind = .scheduled
            report.scheduled += count
        }
        let isAtMostOnce = kind == .plain && random.percent(8)
        let hasKeys = random.percent(50)
        let moment = model.moment()
        var builder = BatchBuilder()
        var properties = PropertyWriter()
        builder.begin()
        for place in 0..<count {
            let body = MessageText.body(batch: id, index: place, bytes: .random(in: 12...60, using: &random))
            let routingKey = pick(Self.routingKeys) ?? ""
            let key: [UInt8]? = hasKeys && random.percent(80) ? [UInt8.random(in: 97...100, using: &random)] : nil
            let priority = random.percent(40) ? UInt8.random(in: 0...9, using: &random) : nil
            let tag = random.percent(40) ? (random.percent(60) ? "red" : "blue") : nil
            let number = random.percent(50) ? Int.random(in: 0...3, using: &random) : nil
            let hasID = random.percent(20)
            let lookUpKey = random.percent(20) ? Int.random(in: 0...5, using: &random) : nil
            let isRetained = random.percent(20)
            let expiry =
                kind == .plain && random.percent(8)
                ? scheduler.now.advanced(byMicroseconds: .random(in: 1_000...100_000, using: &random)) : nil
            var due: Timestamp?
            if kind == .scheduled, place == 0 || random.percent(80) {
                let delay: UInt64 = random.percent(90) ? .random(in: 1...80_000, using: &random) : 3_600_000_000
                due = scheduler.now.advanced(byMicroseconds: delay)
            }
            properties.removeAll()
            if let priority { properties.append(.priority, byte: priority) }
            if let tag { properties.append(.tag, tag) }
            if let expiry { properties.append(.expiry, number: expiry.rawValue) }
            if let due { properties.append(.deliverAt, number: due.rawValue) }
            if hasID { properties.append(.messageID, Self.messageID(model.messages.count)) }
            if let lookUpKey { properties.append(.key, Self.key(lookUpKey)) }
            if let number { properties.appendUser(name: "number", value: String(number)) }
            let name = Array((known.name + (routingKey.isEmpty ? "" : "/" + routingKey)).utf8)
            let routingBytes = Array(routingKey.utf8)
            let keyBytes = key ?? []
            properties.withBytes { properties in
                body.withUnsafeBytes { body in
                    routingBytes.withUnsafeBytes { routingBytes in
                        keyBytes.withUnsafeBytes { keyBytes in
                            var fields = RecordFields()
                            fields.body = body
                            fields.properties = properties
                            if !routingBytes.isEmpty { fields.routingKey = routingBytes }
                            if key != nil { fields.orderingKey = keyBytes }
                            fields.isRetained = isRetained
                            if isAtMostOnce { fields.deliveryClass = .atMostOnce }
                            fields.born = scheduler.now
                            builder.append(fields)
                        }
                    }
                }
            }
            model.messages.append(
                DeliveryModel.Message(
                    batch: id,
                    index: place,
                    name: name,
                    key: key,
                    tag: tag,
                    number: number,
                    hasID: hasID,
                    lookUpKey: lookUpKey,
                    isRetained: isRetained,
                    priority: priority ?? 0,
                    expiry: expiry,
                    due: kind == .scheduled ? due ?? scheduler.now : nil,
                    isAtMostOnce: isAtMostOnce,
                    routedFrom: kind == .plain ? moment.serial : 0,
                    routedTo: kind == .plain ? moment.serial : DeliveryModel.never
                )
            )
        }
        let attributes: BatchAttributes = isAtMostOnce ? [.atMostOnce] : []
        model.batches.append(
            DeliveryModel.Batch(
                topic: topic,
                partition: partition,
                first: model.messages.count - count,
                count: count,
                bytes: builder.finish(attributes: attributes) { Array($0) },
                kind: kind,
                submitted: moment
            )
        )
        return id
    }

    static func messageID(_ message: Int) -> String { "id-\(message)" }
    static func key(_ number: Int) -> String { "key-\(number)" }

    // MARK: Withdrawing

    func cancel() {
        let candidates = model.batches.indices.filter { model.batches[$0].scheduled != nil }
        guard let batch = pick(Array(candidates.suffix(4))), let id = model.batches[batch].scheduled else { return }
        let place = Int.random(in: 0..<model.batches[batch].count, using: &random)
        let message = model.batches[batch].first + place
        if model.messages[message].mayBeWithdrawn, !model.messages[message].isWithdrawn { return }
        model.messages[message].mayBeWithdrawn = true
        send(.cancelScheduled(ScheduledID(position: id.position, record: UInt32(place))), .cancel(message: message))
    }

    // MARK: Transactions

    func usableTransaction(_ condition: (DeliveryModel.Transaction) -> Bool = { _ in true }) -> Int? {
        pick(
            model.transactions.indices.filter {
                let known = model.transactions[$0]
                return known.id != nil && known.state == .open && !known.isUncertain && condition(known)
            }
        )
    }

    func begin() {
        guard model.transactions.count(where: { $0.state == .open || $0.state == .beginning }) < 3 else { return }
        let isShort = random.percent(20)
        let specification = TransactionSpecification(
            owner: random.percent(60) ? "owner" : "",
            checkAfterMicroseconds: isShort ? .random(in: 10_000...50_000, using: &random) : 10_000_000_000,
            checks: .random(in: 0...2, using: &random)
        )
        model.transactions.append(DeliveryModel.Transaction(specification: specification, begunAt: scheduler.now))
        send(.beginTransaction(specification), .begin(model.transactions.count - 1))
        if random.percent(30) { send(.adoptTransactions(owner: "owner"), .adopt) }
    }

    func stage() {
        guard let transaction = usableTransaction(), let id = model.transactions[transaction].id else { return }
        var chosen: [(held: Held, expected: Bool?)] = []
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            guard let index = held.indices.randomElement(using: &random) else { break }
            let item = held[index]
            if !random.percent(30) { held.swapAt(index, held.count - 1); held.removeLast() }
            guard
                !chosen.contains(where: { $0.held.subscription == item.subscription && $0.held.message == item.message }
                )
            else { continue }
            let subscription = model.subscriptions[item.subscription]
            let entry = subscription.entries[item.message]
            let isRight =
                subscription.isUsable && entry?.sequence == item.sequence && entry?.isStaged != true
                && subscription.pendingSeeks == 0
            chosen.append((item, isRight ? model.accepts(entry, lease: item.lease, nil, in: subscription) : nil))
        }
        guard !chosen.isEmpty else { return }
        model.transactions[transaction].pending += 1
        send(.settleInTransaction(id, chosen.map(\.held.receipt)), .stage(transaction, chosen))
    }

    func endTransaction() {
        guard let transaction = usableTransaction({ $0.pending == 0 }), let id = model.transactions[transaction].id
        else {
            return
        }
        if random.percent(70) {
            model.transactions[transaction].state = .committing
            model.transactions[transaction].commitSubmitted = model.moment()
            for batch in model.transactions[transaction].batches {
                for message in model.batches[batch].messages { model.messages[message].routedFrom = model.serial }
            }
            for staged in model.transactions[transaction].staged {
                model.subscriptions[staged.subscription].entries[staged.message]?.isStaged = true
            }
            send(.commitTransaction(id), .commit(transaction))
        } else {
            model.transactions[transaction].state = .endingOtherwise
            send(.rollBackTransaction(id), .rollBack(transaction))
        }
    }

    /// The time at which it may have been rolled back because nobody ended it.
    func mayBeAbandoned(_ transaction: DeliveryModel.Transaction) -> Bool {
        let checks = transaction.specification.owner.isEmpty ? 0 : UInt64(transaction.specification.checks)
        let end = transaction.begunAt.advanced(
            byMicroseconds: transaction.specification.checkAfterMicroseconds * (checks + 1)
        )
        return end <= scheduler.now
    }
}
