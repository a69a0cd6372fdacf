internal import MessageModel
internal import StorageEngine
internal import StorageService

/// Looking at what there is.
extension ShardSimulation {
    /// Reads everything that the shard has.
    func observe() throws(Violation) -> ShardObservation {
        let wasResting = isResting
        isResting = true
        defer { isResting = wasResting }
        guard let shard else { return ShardObservation() }
        let session = SimulatedSession(id: shard.openSession(tenant: .default))
        sessions.append(session)
        var found = ShardObservation(damaged: shard.damaged)
        if case .success(.topics(let topics, _)) = try ask(.listTopics(after: nil, limit: 1_000), session) {
            for topic in topics {
                var seen = ShardObservation.Topic(id: topic.id, partitions: [], unreadable: [], ends: [])
                for index in topic.partitions.indices {
                    let partition = PartitionID(topic: topic.id, index: UInt16(index))
                    let end = topic.partitions[index].nextOffset
                    let (batches, unreadable) = try readAll(partition, end: end, session)
                    seen.partitions.append(batches)
                    seen.unreadable.append(unreadable)
                    seen.ends.append(end)
                }
                found.topics[topic.name] = seen
            }
        }
        if case .success(.subscriptions(let subscriptions, _)) = try ask(
            .listSubscriptions(after: nil, limit: 1_000),
            session
        ) {
            for seen in subscriptions {
                found.subscriptions[seen.name] = ShardObservation.Subscription(
                    topic: seen.topic ?? TopicID(rawValue: .max),
                    acknowledged: seen.lanes.map(\.acknowledged)
                )
            }
        }
        for producer in model.producers {
            let request = ProducerRequest(resume: producer.id, partition: producer.partition)
            if case .success(.producer(let reply)) = try ask(.openProducer(request), session) {
                found.nextSequences.append(reply.nextSequence)
            } else {
                found.nextSequences.append(nil)
            }
        }
        sessions.removeAll { $0 === session }
        shard.closeSession(session.id)
        called()
        return found
    }

    private func readAll(
        _ partition: PartitionID,
        end: UInt64,
        _ session: SimulatedSession
    ) throws(Violation) -> (batches: [ShardObservation.Batch], unreadable: [UInt64]) {
        var batches: [ShardObservation.Batch] = []
        var unreadable: [UInt64] = []
        var offset: UInt64 = 0
        while offset < end {
            let request = FetchRequest(partition: partition, offset: offset, maxBytes: 1 << 20)
            guard case .success(.fetched(let reply)) = try ask(.fetch(request), session), !reply.batches.isEmpty else {
                unreadable.append(offset)
                offset += 1
                continue
            }
            reply.batches.withUnsafeBytes { bytes in
                var rest = bytes
                while let view = BatchView(prefixOf: rest), let id = model.recognize(view, in: partition) {
                    batches.append(
                        ShardObservation.Batch(
                            id: id,
                            base: view.baseOffset,
                            count: view.recordCount,
                            appendTime: view.appendTime.rawValue
                        )
                    )
                    offset = max(offset + 1, view.nextOffset)
                    report.checkedBatches += 1
                    rest = rest.slice(view.byteCount..<rest.count)
                }
            }
            try throwViolation()
        }
        return (batches, unreadable)
    }

    private func ask(
        _ request: StorageRequest,
        _ session: SimulatedSession
    ) throws(Violation) -> Result<StorageReply, SluiceError>? {
        let token = nextToken
        send(request, .look, session: session.id)
        _ = try run { answers[token] != nil }
        model.check(answers[token] != nil, "\(request) is not answered")
        try throwViolation()
        return answers.removeValue(forKey: token)
    }
}
