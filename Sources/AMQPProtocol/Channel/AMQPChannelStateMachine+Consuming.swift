package import NIOCore

// Consumers, deliveries and what becomes of them.
extension AMQPChannelStateMachine {
    mutating func receivedQos(_ qos: BasicQos, _ output: inout ByteBuffer) throws(AMQPError) -> ChannelAction {
        guard qos.prefetchSize == 0 else {
            throw AMQPError(.notImplemented, "prefetch_size!=0 (\(qos.prefetchSize))", method: .basicQos)
        }
        if qos.isGlobal {
            channelPrefetch = qos.prefetchCount
        } else {
            // As RabbitMQ: it takes the limit of the channel away, too.
            consumerPrefetch = qos.prefetchCount
            channelPrefetch = 0
        }
        write(.basicQosOk, &output)
        return .creditChanged
    }

    mutating func receivedConsume(
        _ received: BasicConsume,
        _ environment: inout ChannelEnvironment
    ) throws(AMQPError) -> ChannelAction {
        var consume = received
        consume.queue = try meant(consume.queue, .basicConsume)
        if !consume.consumerTag.isEmpty, consumers.number(of: consume.consumerTag) != nil {
            throw AMQPError(
                .notAllowed,
                "attempt to reuse consumer tag '\(consume.consumerTag)'",
                method: .basicConsume
            )
        }
        guard consumers.activeCount < environment.limits.maximumConsumersPerChannel else {
            let maximum = environment.limits.maximumConsumersPerChannel
            throw AMQPError(
                .notAllowed,
                "reached maximum (\(maximum)) of consumers per channel",
                method: .basicConsume
            )
        }
        let receivesReplies = consume.queue.equals(DirectReplyTo.name)
        if receivesReplies {
            guard consume.noAck else {
                throw AMQPError(.preconditionFailed, "reply consumer cannot acknowledge", method: .basicConsume)
            }
            guard replyConsumer == ConsumerTable.none else {
                throw AMQPError(.preconditionFailed, "reply consumer already set", method: .basicConsume)
            }
        }
        if consume.consumerTag.isEmpty { consume.consumerTag = environment.names.next("amq.ctag-") }
        let number = consumers.insert(
            ConsumerTable.Consumer(
                tag: consume.consumerTag,
                phase: .requested,
                noAck: consume.noAck,
                prefetchCount: consumerPrefetch
            )
        )
        if receivesReplies { replyConsumer = number }
        let request = ConsumeRequest(
            method: consume,
            consumer: number,
            prefetchCount: consumerPrefetch,
            receivesReplies: receivesReplies
        )
        return handOver(.consume(number, noWait: consume.noWait), .basicConsume, .consume(request))
    }

    /// The consumer is there: it may get messages from here on.
    ///
    /// - Parameter source: the owner's number of the queue, which comes back with what is settled.
    package mutating func consumed(source: UInt32, output: inout ByteBuffer) {
        guard phase == .open, case .consume(let number, let noWait) = pending else { return }
        consumers.activate(number, source: source)
        if !noWait, let tag = consumers[number]?.tag { write(.basicConsumeOk(consumerTag: tag), &output) }
        answered()
    }

    mutating func receivedCancel(_ cancel: BasicCancel, _ output: inout ByteBuffer) -> ChannelAction {
        let answer: ServerMethod? = cancel.noWait ? nil : .basicCancelOk(consumerTag: cancel.consumerTag)
        guard let number = consumers.number(of: cancel.consumerTag) else {
            // It may have been cancelled by the server a moment ago.
            if let answer { write(answer, &output) }
            return .none
        }
        forget(number)
        return handOver(.completion(answer), .basicCancel, .cancel(consumer: number))
    }

    /// The queue of a consumer is gone, or is somebody else's now: nothing more is delivered to it.
    ///
    /// - Parameter isAnnounced: the client wants to be told (capability `consumer_cancel_notify`).
    mutating func cancel(consumer: UInt32, isAnnounced: Bool, output: inout ByteBuffer) {
        guard phase == .open, let found = consumers[consumer], found.phase == .active else { return }
        if isAnnounced { write(.basicCancel(consumerTag: found.tag), &output) }
        forget(consumer)
    }

    private mutating func forget(_ number: UInt32) {
        consumers.cancel(number)
        if replyConsumer == number { replyConsumer = ConsumerTable.none }
    }

    // MARK: To the client

    /// How many messages may be sent to a consumer now.
    package func credit(ofConsumer consumer: UInt32) -> Int {
        let index = Int(consumer)
        guard phase == .open, index < consumers.consumers.count, consumers.consumers[index].phase == .active else {
            return 0
        }
        if consumers.consumers[index].noAck { return .max }
        var credit = maximumUnacknowledged &- unacknowledged.count
        let prefetch = Int(consumers.consumers[index].prefetchCount)
        if prefetch > 0 { credit = min(credit, prefetch &- consumers.consumers[index].unacknowledged) }
        if channelPrefetch > 0 { credit = min(credit, Int(channelPrefetch) &- consumerUnacknowledged) }
        return max(0, credit)
    }

