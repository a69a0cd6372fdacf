package import Gateway
internal import MQTTProtocol
package import MessageModel
internal import NIOCore
internal import StorageService

// Sessions as those see them who look after clients: stored ones from storage, the others from their connections.
extension MQTTFront: SessionDirectory {
    /// What the place behind a page of stored sessions begins with, and behind one of the others.
    private static let stored = "stored/"
    private static let others = "others/"

    package func listSessions(
        after: String?,
        limit: Int,
        _ completion: @escaping @Sendable (Result<SessionPage, SluiceError>) -> Void
    ) {
        let after = after ?? Self.stored
        if after.hasPrefix(Self.others) {
            return completion(.success(listUnstored(after: after.dropFirst(Self.others.count), limit: limit)))
        }
        guard after.hasPrefix(Self.stored) else {
            return completion(.failure(SluiceError(.invalidArgument, "this is no place in the list of sessions")))
        }
        // Those with long identifiers come first in the order of names.
        let name = after == Self.stored ? SessionKey.longPrefix : String(after.dropFirst(Self.stored.count))
        housekeeper.ask(.listSubscriptions(after: name, limit: limit)) { result in
            switch result {
            case .success(.subscriptions(let all, let next)):
                let found = all.filter {
                    $0.name.hasPrefix(SessionKey.prefix) || $0.name.hasPrefix(SessionKey.longPrefix)
                }
                // What comes behind the prefixes is somebody else's.
                let goesOn = next != nil && all.last.map { $0.name <= SessionKey.prefix + "\u{10FFFF}" } == true
                let place = goesOn ? Self.stored + (all.last?.name ?? "") : Self.others
                self.describe(found) { completion(.success(SessionPage(sessions: $0, next: place))) }
            case .success: completion(.failure(Self.unexpected))
            case .failure(let error): completion(.failure(error))
            }
        }
    }

    /// Where a name does not say which client it is, its session does.
    private func describe(
        _ found: [SubscriptionDescription],
        from index: Int = 0,
        _ sessions: [ClientSession] = [],
        _ completion: @escaping @Sendable ([ClientSession]) -> Void
    ) {
        var sessions = sessions
        for place in index..<found.count {
            guard found[place].name.hasPrefix(SessionKey.longPrefix) else {
                sessions.append(session(found[place]))
                continue
            }
            let before = sessions
            housekeeper.ask(.getState(name: found[place].name)) { result in
                var sessions = before
                if case .success(.state(let description, let entries)) = result {
                    var session = self.session(description, entries)
                    session.subscriptions = nil
                    sessions.append(session)
                }
                self.describe(found, from: place + 1, sessions, completion)
            }
            return
        }
        completion(sessions)
    }

    private static let unexpected = SluiceError(.internal, "storage answered another question")

    /// Connected clients whose sessions end with their connections. Of many the first few are picked in one pass.
    private func listUnstored(after: Substring, limit: Int) -> SessionPage {
        let after = Array(after.utf8)
        var picked: [MQTTString] = []
        for (client, handler) in clients where handler.isConnected && handler.inbox == nil {
            guard after.lexicographicallyPrecedes(client.bytes) else { continue }
            if picked.count > limit, let last = picked.last, !client.bytes.lexicographicallyPrecedes(last.bytes) {
                continue
            }
            let place = picked.firstIndex { client.bytes.lexicographicallyPrecedes($0.bytes) } ?? picked.count
            picked.insert(client, at: place)
            if picked.count > limit + 1 { picked.removeLast() }
        }
        let page = picked.prefix(limit)
        let next = picked.count > limit ? page.last.map { Self.others + $0.description } : nil
        return SessionPage(sessions: page.compactMap { clients[$0].map(session) }, next: next)
    }

    package func showSession(
        of client: String,
        _ completion: @escaping @Sendable (Result<ClientSession, SluiceError>) -> Void
    ) {
        let id = MQTTString(client)
        housekeeper.ask(.getState(name: SessionKey.inboxName(id))) { result in
            switch result {
            case .success(.state(let description, let entries)):
                completion(.success(self.session(description, entries)))
            case .failure(let error) where error.code == .subscriptionNotFound:
                guard let handler = self.clients[id], handler.isConnected else {
                    let why = "there is no session of a client '\(client)'"
                    return completion(.failure(SluiceError(.notFound, why)))
                }
                completion(.success(self.session(handler)))
            case .failure(let error): completion(.failure(error))
            case .success: completion(.failure(Self.unexpected))
            }
        }
    }

    package func disconnectClient(_ client: String) -> Bool {
        guard let handler = clients[MQTTString(client)], handler.isConnected else { return false }
        handler.end(.administrativeAction)
        return true
    }

