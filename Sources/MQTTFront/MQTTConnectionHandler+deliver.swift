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
    var qos: QoS
    var token: DeliveryToken
    /// The identifier that it must have; zero for any.
    var identifier: UInt16
    /// When it expires, in µs; nil for never.
    var deadline: UInt64?
    /// It was sent before: then it is sent again, expired or not.
    var isAgain: Bool
}

// Messages to the client.
extension MQTTConnectionHandler {
    /// Messages of one name for live filters: what is the same for all of them, and for all clients of a version, is
    /// done once.
    func messagesRouted(_ run: RoutedRun) {
        var start = 0
        while start < run.records.count, isConnected {
            let end = run.endOfPlain(from: start)
            if end == start {
                messageRouted(run[start])
                start += 1
            } else {
                sendPlain(run, start..<end)
                start = end
            }
        }
    }

    /// Sends messages that differ only in their payloads.
    private func sendPlain(_ run: RoutedRun, _ range: Range<Int>) {
        let first = run.records[range.lowerBound]
        guard let match = liveMatch(run.filters, first.deliveryClass, isOwn: run.isOwn) else { return }
        let qos = min(match.qos, first.qos)
        let isRetained = first.isRetained && match.retainsAsPublished
        var next = range.lowerBound
        if match.identifiers.isEmpty, !usesTopicAliases {
            if qos == .atMostOnce, isOverfull {
                front.counters.publishesDropped &+= UInt64(range.count)
                return
            }
            if qos == .atMostOnce || waiting.isEmpty, run.isAlone {
                var output = takeOutput()
                next += front.withName(of: first, run.topicName) { name in
                    machine.send(
                        range.count,
                        qos: qos,
                        isRetained: isRetained,
                        topic: name,
                        output: &output
                    ) { _ in
                        (DeliveryToken.unleased.rawValue, 0)
                    } payload: {
                        run.records[range.lowerBound &+ $0].body
                    }
                }
                putOutput(output)
                countSent(run, range.lowerBound..<next)
            } else if qos == .atMostOnce || waiting.isEmpty {
                let place = front.encodings.place(version, qos, isRetained: isRetained)
                if front.encodes(run, range, version: version, qos: qos, isRetained: isRetained, at: place) {
                    var output = takeOutput()
                    next += machine.send(
                        front.encodings[place].run,
                        token: DeliveryToken.unleased.rawValue,
                        output: &output
                    )
                    putOutput(output)
                    countSent(run, range.lowerBound..<next)
                }
            }
        }
        while next < range.upperBound, isConnected {
            messageRouted(run[next])
            next += 1
        }
    }

    @inline(__always)
    private func countSent(_ run: RoutedRun, _ range: Range<Int>) {
        var payloadBytes = 0
        for index in range { payloadBytes &+= run.records[index].body.count }
        front.counters.sent(messages: range.count, payloadBytes: payloadBytes)
    }

    /// What the filters that match a message come to; nil where it does not come this way.
    @inline(__always)
    private func liveMatch(
        _ matching: UnsafeBufferPointer<UInt32>,
        _ deliveryClass: DeliveryClass,
        isOwn: Bool
    ) -> FilterMatch? {
        var match: FilterMatch?
        for id in matching {
            guard let subscription = filters.traits(id), !(subscription.isNoLocal && isOwn) else { continue }
            if deliveryClass != .atMostOnce {
                // It comes by the inbox, or by the group.
                if subscription.isShared { continue }
                if inbox != nil, subscription.isBound { return nil }
            }
            match = match ?? FilterMatch()
            match?.add(subscription)
        }
        return match
    }

    /// A message for live filters: sent once, at the highest quality that matching subscriptions were granted, with all
    /// their identifiers (MQTT 5.0 §3.3.4).
    func messageRouted(_ message: RoutedMessage) {
        guard isConnected else { return }
        let record = message.record
        guard let match = liveMatch(message.filters, record.deliveryClass, isOwn: message.isOwn),
            let expiry = remainingSeconds(of: record)
        else { return }
        let qos = min(match.qos, record.qos)
        let isRetained = record.isRetained && match.retainsAsPublished
        if match.identifiers.isEmpty, !message.isAlone {
            sendShared(message, qos: qos, isRetained: isRetained, expiry: expiry)
            return
        }
        front.withName(of: record, message.topicName) { name in
            _ = send(
                record,
                name,
                match,
                qos: qos,
                isRetained: isRetained,
                isDuplicate: false,
                expiry: expiry,
                token: .unleased,
                identifier: 0
            )
        }
    }

