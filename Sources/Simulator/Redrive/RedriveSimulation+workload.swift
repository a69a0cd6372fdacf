internal import MessageModel
internal import StorageEngine
internal import StorageService

/// What is published, what dies, and what is sent back.
extension RedriveSimulation {
    /// Makes the topics and the subscriptions.
    func prepare() throws(Violation) {
        guard let shard else { return }
        session = shard.openSession(tenant: .default)
        for index in topics.indices {
            var policy = TopicPolicy()
            if topics[index].name == "ring" { policy.maxBytes = 5_000 }
            try create(index, policy)
        }
        var policy = SubscriptionPolicy()
        policy.leaseMicroseconds = 0
        policy.deadLetterTopic = "dead"
        let cursor = SubscriptionSpecification(name: "w0", topic: topics[0].id, start: .first, policy: policy)
        _ = try ask(.createSubscription(cursor))
        let bindings = ["t1/deep/#", "t0/a"].map { Binding(filter: $0) }
        let inbox = SubscriptionSpecification(name: "w1", source: .inbox(bindings: bindings), policy: policy)
        _ = try ask(.createSubscription(inbox))
        counted = 0
    }

    private func create(_ index: Int, _ policy: TopicPolicy = TopicPolicy()) throws(Violation) {
        let topic = topics[index]
        let specification = TopicSpecification(name: topic.name, partitions: topic.partitions, policy: policy)
        guard case .success(.topicCreated(let created, _)) = try ask(.createTopic(specification)) else { return }
        topics[index].id = created.id
    }

    func doSomething() throws(Violation) {
        guard let shard else { return }
        if hasFaults, try actOnFaults() { return }
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<35: publish(to: random.percent(70) ? 0 : 1, shard)
        case 35..<45: publish(to: 3, shard)
        case 45..<60: attach(shard)
        case 60..<65: detach(shard)
        case 65..<80: redrive()
        case 80..<81: if random.percent(20) { deleteTopic() }
        case 81..<83: createTopic()
        case 83..<84: try rest()
        case 84..<87:
            // Just while letters are on their way.
            let isRunning = pending.values.contains { if case .redrive = $0 { true } else { false } }
            if hasFaults, isRunning { try endLife() }
        default: passTime(0...60_000)
        }
        called()
    }

    private func passTime(_ span: ClosedRange<UInt64>) {
        let end = scheduler.now.advanced(byMicroseconds: .random(in: span, using: &random))
        _ = try? run { (scheduler.nextTime ?? .never) > end }
        scheduler.advance(to: end)
    }

    // MARK: Requests

    func send(_ request: StorageRequest, _ kind: Pending) -> UInt64 {
        let token = nextToken
        nextToken += 1
        pending[token] = kind
        if case .look = kind {} else { note("request \(token): \(request)") }
        shard?.perform(session: session, request, token: token, now: scheduler.now)
        called()
        return token
    }

    func ask(_ request: StorageRequest) throws(Violation) -> Result<StorageReply, SluiceError>? {
        let token = send(request, .look)
        _ = try run { answers[token] != nil }
        check(answers[token] != nil, "\(request) is not answered")
        try throwViolation()
        return answers.removeValue(forKey: token)
    }

    private func publish(to topic: Int, _ shard: Shard) {
        let known = topics[topic]
        let partition = PartitionID(topic: known.id, index: .random(in: 0..<UInt16(known.partitions), using: &random))
        let first = messages.count
        var builder = BatchBuilder()
        builder.begin()
        for _ in 0..<Int.random(in: 1...5, using: &random) {
            let routingKey = ["", "a", "a/b"].randomElement(using: &random) ?? ""
            let key: [UInt8]? = random.percent(30) ? [.random(in: 97...99, using: &random)] : nil
            let number = Int.random(in: 0...3, using: &random)
            var properties = PropertyWriter()
            properties.appendUser(name: "number", value: String(number))
            let bytes = Int.random(in: 12...(topic == 3 ? 300 : 60), using: &random)
            let body = MessageText.body(batch: messages.count, index: 0, bytes: bytes)
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
                            fields.born = scheduler.now
                            builder.append(fields)
                        }
                    }
                }
            }
            messages.append(
                Message(
                    topic: topic,
                    partition: partition.index,
                    name: Array((known.name + (routingKey.isEmpty ? "" : "/" + routingKey)).utf8),
                    key: key,
                    number: number
                )
            )
        }
        let token = nextToken
        nextToken += 1
        let count = messages.count - first
        report.published += count
        pending[token] = .publication(first: first, count: count)
        note("append \(token): messages \(first)..<\(first + count) to \(ShardModel.text(partition))")
        builder.finish { bytes in
            guard let batch = BatchView(prefixOf: bytes) else { return }
            shard.append(
                session: session,
                batch: batch,
                to: partition,
                options: AppendOptions(acknowledgement: .durable),
                token: token,
                now: scheduler.now
            )
        }
    }

    private func redrive() {
        var request = RedriveRequest(topic: topics[Self.deadTopic].id)
        request.selector = Self.selectors.randomElement(using: &random) ?? ""
        request.rate = random.percent(40) ? 0 : .random(in: 20...1_000, using: &random)
        request.limit = random.percent(60) ? 0 : .random(in: 1...6, using: &random)
        asked.insert(request.selector)
        report.redrives += 1
        _ = send(.redrive(request), .redrive(request))
    }

    // MARK: Topics

    private func deleteTopic() {
        topics[1].wasDeleted = true
        _ = send(.deleteTopic(name: topics[1].name), .topic(1))
    }

    private func createTopic() {
        guard topics[1].wasDeleted else { return }
        let specification = TopicSpecification(name: topics[1].name, partitions: topics[1].partitions)
        _ = send(.createTopic(specification), .topic(1))
    }

    // MARK: Consumers

    func attach(_ shard: Shard, credit: UInt64? = nil) {
        for reader in readers.indices where readers[reader].attachment == nil && (credit != nil || random.percent(60)) {
            let attachment = nextAttachment
            nextAttachment += 1
            readers[reader].attachment = attachment
            note("attach \(attachment) to \(readers[reader].name)")
            shard.attach(
                session: session,
                AttachRequest(
                    source: .consumer(of: readers[reader].name, .attachment),
                    creditMessages: credit ?? .random(in: 1...40, using: &random),
                    creditBytes: 1 << 30
                ),
                attachment: attachment,
                now: scheduler.now
            )
            called()
        }
    }

    func detach(_ shard: Shard) {
        for reader in readers.indices {
            guard let attachment = readers[reader].attachment else { continue }
            readers[reader].attachment = nil
            note("detach \(attachment) from \(readers[reader].name)")
            shard.detach(session: session, attachment: attachment)
            called()
        }
    }

    /// Settles what has come, in its own way each.
    func settleAll() {
        guard !toSettle.isEmpty, let shard else { return }
        let items = toSettle
        toSettle = []
        for item in items where readers[item.reader].attachment == item.attachment {
            let settlement: Settlement
            switch isDraining ? 0 : Int.random(in: 0..<100, using: &random) {
            case 0..<45: settlement = .accept
            case 45..<85:
                settlement = .reject(reason: "broken")
                report.rejected += 1
            default: settlement = .release(delayMicroseconds: 0, countsAttempt: true)
            }
            shard.settle(
                session: session,
                attachment: item.attachment,
                lane: item.place.lane,
                first: item.place.sequence,
                last: item.place.sequence,
                settlement,
                token: nil,
                now: scheduler.now
            )
        }
        called()
    }
}
