internal import Logging
internal import MessageModel
package import NIOCore
internal import NIOPosix
internal import Transport

/// A bound AMQP port.
package final class AMQPListener: Sendable {
    private let channel: any Channel
    private let front: NIOLoopBound<AMQPFront>

    /// Where it listens.
    package var localAddress: SocketAddress? { channel.localAddress }

    private init(channel: any Channel, front: NIOLoopBound<AMQPFront>) {
        self.channel = channel
        self.front = front
    }

    /// Binds a port and serves AMQP on it.
    /// - Parameters:
    ///   - expectsProxyHeader: a load balancer is in front, and says in a PROXY header who the client is.
    ///   - group: the event loop that `front` belongs to, and no other.
    package static func start(
        host: String,
        port: Int,
        expectsProxyHeader: Bool = false,
        group: any EventLoopGroup,
        front: NIOLoopBound<AMQPFront>
    ) async throws -> AMQPListener {
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 4_096)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            // After an outage all clients come at once.
            .serverChannelOption(.maxMessagesPerRead, value: 32)
            // The connections inherit it.
            .serverChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try AMQPListener.setOptions(channel)
                    if expectsProxyHeader { try front.value.expectProxyHeader(channel) }
                    try front.value.serve(channel)
                }
            }
            .bind(host: host, port: port)
            .get()
        return AMQPListener(channel: channel, front: front)
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
            value: AdaptiveRecvByteBufferAllocator(minimum: 64, initial: 1_024, maximum: 65_536)
        )
    }

    /// Takes no more connections, and tells those that are there that the server is shutting down.
    package func stop() async throws {
        try await channel.close().get()
        let front = front
        try await channel.eventLoop.submit { front.value.shutDown() }.get()
    }
}

extension AMQPFront {
    /// Makes a channel of this event loop, from which bytes come, an AMQP connection.
    package func serve(_ channel: any Channel) throws {
        try channel.pipeline.syncOperations.addHandler(AMQPConnectionHandler(front: self))
    }

    fileprivate func expectProxyHeader(_ channel: any Channel) throws {
        let logger = logger
        try channel.pipeline.syncOperations.addHandler(
            ProxyProtocolHandler { error, address in
                logger.warning(
                    "a connection without a PROXY header was closed",
                    metadata: ["from": "\(address.map { "\($0)" } ?? "?")", "why": "\(error.message)"]
                )
            }
        )
    }
}