    /// How long a message may still wait.
    enum Expiry: Equatable {
        case never
        case seconds(UInt32)
        var value: UInt32? { if case .seconds(let seconds) = self { seconds } else { nil } }
    }

    /// Nil where it has expired: it is not started (MQTT 5.0 §3.3.2.3.3).
    func remainingSeconds(of record: RecordView) -> Expiry? {
        guard !record.properties.isEmpty, let deadline = PropertyCursor.number(.expiry, in: record.properties) else {
            return .never
        }
        let left = secondsLeft(until: deadline)
        return left > 0 ? .seconds(left) : nil
    }

    /// Rounded up; zero where the time is over.
    private func secondsLeft(until deadline: UInt64) -> UInt32 {
        let now = Timestamp.wallClock()
        return deadline > now ? UInt32(clamping: (deadline - now + 999_999) / 1_000_000) : 0
    }

    /// Sends what is the same for all clients of a version: it is encoded once, and gets its packet identifier here.
    private func sendShared(_ message: RoutedMessage, qos: QoS, isRetained: Bool, expiry: Expiry) {
        if usesTopicAliases || (qos != .atMostOnce && !waiting.isEmpty) {
            return sendAlone(message, qos: qos, isRetained: isRetained, expiry: expiry)
        }
        if qos == .atMostOnce, isOverfull {
            front.counters.publishesDropped &+= 1
            return
        }
        let place = front.encodings.place(version, qos, isRetained: isRetained)
        if !front.encodings.holds(message.serial, at: place) {
            front.encode(message, version: version, qos: qos, isRetained: isRetained, expiry: expiry.value, at: place)
        }
        guard let encoded = front.encodings[place].encoded else { return }
        let admission = machine.admitDelivery(
            qos: qos,
            packetSize: encoded.packetSize,
            token: DeliveryToken.unleased.rawValue
        )
        switch admission {
        case .admitted(let identifier):
            front.counters.sent(payloadBytes: message.record.body.count)
            var output = takeOutput()
            let start = output.writerIndex
            output.writeImmutableBuffer(front.encodings[place].packet)
            if identifier != 0 { encoded.setPacketIdentifier(identifier, in: &output, packetAt: start) }
            putOutput(output)
        case .windowFull: sendAlone(message, qos: qos, isRetained: isRetained, expiry: expiry)
        case .tooLarge, .notConnected: break
        }
    }

    private func sendAlone(_ message: RoutedMessage, qos: QoS, isRetained: Bool, expiry: Expiry) {
        front.withName(of: message.record, message.topicName) { name in
            _ = send(
                message.record,
                name,
                FilterMatch(),
                qos: qos,
                isRetained: isRetained,
                isDuplicate: false,
                expiry: expiry,
                token: .unleased,
                identifier: 0
            )
        }
    }

    /// Sends one message to this client.
    /// - Returns: false where the client does not take it: it counts as delivered [MQTT-3.1.2-25].
    func send(
        _ record: RecordView,
        _ name: UnsafeRawBufferPointer,
        _ match: FilterMatch,
        qos: QoS,
        isRetained: Bool,
        isDuplicate: Bool,
        expiry: Expiry,
        token: DeliveryToken,
        identifier: UInt16
    ) -> Bool {
        withPacket(
            record,
            name,
            match,
            qos: qos,
            isRetained: isRetained,
            isDuplicate: isDuplicate,
            expiry: expiry
        ) { send($0, token: token, identifier: identifier) }
    }

    /// Makes the packet of a message, for the duration of the call.
    func withPacket<Result>(
        _ record: RecordView,
        _ name: UnsafeRawBufferPointer,
        _ match: FilterMatch,
        qos: QoS,
        isRetained: Bool,
        isDuplicate: Bool,
        expiry: Expiry,
        _ body: (OutboundPublish) -> Result
    ) -> Result {
        front.propertySection.clear()
        if version.hasProperties { PropertyMapping.write(record.properties, into: &front.propertySection) }
        return front.propertySection.withUnsafeReadableBytes { properties in
            match.identifiers.withUnsafeBufferPointer { identifiers in
                let packet = OutboundPublish(
                    version: version,
                    qos: qos,
                    isRetained: isRetained,
                    isDuplicate: isDuplicate,
                    topicRest: name,
                    payload: record.body,
                    properties: properties,
                    messageExpirySeconds: expiry.value,
                    subscriptionIdentifiers: identifiers
                )
                return body(packet)
            }
        }
    }

