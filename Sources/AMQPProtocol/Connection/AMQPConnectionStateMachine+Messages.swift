package import NIOCore

// What there is for each message. The same can be done by way of `[channel:]`, but an accessor that lends a channel to
// another module takes memory each time.
extension AMQPConnectionStateMachine {
    /// As `AMQPChannelStateMachine.deliver`; `notConsuming` where there is no such channel.
    package mutating func deliver(
        onChannel number: UInt16,
        to consumer: UInt32,
        token: UInt64,
        isRedelivered: Bool,
        exchange: UnsafeRawBufferPointer,
        routingKey: UnsafeRawBufferPointer,
        properties: UnsafeRawBufferPointer,
        body: UnsafeRawBufferPointer,
        output: inout ByteBuffer
    ) -> DeliveryAdmission {
        guard let index = channels.index(of: number) else { return .notConsuming }
        return channels.slots[index]?
            .deliver(
                to: consumer,
                token: token,
                isRedelivered: isRedelivered,
                exchange: exchange,
                routingKey: routingKey,
                properties: properties,
                body: body,
                output: &output
            ) ?? .notConsuming
    }

    /// As `AMQPChannelStateMachine.finishPublish`.
    package mutating func finishPublish(_ confirmTag: UInt64, onChannel number: UInt16, isRefused: Bool = false) {
        guard let index = channels.index(of: number) else { return }
        channels.slots[index]?.finishPublish(confirmTag, isRefused: isRefused)
    }

    /// How many messages may be sent to a consumer now.
    package mutating func credit(ofConsumer consumer: UInt32, onChannel number: UInt16) -> Int {
        guard let index = channels.index(of: number) else { return 0 }
        return channels.slots[index]?.credit(ofConsumer: consumer) ?? 0
    }
}
