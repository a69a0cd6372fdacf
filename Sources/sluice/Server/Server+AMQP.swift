import AMQPFront
import AMQPProtocol
import Credentials
import Gateway
import LocalStorage
import MessageModel
import NIOCore
import ServerConfiguration

extension Server {
    func listenAMQP(_ configuration: SluiceConfiguration, gateway: NIOLoopBound<Gateway>) async throws {
        let options = Self.options(configuration.amqp, maxBatchSize: configuration.storage.maxBatchSize)
        let loop = storage.eventLoop
        let front = try await loop.submit { [logger] in
            let front = AMQPFront(gateway: gateway.value, options: options, eventLoop: loop, logger: logger)
            return NIOLoopBound(front, eventLoop: loop)
        }.get()
        // Whoever connects finds what was declared.
        try await loop.flatSubmit { front.value.recover() }.get()
        for address in configuration.amqp.listen {
            let listener = try await binding("AMQP", address) { [group] in
                try await AMQPListener.start(
                    host: address.host,
                    port: address.port,
                    expectsProxyHeader: configuration.amqp.proxyProtocol.contains(address),
                    group: group,
                    front: front
                )
            }
            amqpListeners.append(listener)
            report("amqp", listener.localAddress)
        }
    }

    private static func options(_ amqp: SluiceConfiguration.AMQP, maxBatchSize: Int) -> AMQPFrontOptions {
        var server = AMQPServerOptions()
        server.serverVersion = Version.sluice
        server.limits.frameMaximum = UInt32(clamping: amqp.maxFrameSize)
        server.limits.channelMaximum = UInt16(clamping: amqp.maxChannels)
        server.limits.heartbeatSeconds = UInt16(clamping: amqp.heartbeat.components.seconds)
        server.limits.handshakeTimeoutMilliseconds =
            amqp.handshakeTimeout.components.seconds * 1_000
            + amqp.handshakeTimeout.components.attoseconds / 1_000_000_000_000_000
        // Properties are kept twice: as they came, and for others; their frame is one.
        let room = min(2 * amqp.maxFrameSize + (64 << 10), maxBatchSize / 2)
        server.limits.maximumMessageSize = UInt64(min(amqp.maxMessageSize, maxBatchSize - room))
        var options = AMQPFrontOptions(server: server)
        options.maximumConnections = amqp.maxConnections
        options.outgoingBufferBytes = amqp.maxOutgoingBuffer
        options.users = Dictionary(amqp.users.map { ($0.name, $0.credential) }) { $1 }
        return options
    }
}
