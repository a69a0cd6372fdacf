/// What the codec accepts from a peer and what the server offers it, with the reason beside each number.
package struct AMQPLimits: Sendable, Hashable {
    /// The greatest frame the server offers in connection.tune, in bytes with its eight bytes of framing: RabbitMQ's.
    package var frameMaximum: UInt32 = 131_072
    /// The least a client may ask for. The specification's own bound; RabbitMQ refuses below 8,192 since 4.1, which
    /// locked out clients that had always asked for 4,096.
    package var minimumFrameMaximum: UInt32 = 4_096
    /// The greatest frame before connection.tune-ok. Room for a token in place of a password, as in RabbitMQ 4.1.
    package var initialFrameMaximum: UInt32 = 8_192
    /// Open channels of one connection, as RabbitMQ offers. It counts channels; their numbers may be any.
    package var channelMaximum: UInt16 = 2_047
    /// Seconds between signs of life that the server proposes; zero proposes none.
    package var heartbeatSeconds: UInt16 = 60
    /// Greatest body in bytes, announced by the content header: 16 MiB as RabbitMQ since 4.0. More is 406.
    package var maximumMessageSize: UInt64 = 16_777_216
    /// A content header that announces more than this is no mistake but an attack, and 501: RabbitMQ's bound.
    package static let absoluteMessageSize: UInt64 = 536_870_912
    /// Tables and arrays inside each other. Headers of dead letters need three; deeper ones only cost stack.
    package var maximumTableDepth = 32
    /// Consumers of one channel.
    package var maximumConsumersPerChannel = 16_384
    /// Deliveries of one channel that wait for their acknowledgement, whatever the prefetch count: each takes 24 bytes
    /// here.
    package var maximumUnacknowledged = 1_048_576
    /// Content up to this many bytes, frames included, is used in place when it is in one piece; beyond, and when other
    /// channels' frames come between, it is put together in a buffer of its own.
    package var maximumContentInPlace = 65_536
    /// Milliseconds from the opening of a connection until its virtual host must be open.
    package var handshakeTimeoutMilliseconds: Int64 = 10_000
    /// Milliseconds the server waits for connection.close-ok before it hangs up.
    package var closeTimeoutMilliseconds: Int64 = 30_000
    /// Milliseconds a connection that broke the handshake or the framing is kept, with whatever it sends thrown away: a
    /// refused password costs its sender time, and a reply is not lost to a reset. RabbitMQ's is a second.
    package var farewellMilliseconds: Int64 = 1_000

    package init() {}
}
