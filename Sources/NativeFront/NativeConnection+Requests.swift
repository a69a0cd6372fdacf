internal import Gateway
internal import MessageModel
internal import NIOCore
internal import NativeProtocol
internal import StorageService

/// Requests that storage answers later, and their answers.
extension NativeConnection {
    func perform(_ opcode: Opcode, _ frame: Frame) {
        do throws(SluiceError) {
            switch opcode {
            case .openProducer: try openProducer(frame)
            case .closeProducer: try closeProducer(frame)
            case .subscribe: try subscribe(frame)
            case .unsubscribe: try unsubscribe(frame)
            case .commit: try commit(frame)
            case .fetch: try fetch(frame)
            case .findOffset: try findOffset(frame)
            case .createTopic, .deleteTopic, .describeTopic, .listTopics: try topicRequest(opcode, frame)
            case .createSubscription, .deleteSubscription, .describeSubscription, .listSubscriptions,
                .updateSubscription, .seek, .pause, .bind, .unbind, .listBindings:
                try subscriptionRequest(opcode, frame)
            case .acknowledge, .release, .extendLease, .reject: try settle(opcode, frame)
            case .settleReceipts: try settleReceipts(frame)
            case .beginTransaction, .commitTransaction, .rollBackTransaction, .settleInTransaction, .adoptTransactions:
                try transactionRequest(opcode, frame)
            case .cancelScheduled, .lookUp, .browse, .redrive, .scanRetained: try findingRequest(opcode, frame)
            case .health:
                try frame.decode { _ in () }
                try ask(.health, frame.header)
            case .hello, .auth, .goaway, .ping, .cancel, .produce, .produceAck, .credit, .deliver, .detached,
                .consumerChanged, .topicNamed, .transactionCheck, .watch, .unwatch, .setRetained, .getRetained,
                .putSessionState, .getSessionState:
                throw SluiceError(.notSupported, "\(opcode.name) is not there yet")
            }
        } catch {
            respond(to: frame.header, error: error)
        }
    }

    /// Gives a request to storage; it is answered by `answer(token:result:)`.
    func ask(
        _ request: StorageRequest,
        _ header: FrameHeader,
        _ context: RequestContext = .plain
    ) throws(SluiceError) {
        guard let token = pending.insert(header, context) else {
            throw SluiceError(.busy, "\(pending.count) requests are waiting already")
        }
        gatewaySession?.storage.perform(request, token: token)
    }

    // MARK: - Asking

    private func fetch(_ frame: Frame) throws(SluiceError) {
        let request = try frame.decode { FetchBody(&$0) }
        let topic = try topic(request.topic, partition: request.partition)
        let room = max(0, session.clientFrameLimit - 1_024)
        try ask(
            .fetch(
                FetchRequest(
                    partition: PartitionID(topic: topic.id, index: request.partition),
                    offset: request.offset,
                    maxBytes: min(Int(min(request.maxBytes, NativeLimits.fetchBytes)), room),
                    waitMicroseconds: UInt64(min(request.waitMs, NativeLimits.fetchWaitMs)) * 1_000
                )
            ),
            frame.header,
            .fetch(topic)
        )
    }

    private func findOffset(_ frame: Frame) throws(SluiceError) {
        let request = try frame.decode { FindOffsetBody(&$0) }
        let topic = try topic(request.topic, partition: request.partition)
        let query: OffsetQuery
        switch request.query {
        case .first: query = .first
        case .next: query = .next
        case .time(let time): query = .time(time)
        case .offset: throw SluiceError(.invalidArgument, "an offset is not a question")
        }
        try ask(.findOffset(PartitionID(topic: topic.id, index: request.partition), query), frame.header)
    }

    /// The topic that a request means, in this connection's tenant.
    func topic(_ reference: WireTopic, partition: UInt16) throws(SluiceError) -> TopicInfo {
        let found: TopicInfo
        switch reference {
        case .id(let id):
            guard let session = gatewaySession, let topic = session.topics.topic(TopicID(rawValue: id)),
                session.topic(named: topic.name)?.id == topic.id
            else { throw SluiceError(.topicNotFound, "no topic has the id \(id)") }
            found = topic
        case .address(let address):
            found = try wholeTopic(address)
        }
        guard Int(partition) < found.partitions else {
            throw SluiceError(.invalidArgument, "the topic '\(found.name)' has \(found.partitions) partitions")
        }
        return found
    }

    /// The topic with just this name: what has no filter cannot mean a part of one.
    func wholeTopic(_ address: String) throws(SluiceError) -> TopicInfo {
        if let topic = gatewaySession?.topic(named: address) { return topic }
        throw SluiceError(
            .topicNotFound,
            "no topic is named '\(address)'",
            hint: "subscribe to read a part of a topic by a name or a filter"
        )
    }

    private func topicRequest(_ opcode: Opcode, _ frame: Frame) throws(SluiceError) {
        switch opcode {
        case .createTopic:
            let version = session.version(opcode)
            let request = try frame.decode { CreateTopicBody(&$0, version: version) }
            let specification = TopicSpecification(
                name: request.name,
                partitions: Int(request.partitions),
                captures: request.captures,
                policy: try TopicPolicy(request.policy)
            )
            try ask(.createTopic(specification), frame.header)
        case .deleteTopic:
            try ask(.deleteTopic(name: try frame.decode { NameBody(&$0) }.name), frame.header)
        case .describeTopic:
            let request = try frame.decode { DescribeTopicBody(&$0) }
            var name = request.name
            if request.resolvesAddress, let session = gatewaySession { name = try session.resolve(name).topic.name }
            try ask(.describeTopic(name: name), frame.header)
        default:
            let request = try frame.decode { ListBody(&$0) }
            let after = request.after.isEmpty ? nil : request.after
            try ask(.listTopics(after: after, limit: Self.listLimit(request)), frame.header)
        }
    }

