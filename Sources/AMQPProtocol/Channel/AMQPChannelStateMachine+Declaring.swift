package import NIOCore

// Exchanges, queues and bindings: what can be judged without knowing which there are, and the answers.
extension AMQPChannelStateMachine {
    mutating func receivedDeclaration(
        _ method: ClientMethod,
        _ id: MethodID,
        _ environment: inout ChannelEnvironment
    ) throws(AMQPError) -> ChannelAction {
        switch method {
        case .exchangeDeclare(let declare):
            try refuseDefaultExchange(declare.exchange, id)
            return handOver(.completion(declare.noWait ? nil : .exchangeDeclareOk), id, .declareExchange(declare))
        case .exchangeDelete(let delete):
            try refuseDefaultExchange(delete.exchange, id)
            guard !delete.exchange.hasPrefix("amq.") else {
                throw .systemExchange(delete.exchange, virtualHost: environment.virtualHost)
            }
            return handOver(.completion(delete.noWait ? nil : .exchangeDeleteOk), id, .deleteExchange(delete))
        case .exchangeBind(let bind):
            try refuseDefaultExchange(bind.destination, id)
            try refuseDefaultExchange(bind.source, id)
            return handOver(.completion(bind.noWait ? nil : .exchangeBindOk), id, .bindExchange(bind))
        case .exchangeUnbind(let bind):
            try refuseDefaultExchange(bind.destination, id)
            try refuseDefaultExchange(bind.source, id)
            return handOver(.completion(bind.noWait ? nil : .exchangeUnbindOk), id, .unbindExchange(bind))
        case .queueDeclare(let declare):
            return try receivedDeclare(declare, &environment)
        case .queueBind(let bind):
            let meant = try meant(bind, id)
            return handOver(.completion(bind.noWait ? nil : .queueBindOk), id, .bindQueue(meant))
        case .queueUnbind(let bind):
            return handOver(.completion(.queueUnbindOk), id, .unbindQueue(try meant(bind, id)))
        case .queuePurge(var purge):
            purge.queue = try meant(purge.queue, id)
            return handOver(.queuePurge(noWait: purge.noWait), id, .purgeQueue(purge))
        case .queueDelete(var delete):
            delete.queue = try meant(delete.queue, id)
            return handOver(.queueDelete(noWait: delete.noWait), id, .deleteQueue(delete))
        default:
            throw AMQPError(.commandInvalid, "unimplemented method", method: id)
        }
    }

    private mutating func receivedDeclare(
        _ received: QueueDeclare,
        _ environment: inout ChannelEnvironment
    ) throws(AMQPError) -> ChannelAction {
        var declare = received
        if declare.queue.hasPrefix(DirectReplyTo.name) {
            // Such a queue is there while its consumer is: every declaration only asks for it.
            declare.isPassive = true
        } else if !declare.isPassive {
            if declare.queue.isEmpty {
                declare.queue = environment.names.next("amq.gen-")
            } else if declare.queue.hasPrefix("amq.") {
                throw .reservedName("queue", declare.queue, method: .queueDeclare)
            }
        }
        return handOver(.queueDeclare(noWait: declare.noWait), .queueDeclare, .declareQueue(declare))
    }

    /// An empty queue name means the queue declared last, and with it an empty routing key its name.
    private func meant(_ bind: QueueBind, _ id: MethodID) throws(AMQPError) -> QueueBind {
        var bind = bind
        if bind.queue.isEmpty, bind.routingKey.isEmpty { bind.routingKey = lastQueue }
        bind.queue = try meant(bind.queue, id)
        try refuseDefaultExchange(bind.exchange, id)
        return bind
    }

    private func refuseDefaultExchange(_ exchange: ShortString, _ id: MethodID) throws(AMQPError) {
        guard !exchange.isEmpty else {
            throw AMQPError(.accessRefused, "operation not permitted on the default exchange", method: id)
        }
    }

    // MARK: Answers

    /// What an action asked for is done, and there is nothing more to say about it.
    package mutating func completed(output: inout ByteBuffer) {
        guard phase == .open, let pending else { return }
        switch pending {
        case .completion(let answer):
            if let answer { write(answer, &output) }
        case .commit: write(.txCommitOk, &output)
        case .queueDeclare, .queuePurge, .queueDelete, .consume, .get: return
        }
        answered()
    }

    /// - Parameters:
    ///   - messageCount: messages that could be delivered now.
    package mutating func declaredQueue(
        _ queue: ShortString,
        messageCount: UInt32,
        consumerCount: UInt32,
        output: inout ByteBuffer
    ) {
        guard phase == .open, case .queueDeclare(let noWait) = pending else { return }
        lastQueue = queue
        if !noWait {
            write(.queueDeclareOk(queue: queue, messageCount: messageCount, consumerCount: consumerCount), &output)
        }
        answered()
    }

    package mutating func purgedQueue(messageCount: UInt32, output: inout ByteBuffer) {
        guard phase == .open, case .queuePurge(let noWait) = pending else { return }
        if !noWait { write(.queuePurgeOk(messageCount: messageCount), &output) }
        answered()
    }

    package mutating func deletedQueue(messageCount: UInt32, output: inout ByteBuffer) {
        guard phase == .open, case .queueDelete(let noWait) = pending else { return }
        if !noWait { write(.queueDeleteOk(messageCount: messageCount), &output) }
        answered()
    }

    mutating func answered() {
        pending = nil
        pendingMethod = nil
    }
}

/// RabbitMQ's direct reply-to: a pseudo-queue whose messages go straight to a consumer.
package enum DirectReplyTo {
    /// What a client consumes from and puts into reply-to; the server replaces it by an address of the consumer that
    /// begins with the same.
    package static let name: StaticString = "amq.rabbitmq.reply-to"
}