    /// More waits to be sent than this client may have: what may be lost is.
    private var isOverfull: Bool {
        unsentBytes + (output?.readableBytes ?? 0) >= front.options.outgoingBufferBytes
    }

    func send(_ packet: OutboundPublish, token: DeliveryToken, identifier: UInt16) -> Bool {
        if packet.qos == .atMostOnce {
            // A client that does not read loses what may be lost, and holds nobody up.
            guard !isOverfull else {
                front.counters.publishesDropped &+= 1
                return true
            }
        } else if !waiting.isEmpty {
            return wait(packet, token: token, identifier: identifier)
        }
        var output = takeOutput()
        var admission = machine.send(packet, token: token.rawValue, identifier: identifier, output: &output)
        if admission == .windowFull, identifier != 0, machine.canSend {
            // Only the identifier is taken.
            admission = machine.send(packet, token: token.rawValue, output: &output)
            noteIdentifier(admission, token)
        }
        putOutput(output)
        switch admission {
        case .admitted:
            front.counters.sent(payloadBytes: packet.payload.count)
            return true
        case .windowFull: return wait(packet, token: token, identifier: identifier)
        case .tooLarge, .notConnected: return false
        }
    }

    /// A message of the session's inbox went out under an identifier that is not that of its sequence.
    private func noteIdentifier(_ admission: DeliveryAdmission, _ token: DeliveryToken) {
        guard case .admitted(let identifier) = admission, identifier != 0, token.attachment == SessionInbox.attachment
        else { return }
        inbox?.note(identifier, of: token.sequence)
    }

    /// Keeps a message until the client acknowledges earlier ones.
    private func wait(_ packet: OutboundPublish, token: DeliveryToken, identifier: UInt16) -> Bool {
        guard let size = packet.packetSize, machine.fits(packetSize: size) else { return false }
        // What is leased is bounded by its credit, and what a scan brings by its pages.
        guard token.attachment != 0 || isScanning || waitingBytes + size <= front.options.outgoingBufferBytes else {
            end(.quotaExceeded)
            return true
        }
        guard let kept = keep(packet, token: token, identifier: identifier) else { return false }
        waitingBytes += size
        waiting.append(kept)
        return true
    }

    /// A packet that is sent later; nil where the client does not take it.
    func keep(_ packet: OutboundPublish, token: DeliveryToken, identifier: UInt16) -> WaitingPublish? {
        guard let size = packet.packetSize, machine.fits(packetSize: size) else { return nil }
        var buffer = ByteBufferAllocator().buffer(capacity: size)
        guard let encoded = packet.encode(into: &buffer) else { return nil }
        return WaitingPublish(
            packet: buffer,
            encoded: encoded,
            qos: packet.qos,
            token: token,
            identifier: identifier,
            deadline: packet.messageExpirySeconds.map { Timestamp.wallClock() + UInt64($0) * 1_000_000 },
            isAgain: packet.isDuplicate
        )
    }

    /// The client acknowledged something: sends what waited for that.
    func sendWaiting(output: inout ByteBuffer) {
        while let next = waiting.first {
            let size = next.encoded.packetSize
            let left = next.deadline.map { secondsLeft(until: $0) }
            if left == 0, !next.isAgain {
                // Its time was over before it could be sent [MQTT-3.3.2-5].
                waiting.removeFirst()
                waitingBytes -= size
                if next.token.attachment != 0 {
                    settle(Leased(attachment: next.token.attachment, sequence: next.token.sequence, isAgain: false))
                }
                continue
            }
            var admission = machine.admitDelivery(
                qos: next.qos,
                packetSize: size,
                token: next.token.rawValue,
                identifier: next.identifier
            )
            if admission == .windowFull, next.identifier != 0, machine.canSend {
                admission = machine.admitDelivery(qos: next.qos, packetSize: size, token: next.token.rawValue)
                noteIdentifier(admission, next.token)
            }
            switch admission {
            case .admitted(let identifier):
                front.counters.sent(payloadBytes: size)
                let start = output.writerIndex
                output.writeImmutableBuffer(next.packet)
                next.encoded.setPacketIdentifier(identifier, in: &output, packetAt: start)
                if let left { next.encoded.setMessageExpiry(seconds: left, in: &output, packetAt: start) }
            case .windowFull: return
            case .tooLarge, .notConnected: break
            }
            waiting.removeFirst()
            waitingBytes -= size
        }
        continueScan()
    }
}
