/// What this server offers its MQTT clients; CONNACK tells 5.0 clients what differs from the protocol's defaults.
package struct MQTTServerOptions: Sendable, Hashable {
    package var limits = MQTTLimits()
    /// Greatest QoS of messages in either direction.
    package var maximumQoS = QoS.exactlyOnce
    package var isRetainAvailable = true
    package var isWildcardSubscriptionAvailable = true
    package var isSubscriptionIdentifierAvailable = true
    package var isSharedSubscriptionAvailable = true
    /// QoS 1 and 2 messages a client may send before they are acknowledged. A group commit takes some milliseconds: at
    /// 100,000 messages a second from one client, 1,024 keep the connection busy for ten.
    package var receiveMaximum: UInt16 = 1_024
    /// QoS 1 and 2 messages sent to a client before they are acknowledged, whatever more the client allows: each takes
    /// sixteen bytes here.
    package var maximumInFlight: UInt16 = 1_024
    /// Topic aliases a client may set on a connection; each keeps one topic name. Ten is what clients are used to.
    package var topicAliasMaximum: UInt16 = 10
    /// Seconds a session may outlive its connection; zero: sessions are not kept. Thirty days: sessions of clients that
    /// never come back are what fills other servers.
    package var maximumSessionExpirySeconds: UInt32 = 30 * 86_400
    /// Greatest keep alive of 5.0 clients; zero is no ceiling. 3.x has no means to tell a client of it.
    package var maximumKeepAliveSeconds: UInt16 = 0
    /// Milliseconds from the opening of a connection until it must be accepted.
    package var connectTimeoutMilliseconds: Int64 = 10_000
    /// Says in words, in DISCONNECT and in a refusing CONNACK, what a 5.0 client did wrong.
    package var explainsViolations = false

    /// Says in words, in PUBACK and PUBREC, why a message of a 5.0 client is refused, where the client wants that.
    package var explainsRefusals = false

    /// Methods of enhanced authentication that the owner knows; others are refused with 0x8C.
    package var authenticationMethods: [MQTTString] = []

    package init() {}

    /// The options of all connections of a server, kept once.
    package final class Shared: Sendable {
        package let options: MQTTServerOptions
        package init(_ options: MQTTServerOptions) { self.options = options }
    }
}
