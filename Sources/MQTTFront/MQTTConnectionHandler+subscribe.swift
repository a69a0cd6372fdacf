internal import DequeModule
internal import Gateway
internal import MQTTProtocol
internal import MessageModel
internal import NIOCore
internal import StorageService

/// A SUBSCRIBE or UNSUBSCRIBE whose filters are being put into effect.
final class FilterChange {
    let packetIdentifier: UInt16
    var reasons: [ReasonCode]
    /// Answers of storage that are awaited.
    var outstanding = 0
    /// Whose last values are sent once it is answered.
    var scans: [RetainedScan] = []
    /// Places of filters that were there already.
    var replaced: Set<Int> = []
    var isSubscribe = true
    /// All of it was asked for.
    var isComplete = false

    init(packetIdentifier: UInt16, reasons: [ReasonCode]) {
        self.packetIdentifier = packetIdentifier
        self.reasons = reasons
    }
}

// Subscriptions (MQTT 5.0 §3.8 to §3.11).
extension MQTTConnectionHandler {
    func subscribe(_ subscribe: InboundSubscribe, output: inout ByteBuffer) {
        let packet = subscribe.packet
        let change = FilterChange(packetIdentifier: packet.packetIdentifier, reasons: subscribe.reasons)
        for (index, request) in packet.subscriptions.enumerated() {
            guard let granted = change.reasons[index].grantedQoS else { continue }
            let subscription = Subscription(request, qos: granted, identifier: packet.subscriptionIdentifier)
            if let reason = add(subscription, change, index) { change.reasons[index] = reason }
            let isNew = !change.replaced.contains(index)
            guard !change.reasons[index].isFailure, !request.filter.isShared,
                request.retainHandling == .sendAtSubscribe || (request.retainHandling == .sendIfNew && isNew)
            else { continue }
            change.scans.append(RetainedScan(subscription))
        }
        change.isComplete = true
        finish(change, isSubscribe: true, output: &output)
    }

    /// - Returns: why it is refused; nil where it is, or will be, in effect.
    private func add(_ subscription: Subscription, _ change: FilterChange, _ index: Int) -> ReasonCode? {
        let known = filters.id(of: subscription.filter.text)
        guard known != nil || filters.count < front.options.subscriptionsPerClient else { return .quotaExceeded }
        var subscription = subscription
        let earlier = known.flatMap { filters[$0] }
        subscription.attachment = earlier?.attachment ?? 0
        let id = known ?? filters.insert(subscription)
        filters.set(id, subscription)
        if known != nil {
            // The same filter again replaces the subscription (MQTT 5.0 §3.8.4).
            change.replaced.insert(index)
        } else if !activate(subscription, id: id) {
            filters.remove(id)
            return .topicFilterInvalid
        }
        if subscription.filter.isShared, known == nil { join(id, change, index) }
        guard let inbox else { return nil }
        inbox.changes.put(SessionKey.filter(id), subscription.encoded)
        // The state stands before the binding in the log.
        awaitState(inbox, change, index)
        let binding = Binding(kind: .filter, pattern: Array(subscription.filter.matched))
        if subscription.isBound, earlier?.isBound != true {
            awaitAnswer(.bind(name: inbox.name, binding), change, index)
        } else if earlier?.isBound == true, !subscription.isBound {
            awaitAnswer(.unbind(name: inbox.name, binding), change, index)
        }
        return nil
    }

    /// Adds the live filter of a subscription.
    @discardableResult
    func activate(_ subscription: Subscription, id: UInt32) -> Bool {
        guard let session else { return false }
        if subscription.readsSystem { front.systemReaders[number] = self }
        let group = subscription.filter.isShared ? front.groupNumber(subscription.filter.text) : nil
        return subscription.filter.matched.withUnsafeBytes {
            session.storage.addFilter($0, id: id, group: group) == nil
        }
    }

    /// Asks storage; a refusal becomes the reason of the filter.
    private func awaitAnswer(_ request: StorageRequest, _ change: FilterChange, _ index: Int) {
        change.outstanding += 1
        ask(request) { result in
            if case .failure(let error) = result {
                change.reasons[index] = ReasonCode(rawValue: error.code.rendering.mqttReason) ?? .unspecifiedError
            }
            self.answered(change)
        }
    }

    /// Hands over what has changed of the session's state.
    private func awaitState(_ inbox: SessionInbox, _ change: FilterChange, _ index: Int) {
        let changes = inbox.changes
        inbox.changes.changes.removeAll()
        change.outstanding += 1
        let token = front.nextToken()
        requests[token] = { result in
            if case .failure(let error) = result {
                change.reasons[index] = ReasonCode(rawValue: error.code.rendering.mqttReason) ?? .unspecifiedError
            }
            self.answered(change)
        }
        session?.storage.putState(changes, token: token)
    }

