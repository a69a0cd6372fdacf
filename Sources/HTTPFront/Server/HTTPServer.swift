package import Gateway
internal import HTTPTypes
internal import HummingbirdCore
package import Logging
internal import MessageModel
package import NIOCore

/// The HTTP front: a listener with the connections that came in by it.
///
/// Sockets are served by the event loops of `group`, handlers run as tasks, and storage is reached through one session
/// on the gateway's own event loop: nothing here ever waits on that.
package final class HTTPServer: Sendable {
    /// The port that is listened on: the one asked for, or the one that the system chose for 0.
    package let port: Int
    private let server: Server<SharedPortChannel>
    private let running: Task<Void, any Error>
    private let bridge: StorageBridge
    private let options: HTTPOptions

    private init(
        port: Int,
        server: Server<SharedPortChannel>,
        running: Task<Void, any Error>,
        bridge: StorageBridge,
        options: HTTPOptions
    ) {
        self.port = port
        self.server = server
        self.running = running
        self.bridge = bridge
        self.options = options
    }

    /// Listens and serves.
    /// - Parameters:
    ///   - port: 0 lets the system choose, see `port`.
    ///   - group: serves the sockets.
    ///   - webSocket: is served on the same port.
    ///   - gateway: bound to `eventLoop`, the loop of the gateway and of storage; it may belong to `group`.
    /// - Throws: `SluiceError` where the address cannot be listened on.
    package static func start(
        host: String,
        port: Int,
        group: any EventLoopGroup,
        gateway: NIOLoopBound<Gateway>,
        eventLoop: any EventLoop,
        options: HTTPOptions = HTTPOptions(),
        webSocket: WebSocketService? = nil,
        logger: Logger
    ) async throws -> HTTPServer {
        let bridge = try await StorageBridge.open(
            gateway: gateway,
            eventLoop: eventLoop,
            timeout: .milliseconds(options.storageTimeoutMilliseconds),
            maxWaits: options.maxWaitingReads
        )
        let service = HTTPService(bridge: bridge, options: options, logger: logger)
        if !options.callbackAddresses.isEmpty {
            let callbacks = TransactionCallbacks(bridge: bridge, options: options, logger: logger)
            try await bridge.answerForTransactions(of: CallbackURL.scheme) { transaction, owner in
                callbacks.ask(transaction, owner: owner)
            }
        }
        var decoder = HTTP1Channel.Configuration.DecoderConfiguration()
        decoder.maxHeaderFieldSize = options.maxHeaderBytes
        decoder.maxHeaderListSize = options.maxHeaderBytes
        decoder.maxHeaderFieldCount = options.maxHeaderFields
        let channel = HTTP1Channel(
            responder: { request, writer, channel in
                try await service.respond(to: request, on: channel, writer)
            },
            configuration: HTTP1Channel.Configuration(
                additionalChannelHandlers: [ConnectionGuard(options: options)],
                idleTimeout: .milliseconds(options.idleTimeoutMilliseconds),
                httpDecoderConfiguration: decoder
            )
        )
        let bound = group.any().makePromise(of: Int.self)
        // Its own messages are of interest to those who look into the server; ours say that it listens.
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .warning)
        let server = Server(
            childChannelSetup: SharedPortChannel(
                http: channel,
                webSocket: webSocket,
                timeout: .milliseconds(options.idleTimeoutMilliseconds)
            ),
            configuration: ServerConfiguration(
                address: .hostname(host, port: port),
                availableConnectionsDelegate: .maximum(options.maxConnections, logger: quiet)
            ),
            onServerRunning: { bound.succeed($0.localAddress?.port ?? port) },
            eventLoopGroup: group,
            logger: quiet
        )
        let running = Task {
            do {
                try await server.run()
                // Nobody waits for it any more, unless it was never bound.
                bound.fail(SessionRequests.stopped)
            } catch {
                bound.fail(error)
                throw error
            }
        }
        do {
            let port = try await bound.futureResult.get()
            logger.info("HTTP is served", metadata: ["address": "\(host):\(port)"])
            return HTTPServer(port: port, server: server, running: running, bridge: bridge, options: options)
        } catch {
            await bridge.close()
            throw SluiceError(
                .invalidArgument,
                "HTTP cannot listen on \(host):\(port): \(error)",
                hint: "another process may use the port"
            )
        }
    }

    /// Reads that wait for messages at this moment.
    package var waitingReads: Int { get async { await bridge.waits } }

    /// Stops listening, lets what is under way end, and closes. Reads that wait for messages are answered at once with
    /// what there is. What is not over after the time for it (`HTTPOptions`) is cut off. To be called once, before
    /// storage is stopped.
    package func stop() async {
        await bridge.stopWaiting()
        let server = server
        let running = running
        let bridge = bridge
        let quiescing = Task { try? await server.shutdownGracefully() }
        let cutOff = Task {
            try await Task.sleep(for: .milliseconds(options.shutdownMilliseconds))
            running.cancel()
            await bridge.close()
        }
        _ = try? await running.value
        cutOff.cancel()
        await quiescing.value
        await bridge.close()
    }
}
