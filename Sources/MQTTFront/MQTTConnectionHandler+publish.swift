internal import DequeModule
internal import Gateway
internal import MQTTProtocol
internal import MessageModel
internal import NIOCore
internal import StorageService

// Messages from the client.
extension MQTTConnectionHandler {
    /// Puts one message into the batch of this tick.
    func accept(_ publish: InboundPublish, _ packet: UnsafeRawBufferPointer, output: inout ByteBuffer) {
        guard let session else { return }
        let view = publish.view
        front.counters.publishesReceived &+= 1
        front.counters.publishBytesReceived &+= UInt64(truncatingIfNeeded: view.payloadRange.count)
        if publish.resolvedAlias != 0 {
            guard let topic = machine.topic(ofAlias: publish.resolvedAlias) else { return }
            topic.withUnsafeBytes { add(publish, name: $0, packet, session, output: &output) }
        } else {
            add(publish, name: packet.slice(view.topicRange), packet, session, output: &output)
        }
    }

    private func add(
        _ publish: InboundPublish,
        name given: UnsafeRawBufferPointer,
        _ packet: UnsafeRawBufferPointer,
        _ session: GatewaySession,
        output: inout ByteBuffer
    ) {
        var name = given
        var delaySeconds: UInt64?
        if given.first == UInt8(ascii: "$") {
            // What begins with `$` is the server's own (MQTT 5.0 §4.7.2), but for the form that asks for a delay.
            guard let delayed = DelayedName(given), delayed.name.first != UInt8(ascii: "$") else {
                refuse(publish.ticket, .notAuthorized, output: &output)
                return
            }
            name = delayed.name
            delaySeconds = delayed.seconds
        }
        guard let place = front.addresses.find(name, session), let partition = front.addresses[place].partition else {
            refuse(publish.ticket, .notAuthorized, output: &output)
            return
        }
        lastAddress = place
        let address = front.addresses[place]
        var record = RecordFields()
        record.routingKey = address.routingKey.map { name.slice($0) }
        record.hasAbsoluteName = address.isAbsolute
        record.body = packet.slice(publish.view.payloadRange)
        record.deliveryClass = publish.view.qos.deliveryClass
        record.isRetained = publish.isRetained
        let token: UInt64
        if publish.view.propertiesRange.isEmpty, delaySeconds == nil, !filters.hasNoLocal {
            token = append(record, to: partition, session)
        } else {
            PropertyMapping.read(publish.view, packet, into: &front.properties)
            if let delaySeconds {
                front.properties.append(.deliverAt, number: Timestamp.wallClock() + delaySeconds * 1_000_000)
            }
            if filters.hasNoLocal {
                client.bytes.withUnsafeBytes { front.properties.append(.publisher, $0) }
            }
            token = front.properties.withBytes { bytes in
                record.properties = bytes
                return append(record, to: partition, session)
            }
        }
        guard let ticket = publish.ticket else { return }
        note(ticket, publish.view.qos, publish.view.packetIdentifier, token)
    }

    /// Messages that differ only in their payloads from the connection's last one are taken one after the other, without looking at
    /// everything again.
    func takePlain(_ bytes: UnsafeRawBufferPointer, _ position: inout Int, now: Int64) {
        guard let session, !filters.hasNoLocal else { return }
        let address = front.addresses[lastAddress]
        guard address.generation == session.topics.generation, address.tenant == session.tenant,
            let partition = address.partition
        else { return }
        var messages = 0
        var answers = 0
        var payloadBytes = 0
        defer { front.counters.received(messages: messages, answers: answers, payloadBytes: payloadBytes) }
        address.name.withUnsafeBytes { name in
            var record = RecordFields()
            record.routingKey = address.routingKey.map { name.slice($0) }
            record.hasAbsoluteName = address.isAbsolute
            let appends = appends
            let owner = session.number
            let isExactlyOnceAlone = inbox != nil
            // Tickets of messages that follow each other in one append.
            var token: UInt64 = 0
            var tickets: Range<UInt64> = 0..<0
            defer { if !tickets.isEmpty { appends.wait(self, tickets, token) } }
            while position < bytes.count {
                let rest = bytes.slice(position..<bytes.count)
                guard let publish = machine.receivedPlainPublish(rest, topic: name, nowMilliseconds: now) else {
                    return
                }
                position += publish.totalLength
                messages &+= 1
                payloadBytes &+= publish.payloadRange.count
                record.body = rest.slice(publish.payloadRange)
                record.deliveryClass = publish.qos.deliveryClass
                record.isRetained = publish.isRetained
                if isExactlyOnceAlone, publish.qos == .exactlyOnce {
                    answers &+= 1
                    let token = append(record, to: partition, session)
                    note(publish.ticket, publish.qos, publish.packetIdentifier, token)
                    continue
                }
                let added = appends.add(record, to: partition, of: owner)
                if publish.qos == .atMostOnce { continue }
                answers &+= 1
                if added == token, publish.ticket == tickets.upperBound {
                    tickets = tickets.lowerBound..<tickets.upperBound &+ 1
                } else {
                    if !tickets.isEmpty { appends.wait(self, tickets, token) }
                    token = added
                    tickets = publish.ticket..<publish.ticket &+ 1
                }
            }
        }
    }

