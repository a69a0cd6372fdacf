internal import MessageModel
internal import StorageEngine
internal import StorageService

/// What clients do, and the wire between them and the front.
extension SessionSimulation {
    /// Makes the topic, the sessions and the group.
    func prepare() throws(Violation) {
        guard let shard else { return }
        looker = shard.openSession(tenant: .default)
        var policy = TopicPolicy()
        if random.percent(70) { policy.retention = .subscriptions }
        let specification = TopicSpecification(name: "t", partitions: 1, policy: policy)
        guard case .success(.topicCreated(let created, _)) = try ask(.createTopic(specification)) else { return }
        topic = created.id
        var session = SubscriptionPolicy()
        session.leaseMicroseconds = 0
        session.keepsDelivered = true
        try make("$g", "t/g", session)
        session.consumers = .exclusive
        for client in 0..<Int.random(in: 2...4, using: &random) {
            clients.append(Client())
            states.append([:])
            try make(Self.inbox(client), "t/a", session)
        }
    }

    private func make(_ name: String, _ filter: String, _ policy: SubscriptionPolicy) throws(Violation) {
        let source = SubscriptionSpecification.Source.inbox(bindings: [Binding(filter: filter)])
        let specification = SubscriptionSpecification(name: name, source: source, policy: policy)
        if case .success = try ask(.createSubscription(specification)) { return }
        fail("\(name) cannot be made")
        try throwViolation()
    }

    func doSomething() throws(Violation) {
        if hasFaults, try actOnFaults() { return }
        let client = Int.random(in: clients.indices, using: &random)
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<20: publish(client)
        case 20..<28: connect(client)
        case 28..<31: disconnect(client)
        case 31..<33: queueLastValues(client)
        case 33..<34: if random.percent(30) { try rest() }
        case 34..<36:
            // Just in the middle of exchanges.
            if hasFaults, pending.values.contains(where: \.isStep), random.percent(30) { try endLife() }
        case 36..<38: passTime(0...50_000)
        default: for _ in 0..<4 { pump(Int.random(in: clients.indices, using: &random)) }
        }
        called()
    }

    private func passTime(_ span: ClosedRange<UInt64>) {
        let end = scheduler.now.advanced(byMicroseconds: .random(in: span, using: &random))
        _ = try? run { (scheduler.nextTime ?? .never) > end }
        scheduler.advance(to: end)
    }

    private func isOpen(_ client: Int) -> Bool { connections[client]?.isOpen == true }

    private func publish(_ client: Int) {
        guard clients[client].sending.count < 4 else { return }
        let kind = Kind.allCases.randomElement(using: &random) ?? .all
        messages.append(Message(kind: kind))
        // Few, so that they come again soon.
        var identifier = clients[client].nextIdentifier
        while clients[client].sending[identifier] != nil { identifier = identifier % 6 + 1 }
        clients[client].nextIdentifier = identifier % 6 + 1
        clients[client].sending[identifier] = (messages.count - 1, false)
        report.published += 1
        if isOpen(client) { connections[client]?.toServer.append(.publish(identifier, message: messages.count - 1)) }
    }

    private func queueLastValues(_ client: Int) {
        guard isOpen(client) else { return }
        let limit = Int.random(in: 1...3, using: &random)
        send(
            .queueRetained(name: Self.inbox(client), filter: Array("t/r/+".utf8), after: nil, limit: limit),
            .queue(client),
            client
        )
    }

    /// Takes one packet from one end of a client's wire to the other.
    func pump(_ client: Int) {
        guard let connection = connections[client], connection.isOpen else { return }
        if !connection.toServer.isEmpty, connection.toClient.isEmpty || random.percent(50) {
            if let packet = connections[client]?.toServer.removeFirst() { receive(packet, client) }
        } else if !connection.toClient.isEmpty, let packet = connections[client]?.toClient.removeFirst() {
            take(packet, client)
        }
    }

    private func take(_ packet: Packet, _ client: Int) {
        switch packet {
        case .publish(let sequence, let message):
            if clients[client].received.insert(sequence).inserted {
                note("client \(client) gets message \(message) as \(sequence)")
                report.got += 1
                check(
                    clients[client].got.insert(sequence).inserted,
                    "client \(client) got message \(message) twice, as \(sequence)"
                )
                messages[message].got += 1
                let most =
                    switch messages[message].kind {
                    case .all: clients.count
                    case .one: 1
                    case .kept: Int.max
                    }
                check(messages[message].got <= most, "message \(message) was got \(messages[message].got) times")
            }
            connections[client]?.toServer.append(.pubrec(sequence))
        case .pubrel(let sequence):
            clients[client].received.remove(sequence)
            connections[client]?.toServer.append(.pubcomp(sequence))
        case .pubrec(let identifier):
            guard clients[client].sending[identifier] != nil else { return }
            clients[client].sending[identifier]?.isReleased = true
            connections[client]?.toServer.append(.pubrel(identifier))
        case .pubcomp(let identifier):
            guard let exchange = clients[client].sending.removeValue(forKey: identifier) else { return }
            messages[exchange.message].isFinished = true
        }
    }
}

extension SessionSimulation.Pending {
    /// A step of an exchange waits for the disk.
    var isStep: Bool {
        switch self {
        case .store, .confirm, .forget, .handOver, .queue: true
        case .open, .look: false
        }
    }
}
