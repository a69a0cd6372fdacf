import Credentials
import Gateway
import HTTPFront
import LocalStorage
import MQTTFront
import MQTTProtocol
import MessageModel
import NIOCore
import ServerConfiguration
import Transport

extension Server {
    func listenMQTT(_ configuration: SluiceConfiguration, gateway: NIOLoopBound<Gateway>) async throws {
        let mqtt = configuration.mqtt
        let options = Self.options(mqtt)
        let loop = storage.eventLoop
        let front = try await loop.submit { [logger] in
            let front = MQTTFront(gateway: gateway.value, options: options, eventLoop: loop, logger: logger)
            return NIOLoopBound(front, eventLoop: loop)
        }.get()
        let upgrade = MQTTTransport.upgrade(
            path: mqtt.websocketPath,
            origins: mqtt.websocketOrigins,
            options: options
        )
        let addresses =
            mqtt.listen.map { ("mqtt", $0, WebSocketUpgrade?.none) }
            + mqtt.websocketListen.map { ("mqtt_websocket", $0, upgrade) }
        for (name, address, webSocket) in addresses {
            let transport = MQTTTransport(
                webSocket: webSocket,
                expectsProxyHeader: mqtt.proxyProtocol.contains(address)
            )
            let listener = try await binding("MQTT", address) { [group] in
                try await MQTTListener.start(
                    host: address.host,
                    port: address.port,
                    transport: transport,
                    group: group,
                    front: front
                )
            }
            mqttListeners.append(listener)
            report(name, listener.localAddress)
        }
        if mqtt.websocketOnHTTP {
            httpWebSocket = WebSocketService(upgrade) { try front.value.serve($0) }
        }
    }

    private static func options(_ mqtt: SluiceConfiguration.MQTT) -> MQTTFrontOptions {
        var options = MQTTFrontOptions()
        options.redirect =
            switch mqtt.redirect {
            case .never: .never
            case .whenFull: .whenFull
            case .temporarily: .temporarily
            case .permanently: .permanently
            }
        if !mqtt.serverReference.isEmpty {
            // Several are told with a space between them (MQTT 5.0 §4.11).
            options.serverReference = MQTTString(mqtt.serverReference.map(\.description).joined(separator: " "))
        }
        options.allowsAnonymous = mqtt.allowAnonymous
        options.users = Dictionary(mqtt.scramUsers.map { ($0.name, $0.credential) }) { $1 }
        options.maximumConnections = mqtt.maxConnections
        options.connectsPerSecond = mqtt.connectRate
        options.outgoingBufferBytes = mqtt.maxOutgoingBuffer
        options.subscriptionsPerClient = mqtt.maxSubscriptions
        options.queuedMessages = UInt64(mqtt.maxQueuedMessages)
        options.systemIntervalMilliseconds =
            mqtt.sysInterval.components.seconds * 1_000
            + mqtt.sysInterval.components.attoseconds / 1_000_000_000_000_000
        options.serverVersion = Version.sluice
        options.server.receiveMaximum = UInt16(clamping: mqtt.receiveMaximum)
        options.server.maximumInFlight = UInt16(clamping: mqtt.maxInFlight)
        options.server.topicAliasMaximum = UInt16(clamping: mqtt.topicAliasMaximum)
        options.server.maximumKeepAliveSeconds = UInt16(clamping: mqtt.keepAliveMax.components.seconds)
        options.server.connectTimeoutMilliseconds =
            mqtt.connectTimeout.components.seconds * 1_000
            + mqtt.connectTimeout.components.attoseconds / 1_000_000_000_000_000
        options.server.maximumSessionExpirySeconds = UInt32(clamping: mqtt.maxSessionExpiry.components.seconds)
        options.server.limits.maximumPacketSize = mqtt.maxPacketSize
        options.server.limits.maximumTopicLength = min(mqtt.maxTopicLength, Limits.nameBytes)
        options.server.limits.maximumTopicLevels = min(mqtt.maxTopicLevels, Limits.nameLevels)
        return options
    }
}
