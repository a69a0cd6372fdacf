internal import AMQPModel
internal import AMQPProtocol
internal import MessageModel
internal import NIOCore
internal import StorageService

// What a channel asks for besides messages: each method is answered when what it changes is durable.
extension AMQPConnectionHandler {
    /// Carries out one action of a channel.
    @inline(__always)
    func perform(
        _ action: ChannelAction,
        onChannel number: UInt16,
        _ bytes: UnsafeRawBufferPointer,
        output: inout ByteBuffer
    ) {
        guard let channel = channel(number), let host else { return }
        switch action {
        case .publish(let publish): self.publish(publish, channel, bytes, host, output: &output)
        case .settle: host.settle(machine.settled)
        case .none: break
        default: performRest(action, channel, host, output: &output)
        }
    }

    private func performRest(
        _ action: ChannelAction,
        _ channel: ChannelState,
        _ host: VirtualHost,
        output: inout ByteBuffer
    ) {
        do throws(AMQPError) {
            switch action {
            case .declareExchange(let declare): change(channel, host, try host.model.declare(declare), &output)
            case .deleteExchange(let delete): change(channel, host, try host.model.delete(delete), &output)
            case .bindExchange(let bind): change(channel, host, try host.model.bind(bind), &output)
            case .unbindExchange(let bind): change(channel, host, try host.model.unbind(bind), &output)
            case .bindQueue(let bind): change(channel, host, try host.model.bind(bind, connection: number), &output)
            case .unbindQueue(let bind): change(channel, host, try host.model.unbind(bind, connection: number), &output)
            case .declareQueue(let declare): try declareQueue(declare, channel, host, output: &output)
            case .purgeQueue(let purge): try self.purge(purge, channel, host)
            case .deleteQueue(let delete): try deleteQueue(delete, channel, host, output: &output)
            case .consume(let request): try consume(request, channel, host, output: &output)
            case .cancel(let consumer): cancel(consumer, channel, host, output: &output)
            case .get(let get): try self.get(get, channel, host)
            case .creditChanged: creditChanged(channel, host)
            case .recover:
                host.settle(machine.settled)
                machine[channel: channel.number]?.completed(output: &output)
            case .commit: commit(channel, host)
            case .rollback: channel.forgetTransaction()
            case .close: close(channel, host, output: &output)
            case .failed: channelFailed(channel)
            case .none, .publish, .settle: break
            }
        } catch {
            refuse(channel, error, output: &output)
        }
    }

    // MARK: Answers

    /// Carries out a change of the model and answers when it is durable.
    private func change(
        _ channel: ChannelState,
        _ host: VirtualHost,
        _ effects: [ModelEffect],
        _ output: inout ByteBuffer
    ) {
        guard !effects.isEmpty else {
            machine[channel: channel.number]?.completed(output: &output)
            return
        }
        carryOut(effects, channel, host) { handler, output in
            handler.machine[channel: channel.number]?.completed(output: &output)
        }
    }

    /// - Parameter answer: what is written when all is durable, unless the channel is gone.
    private func carryOut(
        _ effects: [ModelEffect],
        _ channel: ChannelState,
        _ host: VirtualHost,
        _ answer: @escaping (AMQPConnectionHandler, inout ByteBuffer) -> Void
    ) {
        // What was published before is stored before.
        host.flush()
        host.carryOut(effects) { error in
            self.answer(channel) { output in
                if let error {
                    self.refuse(channel, AMQPError(error), output: &output)
                } else {
                    answer(self, &output)
                }
            }
        }
    }

    /// Answers a method of a channel that is still open, and goes on with what waits behind it.
    func answer(_ channel: ChannelState, _ body: (inout ByteBuffer) -> Void) {
        guard channel.isOpen, !hasEnded else { return }
        withOutput(body)
        resume()
    }

    private func ask(
        _ request: StorageRequest,
        _ channel: ChannelState,
        _ host: VirtualHost,
        _ body: @escaping (Result<StorageReply, SluiceError>, inout ByteBuffer) -> Void
    ) {
        host.flush()
        host.ask(request) { result in self.answer(channel) { body(result, &$0) } }
    }

    // MARK: Queues

    /// Asks how many messages a queue has; those count that were published on this connection before.
    private func describe(
        _ queue: Queue,
        _ channel: ChannelState,
        _ host: VirtualHost,
        _ body: @escaping (Result<StorageReply, SluiceError>, inout ByteBuffer) -> Void
    ) {
        let hasPublished = unansweredMessages > 0
        ask(.describeSubscription(name: queue.storageName), channel, host) { result, output in
            guard hasPublished, case .success(.subscription(let found)) = result else {
                return body(result, &output)
            }
            // Answered when everything before is durable, and with that in its queues.
            self.ask(.updateSubscription(name: found.name, found.policy), channel, host) { _, _ in
                self.ask(.describeSubscription(name: queue.storageName), channel, host, body)
            }
        }
    }

