/// The reason codes of MQTT 5.0 §2.4. Values below 0x80 mean success.
package enum ReasonCode: UInt8, Sendable, Hashable, CaseIterable {
    /// Also "normal disconnection" and "granted QoS 0".
    case success = 0x00
    case grantedQoS1 = 0x01
    case grantedQoS2 = 0x02
    case disconnectWithWill = 0x04
    case noMatchingSubscribers = 0x10
    case noSubscriptionExisted = 0x11
    case continueAuthentication = 0x18
    case reauthenticate = 0x19
    case unspecifiedError = 0x80
    case malformedPacket = 0x81
    case protocolError = 0x82
    case implementationSpecificError = 0x83
    case unsupportedProtocolVersion = 0x84
    case clientIdentifierNotValid = 0x85
    case badUserNameOrPassword = 0x86
    case notAuthorized = 0x87
    case serverUnavailable = 0x88
    case serverBusy = 0x89
    case banned = 0x8A
    case serverShuttingDown = 0x8B
    case badAuthenticationMethod = 0x8C
    case keepAliveTimeout = 0x8D
    case sessionTakenOver = 0x8E
    case topicFilterInvalid = 0x8F
    case topicNameInvalid = 0x90
    case packetIdentifierInUse = 0x91
    case packetIdentifierNotFound = 0x92
    case receiveMaximumExceeded = 0x93
    case topicAliasInvalid = 0x94
    case packetTooLarge = 0x95
    case messageRateTooHigh = 0x96
    case quotaExceeded = 0x97
    case administrativeAction = 0x98
    case payloadFormatInvalid = 0x99
    case retainNotSupported = 0x9A
    case qosNotSupported = 0x9B
    case useAnotherServer = 0x9C
    case serverMoved = 0x9D
    case sharedSubscriptionsNotSupported = 0x9E
    case connectionRateExceeded = 0x9F
    case maximumConnectTime = 0xA0
    case subscriptionIdentifiersNotSupported = 0xA1
    case wildcardSubscriptionsNotSupported = 0xA2

    package var isFailure: Bool { rawValue >= 0x80 }

    /// The SUBACK reason that grants a QoS.
    package static func granted(_ qos: QoS) -> ReasonCode {
        switch qos {
        case .atMostOnce: .success
        case .atLeastOnce: .grantedQoS1
        case .exactlyOnce: .grantedQoS2
        }
    }

    /// The QoS that a SUBACK reason grants; nil for a refusal and for codes that SUBACK does not know.
    package var grantedQoS: QoS? {
        switch self {
        case .success: .atMostOnce
        case .grantedQoS1: .atLeastOnce
        case .grantedQoS2: .exactlyOnce
        default: nil
        }
    }
}

extension ReasonCode {
    /// Whether the specification lists this code for the packet type, when `sender` writes it.
    func isAllowed(in type: PacketType, from sender: Peer) -> Bool {
        switch type {
        case .connack:
            switch rawValue {
            case 0x00, 0x80...0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99...0x9D, 0x9F: true
            default: false
            }
        case .puback, .pubrec:
            switch rawValue {
            case 0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99: true
            default: false
            }
        case .pubrel, .pubcomp:
            self == .success || self == .packetIdentifierNotFound
        case .suback:
            switch rawValue {
            case 0x00...0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2: true
            default: false
            }
        case .unsuback:
            switch rawValue {
            case 0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91: true
            default: false
            }
        case .disconnect:
            switch (sender, rawValue) {
            case (.client, 0x00), (.client, 0x04), (.client, 0x80...0x83), (.client, 0x90), (.client, 0x93...0x99): true
            case (.server, 0x00), (.server, 0x80...0x83), (.server, 0x87), (.server, 0x89), (.server, 0x8B): true
            case (.server, 0x8D...0x90), (.server, 0x93...0xA2): true
            default: false
            }
        case .auth:
            self == .success || self == .continueAuthentication || self == .reauthenticate
        case .connect, .publish, .subscribe, .unsubscribe, .pingreq, .pingresp:
            false
        }
    }
}
