internal import Logging
internal import MQTTProtocol
internal import MessageModel
package import NIOCore
internal import NIOPosix
package import Transport

/// How the connections of one port come: what stands between the socket and MQTT.
package struct MQTTTransport: Sendable {
    /// They are WebSocket connections; nil where they are plain TCP.
    package var webSocket: WebSocketUpgrade?
    /// A load balancer is in front, and says in a PROXY header who the client is.
    package var expectsProxyHeader: Bool

    package init(webSocket: WebSocketUpgrade? = nil, expectsProxyHeader: Bool = false) {
        self.webSocket = webSocket
        self.expectsProxyHeader = expectsProxyHeader
    }

    /// MQTT by WebSocket (MQTT 5.0 §6): `mqtt`, and `mqttv3.1`, which clients of 3.1 offer.
    package static func upgrade(path: String, origins: [String], options: MQTTFrontOptions) -> WebSocketUpgrade {
        var upgrade = WebSocketUpgrade(
            path: path,
            subprotocols: ["mqtt", "mqttv3.1"],
            // Clients gather packets in one frame as they like.
            maxFrameBytes: options.server.limits.maximumPacketSize + (64 << 10),
            timeout: .milliseconds(options.server.connectTimeoutMilliseconds)
        )
        upgrade.origins = origins
        return upgrade
    }
}

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

    /// Binds a port and serves MQTT on it.
    /// - Parameter group: the event loop that `front` belongs to, and no other.
    package static func start(
        host: String,
        port: Int,
        transport: MQTTTransport = MQTTTransport(),
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
                    try front.value.prepare(channel, transport, front)
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

extension MQTTFront {
    /// Makes a channel of this event loop, from which bytes come, an MQTT connection.
    package func serve(_ channel: any Channel) throws {
        try channel.pipeline.syncOperations.addHandler(MQTTConnectionHandler(front: self))
    }

    fileprivate func prepare(
        _ channel: any Channel,
        _ transport: MQTTTransport,
        _ front: NIOLoopBound<MQTTFront>
    ) throws {
        if transport.expectsProxyHeader {
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
        if let webSocket = transport.webSocket {
            try webSocket.configure(channel) { try front.value.serve($0) }
        } else {
            try serve(channel)
        }
    }
}