    private func declareQueue(
        _ declare: QueueDeclare,
        _ channel: ChannelState,
        _ host: VirtualHost,
        output: inout ByteBuffer
    ) throws(AMQPError) {
        if DirectReplyTo.isMeant(by: declare.queue) {
            return try declareReplyQueue(declare, channel, host, output: &output)
        }
        let declaration = try host.model.declare(declare, connection: number)
        guard !declaration.isNew else {
            return carryOut(declaration.effects, channel, host) { handler, output in
                handler.machine[channel: channel.number]?
                    .declaredQueue(declare.queue, messageCount: 0, consumerCount: 0, output: &output)
            }
        }
        let queue = declaration.queue
        guard !queue.isStream else {
            machine[channel: channel.number]?
                .declaredQueue(
                    queue.name,
                    messageCount: 0,
                    consumerCount: UInt32(clamping: queue.consumers),
                    output: &output
                )
            return
        }
        if queue.settings.expiresMilliseconds != nil { host.use(queue) }
        describe(queue, channel, host) { result, output in
            switch result {
            case .success(.subscription(let description)):
                self.machine[channel: channel.number]?
                    .declaredQueue(
                        queue.name,
                        messageCount: description.readyMessages,
                        consumerCount: UInt32(clamping: host.model.queue(queue.name)?.consumers ?? 0),
                        output: &output
                    )
            case .failure(let error) where error.code == .subscriptionNotFound:
                // It had expired: it is declared as one that is not there.
                host.inboxEnded(queue.storageName)
                do throws(AMQPError) {
                    try self.declareQueue(declare, channel, host, output: &output)
                } catch {
                    self.refuse(channel, error, output: &output)
                }
            case .failure(let error): self.refuse(channel, AMQPError(error), output: &output)
            case .success: self.refuse(channel, .unexpectedAnswer, output: &output)
            }
        }
    }

    private func purge(_ purge: QueuePurge, _ channel: ChannelState, _ host: VirtualHost) throws(AMQPError) {
        let queue = try host.model.queue(purge.queue, for: number)
        guard !queue.isStream else { throw .ofStream("purge", queue, host) }
        host.flush()
        host.purge(queue) { result in
            self.answer(channel) { output in
                switch result {
                case .success(let count):
                    self.machine[channel: channel.number]?.purgedQueue(messageCount: count, output: &output)
                case .failure(let error): self.refuse(channel, AMQPError(error), output: &output)
                }
            }
        }
    }

    private func deleteQueue(
        _ delete: QueueDelete,
        _ channel: ChannelState,
        _ host: VirtualHost,
        output: inout ByteBuffer
    ) throws(AMQPError) {
        guard let queue = host.model.queue(delete.queue), !queue.isStream else {
            let effects = try host.model.delete(delete, connection: number)
            guard !effects.isEmpty else {
                machine[channel: channel.number]?.deletedQueue(messageCount: 0, output: &output)
                return
            }
            return carryOut(effects, channel, host) { handler, output in
                handler.machine[channel: channel.number]?.deletedQueue(messageCount: 0, output: &output)
            }
        }
        _ = try host.model.queue(delete.queue, for: number)
        describe(queue, channel, host) { result, output in
            var counts: (ready: UInt32, all: UInt64) = (0, 0)
            if case .success(.subscription(let description)) = result {
                counts = (description.readyMessages, description.allMessages)
            }
            do throws(AMQPError) {
                let effects = try host.model.delete(delete, connection: self.number, messageCount: counts.all)
                self.carryOut(effects, channel, host) { handler, output in
                    handler.machine[channel: channel.number]?.deletedQueue(messageCount: counts.ready, output: &output)
                }
            } catch {
                self.refuse(channel, error, output: &output)
            }
        }
    }

    // MARK: Ending

    private func close(_ channel: ChannelState, _ host: VirtualHost, output: inout ByteBuffer) {
        host.settle(machine.settled)
        let number = channel.number
        // Auto-delete queues are gone when the client reads close-ok.
        let effects = closed(channel)
        guard !effects.isEmpty else { return machine.completeClose(channel: number, output: &output) }
        host.flush()
        host.carryOut(effects) { _ in
            guard !self.hasEnded else { return }
            self.withOutput { self.machine.completeClose(channel: number, output: &$0) }
            self.resume()
        }
    }
}

extension AMQPError {
    static let unexpectedAnswer = AMQPError(.internalError, "storage answered another question")

    /// Streams have no such thing (RabbitMQ: a connection error).
    static func ofStream(_ verb: String, _ queue: Queue, _ host: VirtualHost) -> AMQPError {
        AMQPError(
            .notImplemented,
            "\(verb) is not supported by stream queues: queue '\(queue.name)' in vhost '\(host.model.name)'"
        )
    }
}

extension SubscriptionDescription {
    /// Messages that could be delivered now.
    var readyMessages: UInt32 {
        UInt32(clamping: lanes.reduce(0) { $0 + ($1.backlog > $1.leased ? $1.backlog - $1.leased : 0) })
    }

    /// With those that are delivered and not acknowledged.
    var allMessages: UInt64 { lanes.reduce(0) { $0 + $1.backlog } }
}
