import AMQPFront
import FileLog
import Gateway
import Glibc
import HTTPFront
import LocalStorage
import Logging
import MQTTFront
import MQTTProtocol
import MessageModel
import NIOCore
import NIOPosix
import NativeFront
import NativeProtocol
import ServerConfiguration
import StorageEngine
import StorageService
import Transport

/// A running server: the storage, the gateway on it, and a listener for each address.
///
/// Storage and connections share one event loop: between a socket and the log there is no thread.
final class Server {
    /// What listens where, as it is printed.
    struct Listening {
        var protocolName: String
        var address: String
    }

    let group: MultiThreadedEventLoopGroup
    private let node: NodeDirectory
    let storage: StorageHost
    let logger: Logger
    private var nativeListeners: [NativeListener] = []
    var mqttListeners: [MQTTListener] = []
    var amqpListeners: [AMQPListener] = []
    /// What is served in WebSocket on the addresses of HTTP.
    var httpWebSocket: WebSocketService?
    private var httpServers: [HTTPServer] = []
    private(set) var listening: [Listening] = []

    private init(group: MultiThreadedEventLoopGroup, node: NodeDirectory, storage: StorageHost, logger: Logger) {
        self.group = group
        self.node = node
        self.storage = storage
        self.logger = logger
    }

    /// Opens the data directory and starts everything that the configuration enables.
    /// - Throws: `SluiceError` or what the system says of an address; nothing is left running then.
    static func start(_ configuration: SluiceConfiguration, logger: Logger) async throws -> Server {
        let node = try NodeDirectory.open(
            path: configuration.storage.dataDirectory,
            nodeName: configuration.node.name,
            now: .now()
        )
        var options = ShardOptions()
        options.segmentBytes = configuration.storage.segmentSize
        options.tailCacheBytes = configuration.storage.tailCache
        options.indexMemoryBytes = configuration.storage.indexMemory
        options.batchBytes = configuration.storage.maxBatchSize
        options.builtInTopic = Self.builtInTopic(configuration.storage)
        options.diskTrimPercent = configuration.storage.diskTrimPercent
        options.diskFullPercent = configuration.storage.diskFullPercent
        options.logIdentity = Array(node.identity.id.utf8).withUnsafeBytes { Checksum.crc32c($0) }
        let secret = node.identity.secret
        options.hash = KeyedHash(key0: secret.key0, key1: secret.key1)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        do {
            let storage = try await StorageHost.start(
                shardPath: try node.shardPath(0),
                options: options,
                eventLoop: group.next(),
                logger: logger
            )
            let server = Server(group: group, node: node, storage: storage, logger: logger)
            do {
                try await server.listen(configuration)
            } catch {
                await server.stop()
                throw error
            }
            return server
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
    }

    private static func builtInTopic(_ storage: SluiceConfiguration.Storage) -> TopicPolicy {
        var policy = TopicPolicy()
        let age = storage.defaultTopicAge.components
        policy.maxAgeMicroseconds =
            UInt64(clamping: age.seconds) * 1_000_000 + UInt64(clamping: age.attoseconds / 1_000_000_000_000)
        policy.maxBytes = UInt64(clamping: storage.defaultTopicSize)
        if policy.maxAgeMicroseconds == 0 { policy.retention = .subscriptions }
        return policy
    }

    private func listen(_ configuration: SluiceConfiguration) async throws {
        let loop = storage.eventLoop
        let gateway = try await loop.submit { [storage] in
            let gateway = Gateway(
                storage: storage.service,
                acknowledgement: configuration.storage.durability == .durable ? .durable : .received
            )
            return NIOLoopBound(gateway, eventLoop: loop)
        }.get()
        if configuration.native.enabled { try await listenNative(configuration, gateway: gateway) }
        if configuration.mqtt.enabled { try await listenMQTT(configuration, gateway: gateway) }
        if configuration.amqp.enabled { try await listenAMQP(configuration, gateway: gateway) }
        if configuration.http.enabled { try await listenHTTP(configuration, gateway: gateway) }
    }

    private func listenNative(_ configuration: SluiceConfiguration, gateway: NIOLoopBound<Gateway>) async throws {
        var native = NativeConfiguration()
        native.serverVersion = Version.sluice
        native.limits.maxBatchBytes = UInt32(clamping: configuration.storage.maxBatchSize)
        for address in configuration.native.listen {
            let listener = try await binding("native", address) { [group, logger] in
                try await NativeListener.start(
                    host: address.host,
                    port: address.port,
                    group: group,
                    configuration: native,
                    logger: logger
                ) { _ in gateway.value }
            }
            nativeListeners.append(listener)
            report("native", listener.localAddress)
        }
    }

    private func listenHTTP(_ configuration: SluiceConfiguration, gateway: NIOLoopBound<Gateway>) async throws {
        var options = HTTPOptions()
        options.version = Version.sluice
        options.maxBodyBytes = configuration.http.maxBodySize
        options.callbackAddresses = configuration.http.callbacks.map { ($0.host, $0.port) }
        for address in configuration.http.listen {
            let server = try await binding("HTTP", address) { [group, logger, storage, options, httpWebSocket] in
                try await HTTPServer.start(
                    host: address.host,
                    port: address.port,
                    group: group,
                    gateway: gateway,
                    eventLoop: storage.eventLoop,
                    options: options,
                    webSocket: httpWebSocket,
                    logger: logger
                )
            }
            httpServers.append(server)
            let listening = ListenAddress(host: address.host, port: server.port).description
            self.listening.append(Listening(protocolName: "http", address: listening))
        }
    }

    /// Says which address could not be bound.
    func binding<Listener>(
        _ protocolName: String,
        _ address: ListenAddress,
        _ bind: () async throws -> Listener
    ) async throws -> Listener {
        do {
            return try await bind()
        } catch let error as SluiceError {
            // It names the address already.
            throw error
        } catch {
            let reason = (error as? IOError).map { String(cString: strerror($0.errnoCode)) } ?? "\(error)"
            throw SluiceError(
                .busy,
                "cannot listen on \(address) for \(protocolName): \(reason)",
                hint: "another program uses the address, or it is not of this machine"
            )
        }
    }

    func report(_ protocolName: String, _ address: SocketAddress?) {
        let host = address?.ipAddress ?? "?"
        let text = ListenAddress(host: host, port: address?.port ?? 0).description
        listening.append(Listening(protocolName: protocolName, address: text))
    }

    /// Ends connections with a farewell, then writes and syncs everything.
    func stop() async {
        for server in httpServers { await server.stop() }
        for listener in amqpListeners { try? await listener.stop() }
        for listener in mqttListeners { try? await listener.stop() }
        for listener in nativeListeners { await listener.stop() }
        do {
            try await storage.stop()
        } catch {
            logger.error("the storage could not be closed", metadata: ["why": "\(error)"])
        }
        try? await group.shutdownGracefully()
        withExtendedLifetime(node) {}
    }
}
