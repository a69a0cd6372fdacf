internal import AMQPModel
internal import AMQPProtocol
internal import MessageModel
internal import NIOCore

/// Where a direct reply goes: a consumer of replies, as publishers are told it in reply-to. The number that nobody can
/// guess keeps others from writing to it.
struct ReplyAddress: Equatable {
    var connection: UInt64
    var channel: UInt16
    var secret: UInt64

    private static let prefix = Array("amq.rabbitmq.reply-to.".utf8)
    private static let digits = Array("0123456789abcdef".utf8)

    init(connection: UInt64, channel: UInt16) {
        self.connection = connection
        self.channel = channel
        secret = .random(in: 0 ... .max)
    }

    /// Reads a routing key or the name of a queue; nil where it is no such address.
    init?(_ text: UnsafeRawBufferPointer) {
        guard text.count == Self.prefix.count + 36, text.starts(with: Self.prefix) else { return nil }
        var numbers: (UInt64, UInt64, UInt64) = (0, 0, 0)
        for (place, byte) in text.dropFirst(Self.prefix.count).enumerated() {
            guard let digit = Self.digits.firstIndex(of: byte) else { return nil }
            let value = UInt64(digit)
            switch place {
            case 0..<16: numbers.0 = numbers.0 << 4 | value
            case 16..<20: numbers.1 = numbers.1 << 4 | value
            default: numbers.2 = numbers.2 << 4 | value
            }
        }
        connection = numbers.0
        channel = UInt16(truncatingIfNeeded: numbers.1)
        secret = numbers.2
    }

    var text: ShortString {
        var bytes = Self.prefix
        func append(_ number: UInt64, digits count: Int) {
            for place in (0..<count).reversed() {
                bytes.append(Self.digits[Int(truncatingIfNeeded: number >> UInt64(4 * place)) & 15])
            }
        }
        append(connection, digits: 16)
        append(UInt64(channel), digits: 4)
        append(secret, digits: 16)
        return ShortString(bytes)
    }
}

extension DirectReplyTo {
    /// Whether a queue's name is the pseudo-queue, or one of its addresses.
    static func isMeant(by queue: ShortString) -> Bool {
        name.withUTF8Buffer { queue.bytes.starts(with: $0) }
    }
}

extension AMQPConnectionHandler {
    /// A consumer of replies: there is no queue, and nothing of it in storage.
    func consumeReplies(_ request: ConsumeRequest, _ channel: ChannelState, output: inout ByteBuffer) {
        channel.replies = ReplyConsumer(
            consumer: request.consumer,
            address: ReplyAddress(connection: number, channel: channel.number)
        )
        machine[channel: channel.number]?.consumed(source: 0, output: &output)
    }

    func declareReplyQueue(
        _ declare: QueueDeclare,
        _ channel: ChannelState,
        _ host: VirtualHost,
        output: inout ByteBuffer
    ) throws(AMQPError) {
        let isGeneral = DirectReplyTo.name.withUTF8Buffer { declare.queue.bytes.elementsEqual($0) }
        let address = declare.queue.bytes.withUnsafeBytes { ReplyAddress($0) }
        guard isGeneral || address.map({ front.replyConsumer($0) != nil }) == true else {
            throw .noQueue(declare.queue, virtualHost: host.model.name)
        }
        machine[channel: channel.number]?
            .declaredQueue(declare.queue, messageCount: 0, consumerCount: 1, output: &output)
    }

    /// A message for a consumer of replies goes straight to it, if it is still there and takes what is sent to it.
    func reply(
        _ address: ReplyAddress,
        _ publish: InboundPublish,
        _ channel: ChannelState,
        _ bytes: UnsafeRawBufferPointer,
        output: inout ByteBuffer
    ) {
        defer { finish(publish, channel) }
        guard let (handler, target, consumer) = front.replyConsumer(address), handler.canTakeReplies else { return }
        func deliver(_ output: inout ByteBuffer) {
            _ = handler.machine.deliver(
                onChannel: target.number,
                to: consumer,
                token: 0,
                isRedelivered: false,
                exchange: bytes.slice(publish.exchange),
                routingKey: bytes.slice(publish.routingKey),
                properties: bytes.slice(publish.properties),
                body: bytes.slice(publish.body),
                output: &output
            )
        }
        if handler === self { deliver(&output) } else { handler.withOutput { deliver(&$0) } }
    }
}

/// The consumer of direct replies of a channel.
struct ReplyConsumer {
    var consumer: UInt32
    var address: ReplyAddress

    /// Properties with its address in reply-to.
    func replace(_ properties: UnsafeRawBufferPointer) -> [UInt8] {
        var changes = PropertyChanges()
        changes.set(.replyTo, address.text)
        return changes.applied(to: PropertiesView(validated: properties))
    }
}

extension AMQPFront {
    /// The consumer that an address means, if it is still there.
    func replyConsumer(_ address: ReplyAddress) -> (AMQPConnectionHandler, ChannelState, consumer: UInt32)? {
        guard let handler = connection(address.connection), !handler.hasEnded,
            let channel = handler.channel(address.channel), let replies = channel.replies, replies.address == address
        else { return nil }
        return (handler, channel, replies.consumer)
    }
}
