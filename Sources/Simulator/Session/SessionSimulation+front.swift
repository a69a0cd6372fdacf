internal import MessageModel
internal import StorageEngine
internal import StorageService

/// The front: what it does with packets, and with what storage says.
extension SessionSimulation {
    enum Key: UInt64 {
        case received = 3
        case confirmed = 4
        case shared = 9

        func number(_ value: UInt64) -> UInt64 { rawValue << 56 | value }
    }

    static func inbox(_ client: Int) -> String { "$s/\(client)" }

    func connect(_ client: Int) {
        guard let shard, connections[client] == nil else { return }
        report.connections += 1
        connections[client] = Connection(session: shard.openSession(tenant: .default))
        note("client \(client) connects")
        send(.getState(name: Self.inbox(client)), .open(client), client)
    }

    /// The connection ends, with what is on its way in both directions.
    func disconnect(_ client: Int) {
        guard let shard, let connection = connections.removeValue(forKey: client) else { return }
        note("client \(client) goes")
        if random.percent(50) { shard.stopDelivering(session: connection.session) }
        shard.closeSession(connection.session)
        called()
        pending = pending.filter { !$0.value.isOf(client) }
    }

    func send(_ request: StorageRequest, _ kind: Pending, _ client: Int) {
        guard let shard, let connection = connections[client] else { return }
        let token = nextToken
        nextToken += 1
        pending[token] = kind
        note("request \(token) of \(client): \(request)")
        shard.perform(session: connection.session, request, token: token, now: scheduler.now)
        called()
    }

    /// Hands over what has changed of a session's state.
    func flushState(_ client: Int, then kind: Pending? = nil) {
        guard let shard, let connection = connections[client], !connection.state.changes.isEmpty else { return }
        var token: UInt64?
        if let kind {
            token = nextToken
            pending[nextToken] = kind
            nextToken += 1
        }
        note("state of \(client): \(Self.text(connection.state)), \(token.map(String.init) ?? "nobody waits")")
        shard.putState(session: connection.session, connection.state, token: token, now: scheduler.now)
        for change in connection.state.changes { states[client][change.key] = .perhaps }
        connections[client]?.state.changes = []
        called()
    }

    static func text(_ changes: StateChanges) -> String {
        changes.changes.map { "\($0.value == nil ? "-" : "+")\($0.key >> 56)/\($0.key & 0xFFFF_FFFF)" }.joined(
            separator: " "
        )
    }

    // MARK: Opening

    func opened(_ client: Int, _ result: Result<StorageReply, SluiceError>) {
        guard let shard, case .success(.state(let description, let entries)) = result else {
            return refused(client, result)
        }
        var connection = connections[client] ?? Connection(session: 0)
        connection.state.subscription = description.id
        connection.isOpen = true
        let done = description.lanes.first?.acknowledged ?? 0
        for entry in entries {
            let value = entry.key & (1 << 56 - 1)
            if entry.key >> 56 != Key.received.rawValue, value < done {
                // A crash came between its end and that of what was kept for it.
                connection.state.remove(entry.key)
                continue
            }
            switch Key(rawValue: entry.key >> 56) {
            case .received: connection.received.insert(value)
            case .shared: connection.shared.insert(value)
            case .confirmed:
                connection.confirmed.insert(value)
                connection.toClient.append(.pubrel(value))
            case nil: fail("client \(client) has \(entry.key) in its state")
            }
        }
        // The client takes up what it had begun.
        for (identifier, exchange) in clients[client].sending.sorted(by: { $0.key < $1.key }) {
            connection.toServer.append(
                exchange.isReleased ? .pubrel(identifier) : .publish(identifier, message: exchange.message)
            )
        }
        connections[client] = connection
        flushState(client)
        for (attachment, name) in [(Self.own, Self.inbox(client)), (Self.group, "$g")] {
            shard.attach(
                session: connection.session,
                AttachRequest(
                    source: .consumer(of: name, .attachment),
                    creditMessages: isResting ? 1_000 : .random(in: 1...6, using: &random),
                    creditBytes: 1 << 30
                ),
                attachment: attachment,
                now: scheduler.now
            )
        }
        called()
    }

    /// What a front does where storage refuses: the client has to come again.
    func refused(_ client: Int, _ result: Result<StorageReply, SluiceError>) {
        guard case .failure(let error) = result else { return fail("client \(client) got another answer: \(result)") }
        check(
            faults.wasFull || faults.hasFailedLog || faults.hasFailedSync || faults.failsReads || error.code == .busy,
            "client \(client) was refused without a reason: \(error)"
        )
        disconnect(client)
    }

    // MARK: Packets from the client

