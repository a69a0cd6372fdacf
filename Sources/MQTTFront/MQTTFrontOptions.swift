package import MQTTProtocol

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

    package init() {}

    /// After a farewell the connection is read and discarded for so long: closing at once would reset it, and the
    /// client would never read why.
    static let lingerMilliseconds: Int64 = 1_000
}
