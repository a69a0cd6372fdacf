/// The three protocol versions a client can ask for in CONNECT, by protocol level.
package enum ProtocolVersion: UInt8, Sendable, Hashable, CaseIterable {
    /// MQTT 3.1, protocol name `MQIsdp`.
    case v3_1 = 3
    /// MQTT 3.1.1.
    case v3_1_1 = 4
    /// MQTT 5.0.
    case v5 = 5

    /// Packets carry a property section and acknowledgements a reason code.
    package var hasProperties: Bool {
        switch self {
        case .v3_1, .v3_1_1: false
        case .v5: true
        }
    }

    /// The protocol name that CONNECT carries for this version.
    package var protocolName: MQTTString {
        switch self {
        case .v3_1: "MQIsdp"
        case .v3_1_1, .v5: "MQTT"
        }
    }
}

/// Which side of the connection wrote a packet; a few rules depend on it.
package enum Peer: Sendable, Hashable {
    case client
    case server
}
