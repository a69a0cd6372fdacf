internal import AMQPModel
internal import AMQPProtocol
internal import Gateway
internal import MessageModel
internal import NIOCore
internal import StorageService

// Consumers of a channel, and basic.get.
extension AMQPConnectionHandler {
    func consume(
        _ request: ConsumeRequest,
        _ channel: ChannelState,
        _ host: VirtualHost,
        output: inout ByteBuffer
    ) throws(AMQPError) {
        guard !request.receivesReplies else { return consumeReplies(request, channel, output: &output) }
        let known = try host.model.queue(request.method.queue, for: number)
        guard !known.isStream else { return try consumeStream(request, known, channel, host, output: &output) }
        let priority = try Self.priority(request.method.arguments)
        let queue = try host.model.addConsumer(
            to: request.method.queue,
            connection: number,
            isExclusive: request.method.isExclusive
        )
        let source = host.makeSource(
            self,
            channel,
            queue.number,
            consumer: request.consumer,
            isAutomatic: request.method.noAck
        )
        let isLimited = !source.isAutomatic && request.prefetchCount > 0
        source.sharesCredit = !source.isAutomatic && channel.credit != nil
        // What was declared or published before comes before.
        host.flush()
        host.open.storage.attach(
            AttachRequest(
                source: .consumer(of: queue.storageName, .attachment),
                creditMessages: isLimited ? UInt64(request.prefetchCount) : AMQPFrontOptions.unboundedCredit,
                creditBytes: UInt64(creditBytes),
                priority: priority,
                creditGroup: source.sharesCredit ? channel.credit?.group : nil
            ),
            attachment: source.attachment
        )
        machine[channel: channel.number]?.consumed(source: source.attachment, output: &output)
    }

    private static func priority(_ arguments: FieldTable) throws(AMQPError) -> Int32 {
        guard let argument = arguments["x-priority"] else { return 0 }
        guard let priority = argument.integer else {
            throw AMQPError(
                .preconditionFailed,
                "invalid arg 'x-priority': a number is expected",
                method: .basicConsume
            )
        }
        return Int32(clamping: priority)
    }

    /// Bytes that may be on their way to one consumer: together about as much as may wait for the client.
    var creditBytes: Int {
        max(AMQPFrontOptions.leastCreditBytes, front.options.outgoingBufferBytes / max(1, sourceCount))
    }

    /// basic.qos: what a limit for the channel means to storage.
    func creditChanged(_ channel: ChannelState, _ host: VirtualHost) {
        let limit = machine[channel: channel.number]?.globalPrefetchCount ?? 0
        guard channel.credit != nil || limit > 0 else { return }
        let credit = channel.credit ?? ChannelCredit(group: host.nextGroup())
        channel.credit = credit
        let granted = credit.setLimit(limit)
        if granted > 0 { host.open.storage.grantCredit(group: credit.group, messages: UInt64(granted)) }
        sendHeld(channel, host)
    }

    func cancel(_ consumer: UInt32, _ channel: ChannelState, _ host: VirtualHost, output: inout ByteBuffer) {
        if channel.replies?.consumer == consumer { channel.replies = nil }
        guard let source = channel.sources.first(where: { $0.consumer == consumer && !$0.isCancelled }) else {
            machine[channel: channel.number]?.completed(output: &output)
            return
        }
        host.flush()
        host.cancel(source)
        let effects = host.model.removeConsumer(from: source.queue)
        guard !effects.isEmpty else {
            machine[channel: channel.number]?.completed(output: &output)
            return
        }
        host.carryOut(effects) { _ in
            self.answer(channel) { self.machine[channel: channel.number]?.completed(output: &$0) }
        }
    }

    /// Storage, or whoever deleted the queue, has ended a consumer.
    func ended(_ source: Source) {
        guard let consumer = source.consumer, source.channel.isOpen, !hasEnded, !source.isCancelled else { return }
        source.isCancelled = true
        withOutput { machine.cancel(consumer: consumer, onChannel: source.channel.number, output: &$0) }
    }

    // MARK: basic.get

    func get(_ get: BasicGet, _ channel: ChannelState, _ host: VirtualHost) throws(AMQPError) {
        let queue = try host.model.queue(get.queue, for: number)
        guard !queue.isStream else { throw .ofStream("basic.get", queue, host) }
        host.flush()
        let source = getter(of: queue, isAutomatic: get.noAck, channel, host)
        host.ask(.lease(attachment: source.attachment, maxMessages: 1)) { result in
            self.answer(channel) { output in self.finishGet(source, queue, channel, host, result, output: &output) }
        }
    }

    /// A channel has one for each queue that it gets from.
    private func getter(
        of queue: Queue,
        isAutomatic: Bool,
        _ channel: ChannelState,
        _ host: VirtualHost
    ) -> Source {
        let known = channel.sources.first {
            $0.consumer == nil && $0.queue == queue.number && $0.isAutomatic == isAutomatic
        }
        if let known { return known }
        let source = host.makeSource(self, channel, queue.number, consumer: nil, isAutomatic: isAutomatic)
        host.open.storage.attach(
            AttachRequest(source: .getter(of: queue.storageName)),
            attachment: source.attachment
        )
        return source
    }

    private func finishGet(
        _ source: Source,
        _ queue: Queue,
        _ channel: ChannelState,
        _ host: VirtualHost,
        _ result: Result<StorageReply, SluiceError>,
        output: inout ByteBuffer
    ) {
        let taken = source.gotten
        source.gotten = nil
        guard case .success(.leased(_, let remaining)) = result else {
            guard host.model.queue(queue.number) == nil else {
                // It had expired, or somebody deleted its inbox.
                host.inboxEnded(queue.storageName)
                return refuse(channel, .noQueue(queue.name, virtualHost: host.model.name), output: &output)
            }
            return refuse(channel, .noQueue(queue.name, virtualHost: host.model.name), output: &output)
        }
        guard let taken else {
            machine[channel: channel.number]?.gotNothing(output: &output)
            return
        }
        let admission = taken.exchange.withUnsafeBytes { exchange in
            taken.routingKey.withUnsafeBytes { routingKey in
                taken.properties.withUnsafeBytes { properties in
                    taken.body.withUnsafeBytes { body in
                        machine[channel: channel.number]?
                            .got(
                                source: source.attachment,
                                token: taken.token.rawValue,
                                isRedelivered: taken.isRedelivered,
                                messageCount: UInt32(clamping: remaining),
                                exchange: exchange,
                                routingKey: routingKey,
                                properties: properties,
                                body: body,
                                output: &output
                            )
                    }
                }
            }
        }
        guard case .admitted = admission else {
            host.giveBack(source, taken.token)
            if case .tooLarge = admission { machine[channel: channel.number]?.gotNothing(output: &output) }
            return
        }
        if source.isAutomatic { host.accept(source, taken.token) } else { source.unsettled += 1 }
    }
}
