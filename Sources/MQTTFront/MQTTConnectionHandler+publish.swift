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
        if publish.resolvedAlias != 0 {
            guard let topic = machine.topic(ofAlias: publish.resolvedAlias) else { return }
            topic.withUnsafeBytes { add(publish, name: $0, packet, session, output: &output) }
        } else {
            add(publish, name: packet.slice(view.topicRange), packet, session, output: &output)
        }
    }

    private func add(
        _ publish: InboundPublish,
        name: UnsafeRawBufferPointer,
        _ packet: UnsafeRawBufferPointer,
        _ session: GatewaySession,
        output: inout ByteBuffer
    ) {
        // What begins with `$` is the server's own (MQTT 5.0 §4.7.2).
        guard name.first != UInt8(ascii: "$"), resolve(name, session), let partition = front.lastAddress.partition
        else {
            refuse(publish.ticket, .notAuthorized, output: &output)
            return
        }
        var record = RecordFields()
        record.routingKey = front.lastAddress.routingKey.map { name.slice($0) }
        record.hasAbsoluteName = front.lastAddress.isAbsolute
        record.body = packet.slice(publish.view.payloadRange)
        record.deliveryClass = publish.view.qos == .atMostOnce ? .atMostOnce : .atLeastOnce
        record.isRetained = publish.isRetained
        let token: UInt64
        if publish.view.propertiesRange.isEmpty {
            token = front.gatherer.add(record, to: partition, session: session)
        } else {
            PropertyMapping.read(publish.view, packet, into: &front.properties)
            token = front.properties.withBytes { bytes in
                record.properties = bytes
                return front.gatherer.add(record, to: partition, session: session)
            }
        }
        guard let ticket = publish.ticket else { return }
        if let last = stored.last, last.token == token, last.tickets.upperBound == ticket {
            stored[stored.count - 1].tickets = last.tickets.lowerBound..<ticket + 1
        } else {
            stored.append(Stored(token: token, tickets: ticket..<ticket + 1))
        }
    }

    /// Finds where a name belongs, and leaves it in `front.lastAddress`.
    private func resolve(_ name: UnsafeRawBufferPointer, _ session: GatewaySession) -> Bool {
        let generation = session.topics.generation
        if front.lastAddress.generation == generation,
            front.lastAddress.name.withUnsafeBytes({ bytesEqual($0, name) })
        {
            return true
        }
        guard let topic = session.topic(holding: name) else { return false }
        let placement = topic.nameBytes.withUnsafeBytes { NamePlacement(name: name, topic: $0) }
        front.lastAddress = CachedAddress(
            name: Array(name),
            generation: generation,
            partition: topic.partition(for: name),
            routingKey: placement.routingKey,
            isAbsolute: placement.isAbsolute
        )
        return true
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

    /// Publishes what the client left for the case that it goes without a farewell.
    func publishWill() {
        guard let will = machine.takeWill(), let session, !will.topic.isEmpty else { return }
        will.topic.bytes.withUnsafeBytes { name in
            guard name.first != UInt8(ascii: "$"), resolve(name, session), let partition = front.lastAddress.partition
            else { return }
            var record = RecordFields()
            record.routingKey = front.lastAddress.routingKey.map { name.slice($0) }
            record.hasAbsoluteName = front.lastAddress.isAbsolute
            record.deliveryClass = will.qos == .atMostOnce ? .atMostOnce : .atLeastOnce
            PropertyMapping.read(will.properties, into: &front.properties)
            will.payload.withUnsafeBytes { payload in
                front.properties.withBytes { properties in
                    record.body = payload
                    record.properties = properties
                    _ = front.gatherer.add(record, to: partition, session: session)
                }
            }
        }
        front.gatherer.flush(session: session)
    }
}

extension MQTTConnectionHandler: StorageSessionDelegate {
    func appendCompleted(token: UInt64, result: AppendResult) {
        guard let index = stored.firstIndex(where: { $0.token == token }) else { return }
        // A message that others came between has several entries.
        var output = takeOutput()
        defer { putOutput(output) }
        var place = index
        while place < stored.count {
            guard stored[place].token == token else {
                place += 1
                continue
            }
            let tickets = stored.remove(at: place).tickets
            guard let error = result.error else {
                machine.completePublishes(tickets)
                continue
            }
            let reason = ReasonCode(rawValue: error.rendering.mqttReason) ?? .unspecifiedError
            for ticket in tickets {
                if let end = machine.completePublish(ticket, reason: reason, output: &output) {
                    close(end, output: &output)
                    return
                }
            }
        }
        machine.writeAcknowledgements(into: &output)
        resumeReadingIfPossible()
    }

    func messageRouted(_ message: RoutedMessage) { deliver(message) }

    func storageRoundEnded() { writeOutput() }

    // Not asked for by this front.
    func batchDelivered(_ delivery: BatchDelivery) {}
    func attachmentEnded(attachment: UInt32, error: SluiceError) {}
    func requestCompleted(token: UInt64, result: Result<StorageReply, SluiceError>) {}
}
