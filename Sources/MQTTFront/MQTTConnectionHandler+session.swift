internal import DequeModule
internal import Gateway
internal import Logging
internal import MQTTProtocol
internal import MessageModel
internal import NIOCore
internal import StorageService

/// A CONNECT whose session is being found. An object, so that connections that are open have no room for it.
final class Opening {
    let connect: ConnectPacket
    var acceptance = ConnectAcceptance()
    /// Filters and sequences of a session that was there.
    var filters: [(id: UInt32, subscription: Subscription)] = []
    var confirmed: [UInt64] = []

    init(connect: ConnectPacket) { self.connect = connect }
}

// The beginning and the end of sessions (MQTT 5.0 §3.1.2.4, §3.1.2.11.2, §4.1).
extension MQTTConnectionHandler {
    func authorize(_ connect: ConnectPacket, output: inout ByteBuffer) {
        if let refusal = front.refusal() {
            let end = machine.refuse(refusal.reason, serverReference: refusal.reference, output: &output)
            return close(end, output: &output)
        }
        guard connect.properties.authenticationMethod == nil else {
            return beginAuthentication(connect, output: &output)
        }
        guard front.options.allowsAnonymous else {
            return close(machine.refuse(.notAuthorized, output: &output), output: &output)
        }
        openSession(connect, authenticationData: nil, output: &output)
    }

    /// The client may come in: finds its session.
    func openSession(_ connect: ConnectPacket, authenticationData: [UInt8]?, output: inout ByteBuffer) {
        let opening = Opening(connect: connect)
        opening.acceptance.authenticationData = authenticationData
        client = connect.clientIdentifier
        let isAssigned = client.isEmpty
        if isAssigned {
            client = front.makeClientIdentifier()
            opening.acceptance.assignedClientIdentifier = client
        }
        if connect.properties.requestsResponseInformation {
            opening.acceptance.responseInformation = MQTTString(MQTTFrontOptions.responsePrefix + client.description)
        }
        self.opening = opening
        session = front.gateway.openSession(delegate: self)
        // The earlier connection leaves the session before this one looks for it.
        front.register(self, as: client)
        guard !isAssigned else { return makeSession() }
        ask(.getState(name: SessionKey.inboxName(client))) { self.foundSession($0) }
    }

    private func foundSession(_ result: Result<StorageReply, SluiceError>) {
        guard let opening, !hasEnded else { return }
        switch result {
        case .success(.state(let description, let entries)):
            let isKept = !opening.connect.cleanStart
            let will = entries.first { $0.key == SessionKey.will }.flatMap { StoredWill(encoded: $0.value) }
            if let will { front.housekeeper.sessionReturned(will, description.id, isKept: isKept) }
            guard isKept else {
                ask(.deleteSubscription(name: description.name)) { result in
                    if case .failure(let error) = result, error.code != .subscriptionNotFound {
                        return self.refuseOpening(error)
                    }
                    self.makeSession()
                }
                return
            }
            resume(description, entries)
        case .failure(let error) where error.code == .subscriptionNotFound: makeSession()
        case .failure(let error): refuseOpening(error)
        case .success: refuseOpening(SluiceError(.internal, "storage answered another question"))
        }
    }

    /// A new session: with an inbox where it is to outlive the connection.
    private func makeSession() {
        guard opening != nil, !hasEnded else { return }
        guard machine.sessionExpirySeconds > 0 else { return open() }
        let specification = SubscriptionSpecification(
            name: SessionKey.inboxName(client),
            source: .inbox(bindings: []),
            policy: front.options.policy(expirySeconds: machine.sessionExpirySeconds)
        )
        ask(.createSubscription(specification)) { result in
            switch result {
            case .success(.subscriptionCreated(let description, _)):
                let inbox = SessionInbox(id: description.id, name: description.name)
                if self.client.bytes.count > SessionKey.clientBytes {
                    inbox.changes.put(SessionKey.client, self.client.bytes)
                }
                self.inbox = inbox
                self.open()
            case .failure(let error): self.refuseOpening(error)
            case .success: self.refuseOpening(SluiceError(.internal, "storage answered another question"))
            }
        }
    }

