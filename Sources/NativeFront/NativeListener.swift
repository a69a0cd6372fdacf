package import Gateway
package import Logging
package import NIOCore
internal import NIOPosix

/// Accepts native clients on one address.
package final class NativeListener: Sendable {
    /// Where it listens; with port 0 asked for, the port that it got.
    package let localAddress: SocketAddress?
    private let channel: any Channel
    private let registry: ConnectionRegistry
    private let configuration: NativeConfiguration
    private let logger: Logger

    private init(
        channel: any Channel,
        registry: ConnectionRegistry,
        configuration: NativeConfiguration,
        logger: Logger
    ) {
        self.channel = channel
        self.registry = registry
        self.configuration = configuration
        self.logger = logger
        localAddress = channel.localAddress
    }

    /// Binds and begins to accept.
    /// - Parameters:
    ///   - group: whose loops the connections are spread over.
    ///   - gateway: the gateway of an event loop; called on that loop for each connection. A connection must be on the
    ///     loop of the storage it uses.
    package static func start(
        host: String,
        port: Int,
        group: any EventLoopGroup,
        configuration: NativeConfiguration = NativeConfiguration(),
        logger: Logger,
        gateway: @escaping @Sendable (any EventLoop) -> Gateway
    ) async throws -> NativeListener {
        let registry = ConnectionRegistry(limit: configuration.maxConnections)
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1_024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: 16)
            .childChannelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(minimum: 64, initial: 2_048, maximum: 256 << 10)
            )
            .childChannelInitializer { channel in
                let entry = registry.insert(channel)
                guard entry != .stopping else { return channel.close() }
                channel.closeFuture.whenComplete { _ in registry.remove(channel) }
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        NativeConnection(
                            gateway: gateway(channel.eventLoop),
                            configuration: configuration,
                            isRefused: entry == .full,
                            logger: logger
                        )
                    )
                }
            }
            .bind(host: host, port: port)
            .get()
        return NativeListener(channel: channel, registry: registry, configuration: configuration, logger: logger)
    }

    package var connectionCount: Int { registry.count }

    /// Accepts nobody any more, tells every client with GOAWAY, waits until what runs is answered, at most for the grace
    /// time, and closes.
    package func stop() async {
        try? await channel.close().get()
        let connections = registry.stop()
        for connection in connections { connection.pipeline.fireUserInboundEventTriggered(NativeShutdown()) }
        let ends = connections.map(\.closeFuture)
        let loop = channel.eventLoop
        let all = EventLoopFuture.andAllComplete(ends, on: loop)
        let force = loop.scheduleTask(in: configuration.shutdownGrace) {
            for connection in connections { connection.close(promise: nil) }
        }
        try? await all.get()
        force.cancel()
    }
}
