internal import DequeModule
internal import HeapModule
package import MessageModel
package import StorageService

/// The verbs that are not on the path of every message.
extension Shard {
    /// Does what a request asks; the answer comes in a round.
    package func perform(session: UInt64, _ request: StorageRequest, token: UInt64, now: Timestamp) {
        guard let slot = slot(session) else { return }
        let tenant = sessions[slot].tenant
        do throws(Refusal) {
            switch request {
            case .createTopic(let specification):
                try createTopic(specification, tenant, session, token, now)
            case .deleteTopic(let name):
                try deleteTopic(name, tenant, session, token)
            case .describeTopic(let name):
                guard let topic = state.topic(named: name, tenant: tenant) else { throw .error(unknownTopic(name)) }
                answer(session, token, .topic(describe(topic)))
            case .listTopics(let after, let limit):
                let (names, next) = Self.page(state.directory.names(tenant: tenant), after: after, limit: limit)
                let topics = names.compactMap { state.topic(named: $0, tenant: tenant).map(describe) }
                answer(session, token, .topics(topics, next: next))
            case .openProducer(let request):
                try openProducer(request, tenant, session, token)
            case .fetch(let request):
                fetch(session: session, request, token: token, now: now)
            case .findOffset(let partition, let query):
                try findOffset(partition, query, tenant, session, token)
            case .createSubscription(let specification):
                try createSubscription(specification, tenant, session, token, now)
            case .deleteSubscription(let name):
                try deleteSubscription(name, tenant, session, token)
            case .describeSubscription(let name):
                answer(session, token, .subscription(describe(try subscription(named: name, tenant))))
            case .listSubscriptions(let after, let limit):
                let all = state.subscriptions.values.lazy.filter { $0.tenant == tenant }.map(\.name)
                let (names, next) = Self.page(ofUnsorted: all, after: after, limit: limit)
                let found = names.compactMap { state.subscription(named: $0, tenant: tenant).map(describe) }
                answer(session, token, .subscriptions(found, next: next))
            case .commit(let name, let partition, let offset):
                try commit(name, partition, offset, tenant, session, token)
            case .updateSubscription(let name, let policy):
                try updateSubscription(name, policy, tenant, session, token)
            case .bind(let name, let binding):
                try bind(name, binding, tenant, session, token)
            case .unbind(let name, let binding):
                try unbind(name, binding, tenant, session, token)
            case .listBindings(let name):
                let subscription = try subscription(named: name, tenant)
                answer(session, token, .bindings(subscription.bindings.map(\.binding)))
            case .seek(let name, let target):
                try seek(name, target, tenant, session, token, now)
            case .pause(let name, let isPaused):
                try pause(name, isPaused, tenant, session, token)
            case .lease(let attachment, let maxMessages):
                try lease(attachment, maxMessages, session, token, now)
            case .settle(let receipts, let settlement):
                settle(receipts, settlement, session: session, token: token, now: now)
            case .browse(let name, let lane, let from, let maxMessages):
                try browse(name, lane: lane, from: from, maxMessages, tenant, session, token)
            case .beginTransaction(let specification):
                try beginTransaction(specification, tenant, session, token, now)
            case .settleInTransaction(let id, let receipts):
                try settleInTransaction(id, receipts, tenant, session, token)
            case .commitTransaction(let id):
                try commitTransaction(id, tenant, session, token, now)
            case .rollBackTransaction(let id):
                try rollBackTransaction(id, tenant, session, token)
            case .adoptTransactions(let owner, let asPrefix):
                adoptTransactions(of: owner, asPrefix: asPrefix, tenant, session, token)
            case .cancelScheduled(let id):
                cancelScheduled(id, tenant: tenant, session: session, token: token, now: now)
            case .scanRetained(let filter, let after, let limit):
                try scanRetained(filter, after: after, limit: limit, tenant, session, token, now)
            case .lookUp(let query):
                try lookUp(query, tenant, session, token)
            case .redrive(let request):
                try redrive(request, tenant, session, token, now)
            case .getState(let name):
                try getState(name, tenant, session, token)
            case .scanState(let key, let after, let limit):
                scanState(key, after: after, limit: limit, tenant, session, token)
            case .queueRetained(let name, let filter, let after, let limit):
                try queueRetained(name, filter, after: after, limit: limit, tenant, session, token, now)
            case .handOver(let request):
                try handOver(request, tenant, session, token, now)
            case .health:
                answer(session, token, .health(health))
            case .unsupported(let verb):
                throw .error(SluiceError(.notSupported, "'\(verb.rawValue)' is not supported yet"))
            }
        } catch {
            switch error {
            case .error(let error):
                reply(session, token, .request(.failure(error)))
            case .log(let refusal):
                refuse(refusal, now: now) { code in
                    let error = SluiceError(code, code.rendering.title, hint: "see the server's log")
                    reply(session, token, .request(.failure(error)))
                } deferring: {
                    deferRequest(session, request, token)
                }
            }
        }
    }