    private func resume(_ description: SubscriptionDescription, _ entries: [StateEntry]) {
        opening?.acceptance.isSessionPresent = true
        inbox = SessionInbox(id: description.id, name: description.name)
        for entry in entries {
            switch SessionKey.split(entry.key) {
            case (.filter, let number)?:
                guard let id = UInt32(exactly: number),
                    let subscription = Subscription(encoded: entry.value, limits: front.options.server.limits)
                else { continue }
                opening?.filters.append((id, subscription))
            case (.received, let number)?:
                opening?.acceptance.receivedIdentifiers.append(UInt16(truncatingIfNeeded: number))
            case (.confirmed, let sequence)?:
                // A crash may have come between its settlement and this.
                guard sequence >= description.lanes.first?.acknowledged ?? 0 else {
                    inbox?.changes.remove(entry.key)
                    continue
                }
                opening?.confirmed.append(sequence)
            case (.retained, let first)?:
                let count = entry.value.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
                let done = description.lanes.first?.acknowledged ?? 0
                if first + count <= done {
                    inbox?.changes.remove(entry.key)
                } else {
                    // How many of them are left is not known: forgotten when the session is found again behind them.
                    inbox?.retained.append(SessionInbox.RetainedRun(range: first..<first + count, open: .max))
                }
            case (.shared, let sequence)?:
                guard sequence >= description.lanes.first?.acknowledged ?? 0 else {
                    inbox?.changes.remove(entry.key)
                    continue
                }
                inbox?.shared[sequence] = entry.value.reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            case (.identifier, let sequence)?:
                guard entry.value.count == 2 else { continue }
                inbox?.identifiers[sequence] = UInt16(entry.value[0]) | UInt16(entry.value[1]) << 8
            case (.will, _)?, (.member, _)?, (.client, _)?, nil: break
            }
        }
        let policy = front.options.policy(expirySeconds: machine.sessionExpirySeconds)
        guard description.policy != policy else { return open() }
        ask(.updateSubscription(name: description.name, policy)) { result in
            if case .failure(let error) = result { return self.refuseOpening(error) }
            self.open()
        }
    }

    private func refuseOpening(_ error: SluiceError) {
        guard opening != nil, !hasEnded else { return }
        front.logger.warning(
            "an MQTT session cannot be opened",
            metadata: ["client": "\(client)", "why": "\(error.message)"]
        )
        inbox = nil
        var output = takeOutput()
        close(machine.refuse(.serverUnavailable, output: &output), output: &output)
        putOutput(output)
        writeOutput()
    }

    /// The session is there: answers CONNECT and goes on.
    private func open() {
        guard let opening, !hasEnded, let session else { return }
        opening.acceptance.isSessionStored = inbox != nil
        var output = takeOutput()
        if let end = machine.accept(opening.acceptance, nowMilliseconds: front.nowMilliseconds(), output: &output) {
            close(end, output: &output)
            putOutput(output)
            return writeOutput()
        }
        accepted()
        front.watch(self)
        for (id, subscription) in opening.filters {
            filters.set(id, subscription)
            activate(subscription, id: id)
            if subscription.filter.isShared { join(id) { _ in } }
        }
        countFilters()
        if inbox != nil { attachInbox(confirmed: opening.confirmed, session, output: &output) }
        if let inbox, let will = opening.connect.will {
            inbox.hasWill = true
            inbox.changes.put(SessionKey.will, StoredWill(client: client, will: will).encoded)
        }
        putOutput(output)
        resumeParsing()
    }

    // MARK: Leaving

    /// The connection is over: what becomes of the session and of the will. Does nothing the second time.
    func leaveSession() {
        guard let session else { return }
        session.storage.stopDelivering()
        // Before its will.
        front.gatherer.flushIfNeeded(session)
        appends.flush()
        let will = machine.takeWill()
        if let inbox {
            flushSettlements()
            leaveInbox(inbox, will)
        } else if let will {
            front.housekeeper.publish(will, of: client)
        }
        leaveGroups()
        session.storage.close()
        self.session = nil
        inbox = nil
        opening = nil
        sources = [:]
        chosen = nil
        filters = FilterTable()
        uncount()
        waiting = []
        requests = [:]
        retainedScans = []
    }

    private func leaveInbox(_ inbox: SessionInbox, _ will: Will?) {
        // One that was never accepted leaves the session as it was.
        guard opening == nil else { return }
        let expiry = machine.sessionExpirySeconds
        if let will, will.delaySeconds > 0, expiry > 0 {
            front.housekeeper.schedule(will, of: client, inbox.id, delaySeconds: min(will.delaySeconds, expiry))
        } else {
            if let will { front.housekeeper.publish(will, of: client) }
            if inbox.hasWill { front.housekeeper.forgetWill(inbox.id) }
        }
        if expiry == 0 {
            front.housekeeper.delete(inbox.name)
        } else if machine.hasChangedSessionExpiry {
            front.housekeeper.update(inbox.name, front.options.policy(expirySeconds: expiry))
        }
    }
}