    static func listLimit(_ request: ListBody) -> Int {
        min(max(1, Int(request.limit)), NativeLimits.listEntries)
    }

    // MARK: - Answering

    func answer(token: UInt64, result: Result<StorageReply, SluiceError>) {
        guard let entry = pending.take(token) else { return }
        let header = entry.header
        switch (result, entry.context) {
        case (.failure(let error), .subscribe(let intent)):
            subscriptionIsNotThere(header, intent, error)
        case (.failure(let error), _):
            respond(to: header, error: error)
        case (.success(.producer(let reply)), .openProducer(let resolved)):
            answerOpenProducer(header, resolved, reply)
        case (.success(.subscriptionCreated(let description, _)), .subscribe(let intent)),
            (.success(.subscription(let description)), .subscribe(let intent)):
            subscriptionIsThere(header, intent, description)
        case (.success(.settled), .settlement):
            respond(to: header)
        case (.success(let reply), .finding(let opcode)):
            answerFinding(header, opcode, reply)
        case (.success(.fetched(let reply)), .fetch(let topic)):
            answerFetch(header, topic, reply)
        case (.success(let reply), .plain):
            answerPlain(header, reply)
        case (.success, .openProducer), (.success, .subscribe), (.success, .fetch), (.success, .settlement):
            respond(to: header, error: SluiceError(.internal, "storage answered another question"))
        }
    }

    private func answerFetch(_ header: FrameHeader, _ topic: TopicInfo, _ reply: FetchReply) {
        guard reply.batches.count <= session.clientFrameLimit - 1_024 else {
            respond(
                to: header,
                error: SluiceError(
                    .tooLarge,
                    "the batch at this offset has \(reply.batches.count) bytes, more than the client accepts"
                )
            )
            return
        }
        respond(to: header) { buffer in
            FetchResult.write(
                topic: topic.id.rawValue,
                firstOffset: reply.firstOffset,
                nextOffset: reply.nextOffset,
                batches: reply.batches,
                to: &buffer
            )
        }
    }

    private func answerPlain(_ header: FrameHeader, _ reply: StorageReply) {
        let version = header.opcode.map { session.version($0) } ?? 1
        switch reply {
        case .topicCreated(let topic, let isNew):
            respond(to: header) { buffer in
                buffer.writeU8(isNew ? 1 : 0)
                WireTopicDescription(topic).write(to: &buffer, version: version)
            }
        case .topic(let topic):
            respond(to: header) { WireTopicDescription(topic).write(to: &$0, version: version) }
        case .topics(let topics, let next):
            respondList(to: header, topics.map { ($0.name, WireTopicDescription($0)) }, next: next) {
                $0.write(to: &$1, version: version)
            }
        case .offset(let offset, let time):
            respond(to: header) { FoundOffset(offset: offset, time: time).write(to: &$0) }
        case .subscriptionCreated(let subscription, let isNew):
            respond(to: header) { buffer in
                buffer.writeU8(isNew ? 1 : 0)
                WireSubscriptionDescription(subscription).write(to: &buffer, version: version)
            }
        case .subscription(let subscription):
            // SEEK, PAUSE and UPDATE_SUBSCRIPTION are younger than the first description.
            let version = header.opcode == .describeSubscription ? version : 2
            respond(to: header) { WireSubscriptionDescription(subscription).write(to: &$0, version: version) }
        case .subscriptions(let subscriptions, let next):
            respondList(to: header, subscriptions.map { ($0.name, WireSubscriptionDescription($0)) }, next: next) {
                $0.write(to: &$1, version: version)
            }
        case .bindings(let bindings):
            respond(to: header) { WireBinding.writeList(bindings.map { WireBinding($0) }, to: &$0) }
        case .settled(let results):
            respond(to: header) { SettleResults.write(results, to: &$0) }
        case .transaction(let id):
            respond(to: header) { $0.writeU64(id.rawValue) }
        case .redriven(let messages):
            respond(to: header) { $0.writeU64(messages) }
        case .health(let health):
            respond(to: header) { buffer in
                WireHealth(
                    acceptsWrites: health.acceptsWrites,
                    durable: health.durable.rawValue,
                    end: health.end.rawValue,
                    reason: health.reason
                ).write(to: &buffer)
            }
        case .done:
            respond(to: header)
        case .producer, .fetched, .browsed, .retained, .found, .state, .states, .queued, .leased:
            respond(to: header, error: SluiceError(.internal, "storage answered another question"))
        }
    }

    /// Writes as many entries as the client's frames have room for; the list goes on behind the last.
    private func respondList<Entry>(
        to header: FrameHeader,
        _ entries: [(name: String, entry: Entry)],
        next: String?,
        write: (Entry, inout ByteBuffer) -> Void
    ) {
        let room = session.clientFrameLimit - 1_024
        respond(to: header) { buffer in
            let start = buffer.writerIndex
            buffer.writeU16(0)
            var count: UInt16 = 0
            var next = next
            for (index, (name, entry)) in entries.enumerated() {
                let before = buffer.writerIndex
                write(entry, &buffer)
                if buffer.writerIndex - start > room, count > 0 {
                    buffer.moveWriterIndex(to: before)
                    next = entries[index - 1].name
                    break
                }
                count += 1
                if count == UInt16.max {
                    next = name
                    break
                }
            }
            buffer.setInteger(count, at: start, endianness: .little)
            buffer.writeText(next ?? "")
        }
    }
}