    /// Keeps a request until the next segment is there.
    func deferRequest(_ session: UInt64, _ request: StorageRequest, _ token: UInt64) {
        guard deferredBytes + Self.deferredRequestBytes <= options.deferredBytes else {
            reply(session, token, .request(.failure(SluiceError(.busy, "the next segment of the log is being made"))))
            return
        }
        deferredBytes += Self.deferredRequestBytes
        deferred.append(.request(session: session, request, token: token))
    }

    /// What a request that waits counts for, about what it takes.
    private static let deferredRequestBytes = 512

    enum Refusal: Error {
        case error(SluiceError)
        case log(CommitLog.AppendRefusal)
    }

    func answer(_ session: UInt64, _ token: UInt64, _ reply: StorageReply) {
        self.reply(session, token, .request(.success(reply)))
    }

    /// Answers once everything appended so far is durable.
    func answerDurably(_ session: UInt64, _ token: UInt64, _ reply: StorageReply) {
        log.wantDurable()
        let waiting = Reply(session: session, token: token, kind: .request(.success(reply)))
        unsettled.append(Unsettled(end: log.end, kind: .reply(waiting)))
    }

    /// Appends a record of a definition.
    func appendRecord(_ kind: LogRecord.Kind, _ write: (inout ByteWriter) -> Void) throws(Refusal) {
        var writer = ByteWriter()
        write(&writer)
        guard log.canHold(payloadBytes: writer.bytes.count) else {
            throw .error(SluiceError(.tooLarge, "this definition does not fit into a segment of the log"))
        }
        guard hasOpened, deferred.isEmpty else { throw .log(.waitsForSegment) }
        do throws(CommitLog.AppendRefusal) {
            // What was delivered and settled before it comes before it.
            try flushJournal()
            _ = try log.append(kind, payloadBytes: writer.bytes.count) { $0.copyBytes(from: writer.bytes) }
        } catch {
            throw .log(error)
        }
        switch kind {
        case .topicCreated, .topicDeleted, .topicChanged, .subscriptionCreated, .subscriptionDeleted,
            .subscriptionChanged:
            definitionsEnd = log.end
        default: break
        }
    }

    static func page(_ names: [String], after: String?, limit: Int) -> (names: [String], next: String?) {
        let first = after.map { after in PartitionIndex.firstIndex(in: 0..<names.count) { names[$0] > after } } ?? 0
        let end = min(names.count, first + max(1, min(limit, 1_000)))
        return (Array(names[first..<end]), end < names.count ? names[end - 1] : nil)
    }

    /// A page of names that are in no order, of which there may be very many: the first ones are picked in one pass.
    static func page(
        ofUnsorted names: some Sequence<String>,
        after: String?,
        limit: Int
    ) -> (names: [String], next: String?) {
        let limit = max(1, min(limit, 1_000))
        var first = Heap<String>()
        for name in names {
            if let after, name <= after { continue }
            if first.count <= limit {
                first.insert(name)
            } else if let last = first.max, name < last {
                first.replaceMax(with: name)
            }
        }
        let sorted = first.unordered.sorted()
        let page = Array(sorted.prefix(limit))
        return (page, sorted.count > limit ? page.last : nil)
    }

    // MARK: Topics

    private func unknownTopic(_ name: String) -> SluiceError {
        SluiceError(.topicNotFound, "there is no topic '\(name)'", hint: "sluice topic create \(name)")
    }

    private func createTopic(
        _ specification: TopicSpecification,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64,
        _ now: Timestamp
    ) throws(Refusal) {
        do throws(SluiceError) { try Self.check(specification) } catch { throw .error(error) }
        if let topic = state.topic(named: specification.name, tenant: tenant) {
            guard topic.info.partitions == specification.partitions, topic.info.captures == specification.captures,
                topic.policy == specification.policy
            else {
                throw .error(
                    SluiceError(.alreadyExists, "topic '\(specification.name)' exists with other settings")
                )
            }
            // It may have been created a moment ago.
            answerDurably(session, token, .topicCreated(describe(topic), isNew: false))
            return
        }
        if let (capture, other) = state.directory.conflict(of: specification, tenant: tenant) {
            throw .error(SluiceError(.alreadyExists, "topic '\(other)' captures '\(capture)' already"))
        }
        let definition = TopicDefinition(
            id: TopicID(rawValue: state.nextTopic),
            tenant: tenant,
            createdAt: recordTime(now),
            specification: specification
        )
        try appendRecord(.topicCreated) { definition.encode(to: &$0) }
        let topic = state.applyTopicCreated(definition)
        answerDurably(session, token, .topicCreated(describe(topic), isNew: true))
    }

