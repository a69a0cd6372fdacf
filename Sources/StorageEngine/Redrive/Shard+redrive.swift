internal import DequeModule
internal import MessageModel
internal import StorageService

/// Dead letters that are sent back to where they came from.
///
/// Which letters were is the progress of a durable subscription of the dead-letter topic: a letter is done with the same
/// record of the log that publishes its copy, so that none is sent twice, whenever the process ends.
extension Shard {
    static let redrivePrefix = "$redrive/"

    func redrive(
        _ request: RedriveRequest,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64,
        _ now: Timestamp
    ) throws(Refusal) {
        guard let topic = state.topics[request.topic], topic.tenant == tenant else {
            throw .error(SluiceError(.topicNotFound, "the topic does not exist"))
        }
        let limit = request.limit == 0 ? .max : request.limit
        if let known = redrives[topic.info.id] {
            // Who asked for it may ask again behind a restart, and is told of its end.
            if known.asker == nil, known.selector == request.selector, known.rate == UInt64(request.rate),
                known.limit == limit
            {
                known.asker = (session, token)
                return
            }
            throw .error(SluiceError(.busy, "letters of '\(topic.info.name)' are being sent back already"))
        }
        let filter: MessageFilter
        do throws(SluiceError) { filter = try MessageFilter(name: "", selector: request.selector) } catch {
            throw .error(error)
        }
        let subscription = try redriveSubscription(of: topic, now: now)
        let run = RedriveRun(
            selector: request.selector,
            rate: UInt64(request.rate),
            limit: limit,
            ends: topic.partitions.map(\.visibleOffset)
        )
        try change(.redrive(run), of: subscription)
        begin(
            RedriveTask(
                run,
                topic: topic,
                subscription: subscription,
                filter: filter,
                asker: (session, token),
                shard: self
            )
        )
    }

    private func begin(_ task: RedriveTask) {
        redrives[task.topic.info.id] = task
        enqueue(task)
    }

    /// Goes on with what the end of a life interrupted.
    func resumeRedrives() {
        for subscription in state.subscriptions.values {
            // The selector was checked when it was asked for.
            guard let run = subscription.redrive, let topic = subscription.topic, redrives[topic.info.id] == nil,
                let filter = try? MessageFilter(name: "", selector: run.selector)
            else { continue }
            begin(
                RedriveTask(run, topic: topic, subscription: subscription, filter: filter, asker: nil, shard: self)
            )
        }
    }

    func endRedrive(_ task: RedriveTask) throws(Refusal) {
        guard task.subscription.redrive != nil, !task.subscription.isDeleted else { return }
        try change(.redrive(nil), of: task.subscription)
    }

    /// The subscription that keeps how far a dead-letter topic was sent back; made where it is not there.
    private func redriveSubscription(of topic: TopicState, now: Timestamp) throws(Refusal) -> Subscription {
        let name = Self.redrivePrefix + topic.info.name
        if let known = state.subscription(named: name, tenant: topic.tenant), known.topic === topic { return known }
        let definition = SubscriptionDefinition(
            id: SubscriptionID(rawValue: state.nextSubscription),
            tenant: topic.tenant,
            createdAt: recordTime(now),
            name: name,
            source: .cursor(topic.info.id, topic.partitions.map(\.firstOffset)),
            policy: SubscriptionPolicy()
        )
        try appendRecord(.subscriptionCreated) { definition.encode(to: &$0) }
        let created = state.applySubscriptionCreated(definition)
        prepare(created, now: now)
        return created
    }

    func enqueue(_ task: RedriveTask) {
        guard !task.isQueued else { return }
        task.isQueued = true
        readyRedrives.append(task)
    }

    func wakeRedrive(_ topic: TopicID) {
        if let task = redrives[topic] { enqueue(task) }
    }

    func runRedrives(now: Timestamp) {
        for _ in 0..<readyRedrives.count {
            guard let task = readyRedrives.popFirst() else { return }
            task.isQueued = false
            guard redrives[task.topic.info.id] === task else { continue }
            task.advance(self, now: now)
        }
    }

    func wake(_ task: RedriveTask, at time: Timestamp) {
        timers.insert(
            TimerEntry(
                due: time.rawValue,
                payload: UInt64(task.topic.info.id.rawValue),
                kind: TimerKind.redrive.rawValue
            )
        )
    }

    func finish(_ task: RedriveTask, _ error: SluiceError?) {
        redrives[task.topic.info.id] = nil
        guard let asker = task.asker else { return }
        if let error {
            reply(asker.session, asker.token, .request(.failure(error)))
        } else {
            answerDurably(asker.session, asker.token, .redriven(messages: task.moved))
        }
    }
}

extension Shard {
    /// Stores a copy that the next record publishes.
    func holdLetters(
        _ copy: LetterCopies.Batch,
        time: Timestamp,
        items: inout [Publication.Item],
        routables: inout [RoutableBatch]
    ) throws(CommitLog.AppendRefusal) {
        var refusal: CommitLog.AppendRefusal?
        copy.bytes.withUnsafeBytes { bytes in
            guard let batch = BatchView(prefixOf: bytes), let topic = state.topics[copy.partition.topic] else { return }
            let traits = batch.traits()
            do throws(CommitLog.AppendRefusal) {
                let position = try hold(batch, .internalCopy, to: copy.partition, traits: traits, time: time)
                items.append(
                    item(
                        batch,
                        traits,
                        topic: topic,
                        partition: copy.partition,
                        position: position,
                        recordBytes: UInt32(log.end - position),
                        first: 0,
                        count: batch.recordCount
                    )
                )
                let count = batch.recordCount
                if let routable = routableCopy(batch, topic: topic, first: 0, count: count, time: time) {
                    routables.append(routable)
                }
            } catch {
                refusal = error
            }
        }
        if let refusal { throw refusal }
    }
}
