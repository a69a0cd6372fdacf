internal import AMQPModel
internal import AMQPProtocol
internal import Gateway
internal import Logging
internal import MessageModel
internal import NIOCore
internal import StorageService

// Messages that were leased to consumers, on their way to the clients.
extension VirtualHost {
    func batchDelivered(_ delivery: BatchDelivery) {
        if delivery.attachment == DeadLetterWorker.attachment { return letters.delivered(delivery) }
        guard let source = source(delivery.attachment), let first = delivery.ranges.first else { return }
        guard let lease = delivery.lease else { return streamed(delivery, source) }
        guard !source.isCancelled else {
            return giveBack(source, lease.lane, lease.firstSequence, lease.lastSequence)
        }
        guard let consumer = source.consumer else { return got(delivery, lease, source) }
        let handler = source.handler
        let messages = delivery.ranges.reduce(0) { $0 &+ Int($1.last &- $1.first) &+ 1 }
        // As the credit counts them.
        let bytes = max(1, delivery.batch.byteCount &* messages / max(1, delivery.batch.recordCount))
        if source.deliveredBytes == 0 { handler.delivered.append(source) }
        source.deliveredBytes &+= bytes
        let topics = open.topics
        deliveries.begin(delivery.partition.topic, name: topics.name(of: delivery.partition.topic), model)
        let isRedelivered = lease.isRedelivered
        var output = handler.takeOutput()
        var range = 0
        var cursor = delivery.batch.records
        while range < delivery.ranges.count, let record = cursor.next() {
            let index = UInt32(truncatingIfNeeded: cursor.index &- 1)
            guard index >= delivery.ranges[range].first else { continue }
            if index == delivery.ranges[range].last { range &+= 1 }
            let sequence = lease.firstSequence &+ UInt64(index &- first.first)
            let token = DeliveryToken(lane: lease.lane, sequence: sequence)
            let admission = deliveries.withContent(of: record) { content in
                let admission = handler.machine.deliver(
                    onChannel: source.channel.number,
                    to: consumer,
                    token: token.rawValue,
                    isRedelivered: isRedelivered,
                    exchange: content.exchange,
                    routingKey: content.routingKey,
                    properties: content.properties,
                    body: record.body,
                    output: &output
                )
                if case .noCredit = admission {
                    source.channel.hold(source, token, isRedelivered: isRedelivered, content, record.body)
                }
                return admission
            }
            switch admission {
            case .admitted: if !source.isAutomatic { source.unsettled &+= 1 }
            case .noCredit: break
            case .notConsuming: giveBack(source, lease.lane, sequence, sequence)
            case .tooLarge: rejectTooLarge(source, lease.lane, sequence)
            }
        }
        handler.putOutput(output)
        handler.writeLater()
        guard source.isAutomatic else { return }
        // Who does not acknowledge has it when it is sent.
        open.storage.settle(
            attachment: source.attachment,
            lane: lease.lane,
            first: lease.firstSequence,
            last: lease.lastSequence,
            .accept,
            token: nil
        )
    }

    /// Keeps what basic.get has taken until its answer comes.
    private func got(_ delivery: BatchDelivery, _ lease: BatchDelivery.Lease, _ source: Source) {
        guard let first = delivery.ranges.first else { return }
        let topics = open.topics
        deliveries.begin(delivery.partition.topic, name: topics.name(of: delivery.partition.topic), model)
        var cursor = delivery.batch.records
        while let record = cursor.next() {
            guard UInt32(truncatingIfNeeded: cursor.index &- 1) == first.first else { continue }
            deliveries.withContent(of: record) { content in
                source.gotten = GottenMessage(
                    token: DeliveryToken(lane: lease.lane, sequence: lease.firstSequence),
                    isRedelivered: lease.isRedelivered,
                    exchange: Array(content.exchange),
                    routingKey: Array(content.routingKey),
                    properties: Array(content.properties),
                    body: Array(record.body)
                )
            }
            return
        }
    }

    /// What nobody takes goes back to its place as if it had not been delivered.
    private func giveBack(_ source: Source, _ lane: UInt16, _ first: UInt64, _ last: UInt64) {
        open.storage.settle(
            attachment: source.attachment,
            lane: lane,
            first: first,
            last: last,
            .release(delayMicroseconds: 0, countsAttempt: false),
            token: nil
        )
    }

    /// A message of another protocol with a name or properties that AMQP has no room for: a dead letter.
    private func rejectTooLarge(_ source: Source, _ lane: UInt16, _ sequence: UInt64) {
        front.logger.warning(
            "a message cannot be expressed in AMQP and is dropped, or dead-lettered",
            metadata: ["queue": "\(model.queue(source.queue)?.name ?? "")"]
        )
        open.storage.settle(
            attachment: source.attachment,
            lane: lane,
            first: sequence,
            last: sequence,
            .reject(reason: "rejected"),
            token: nil
        )
        if !source.isAutomatic {
            open.storage.grantCredit(attachment: source.attachment, messages: 1, bytes: 0)
        }
    }
}

extension ChannelState {
    /// Keeps a message until the channel takes more.
    fileprivate func hold(
        _ source: Source,
        _ token: DeliveryToken,
        isRedelivered: Bool,
        _ content: PropertyDecoder.Content,
        _ body: UnsafeRawBufferPointer
    ) {
        held.append(
            HeldDelivery(
                source: source,
                token: token,
                isRedelivered: isRedelivered,
                exchange: Array(content.exchange),
                routingKey: Array(content.routingKey),
                properties: Array(content.properties),
                body: Array(body)
            )
        )
    }
}
