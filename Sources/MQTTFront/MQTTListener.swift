package import NIOCore
internal import NIOPosix

/// A bound MQTT port.
package final class MQTTListener: Sendable {
    private let channel: any Channel
    private let front: NIOLoopBound<MQTTFront>

    /// Where it listens.
    package var localAddress: SocketAddress? { channel.localAddress }

    private init(channel: any Channel, front: NIOLoopBound<MQTTFront>) {
        self.channel = channel
        self.front = front
    }

    /// Binds a port and serves MQTT over TCP on it.
    /// - Parameter group: the event loop that `front` belongs to, and no other.
    package static func start(
        host: String,
        port: Int,
        group: any EventLoopGroup,
        front: NIOLoopBound<MQTTFront>
    ) async throws -> MQTTListener {
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 4_096)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            // A farewell must reach a client that still writes.
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.maxMessagesPerRead, value: 4)
            .childChannelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(minimum: 64, initial: 1_024, maximum: 65_536)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(MQTTConnectionHandler(front: front.value))
                }
            }
            .bind(host: host, port: port)
            .get()
        return MQTTListener(channel: channel, front: front)
    }

    /// Takes no more connections, and tells those that are there that the server is shutting down.
    package func stop() async throws {
        try await channel.close().get()
        let front = front
        try await channel.eventLoop.submit { front.value.shutDown() }.get()
    }
}
