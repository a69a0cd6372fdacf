package import Credentials

/// Everything an operator sets for one server, checked and complete. The property initialisers are the defaults;
/// ``ConfigurationSchema`` names, limits and documents each property.
package struct SluiceConfiguration: Sendable, Equatable {
    package var roles: [Role] = [.gateway, .store]
    package var node = Node()
    package var storage = Storage()
    package var native = Native()
    package var mqtt = MQTT()
    package var amqp = AMQP()
    package var http = HTTP()
    package var log = Log()

    package init() {}

    package enum Role: String, Sendable, CaseIterable {
        case gateway
        case store
    }

    package struct Node: Sendable, Equatable {
        package var name = "standalone"
    }

    package struct Storage: Sendable, Equatable {
        package var dataDirectory = "data"
        /// Bytes.
        package var segmentSize = 256 << 20
        /// Bytes.
        package var tailCache = 64 << 20
        /// Bytes.
        package var indexMemory = 64 << 20
        /// Bytes.
        package var maxBatchSize = 4 << 20
        package var durability = Durability.durable
        /// Zero: only what subscriptions need.
        package var defaultTopicAge = Duration.seconds(86_400)
        /// Bytes; zero for no limit.
        package var defaultTopicSize = 0
        package var diskTrimPercent = 85
        package var diskFullPercent = 95
    }

    package enum Durability: String, Sendable, CaseIterable {
        /// Acknowledged when synced to the device.
        case durable
        /// Acknowledged when written to the operating system's memory.
        case received
    }

    package struct Native: Sendable, Equatable {
        package var enabled = true
        package var listen = [ListenAddress(host: "127.0.0.1", port: 7400)]
    }

    package struct MQTT: Sendable, Equatable {
        package var enabled = true
        package var listen = [ListenAddress(host: "127.0.0.1", port: 1883)]
        package var websocketListen: [ListenAddress] = []
        package var websocketPath = "/mqtt"
        package var websocketOnHTTP = true
        package var websocketOrigins: [String] = []
        /// Of the addresses above, those with a load balancer in front.
        package var proxyProtocol: [ListenAddress] = []
        /// Bytes.
        package var maxPacketSize = 1 << 20
        /// Bytes.
        package var maxTopicLength = 65_535
        package var maxTopicLevels = 128
        package var maxSubscriptions = 1_000
        package var maxInFlight = 1_024
        package var keepAliveMax = Duration.seconds(65535)
        package var connectTimeout = Duration.seconds(10)
        package var receiveMaximum = 1024
        package var topicAliasMaximum = 64
        package var redirect = Redirect.never
        package var serverReference: [ListenAddress] = []
        package var allowAnonymous = true
        package var scramUsers: [ScramUser] = []
        package var maxConnections = 100_000
        /// CONNECTs in a second; zero for no limit.
        package var connectRate = 0
        /// Bytes.
        package var maxOutgoingBuffer = 1 << 20
        package var maxSessionExpiry = Duration.seconds(30 * 86_400)
        package var maxQueuedMessages = 1_000_000
        /// Zero: there are no values under `$SYS`.
        package var sysInterval = Duration.seconds(10)
    }

    package struct AMQP: Sendable, Equatable {
        package var enabled = true
        package var listen = [ListenAddress(host: "127.0.0.1", port: 5672)]
        /// Of the addresses above, those with a load balancer in front.
        package var proxyProtocol: [ListenAddress] = []
        package var users: [ScramUser] = []
        package var maxConnections = 100_000
        package var maxChannels = 2_047
        /// Bytes, with the framing.
        package var maxFrameSize = 128 << 10
        /// Bytes of the body.
        package var maxMessageSize = 16 << 20
        /// Zero proposes none.
        package var heartbeat = Duration.seconds(60)
        package var handshakeTimeout = Duration.seconds(10)
        /// Bytes.
        package var maxOutgoingBuffer = 1 << 20
    }

    /// When MQTT clients are sent to another server.
    package enum Redirect: String, Sendable, CaseIterable {
        case never
        case whenFull = "when_full"
        case temporarily
        case permanently
    }

    /// Somebody who can authenticate with SCRAM-SHA-256.
    package struct ScramUser: Sendable, Hashable {
        package var name: String
        package var credential: ScramCredential
    }

    package struct HTTP: Sendable, Equatable {
        package var enabled = true
        package var listen = [ListenAddress(host: "127.0.0.1", port: 7480)]
        /// Bytes.
        package var maxBodySize = 4 << 20
        package var callbacks: [ListenAddress] = []
    }

    package struct Log: Sendable, Equatable {
        package var level = LogLevel.info
        package var format = LogFormat.auto
    }

    /// The raw values are those of swift-log's levels.
    package enum LogLevel: String, Sendable, CaseIterable {
        case trace, debug, info, notice, warning, error, critical
    }

    package enum LogFormat: String, Sendable, CaseIterable {
        /// Text on a terminal, JSON lines otherwise.
        case auto
        case text
        case json
    }
}
