internal import DequeModule
internal import Gateway
internal import MQTTProtocol
internal import MessageModel
internal import NIOCore
internal import StorageService

/// A message that waits for room in the client's window: the whole packet, without its identifier.
struct WaitingPublish {
    var packet: ByteBuffer
    var encoded: EncodedPublish
}

// Subscriptions, and messages to the client.
extension MQTTConnectionHandler {
    func subscribe(_ subscribe: InboundSubscribe, output: inout ByteBuffer) {
        guard let session else { return }
        var reasons = subscribe.reasons
        for (index, request) in subscribe.packet.subscriptions.enumerated() {
            guard let qos = reasons[index].grantedQoS else { continue }
            let subscription = Subscription(
                filter: request.filter.text,
                qos: qos,
                isNoLocal: request.isNoLocal,
                identifier: subscribe.packet.subscriptionIdentifier
            )
            if let id = subscriptionIDs[request.filter.text] {
                // The same filter again replaces the subscription (MQTT 5.0 §3.8.4).
                subscriptions[id] = subscription
                continue
            }
            guard subscriptions.count < front.options.subscriptionsPerClient else {
                reasons[index] = .quotaExceeded
                continue
            }
            let id = nextSubscription
            let problem = request.filter.text.bytes.withUnsafeBytes { session.storage.addFilter($0, id: id) }
            guard problem == nil else {
                reasons[index] = .topicFilterInvalid
                continue
            }
            nextSubscription &+= 1
            subscriptions[id] = subscription
            subscriptionIDs[request.filter.text] = id
        }
        machine.subscribed(packetIdentifier: subscribe.packet.packetIdentifier, reasons: reasons, output: &output)
    }

    func unsubscribe(_ packet: UnsubscribePacket, output: inout ByteBuffer) {
        let reasons = packet.filters.map { filter -> ReasonCode in
            guard let id = subscriptionIDs.removeValue(forKey: filter.text) else { return .noSubscriptionExisted }
            subscriptions[id] = nil
            _ = session?.storage.removeFilter(id: id)
            return .success
        }
        machine.unsubscribed(packetIdentifier: packet.packetIdentifier, reasons: reasons, output: &output)
    }

    /// Sends a message to the client once, at the highest quality that its matching subscriptions were granted, with all
    /// their identifiers (MQTT 5.0 §3.3.4).
    func deliver(_ message: RoutedMessage) {
        guard machine.isConnected else { return }
        var granted: QoS?
        var identifiers: [UInt32] = []
        for id in message.filters {
            guard let subscription = subscriptions[id], !(subscription.isNoLocal && message.isOwn) else { continue }
            granted = granted.map { max($0, subscription.qos) } ?? subscription.qos
            if let identifier = subscription.identifier { identifiers.append(identifier) }
        }
        guard let granted else { return }
        let record = message.record
        var expiry: UInt32?
        if let deadline = PropertyCursor.number(.expiry, in: record.properties) {
            let now = Timestamp.wallClock()
            // What has expired is not started (MQTT 5.0 §3.3.2.3.3).
            guard deadline > now else { return }
            expiry = UInt32(clamping: (deadline - now + 999_999) / 1_000_000)
        }
        let published: QoS = record.deliveryClass == .atMostOnce ? .atMostOnce : .atLeastOnce
        let qos = min(granted, published)
        withName(of: message) { name in
            front.propertySection.clear()
            if machine.version.hasProperties { PropertyMapping.write(record.properties, into: &front.propertySection) }
            front.propertySection.withUnsafeReadableBytes { properties in
                identifiers.withUnsafeBufferPointer { identifiers in
                    let packet = OutboundPublish(
                        version: machine.version,
                        qos: qos,
                        topicRest: name,
                        payload: record.body,
                        properties: properties,
                        messageExpirySeconds: expiry,
                        subscriptionIdentifiers: identifiers
                    )
                    send(packet)
                }
            }
        }
    }

    private func withName(of message: RoutedMessage, _ body: (UnsafeRawBufferPointer) -> Void) {
        let record = message.record
        if record.hasAbsoluteName, let name = record.routingKey { return body(name) }
        guard record.routingKey != nil else { return body(message.topicName) }
        var name = front.nameScratch
        front.nameScratch = []
        name.removeAll(keepingCapacity: true)
        record.appendName(topic: message.topicName, to: &name)
        name.withUnsafeBytes(body)
        front.nameScratch = name
    }

    private func send(_ packet: OutboundPublish) {
        let limit = front.options.outgoingBufferBytes
        if packet.qos == .atMostOnce {
            // A client that does not read loses what may be lost, and holds nobody up.
            guard unsentBytes + (output?.readableBytes ?? 0) < limit else { return }
        } else if !waiting.isEmpty {
            wait(packet, limit: limit)
            return
        }
        var output = takeOutput()
        let admission = machine.send(packet, token: nextDelivery, output: &output)
        putOutput(output)
        switch admission {
        case .admitted: if packet.qos != .atMostOnce { nextDelivery += 1 }
        case .windowFull: wait(packet, limit: limit)
        case .tooLarge, .notConnected: break
        }
    }

    /// Keeps a message until the client acknowledges earlier ones.
    private func wait(_ packet: OutboundPublish, limit: Int) {
        guard let size = packet.packetSize, machine.fits(packetSize: size) else { return }
        guard waitingBytes + size <= limit else {
            end(.quotaExceeded)
            return
        }
        var buffer = ByteBufferAllocator().buffer(capacity: size)
        guard let encoded = packet.encode(into: &buffer) else { return }
        waitingBytes += size
        waiting.append(WaitingPublish(packet: buffer, encoded: encoded))
    }

    /// The client acknowledged something: sends what waited for that.
    func sendWaiting(output: inout ByteBuffer) {
        while let next = waiting.first {
            let size = next.encoded.packetSize
            switch machine.admitDelivery(qos: .atLeastOnce, packetSize: size, token: nextDelivery) {
            case .admitted(let identifier):
                nextDelivery += 1
                let start = output.writerIndex
                output.writeImmutableBuffer(next.packet)
                next.encoded.setPacketIdentifier(identifier, in: &output, packetAt: start)
            case .windowFull: return
            case .tooLarge, .notConnected: break
            }
            waiting.removeFirst()
            waitingBytes -= size
        }
    }
}
