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
            // After an outage all clients come at once.
            .serverChannelOption(.maxMessagesPerRead, value: 32)
            // The connections inherit it.
            .serverChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try MQTTListener.setOptions(channel)
                    try channel.pipeline.syncOperations.addHandler(MQTTConnectionHandler(front: front.value))
                }
            }
            .bind(host: host, port: port)
            .get()
        return MQTTListener(channel: channel, front: front)
    }

    /// Sets what the bootstrap would set by a future for each option.
    private static func setOptions(_ channel: any Channel) throws {
        guard let options = channel.syncOptions else { return }
        // A farewell must reach a client that still writes.
        try options.setOption(.allowRemoteHalfClosure, value: true)
        try options.setOption(.maxMessagesPerRead, value: 4)
        // A connection keeps its last buffer: most send a few bytes now and then.
        try options.setOption(
            .recvAllocator,
            value: AdaptiveRecvByteBufferAllocator(minimum: 64, initial: 128, maximum: 65_536)
        )
    }

    /// Takes no more connections, and tells those that are there that the server is shutting down.
    package func stop() async throws {
        try await channel.close().get()
        let front = front
        try await channel.eventLoop.submit { front.value.shutDown() }.get()
    }
}
