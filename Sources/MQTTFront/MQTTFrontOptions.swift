package import MQTTProtocol
internal import StorageService

/// What an operator sets of the MQTT front.
package struct MQTTFrontOptions: Sendable {
    package var server = MQTTServerOptions()
    /// Connections at a time; more are refused.
    package var maximumConnections = 100_000
    /// Bytes that may wait for one client. Beyond it QoS 0 messages are dropped for this client, and one that does not
    /// take its QoS 1 messages is disconnected.
    package var outgoingBufferBytes = 1 << 20
    /// Topic filters that one client may subscribe to.
    package var subscriptionsPerClient = 1_000

    /// Messages that may wait for one stored session; the oldest make room. An entry takes 32 bytes, in files where many
    /// wait.
    package var queuedMessages: UInt64 = 1_000_000

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

    /// Client identifiers may be so long: with what stands before them they name inboxes.
    static let clientIdentifierBytes = 240
    /// With the client's identifier behind it, what a client that asks is told as the basis of its response topics
    /// (MQTT 5.0 §4.10.1).
    static let responsePrefix = "response/"
    /// What may come behind a CONNECT before it is answered and reading stops.
    static let openingBytes = 256 << 10
    /// Last values that are read at a time for a new subscription.
    static let retainedPage = 200

    /// After a farewell the connection is read and discarded for so long: closing at once would reset it, and the
    /// client would never read why.
    static let lingerMilliseconds: Int64 = 1_000
}