    /// What is stored together with the session's state has an append of its own.
    private func isAlone(_ deliveryClass: DeliveryClass) -> Bool { deliveryClass == .exactlyOnce && inbox != nil }

    private func append(_ record: RecordFields, to partition: PartitionID, _ session: GatewaySession) -> UInt64 {
        isAlone(record.deliveryClass)
            ? front.gatherer.add(record, to: partition, session: session)
            : appends.add(record, to: partition, of: session.number)
    }

    /// A message is in the append with this token.
    private func note(_ ticket: UInt64, _ qos: QoS, _ packetIdentifier: UInt16, _ token: UInt64) {
        guard isAlone(qos.deliveryClass), let inbox else { return appends.wait(self, ticket..<ticket + 1, token) }
        front.gatherer.put(SessionKey.received(packetIdentifier), of: inbox.id, with: token)
        if let last = stored.last, last.token == token, last.tickets.upperBound == ticket {
            stored[stored.count - 1].tickets = last.tickets.lowerBound..<ticket + 1
        } else {
            stored.append(Stored(token: token, tickets: ticket..<ticket + 1))
        }
    }

    /// Answers a message that is not taken. Only a 5.0 client can be told; others lose it silently
    /// (MQTT 3.1.1 §3.3.5.2).
    private func refuse(_ ticket: UInt64?, _ reason: ReasonCode, output: inout ByteBuffer) {
        guard let ticket else { return }
        let answer = machine.version.hasProperties ? reason : .success
        if let end = machine.completePublish(ticket, reason: answer, output: &output) {
            close(end, output: &output)
        } else {
            machine.writeAcknowledgements(into: &output)
        }
    }
}

/// `$delayed/SECONDS/NAME`: a message for NAME, so many seconds later, as other servers have it.
struct DelayedName {
    let name: UnsafeRawBufferPointer
    let seconds: UInt64
    private static let prefix = Array("$delayed/".utf8)
    /// Ten digits are more than three hundred years.
    private static let digits = 10

    init?(_ whole: UnsafeRawBufferPointer) {
        guard whole.count > Self.prefix.count, whole.starts(with: Self.prefix) else { return nil }
        var position = Self.prefix.count
        var seconds: UInt64 = 0
        while position < whole.count, whole[position] >= UInt8(ascii: "0"), whole[position] <= UInt8(ascii: "9") {
            seconds = seconds * 10 + UInt64(whole[position] - UInt8(ascii: "0"))
            position += 1
            guard position - Self.prefix.count <= Self.digits else { return nil }
        }
        guard position > Self.prefix.count, position + 1 < whole.count, whole[position] == UInt8(ascii: "/") else {
            return nil
        }
        name = whole.slice(position + 1..<whole.count)
        self.seconds = seconds
    }
}

extension MQTTConnectionHandler: StorageSessionDelegate {
    func appendCompleted(token: UInt64, result: AppendResult) {
        guard let index = stored.firstIndex(where: { $0.token == token }) else { return }
        // A message that others came between has several entries.
        var place = index
        while place < stored.count {
            guard stored[place].token == token else {
                place += 1
                continue
            }
            completed(stored.remove(at: place).tickets, result)
        }
    }

    /// Messages are stored, or are not.
    func completed(_ tickets: Range<UInt64>, _ result: AppendResult) {
        var output = takeOutput()
        defer { putOutput(output) }
        if let error = result.error {
            let reason = ReasonCode(rawValue: error.rendering.mqttReason) ?? .unspecifiedError
            for ticket in tickets {
                if let end = machine.completePublish(ticket, reason: reason, output: &output) {
                    close(end, output: &output)
                    return
                }
            }
        } else {
            machine.completePublishes(tickets)
        }
        machine.writeAcknowledgements(into: &output)
        resumeReadingIfPossible()
    }

    func requestCompleted(token: UInt64, result: Result<StorageReply, SluiceError>) {
        if transitionsCompleted(token, result) { return }
        let completion = requests.removeValue(forKey: token)
        // An empty dictionary keeps its memory.
        if requests.isEmpty { requests = [:] }
        completion?(result)
    }

    func attachmentEnded(attachment: UInt32, error: SluiceError) {
        guard !hasEnded else { return }
        if attachment == SessionInbox.attachment {
            // Somebody deleted the session: it is over for the client too.
            inbox = nil
            end(.administrativeAction)
        } else {
            groupEnded(attachment)
        }
    }

    func storageRoundEnded() {
        if chosen != nil { flushChosen() }
        flushSettlements()
        writeOutput()
    }
}
