/// A message that a client published, whole and as far as the protocol is concerned in order: small and without
/// references, since there is one for each message.
///
/// Positions count from the first of the bytes that were received in this step, or, where `isAssembled`, from the first
/// of those that `takeAssembledContent` returns.
package struct InboundPublish: Sendable, Hashable {
    var publish: BasicPublish
    var propertiesOffset: UInt32
    var propertiesLength: UInt32
    var bodyOffset: UInt32
    var bodyLength: UInt32
    /// The property flags.
    package var propertyFlags: UInt16
    package var isAssembled: Bool
    /// The channel is transactional: keep the message until `commit`, forget it on `rollback`.
    package var isTransactional: Bool
    /// Replies are to go to the channel's reply consumer (RabbitMQ's direct reply-to).
    package var wantsDirectReply: Bool
    /// To be passed to `finishPublish` once the message is safe; zero where the channel is not in confirm mode.
    package var confirmTag: UInt64

    package var exchange: Range<Int> { publish.exchange }
    package var routingKey: Range<Int> { publish.routingKey }
    /// To be returned, before it is confirmed, when it reaches no queue.
    package var isMandatory: Bool { publish.isMandatory }
    /// From the property flags on, checked.
    package var properties: Range<Int> { Int(propertiesOffset)..<Int(propertiesOffset) &+ Int(propertiesLength) }
    package var body: Range<Int> { Int(bodyOffset)..<Int(bodyOffset) &+ Int(bodyLength) }

    package func contains(_ property: BasicProperty) -> Bool { propertyFlags & property.flag != 0 }
}

/// A basic.consume that the protocol has nothing against.
package struct ConsumeRequest: Sendable, Hashable {
    /// With the queue and the consumer tag that it means.
    package var method: BasicConsume
    /// What the consumer is called from here on.
    package var consumer: UInt32
    /// Unacknowledged deliveries it may have; zero: as many as there are.
    package var prefetchCount: UInt16
    /// It is a consumer of direct replies; there is no queue.
    package var receivesReplies: Bool
}

/// What the owner is to do for a channel. Where an answer is awaited the channel takes nothing more until it came; it is
/// one of the channel's methods named here, or `fail` of the connection.
package enum ChannelAction: Sendable, Hashable {
    case none
    /// Route and store it, then call `finishPublish` where it has a confirm tag.
    case publish(InboundPublish)
    /// The deliveries in the connection's `settled` are settled.
    case settle
    /// Answer: `completed`.
    case declareExchange(ExchangeDeclare)
    /// Answer: `completed`, also when there is no such exchange.
    case deleteExchange(ExchangeDelete)
    /// Answer: `completed`.
    case bindExchange(ExchangeBind)
    /// Answer: `completed`, also when there is no such binding.
    case unbindExchange(ExchangeBind)
    /// Answer: `declaredQueue`.
    case declareQueue(QueueDeclare)
    /// Answer: `completed`.
    case bindQueue(QueueBind)
    /// Answer: `completed`, also when there is no such binding.
    case unbindQueue(QueueBind)
    /// Answer: `purgedQueue`.
    case purgeQueue(QueuePurge)
    /// Answer: `deletedQueue`, also when there is no such queue.
    case deleteQueue(QueueDelete)
    /// Answer: `consumed`, and only then the first delivery.
    case consume(ConsumeRequest)
    /// Nothing is delivered to it any more; what was delivered stays with the client. Answer: `completed`.
    case cancel(consumer: UInt32)
    /// Answer: `got` or `gotNothing`.
    case get(BasicGet)
    /// There may be more credit than before.
    case creditChanged
    /// All deliveries, in `settled`, go back to their queues. Answer: `completed`.
    case recover
    /// Store the messages kept and settle `settled`, all or nothing. Answer: `completed`; or `fail`, and then what is in
    /// `settled` goes back to its queues.
    case commit
    /// Forget the messages kept.
    case rollback
    /// The client closes the channel: `settled` goes back. Answer: `completeClose` of the connection.
    case close(CloseMethod)
    /// The server has closed the channel: `settled` goes back, and nothing is to be answered any more.
    case failed(AMQPError)
}

/// Whether a message was written to the client.
package enum DeliveryAdmission: Sendable, Hashable {
    case admitted(deliveryTag: UInt64)
    /// The client has as many unacknowledged messages as it takes: wait until it settles some.
    case noCredit
    /// The consumer or the channel is gone, or was not answered yet.
    case notConsuming
    /// A name or the properties are longer than the client can be told.
    case tooLarge
}

/// What a channel needs of its connection for one step.
struct ChannelEnvironment: Sendable {
    var limits: AMQPLimits
    var virtualHost = ShortString.empty
    var names: NameGenerator
    /// Reused from step to step.
    var settled: [SettledDelivery] = []
    /// The content of the message that was put together in this step.
    var assembled: [UInt8] = []
}

/// Finds names for queues and consumers that were declared without one.
struct NameGenerator: Sendable {
    private var state: UInt64
    private let distinction: UInt64

    /// - Parameter randomness: 128 random bits that no other connection has.
    init(randomness: (UInt64, UInt64)) {
        state = randomness.0
        distinction = randomness.1
    }

    /// The prefix with 22 letters, digits and signs, as RabbitMQ's names look.
    mutating func next(_ prefix: StaticString) -> ShortString {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        mixed ^= mixed >> 31
        var name = prefix.withUTF8Buffer { Array($0) }
        for word in [mixed, distinction ^ mixed.byteSwapped] {
            for shift in stride(from: 0, to: 66, by: 6) { name.append(alphabet[Int(word >> UInt64(shift) & 63)]) }
        }
        return ShortString(name)
    }
}