    package func deleteSession(
        of client: String,
        _ completion: @escaping @Sendable (Result<Void, SluiceError>) -> Void
    ) {
        let wasConnected = disconnectClient(client)
        let name = SessionKey.inboxName(MQTTString(client))
        housekeeper.ask(.getState(name: name)) { result in
            if case .success(.state(let description, let entries)) = result,
                let will = entries.first(where: { $0.key == SessionKey.will }).flatMap({ StoredWill(encoded: $0.value) }
                )
            {
                // The end of the session is the time of a will that waits (MQTT 5.0 §3.1.3.2.2).
                self.housekeeper.sessionReturned(will, description.id, isKept: false)
            }
            self.housekeeper.ask(.deleteSubscription(name: name)) { result in
                switch result {
                case .success: completion(.success(()))
                case .failure(let error) where error.code == .subscriptionNotFound:
                    let why = SluiceError(.notFound, "there is no session of a client '\(client)'")
                    completion(wasConnected ? .success(()) : .failure(why))
                case .failure(let error): completion(.failure(error))
                }
            }
        }
    }

    // MARK: Descriptions

    private func connection(_ handler: MQTTConnectionHandler?) -> ClientSession.Connection? {
        guard let handler, handler.isConnected else { return nil }
        let machine = handler.machine
        return ClientSession.Connection(
            protocolName: machine.version.text,
            address: handler.peer.flatMap { peer in
                peer.ipAddress.map { "\($0.contains(":") ? "[\($0)]" : $0):\(peer.port ?? 0)" }
            } ?? "",
            since: handler.connectedAt,
            keepAliveSeconds: machine.keepAliveSeconds,
            window: machine.deliveryLimit,
            unsentBytes: handler.unsentBytes
        )
    }

    private func session(_ handler: MQTTConnectionHandler) -> ClientSession {
        var session = ClientSession(
            client: handler.client.description,
            connection: connection(handler),
            isStored: handler.inbox != nil,
            expirySeconds: UInt64(handler.machine.sessionExpirySeconds)
        )
        session.inFlight = UInt64(handler.machine.inFlightCount)
        session.queued = session.inFlight + UInt64(handler.waiting.count)
        session.unreleased = handler.machine.receivedIdentifiers.count
        session.subscriptions = handler.filters.all.map { ClientSession.Subscription($0.subscription) }
        session.will = handler.machine.currentWill.map {
            ClientSession.Will(topic: $0.topic.description, delaySeconds: $0.delaySeconds, isWaiting: false)
        }
        return session
    }

    private func session(_ description: SubscriptionDescription, _ entries: [StateEntry]? = nil) -> ClientSession {
        let long = entries?.first { $0.key == SessionKey.client }?.value
        let id = long.map { MQTTString($0) } ?? MQTTString(String(description.name.dropFirst(SessionKey.prefix.count)))
        var session = ClientSession(
            client: id.description,
            connection: connection(clients[id]),
            isStored: true,
            expirySeconds: description.policy.expiresUnusedMicroseconds / 1_000_000
        )
        session.queued = description.lanes.reduce(0) { $0 + $1.backlog }
        session.inFlight = description.lanes.reduce(0) { $0 + $1.leased }
        guard let entries else { return session }
        var subscriptions: [ClientSession.Subscription] = []
        for entry in entries {
            switch SessionKey.split(entry.key) {
            case (.filter, _)?:
                guard let found = Subscription(encoded: entry.value, limits: options.server.limits) else { continue }
                subscriptions.append(ClientSession.Subscription(found))
            case (.received, _)?: session.unreleased += 1
            case (.confirmed, _)?: session.uncompleted += 1
            case (.will, _)?:
                guard let stored = StoredWill(encoded: entry.value) else { continue }
                session.will = ClientSession.Will(
                    topic: stored.will.topic.description,
                    delaySeconds: stored.will.delaySeconds,
                    isWaiting: stored.scheduled != nil
                )
            case (.member, _)?, (.retained, _)?, (.client, _)?, (.identifier, _)?, (.shared, _)?, nil:
                break
            }
        }
        session.subscriptions = subscriptions
        return session
    }
}

extension ClientSession.Subscription {
    fileprivate init(_ subscription: Subscription) {
        self.init(
            filter: subscription.filter.text.description,
            qos: subscription.qos.rawValue,
            isNoLocal: subscription.isNoLocal,
            retainsAsPublished: subscription.retainsAsPublished,
            identifier: subscription.identifier
        )
    }
}

extension ProtocolVersion {
    /// As people say it.
    var text: String {
        switch self {
        case .v3_1: "MQTT 3.1"
        case .v3_1_1: "MQTT 3.1.1"
        case .v5: "MQTT 5.0"
        }
    }
}
