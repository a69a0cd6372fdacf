internal import MessageModel
internal import StorageEngine
internal import StorageService

/// What a look at a shard shows: its definitions, what waits in its subscriptions, and all that was published.
struct DeliveryObservation {
    struct Waiting {
        var lane: UInt16
        var sequence: UInt64
        var attempts: UInt32
    }

    struct Published {
        var partition: PartitionID
        var offset: UInt64
        var appendTime: Timestamp
    }

    struct DeadLetter {
        var message: Int
        var subscription: String
        var reason: String
        var attempts: UInt32
        var sequence: UInt64
    }

    var topics: [String: TopicDescription] = [:]
    var subscriptions: [String: SubscriptionDescription] = [:]
    var bindings: [String: [Binding]] = [:]
    /// By subscription and message.
    var waiting: [String: [Int: Waiting]] = [:]
    var published: [Int: Published] = [:]
    var deadLetters: [DeadLetter] = []
}

extension DeliverySimulation {
    /// Reads everything that the shard has, without changing anything.
    func observe() throws(Violation) -> DeliveryObservation {
        let wasResting = isResting
        isResting = true
        defer { isResting = wasResting }
        guard let shard else { return DeliveryObservation() }
        let session = shard.openSession(tenant: .default)
        var found = DeliveryObservation()
        if case .success(.topics(let topics, _)) = try ask(.listTopics(after: nil, limit: 1_000), session) {
            for topic in topics {
                found.topics[topic.name] = topic
                for index in topic.partitions.indices where topic.name != "dead" {
                    let partition = PartitionID(topic: topic.id, index: UInt16(index))
                    try readAll(partition, topic, end: topic.partitions[index].nextOffset, session, &found)
                }
                // What it let go while it was read is not missed.
                if case .success(.topic(let now)) = try ask(.describeTopic(name: topic.name), session),
                    now.id == topic.id
                {
                    found.topics[topic.name] = now
                }
            }
        }
        if case .success(.subscriptions(let subscriptions, _)) = try ask(
            .listSubscriptions(after: nil, limit: 1_000),
            session
        ) {
            for seen in subscriptions { try look(into: seen, session, &found) }
        }
        // What dies meanwhile is with the dead letters afterwards.
        if case .success(.topic(let topic)) = try ask(.describeTopic(name: "dead"), session) {
            found.topics["dead"] = topic
            let partition = PartitionID(topic: topic.id, index: 0)
            try readAll(partition, topic, end: topic.partitions[0].nextOffset, session, &found)
        }
        try checkLookUps(session, found)
        try checkLastValues(session, found)
        shard.closeSession(session)
        called()
        return found
    }

    private func look(
        into seen: SubscriptionDescription,
        _ session: UInt64,
        _ found: inout DeliveryObservation
    ) throws(Violation) {
        // What it is like while it is looked at: its deadlines go on.
        guard case .success(.subscription(let now)) = try ask(.describeSubscription(name: seen.name), session) else {
            return
        }
        found.subscriptions[seen.name] = now
        if seen.topic == nil, case .success(.bindings(let bindings)) = try ask(.listBindings(name: seen.name), session)
        {
            found.bindings[seen.name] = bindings
        }
        var waiting: [Int: DeliveryObservation.Waiting] = [:]
        for lane in now.lanes.indices {
            var next: UInt64? = 0
            while let from = next {
                let request = StorageRequest.browse(name: seen.name, lane: UInt16(lane), from: from, maxMessages: 50)
                guard case .success(.browsed(let messages, let following)) = try ask(request, session) else { break }
                for shown in messages { take(shown, lane: UInt16(lane), seen.name, &waiting) }
                try throwViolation()
                model.check(following.map { $0 > from } ?? true, "a look into \(seen.name) does not go on")
                try throwViolation()
                next = following
            }
        }
        found.waiting[seen.name] = waiting
    }

    private func take(
        _ shown: FoundMessage,
        lane: UInt16,
        _ name: String,
        _ waiting: inout [Int: DeliveryObservation.Waiting]
    ) {
        shown.batch.withUnsafeBytes { bytes in
            guard let view = BatchView(prefixOf: bytes) else {
                return model.fail("a look into \(name) showed no batch")
            }
            var records = view.records
            guard view.recordCount == 1, let record = records.next(), let message = recognize(record) else {
                return model.fail("a look into \(name) showed \(view.recordCount) messages as one")
            }
            model.check(waiting[message] == nil, "\(model.text(message)) is in \(name) twice")
            waiting[message] = DeliveryObservation.Waiting(
                lane: lane,
                sequence: shown.sequence,
                attempts: shown.attempts
            )
        }
    }

