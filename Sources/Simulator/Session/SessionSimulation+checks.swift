internal import MessageModel
internal import StorageEngine
internal import StorageService

/// What there must be behind an end of the process, and when everything came to its end.
extension SessionSimulation {
    /// What was answered as durable is in a session's state, and nothing is that was answered as gone, or never made.
    func checkState(of client: Int) throws(Violation) {
        guard case .success(.state(_, let entries)) = try ask(.getState(name: Self.inbox(client))) else {
            fail("session \(client) is lost")
            return try throwViolation()
        }
        let seen = Set(entries.map(\.key))
        for (key, presence) in states[client] where presence == .certain {
            check(seen.contains(key), "session \(client) has lost \(key >> 56)/\(key & 0xFFFF_FFFF)")
        }
        for key in seen where states[client][key] == nil {
            // What was handed over may be there though nobody was told.
            check(key >> 56 == Key.shared.rawValue, "session \(client) has \(key >> 56)/\(key & 0xFFFF_FFFF) again")
        }
        // What is there behind a recovery is durable, and what is not never comes.
        states[client] = Dictionary(uniqueKeysWithValues: seen.map { ($0, Presence.certain) })
        try throwViolation()
    }

    func ask(_ request: StorageRequest) throws(Violation) -> Result<StorageReply, SluiceError>? {
        let token = nextToken
        nextToken += 1
        pending[token] = .look
        let wasResting = isResting
        isResting = true
        defer { isResting = wasResting }
        shard?.perform(session: looker, request, token: token, now: scheduler.now)
        called()
        _ = try run { answers[token] != nil }
        check(answers[token] != nil, "\(request) is not answered")
        try throwViolation()
        return answers.removeValue(forKey: token)
    }

    /// Connects all clients, and takes all packets to their ends: then every application has what it is to get.
    func rest() throws(Violation) {
        if faults.isFull || faults.hasFailedLog || faults.hasFailedSync || !isServing { return }
        guard let shard else { return }
        report.rests += 1
        note("everything comes to rest")
        isResting = true
        defer { isResting = false }
        disk.faults = DiskFaults()
        _ = try run { isQuiet && shard.health.acceptsWrites }
        // They come with as much credit as they need; the second time, what a crash left of exchanges that are over goes.
        for _ in 0..<2 {
            for client in clients.indices { disconnect(client) }
            try finishAll()
        }
        checkAnswered()
        try throwViolation()
        try checkRest()
        for client in clients.indices where random.percent(50) { disconnect(client) }
        called()
    }

    private func finishAll() throws(Violation) {
        for _ in 0..<1_000 {
            for client in clients.indices where connections[client] == nil { connect(client) }
            _ = try run { (scheduler.nextTime ?? .never) > scheduler.now.advanced(byMicroseconds: 10_000_000) }
            let isBusy = connections.values.contains { !$0.toClient.isEmpty || !$0.toServer.isEmpty }
            if !isBusy, connections.count == clients.count, pending.isEmpty { return }
            for client in clients.indices { for _ in 0..<100 { pump(client) } }
            try throwViolation()
        }
        fail("exchanges do not come to their ends")
        try throwViolation()
    }

    private func checkRest() throws(Violation) {
        for client in clients.indices {
            check(clients[client].sending.isEmpty, "client \(client) has not finished \(clients[client].sending)")
            check(
                clients[client].received.isEmpty,
                "client \(client) has not finished \(clients[client].received.sorted())"
            )
            guard case .success(.state(let seen, let entries)) = try ask(.getState(name: Self.inbox(client))) else {
                return fail("session \(client) is gone")
            }
            check(
                entries.isEmpty,
                "session \(client) keeps \(entries.map { "\($0.key >> 56)/\($0.key & 0xFFFF_FFFF)" })"
            )
            check(!states[client].values.contains(.certain), "session \(client) has lost what was kept")
            let backlog = seen.lanes.reduce(0) { $0 + $1.backlog }
            check(backlog == 0, "\(backlog) messages wait in session \(client)")
            for sequence in 0..<(seen.lanes.first?.nextOffset ?? 0) {
                check(clients[client].got.contains(sequence), "client \(client) never got \(sequence)")
            }
        }
        if case .success(.subscription(let group)) = try ask(.describeSubscription(name: "$g")) {
            check(group.lanes.allSatisfy { $0.backlog == 0 }, "messages wait in the group")
        }
        for (number, message) in messages.enumerated() where message.isFinished {
            switch message.kind {
            case .all: check(message.got == clients.count, "message \(number) was got by \(message.got) clients")
            case .one: check(message.got == 1, "message \(number) was got \(message.got) times")
            case .kept: break
            }
        }
        try throwViolation()
    }
}