    /// Writes basic.deliver with its content. Allocates nothing.
    ///
    /// - Parameters:
    ///   - token: comes back when the client settles the message.
    ///   - properties: from the property flags on, well-formed.
    package mutating func deliver(
        to consumer: UInt32,
        token: UInt64,
        isRedelivered: Bool,
        exchange: UnsafeRawBufferPointer,
        routingKey: UnsafeRawBufferPointer,
        properties: UnsafeRawBufferPointer,
        body: UnsafeRawBufferPointer,
        output: inout ByteBuffer
    ) -> DeliveryAdmission {
        let index = Int(consumer)
        guard phase == .open, index < consumers.consumers.count, consumers.consumers[index].phase == .active else {
            return .notConsuming
        }
        guard credit(ofConsumer: consumer) > 0 else { return .noCredit }
        let deliveryTag = nextDeliveryTag
        let isWritten = consumers.consumers[index].tag.bytes.withUnsafeBytes { tag in
            OutboundContent(
                .deliver(consumerTag: tag, deliveryTag: deliveryTag, isRedelivered: isRedelivered),
                exchange: exchange,
                routingKey: routingKey,
                properties: properties,
                body: body
            ).encode(channel: number, frameMaximum: frameMaximum, into: &output)
        }
        guard isWritten else { return .tooLarge }
        nextDeliveryTag &+= 1
        if !consumers.consumers[index].noAck {
            let source = consumers.consumers[index].source
            unacknowledged.append(
                .init(deliveryTag: deliveryTag, token: token, source: source, consumer: consumer)
            )
            consumers.delivered(consumer)
            consumerUnacknowledged &+= 1
        }
        return .admitted(deliveryTag: deliveryTag)
    }

    /// Answers basic.get with a message.
    ///
    /// - Parameter messageCount: messages that are left in the queue.
    package mutating func got(
        source: UInt32,
        token: UInt64,
        isRedelivered: Bool,
        messageCount: UInt32,
        exchange: UnsafeRawBufferPointer,
        routingKey: UnsafeRawBufferPointer,
        properties: UnsafeRawBufferPointer,
        body: UnsafeRawBufferPointer,
        output: inout ByteBuffer
    ) -> DeliveryAdmission {
        guard phase == .open, case .get(let noAck) = pending else { return .notConsuming }
        let deliveryTag = nextDeliveryTag
        let content = OutboundContent(
            .getOk(deliveryTag: deliveryTag, isRedelivered: isRedelivered, messageCount: messageCount),
            exchange: exchange,
            routingKey: routingKey,
            properties: properties,
            body: body
        )
        guard content.encode(channel: number, frameMaximum: frameMaximum, into: &output) else { return .tooLarge }
        nextDeliveryTag &+= 1
        if !noAck {
            unacknowledged.append(
                .init(deliveryTag: deliveryTag, token: token, source: source, consumer: ConsumerTable.none)
            )
        }
        answered()
        return .admitted(deliveryTag: deliveryTag)
    }

    /// Answers basic.get: the queue is empty.
    package mutating func gotNothing(output: inout ByteBuffer) {
        guard phase == .open, case .get = pending else { return }
        write(.basicGetEmpty, &output)
        answered()
    }

    /// Returns a mandatory message that reached no queue; to be called before `finishPublish`.
    ///
    /// - Returns: false, with nothing written, when its properties are longer than the client can be told.
    package func returnMessage(
        exchange: UnsafeRawBufferPointer,
        routingKey: UnsafeRawBufferPointer,
        properties: UnsafeRawBufferPointer,
        body: UnsafeRawBufferPointer,
        output: inout ByteBuffer
    ) -> Bool {
        guard phase == .open else { return true }
        return OutboundContent(
            .returned(code: .noRoute),
            exchange: exchange,
            routingKey: routingKey,
            properties: properties,
            body: body
        ).encode(channel: number, frameMaximum: frameMaximum, into: &output)
    }

    // MARK: From the client

    /// Takes basic.ack, basic.nack or basic.reject. What it covers is in `settled` afterwards, the oldest first.
    mutating func settle(
        _ settle: BasicSettle,
        _ id: MethodID,
        _ settled: inout [SettledDelivery]
    ) throws(AMQPError) -> ChannelAction {
        settled.removeAll(keepingCapacity: true)
        let outcome = settle.outcome
        if !settle.isMultiple {
            guard let entry = unacknowledged.remove(settle.deliveryTag) else {
                throw .unknownDeliveryTag(settle.deliveryTag, method: id)
            }
            settled.append(SettledDelivery(entry, outcome))
        } else if settle.deliveryTag == 0 {
            unacknowledged.removeAll { settled.append(SettledDelivery($0, outcome)) }
        } else {
            let isKnown = unacknowledged.remove(through: settle.deliveryTag) {
                settled.append(SettledDelivery($0, outcome))
            }
            guard isKnown else { throw .unknownDeliveryTag(settle.deliveryTag, method: id) }
        }
        if transaction != nil {
            // It counts with the commit, and so does its credit.
            transaction?.settled.append(contentsOf: settled)
            settled.removeAll(keepingCapacity: true)
            return .none
        }
        for delivery in settled { giveBackCredit(delivery.consumer) }
        return settled.isEmpty ? .none : .settle
    }

    @inline(__always)
    mutating func giveBackCredit(_ consumer: UInt32) {
        guard consumer != ConsumerTable.none else { return }
        consumers.settled(consumer)
        consumerUnacknowledged &-= 1
    }

    /// All that wait go back to their queues.
    mutating func takeAll(_ settled: inout [SettledDelivery]) {
        settled.removeAll(keepingCapacity: true)
        unacknowledged.removeAll { settled.append(SettledDelivery($0, .requeue)) }
        for delivery in settled { giveBackCredit(delivery.consumer) }
    }

    /// The same at the end of the channel, with what an open transaction had settled.
    mutating func takeEverything(_ settled: inout [SettledDelivery]) {
        if let transaction { unacknowledged.restore(transaction.settled) }
        transaction?.settled = []
        takeAll(&settled)
    }
}