    private static func check(_ specification: TopicSpecification) throws(SluiceError) {
        try NameRules.checkTopicName(specification.name, allowsInternal: specification.isInternal)
        guard (1...Limits.partitionsPerTopic).contains(specification.partitions) else {
            throw SluiceError(.invalidArgument, "a topic has 1 to \(Limits.partitionsPerTopic) partitions")
        }
        guard specification.captures.count <= Limits.capturesPerTopic else {
            throw SluiceError(.invalidArgument, "a topic has at most \(Limits.capturesPerTopic) captures")
        }
        guard specification.policy.deduplicationMicroseconds <= DeduplicationWindow.maxMicroseconds else {
            throw SluiceError(.invalidArgument, "message ids are compared for 30 days at most")
        }
        for capture in specification.captures {
            var prefix = capture
            if prefix.hasSuffix("/#") { prefix.removeLast(2) }
            var problem: SluiceError?
            prefix.withUTF8 { bytes in
                do throws(SluiceError) { try NameRules.checkName(UnsafeRawBufferPointer(bytes)) } catch {
                    problem = error
                }
            }
            if problem != nil {
                throw SluiceError(
                    .invalidName,
                    "'\(capture)' cannot be captured",
                    hint: "a capture is a name, or a name with /# behind it"
                )
            }
        }
    }

    private func deleteTopic(
        _ name: String,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64
    ) throws(Refusal) {
        guard let topic = state.topic(named: name, tenant: tenant) else { throw .error(unknownTopic(name)) }
        guard name != TopicDirectory.builtInTopic else {
            throw .error(SluiceError(.invalidArgument, "the built-in topic cannot be deleted"))
        }
        try appendRecord(.topicDeleted) { $0.write32(topic.info.id.rawValue) }
        for subscription in state.subscriptions.values where subscription.topic === topic {
            endConsumers(of: subscription, SluiceError(.topicNotFound, "topic '\(name)' was deleted"))
        }
        state.applyTopicDeleted(topic.info.id, end: log.end)
        for slot in sessions where slot.isOpen {
            for attachment in slot.attachments.values where attachment.topic === topic {
                end(attachment, SluiceError(.topicNotFound, "topic '\(name)' was deleted"))
            }
        }
        for partition in topic.partitions { wakeReaders(of: partition) }
        answerDurably(session, token, .done)
    }

    private func describe(_ topic: TopicState) -> TopicDescription {
        TopicDescription(
            id: topic.info.id,
            name: topic.info.name,
            captures: topic.info.captures,
            createdAt: topic.createdAt,
            policy: topic.policy,
            partitions: topic.partitions.map {
                TopicDescription.Partition(firstOffset: $0.firstOffset, nextOffset: $0.visibleOffset)
            }
        )
    }

    // MARK: Producers and offsets

    private func openProducer(
        _ request: ProducerRequest,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64
    ) throws(Refusal) {
        guard let (topic, partition) = state.partition(request.partition), topic.tenant == tenant else {
            throw .error(SluiceError(.topicNotFound, "the topic does not exist"))
        }
        guard hasOpened else { throw .log(.waitsForSegment) }
        let producer: ProducerID
        if let resume = request.resume {
            producer = resume
        } else {
            // The epoch is new with each opening of the log, so no number comes twice.
            producer = ProducerID(rawValue: UInt64(log.epoch) << 32 | UInt64(nextProducer))
            nextProducer &+= 1
        }
        let answer = ProducerReply(
            producer: producer,
            epoch: state.producers.epoch(of: producer, partition: partition.partition),
            nextSequence: state.producers.nextSequence(of: producer, partition: partition.partition)
        )
        self.answer(session, token, .producer(answer))
    }

    private func findOffset(
        _ id: PartitionID,
        _ query: OffsetQuery,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64
    ) throws(Refusal) {
        guard let (topic, partition) = state.partition(id), topic.tenant == tenant else {
            throw .error(SluiceError(.topicNotFound, "the topic or partition does not exist"))
        }
        switch query {
        case .first: answer(session, token, .offset(partition.firstOffset, .zero))
        case .next: answer(session, token, .offset(partition.visibleOffset, .zero))
        case .time(let time):
            enqueue(
                TimeSearch(time: time, partitions: [partition], shard: self) { shard, found in
                    guard let place = found.first else { return }
                    shard.answer(session, token, .offset(place.offset, place.time))
                }
            )
        }
    }

    // MARK: Health

    package var health: StorageHealth {
        var reason = ""
        if let failure = log.failure {
            reason = "the log failed: \(failure.description)"
        } else if !isReady {
            reason = "the log is being opened"
        } else if retryDeadline != nil || refusesMessages {
            reason = "the disk is full"
        }
        var health = StorageHealth(
            acceptsWrites: reason.isEmpty,
            reason: reason,
            durable: LogPosition(rawValue: log.durable),
            end: LogPosition(rawValue: log.end),
            retainedMessages: state.retained.values.reduce(0) { $0 + $1.count }
        )
        health.families = state.families.mapValues(\.counted)
        return health
    }
}