    private func isMissing(_ answer: Result<StorageReply, SluiceError>?) -> Bool {
        switch answer {
        case .failure(let error): error.code == .offsetOutOfRange
        case .success(.fetched(let reply)): reply.batches.isEmpty
        default: false
        }
    }

    private func readAll(
        _ partition: PartitionID,
        _ topic: TopicDescription,
        end: UInt64,
        _ session: UInt64,
        _ found: inout DeliveryObservation
    ) throws(Violation) {
        var offset = topic.partitions[Int(partition.index)].firstOffset
        while offset < end {
            let request = FetchRequest(partition: partition, offset: offset, maxBytes: 1 << 20)
            let answer = try ask(.fetch(request), session)
            // It may have been let go meanwhile: before it was asked for, or while it was read.
            if isMissing(answer), case .success(.topic(let now)) = try ask(.describeTopic(name: topic.name), session),
                now.partitions[Int(partition.index)].firstOffset > offset
            {
                offset = now.partitions[Int(partition.index)].firstOffset
                found.topics[topic.name] = now
                continue
            }
            guard case .success(.fetched(let reply)) = answer, !reply.batches.isEmpty else {
                throw Violation(
                    seed: seed,
                    message: "offset \(offset) of \(ShardModel.text(partition)) cannot be read",
                    trace: trace
                )
            }
            reply.batches.withUnsafeBytes { bytes in
                var rest = bytes
                while let view = BatchView(prefixOf: rest) {
                    model.check(
                        (try? view.verify()) != nil && view.hasValidStamp,
                        "the batch at \(view.baseOffset) of \(ShardModel.text(partition)) is damaged"
                    )
                    take(view, partition, topic, &found)
                    offset = max(offset + 1, view.nextOffset)
                    rest = rest.slice(view.byteCount..<rest.count)
                }
            }
            try throwViolation()
        }
    }

    private func take(
        _ view: BatchView,
        _ partition: PartitionID,
        _ topic: TopicDescription,
        _ found: inout DeliveryObservation
    ) {
        var records = view.records
        while let record = records.next() {
            guard let message = recognize(record) else { return }
            let offset = view.baseOffset + UInt64(records.index - 1)
            if topic.name == "dead" {
                takeDead(record, message, &found)
                continue
            }
            if let other = found.published[message] {
                model.fail("\(model.text(message)) was published twice, at \(other.offset) and \(offset)")
            }
            found.published[message] = DeliveryObservation.Published(
                partition: partition,
                offset: offset,
                appendTime: view.appendTime
            )
        }
    }

    private func takeDead(_ record: RecordView, _ message: Int, _ found: inout DeliveryObservation) {
        var story: [String: String] = [:]
        var cursor = PropertyCursor(record.properties)
        while let (id, value) = cursor.next() {
            guard id == PropertyID.user.rawValue, let (name, value) = PropertyCursor.splitUser(value) else { continue }
            story[String(decoding: name, as: UTF8.self)] = String(decoding: value, as: UTF8.self)
        }
        guard let subscription = story["dead-letter-subscription"], let reason = story["dead-letter-reason"],
            let attempts = story["dead-letter-attempts"].flatMap({ UInt32($0) }),
            let sequence = story["dead-letter-offset"].flatMap({ UInt64($0) })
        else { return model.fail("\(model.text(message)) is a dead letter without a story: \(story)") }
        model.check(
            story["dead-letter-name"] == String(decoding: model.messages[message].name, as: UTF8.self),
            "\(model.text(message)) died under the name \(story["dead-letter-name"] ?? "")"
        )
        found.deadLetters.append(
            DeliveryObservation.DeadLetter(
                message: message,
                subscription: subscription,
                reason: reason,
                attempts: attempts,
                sequence: sequence
            )
        )
    }

    func ask(_ request: StorageRequest, _ session: UInt64) throws(Violation) -> Result<StorageReply, SluiceError>? {
        let token = nextToken
        send(request, .look, session: session)
        _ = try run { answers[token] != nil }
        model.check(answers[token] != nil, "\(request) is not answered")
        try throwViolation()
        return answers.removeValue(forKey: token)
    }
}