    /// One of the answers that a change waits for has come.
    func answered(_ change: FilterChange) {
        change.outstanding -= 1
        guard change.outstanding == 0, change.isComplete, !hasEnded else { return }
        var output = takeOutput()
        finish(change, isSubscribe: change.isSubscribe, output: &output)
        putOutput(output)
    }

    private func finish(_ change: FilterChange, isSubscribe: Bool, output: inout ByteBuffer) {
        change.isSubscribe = isSubscribe
        guard change.outstanding == 0 else { return }
        countFilters()
        guard isSubscribe else {
            machine.unsubscribed(
                packetIdentifier: change.packetIdentifier,
                reasons: change.reasons,
                output: &output
            )
            return
        }
        machine.subscribed(packetIdentifier: change.packetIdentifier, reasons: change.reasons, output: &output)
        guard !change.scans.isEmpty else { return }
        for scan in change.scans {
            if scan.subscription.readsSystem {
                systemScans.append(scan.subscription)
            } else {
                retainedScans.append(scan)
            }
        }
        continueScan()
    }

    func unsubscribe(_ packet: UnsubscribePacket, output: inout ByteBuffer) {
        let change = FilterChange(
            packetIdentifier: packet.packetIdentifier,
            reasons: Array(repeating: .success, count: packet.filters.count)
        )
        for (index, filter) in packet.filters.enumerated() {
            guard let id = filters.id(of: filter.text), let subscription = filters[id] else {
                change.reasons[index] = .noSubscriptionExisted
                continue
            }
            filters.remove(id)
            _ = session?.storage.removeFilter(id: id)
            if subscription.filter.isShared { leave(subscription, id: id) }
            guard let inbox else { continue }
            inbox.changes.remove(SessionKey.filter(id))
            awaitState(inbox, change, index)
            guard subscription.isBound else { continue }
            awaitAnswer(
                .unbind(name: inbox.name, Binding(kind: .filter, pattern: Array(subscription.filter.matched))),
                change,
                index
            )
        }
        change.isComplete = true
        finish(change, isSubscribe: false, output: &output)
    }
}

/// The last values that match a new subscription, on their way to the client page by page (MQTT 5.0 §3.3.1.3).
struct RetainedScan {
    var subscription: Subscription
    /// The last name of the page before.
    var after: [UInt8]?

    init(_ subscription: Subscription) { self.subscription = subscription }
}

extension MQTTConnectionHandler {
    /// Asks for the next last values once the client has taken those before: whoever subscribes to very many stalls
    /// neither others nor himself.
    func continueScan() {
        guard !isScanning, let scan = retainedScans.first, isConnected, waiting.isEmpty,
            unsentBytes < front.options.outgoingBufferBytes / 2
        else { return }
        isScanning = true
        if let inbox, scan.subscription.isBound { return queueRetained(scan, inbox) }
        ask(
            .scanRetained(
                filter: Array(scan.subscription.filter.matched),
                after: scan.after,
                limit: MQTTFrontOptions.retainedPage
            )
        ) { result in
            self.deliver(result)
            self.isScanning = false
            self.continueScan()
        }
    }

    /// A stored session gets them by its inbox: they are delivered as everything that waits there is.
    private func queueRetained(_ scan: RetainedScan, _ inbox: SessionInbox) {
        ask(
            .queueRetained(
                name: inbox.name,
                filter: Array(scan.subscription.filter.matched),
                after: scan.after,
                limit: MQTTFrontOptions.retainedPage
            )
        ) { result in
            self.isScanning = false
            guard var scan = self.retainedScans.popFirst(), self.inbox === inbox else { return }
            if case .success(.queued(let first, let count, let next)) = result {
                inbox.addRetained(first..<first + UInt64(count))
                if let next {
                    scan.after = next
                    self.retainedScans.prepend(scan)
                }
            }
            self.continueScan()
        }
    }

    private func deliver(_ result: Result<StorageReply, SluiceError>) {
        guard var scan = retainedScans.popFirst(), isConnected else { return }
        guard case .success(.retained(let messages, let next)) = result else { return }
        for message in messages {
            message.message.batch.withUnsafeBytes { bytes in
                guard let batch = BatchView(prefixOf: bytes) else { return }
                var cursor = batch.records
                guard let record = cursor.next(), let expiry = remainingSeconds(of: record) else { return }
                var match = FilterMatch()
                match.add(scan.subscription)
                message.name.withUnsafeBytes { name in
                    _ = send(
                        record,
                        name,
                        match,
                        qos: min(match.qos, record.qos),
                        isRetained: true,
                        isDuplicate: false,
                        expiry: expiry,
                        token: .unleased,
                        identifier: 0
                    )
                }
            }
        }
        if let next {
            scan.after = next
            retainedScans.prepend(scan)
        }
    }
}
