package import Credentials
package import MQTTProtocol
internal import StorageService

/// What an operator sets of the MQTT front.
package struct MQTTFrontOptions: Sendable {
    package var server = MQTTServerOptions()
    /// Connections at a time; more are refused.
    package var maximumConnections = 100_000
    /// CONNECTs that are accepted in a second; zero for no limit.
    package var connectsPerSecond = 0
    /// Bytes that may wait for one client. Beyond it QoS 0 messages are dropped for this client, and one that does not
    /// take its QoS 1 messages is disconnected.
    package var outgoingBufferBytes = 1 << 20
    /// Topic filters that one client may subscribe to.
    package var subscriptionsPerClient = 1_000

    /// Messages that may wait for one stored session; the oldest make room. An entry takes 32 bytes, in files where many
    /// wait.
    package var queuedMessages: UInt64 = 1_000_000

    /// How often values under `$SYS` are looked at; zero: there are none.
    package var systemIntervalMilliseconds: Int64 = 10_000
    /// What `$SYS/broker/version` says.
    package var serverVersion = ""

    /// When clients are sent to another server (MQTT 5.0 §4.11).
    package enum Redirect: Sendable {
        case never, whenFull, temporarily, permanently
    }
    package var redirect = Redirect.never
    /// Where they are sent, as they are told it; nil where they are not told.
    package var serverReference: MQTTString?
    /// Who can authenticate with SCRAM-SHA-256, by name.
    package var users: [String: ScramCredential] = [:] {
        didSet { server.authenticationMethods = users.isEmpty ? [] : [MQTTString(ScramServer.mechanism)] }
    }
    /// Clients that do not authenticate are accepted.
    package var allowsAnonymous = true

    package init() {
        server.explainsRefusals = true
        server.explainsViolations = true
    }

    /// What the inbox of a stored session is made with.
    func policy(expirySeconds: UInt32) -> SubscriptionPolicy {
        var policy = SubscriptionPolicy()
        policy.consumers = .exclusive
        policy.leaseMicroseconds = 0
        // Messages with QoS 0 come by live filters.
        policy.takesAtMostOnce = false
        policy.maxMessages = queuedMessages
        policy.keepsDelivered = true
        // A session that is to end with its connection, and was there before, ends soon after a crash.
        policy.expiresUnusedMicroseconds = UInt64(max(1, expirySeconds)) * 1_000_000
        return policy
    }

    /// What the inbox of a group is made with.
    var groupPolicy: SubscriptionPolicy {
        var policy = SubscriptionPolicy()
        policy.leaseMicroseconds = 0
        policy.takesAtMostOnce = false
        policy.maxMessages = queuedMessages
        policy.expiresUnusedMicroseconds = UInt64(max(1, server.maximumSessionExpirySeconds)) * 1_000_000
        return policy
    }

    /// Connections beyond the most there may be that are open for as long as it takes to refuse them; still more are
    /// closed at once.
    static let connectionsToRefuse = 1_000
    /// With the client's identifier behind it, what a client that asks is told as the basis of its response topics
    /// (MQTT 5.0 §4.10.1).
    static let responsePrefix = "response/"
    /// How long messages of a group wait that no member could be given because the disk is full.
    static let chosenAgainMicroseconds: UInt64 = 1_000_000
    /// What may come behind a CONNECT before it is answered and reading stops.
    static let openingBytes = 256 << 10
    /// Last values that are read at a time for a new subscription.
    static let retainedPage = 200

    /// After a farewell the connection is read and discarded for so long: closing at once would reset it, and the
    /// client would never read why.
    static let lingerMilliseconds: Int64 = 1_000
}
