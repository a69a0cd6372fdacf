package import NIOCore
package import NativeProtocol

/// What the native front can be told, with its defaults.
package struct NativeConfiguration: Sendable {
    package var serverName = "sluice"
    package var serverVersion = "0"
    /// What HELLO tells the client, and what is held to.
    package var limits = HelloResponse.ServerLimits()
    /// Connections at one time; more are sent away with `busy`.
    package var maxConnections = 10_000
    /// Who has not finished HELLO after this time is cut off.
    package var handshakeTimeout = TimeAmount.seconds(10)
    /// Bytes of PRODUCE that wait for storage before the connection is not read any more: enough to keep a disk busy
    /// through a sync, little enough that a thousand producers fit into memory.
    package var maxBytesInFlight = 32 << 20
    /// Bytes of deliveries that are made for a client at a time, all its subscriptions together: more follows when they are
    /// on their way.
    package var deliveryBytes = 8 << 20
    /// Bytes that wait for a client that does not read; beyond it the connection ends.
    package var maxOutgoingBytes = 128 << 20
    /// How long a shutdown waits for what runs.
    package var shutdownGrace = TimeAmount.seconds(5)

    package init() {}
}
