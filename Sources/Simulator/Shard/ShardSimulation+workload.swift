internal import MessageModel
internal import StorageEngine
internal import StorageService

/// What the clients do.
extension ShardSimulation {
    private static let topicNames = ["t0", "t1", "t2/deep", "t3", "t4"]
    private static let routingKeys = ["", "a", "a/b", "b/c/d", "x", "$s"]

    func pick<Element>(_ elements: [Element]) -> Element? { elements.randomElement(using: &random) }

    func doSomething() throws(Violation) {
        guard let shard else { return }
        if options.hasFaults {
            if try actOnFaults() { return }
        } else if random.percent(1) {
            return try closeAndReopen()
        }
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<3: openSession(shard)
        case 3..<4: closeSession(shard)
        case 4..<7: createTopic(shard)
        case 7..<8: if random.percent(30) { deleteTopic(shard) }
        case 8..<11: createSubscription(shard)
        case 11..<12: if random.percent(50) { deleteSubscription(shard) }
        case 12..<19: commit(shard)
        case 19..<25: attach(shard)
        case 25..<30: grant(shard)
        case 30..<33: detach(shard)
        case 33..<40: fetch(shard)
        case 40..<42: find(shard)
        case 42..<45: changeFilters(shard)
        case 45..<46: try rest()
        case 46..<47:
            scheduler.advance(to: scheduler.now.advanced(byMicroseconds: .random(in: 0...50_000, using: &random)))
        default: for _ in 0..<Int.random(in: 1...6, using: &random) { append(shard) }
        }
        called()
    }

    func send(_ request: StorageRequest, _ kind: PendingRequest.Kind, session: UInt64) {
        guard let shard else { return }
        let token = nextToken
        nextToken += 1
        pending[token] = PendingRequest(session: session, kind: kind)
        shard.perform(session: session, request, token: token, now: scheduler.now)
        called()
    }

    // MARK: Sessions

    private func openSession(_ shard: Shard) {
        guard sessions.count < 5 else { return }
        sessions.append(SimulatedSession(id: shard.openSession(tenant: .default)))
        note("session \(sessions[sessions.count - 1].id) opened")
    }

    private func closeSession(_ shard: Shard) {
        guard sessions.count > 1, let index = sessions.indices.randomElement(using: &random) else { return }
        let session = sessions.remove(at: index)
        note("session \(session.id) closed")
        shard.closeSession(session.id)
        dropPending { $0.session == session.id }
    }

    /// What was asked may have happened; nobody will say.
    func dropPending(where isGone: (PendingRequest) -> Bool) {
        for (token, request) in pending where isGone(request) {
            pending[token] = nil
            if case .append(let batch, _, _) = request.kind { sendAgain(from: batch) }
        }
    }

    /// A producer must send this batch again, and those behind it.
    func sendAgain(from batch: Int) {
        for index in model.producers.indices {
            guard let place = model.producers[index].batches.firstIndex(of: batch) else { continue }
            model.producers[index].sendNext = min(model.producers[index].sendNext, place)
        }
    }

    func anySession(_ shard: Shard) -> SimulatedSession {
        if sessions.isEmpty { openSession(shard) }
        return sessions[Int.random(in: sessions.indices, using: &random)]
    }

    func usableTopic() -> Int? { pick(model.topics.indices.filter { model.topics[$0].isUsable }) }

    func partition(of topic: Int) -> PartitionID {
        let known = model.topics[topic]
        let index = Int.random(in: 0..<known.partitions, using: &random)
        return PartitionID(topic: known.id ?? TopicID(rawValue: 0), index: UInt16(index))
    }

    // MARK: Topics and subscriptions

    private func createTopic(_ shard: Shard) {
        guard let name = pick(Self.topicNames),
            !model.topics.contains(where: { $0.name == name && $0.mayExist(.max - 1) })
        else { return }
        let session = anySession(shard)
        let partitions = Int.random(in: 1...3, using: &random)
        model.topics.append(ShardModel.Topic(name: name, partitions: partitions, createSubmitted: model.stamp))
        note("create topic \(name) with \(partitions) partitions")
        send(
            .createTopic(TopicSpecification(name: name, partitions: partitions)),
            .createTopic(model.topics.count - 1),
            session: session.id
        )
    }

    private func deleteTopic(_ shard: Shard) {
        guard let topic = usableTopic() else { return }
        let session = anySession(shard)
        model.topics[topic].deleteSubmitted = model.stamp
        note("delete topic \(model.topics[topic].name)")
        send(.deleteTopic(name: model.topics[topic].name), .deleteTopic(topic), session: session.id)
    }

    private func createSubscription(_ shard: Shard) {
        guard let topic = usableTopic(), let id = model.topics[topic].id else { return }
        let name = "s\(Int.random(in: 0...5, using: &random))"
        let isTaken = model.subscriptions.contains {
            $0.name == name && $0.mayExist(.max - 1) && model.topics[$0.topic].mayExist(.max - 1)
        }
        guard !isTaken else { return }
        let session = anySession(shard)
        model.subscriptions.append(ShardModel.Subscription(name: name, topic: topic, createSubmitted: model.stamp))
        note("create subscription \(name) on \(model.topics[topic].name)")
        let start = [
            StartPosition.first, .next, .offset(.random(in: 0...40, using: &random)), .time(someTime()),
        ].randomElement(using: &random)
        send(
            .createSubscription(SubscriptionSpecification(name: name, topic: id, start: start ?? .first)),
            .createSubscription(model.subscriptions.count - 1),
            session: session.id
        )
    }

    func someTime() -> Timestamp {
        let span = scheduler.now.rawValue - 1_000_000 + 5_000
        return Timestamp(rawValue: 1_000_000 + .random(in: 0...span, using: &random))
    }

    func usableSubscription() -> Int? {
        pick(
            model.subscriptions.indices.filter {
                model.subscriptions[$0].isUsable && model.topics[model.subscriptions[$0].topic].isUsable
            }
        )
    }

    private func deleteSubscription(_ shard: Shard) {
        guard let subscription = usableSubscription() else { return }
        let session = anySession(shard)
        model.subscriptions[subscription].deleteSubmitted = model.stamp
        note("delete subscription \(model.subscriptions[subscription].name)")
        send(
            .deleteSubscription(name: model.subscriptions[subscription].name),
            .deleteSubscription(subscription),
            session: session.id
        )
    }

    private func commit(_ shard: Shard) {
        guard let subscription = usableSubscription() else { return }
        let session = anySession(shard)
        let known = model.subscriptions[subscription]
        let partition = partition(of: known.topic)
        let end = model.knownEnd[partition] ?? 0
        let offset = UInt64.random(in: 0...end, using: &random)
        model.subscriptions[subscription].commits.append(
            ShardModel.Commit(partition: Int(partition.index), offset: offset, submitted: model.stamp)
        )
        note("commit \(known.name) \(ShardModel.text(partition)) at \(offset)")
        report.commits += 1
        send(
            .commit(name: known.name, partition, offset: offset),
            .commit(subscription: subscription, index: model.subscriptions[subscription].commits.count - 1),
            session: session.id
        )
    }

    // MARK: Appends

    private func append(_ shard: Shard) {
        guard let topic = usableTopic() else { return }
        let partition = partition(of: topic)
        let session = anySession(shard)
        let acknowledgement = pick([Acknowledgement.durable, .durable, .durable, .received, .none]) ?? .durable
        guard random.percent(40) else {
            let batch = makeBatch(topic, partition, producer: .anonymous, sequence: 0)
            submit(batch, acknowledgement, session: session, shard)
            return
        }
        let candidates = model.producers.indices.filter { model.producers[$0].partition == partition }
        let producer: Int
        if let known = pick(candidates), candidates.count > 1 || random.percent(70) {
            producer = known
        } else {
            let id = ProducerID(rawValue: 1_000 + UInt64(model.producers.count))
            model.producers.append(ShardModel.Producer(id: id, partition: partition, topic: topic))
            producer = model.producers.count - 1
        }
        let known = model.producers[producer]
        if known.sendNext > 0, random.percent(15) {
            // A repeated one.
            let place = Int.random(in: max(0, known.sendNext - 70)..<known.sendNext, using: &random)
            submit(known.batches[place], acknowledgement, session: session, shard)
        } else if known.sendNext < known.batches.count {
            model.producers[producer].sendNext += 1
            submit(known.batches[known.sendNext], acknowledgement, session: session, shard)
        } else {
            let batch = makeBatch(topic, partition, producer: known.id, sequence: known.nextSequence)
            model.producers[producer].batches.append(batch)
            model.producers[producer].nextSequence &+= UInt32(model.batches[batch].count)
            model.producers[producer].sendNext += 1
            submit(batch, acknowledgement, session: session, shard)
        }
    }

    func makeBatch(_ topic: Int, _ partition: PartitionID, producer: ProducerID, sequence: UInt32) -> Int {
        let id = model.batches.count
        let count = random.percent(80) ? Int.random(in: 1...5, using: &random) : .random(in: 5...40, using: &random)
        let isAtMostOnce = producer == .anonymous && random.percent(10)
        var builder = BatchBuilder()
        builder.begin()
        var names: [[UInt8]] = []
        for index in 0..<count {
            let bytes =
                random.percent(95) ? Int.random(in: 12...120, using: &random) : .random(in: 200...3_000, using: &random)
            let body = MessageText.body(batch: id, index: index, bytes: bytes)
            let isAbsolute = random.percent(10)
            let key = isAbsolute ? "other/name" : pick(Self.routingKeys) ?? ""
            names.append(Array((isAbsolute ? key : model.topics[topic].name + (key.isEmpty ? "" : "/" + key)).utf8))
            let keyBytes = Array(key.utf8)
            body.withUnsafeBytes { body in
                keyBytes.withUnsafeBytes { keyBytes in
                    var fields = RecordFields()
                    fields.body = body
                    fields.hasAbsoluteName = isAbsolute
                    if !keyBytes.isEmpty { fields.routingKey = keyBytes }
                    if isAtMostOnce { fields.deliveryClass = .atMostOnce }
                    fields.born = scheduler.now
                    builder.append(fields)
                }
            }
        }
        let attributes: BatchAttributes = isAtMostOnce ? [.atMostOnce] : []
        let bytes = builder.finish(producer: producer, baseSequence: sequence, attributes: attributes) { Array($0) }
        model.batches.append(
            ShardModel.Batch(
                id: id,
                topic: topic,
                partition: partition,
                count: count,
                bytes: bytes,
                names: names,
                producer: producer,
                sequence: sequence,
                isAtMostOnce: isAtMostOnce
            )
        )
        return id
    }

    func submit(_ batch: Int, _ acknowledgement: Acknowledgement, session: SimulatedSession, _ shard: Shard) {
        let token = nextToken
        nextToken += 1
        let submission = model.submit(batch)
        pending[token] = PendingRequest(
            session: session.id,
            kind: .append(batch: batch, submission: submission, acknowledgement)
        )
        report.appends += 1
        note(
            "append \(token): batch \(batch) to \(ShardModel.text(model.batches[batch].partition)), \(acknowledgement)"
        )
        model.batches[batch].bytes.withUnsafeBytes { bytes in
            guard let view = BatchView(prefixOf: bytes) else { return }
            shard.append(
                session: session.id,
                batch: view,
                to: model.batches[batch].partition,
                options: AppendOptions(acknowledgement: acknowledgement),
                token: token,
                now: scheduler.now
            )
        }
    }
}
