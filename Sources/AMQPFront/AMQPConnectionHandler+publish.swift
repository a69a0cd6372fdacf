internal import AMQPModel
internal import AMQPProtocol
internal import Gateway
internal import MessageModel
internal import NIOCore
internal import StorageService

// Messages from the client.
extension AMQPConnectionHandler {
    /// Puts one message into the batch of this tick.
    /// - Parameter bytes: what the positions of the message are counted in, unless it was put together.
    @inline(__always)
    func publish(
        _ publish: InboundPublish,
        _ channel: ChannelState,
        _ bytes: UnsafeRawBufferPointer,
        _ host: VirtualHost,
        output: inout ByteBuffer
    ) {
        guard publish.isAssembled else { return take(publish, channel, bytes, host, output: &output) }
        let content = machine.takeAssembledContent()
        content.withUnsafeBytes { take(publish, channel, $0, host, output: &output) }
    }

    private func take(
        _ publish: InboundPublish,
        _ channel: ChannelState,
        _ bytes: UnsafeRawBufferPointer,
        _ host: VirtualHost,
        output: inout ByteBuffer
    ) {
        let exchange = bytes.slice(publish.exchange)
        let key = bytes.slice(publish.routingKey)
        let session = host.open
        if exchange.isEmpty, key.count > DirectReplyTo.name.utf8CodeUnitCount, let reply = ReplyAddress(key) {
            return self.reply(reply, publish, channel, bytes, output: &output)
        }
        let address: PublishAddress
        var copies: [ShortString] = []
        do throws(AMQPError) {
            if let last = channel.lastAddress,
                last.isFor(exchange, key, epoch: host.model.epoch, generation: session.topics.generation)
            {
                address = last
            } else {
                address = try host.addresses.find(exchange, key, host, session)
                channel.lastAddress = address
            }
            if publish.propertyFlags & Self.examinedProperties != 0 { copies = try examine(publish, bytes) }
            if address.target.isInternal {
                throw .internalExchange(address.target.exchange, virtualHost: host.model.name)
            }
        } catch {
            return refuse(channel, error, output: &output)
        }
        if publish.isTransactional {
            guard channel.hold(publish, bytes) else {
                refuse(channel, .transactionTooLarge, output: &output)
                return
            }
        } else if address.isInStorage, copies.isEmpty, !publish.wantsDirectReply {
            host.publish(publish, bytes, address, self, channel, session)
        } else {
            publishSpecial(publish, channel, bytes, address, copies, host, session)
        }
    }

    /// A message that has more than one key, whose exchange is not storage's alone, or that wants its reply directly.
    private func publishSpecial(
        _ publish: InboundPublish,
        _ channel: ChannelState,
        _ bytes: UnsafeRawBufferPointer,
        _ address: PublishAddress,
        _ copies: [ShortString],
        _ host: VirtualHost,
        _ session: GatewaySession
    ) {
        var section = Array(bytes.slice(publish.properties))
        if publish.wantsDirectReply, let replies = channel.replies {
            section = replies.replace(bytes.slice(publish.properties))
        }
        section.withUnsafeBytes { section in
            host.publishRouted(
                publish,
                bytes,
                RoutedPublish(
                    exchange: address.target.exchange,
                    keys: [ShortString(address.routingKey)] + copies,
                    properties: section,
                    body: bytes.slice(publish.body)
                ),
                self,
                channel
            )
        }
    }

    private static let examinedProperties = BasicProperty.userID.flag | BasicProperty.headers.flag

    /// What of the properties can be wrong, and the further keys that the headers CC and BCC name.
    func examine(_ publish: InboundPublish, _ bytes: UnsafeRawBufferPointer) throws(AMQPError) -> [ShortString] {
        let view = PropertiesView(validated: bytes.slice(publish.properties))
        if let named = view.value(.userID), !named.elementsEqual(user.utf8) {
            throw .wrongUser(ShortString(named), authenticated: user)
        }
        guard publish.contains(.headers), let headers = view.headers,
            headers.field("CC") != nil || headers.field("BCC") != nil
        else { return [] }
        return try view.copies("CC") + view.copies("BCC")
    }

    /// Messages are stored, or are not.
    /// - Parameter firstIndex: where in their append the first of them is.
    func completed(
        _ channel: ChannelState,
        _ waiter: PublishWaiters.Waiter,
        firstIndex: UInt32,
        _ result: AppendResult
    ) {
        if waiter.firstTag > 0, channel.isOpen {
            let last = waiter.firstTag &+ UInt64(waiter.count) &- 1
            if result.error != nil {
                refuse(waiter.firstTag...last, of: channel)
            } else {
                for index in result.refused where index >= firstIndex && Int(index - firstIndex) < waiter.count {
                    let tag = waiter.firstTag &+ UInt64(index - firstIndex)
                    refuse(tag...tag, of: channel)
                }
                machine[channel: channel.number]?.finishPublishes(waiter.firstTag...last)
            }
        }
        answered(channel, messages: waiter.count, bytes: waiter.bytes)
    }

    private func refuse(_ tags: ClosedRange<UInt64>, of channel: ChannelState) {
        for tag in tags { machine.finishPublish(tag, onChannel: channel.number, isRefused: true) }
    }

    /// A message without a way through storage is done.
    func finish(_ publish: InboundPublish, _ channel: ChannelState) {
        guard publish.confirmTag > 0 else { return }
        machine.finishPublish(publish.confirmTag, onChannel: channel.number)
        confirmLater(channel)
    }
}

extension AMQPError {
    static let transactionTooLarge = AMQPError(
        .preconditionFailed,
        "a transaction holds too much",
        method: .basicPublish
    )
}