    func receive(_ packet: Packet, _ client: Int) {
        guard let shard, let connection = connections[client] else { return }
        switch packet {
        case .publish(let identifier, let message):
            guard !connection.received.contains(identifier) else {
                connections[client]?.toClient.append(.pubrec(identifier))
                return
            }
            connections[client]?.received.insert(identifier)
            store(message, identifier, client, shard)
        case .pubrel(let identifier):
            guard connection.received.contains(identifier) else {
                connections[client]?.toClient.append(.pubcomp(identifier))
                return
            }
            connections[client]?.state.remove(Key.received.number(identifier))
            flushState(client, then: .forget(client, identifier: identifier))
        case .pubrec(let sequence):
            connections[client]?.confirmed.insert(sequence)
            connections[client]?.state.put(Key.confirmed.number(sequence))
            flushState(client, then: .confirm(client, sequence))
        case .pubcomp(let sequence):
            guard connection.leased.contains(sequence) else {
                connections[client]?.finished.insert(sequence)
                return
            }
            finish(sequence, client)
        }
    }

    private func store(_ message: Int, _ identifier: UInt64, _ client: Int, _ shard: Shard) {
        guard let connection = connections[client] else { return }
        let token = nextToken
        nextToken += 1
        pending[token] = .store(client, identifier: identifier)
        var changes = StateChanges(subscription: connection.state.subscription)
        changes.put(Key.received.number(identifier))
        states[client][Key.received.number(identifier)] = .perhaps
        note("append \(token): message \(message) of client \(client), identifier \(identifier)")
        let kind = messages[message].kind
        let name = kind == .kept ? "r/\(message % 3)" : kind.rawValue
        var builder = BatchBuilder()
        builder.begin()
        Array(name.utf8).withUnsafeBytes { name in
            MessageText.body(batch: message, index: 0, bytes: 12 + message % 90).withUnsafeBytes { body in
                var fields = RecordFields()
                fields.routingKey = name
                fields.body = body
                fields.isRetained = kind == .kept
                fields.deliveryClass = .exactlyOnce
                builder.append(fields)
            }
        }
        builder.finish { bytes in
            guard let batch = BatchView(prefixOf: bytes) else { return }
            shard.append(
                session: connection.session,
                batch: batch,
                to: PartitionID(topic: topic, index: 0),
                options: AppendOptions(state: changes),
                token: token,
                now: scheduler.now
            )
        }
        called()
    }

    /// The client and the front are done with a message: the settlement, and behind it what goes from the state.
    private func finish(_ sequence: UInt64, _ client: Int) {
        guard let shard, let connection = connections[client] else { return }
        shard.settle(
            session: connection.session,
            attachment: Self.own,
            lane: 0,
            first: sequence,
            last: sequence,
            .accept,
            token: nil,
            now: scheduler.now
        )
        called()
        connections[client]?.leased.remove(sequence)
        connections[client]?.confirmed.remove(sequence)
        connections[client]?.finished.remove(sequence)
        connections[client]?.state.remove(Key.confirmed.number(sequence))
        shard.grantCredit(session: connection.session, attachment: Self.own, messages: 1, bytes: 0)
        if connections[client]?.shared.remove(sequence) != nil {
            connections[client]?.state.remove(Key.shared.number(sequence))
            shard.grantCredit(session: connection.session, attachment: Self.group, messages: 1, bytes: 0)
        }
        flushState(client)
    }

    // MARK: Messages for the client

    func deliver(_ sequence: UInt64, _ message: Int, isRetained: Bool, _ client: Int) {
        guard let connection = connections[client] else { return }
        connections[client]?.leased.insert(sequence)
        let isShared = connection.shared.contains(sequence)
        check(
            isShared == (messages[message].kind == .one),
            "message \(message) is \(client)/\(sequence), and nothing says by which way it came"
        )
        check(isRetained == (messages[message].kind == .kept), "message \(message) is retained, or not")
        if connection.finished.contains(sequence) { return finish(sequence, client) }
        guard !connection.confirmed.contains(sequence) else { return }
        if clients[client].got.contains(sequence) { report.sentAgain += 1 }
        connections[client]?.toClient.append(.publish(sequence, message: message))
    }

    func handOver(_ sequences: ClosedRange<UInt64>, _ client: Int) {
        let request = HandOver(
            attachment: Self.group,
            lane: 0,
            first: sequences.lowerBound,
            last: sequences.upperBound,
            inbox: Self.inbox(client),
            key: Key.shared.number(0),
            value: [1]
        )
        send(.handOver(request), .handOver(client, count: sequences.count), client)
    }
}

extension SessionSimulation.Pending {
    func isOf(_ client: Int) -> Bool {
        switch self {
        case .open(let other), .store(let other, _), .confirm(let other, _), .forget(let other, _),
            .handOver(let other, _), .queue(let other):
            other == client
        case .look: false
        }
    }
}
