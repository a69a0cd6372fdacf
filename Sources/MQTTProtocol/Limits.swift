/// What the codec accepts from a peer and what the server announces, with the reason beside each default.
package struct MQTTLimits: Sendable, Hashable {
    /// Greatest packet accepted once connected, in bytes. 1 MiB as most brokers; announced to 5.0 clients.
    package var maximumPacketSize = 1_048_576
    /// Greatest CONNECT accepted, in bytes: a stranger must not make the server hold more. Room for a certificate
    /// in the password and a will of some kilobytes.
    package var maximumConnectSize = 65_536
    /// Greatest topic name or filter, in bytes; the protocol's own bound is 65,535.
    package var maximumTopicLength = 4_096
    /// Most levels of a topic name or filter. Mosquitto's bound; keeps walks over a topic tree short.
    package var maximumTopicLevels = 200
    /// Most topic filters in one SUBSCRIBE or UNSUBSCRIBE: bounds what one packet makes the server hold.
    package var maximumFiltersPerPacket = 1_024
    /// Most user properties in one packet that is decoded into values; PUBLISH is not, and has no such bound.
    package var maximumUserProperties = 128

    package init() {}
}
