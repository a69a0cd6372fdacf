/// The properties of MQTT 5.0 §2.2.2.2.
package enum PropertyIdentifier: UInt8, Sendable, Hashable, CaseIterable {
    case payloadFormatIndicator = 0x01
    case messageExpiryInterval = 0x02
    case contentType = 0x03
    case responseTopic = 0x08
    case correlationData = 0x09
    case subscriptionIdentifier = 0x0B
    case sessionExpiryInterval = 0x11
    case assignedClientIdentifier = 0x12
    case serverKeepAlive = 0x13
    case authenticationMethod = 0x15
    case authenticationData = 0x16
    case requestProblemInformation = 0x17
    case willDelayInterval = 0x18
    case requestResponseInformation = 0x19
    case responseInformation = 0x1A
    case serverReference = 0x1C
    case reasonString = 0x1F
    case receiveMaximum = 0x21
    case topicAliasMaximum = 0x22
    case topicAlias = 0x23
    case maximumQoS = 0x24
    case retainAvailable = 0x25
    case userProperty = 0x26
    case maximumPacketSize = 0x27
    case wildcardSubscriptionAvailable = 0x28
    case subscriptionIdentifierAvailable = 0x29
    case sharedSubscriptionAvailable = 0x2A

    /// How the value is encoded.
    package enum Kind: Sendable, Hashable {
        case byte
        case twoByteInteger
        case fourByteInteger
        case variableByteInteger
        case string
        case stringPair
        case binary
    }

    package var kind: Kind {
        switch self {
        case .payloadFormatIndicator, .requestProblemInformation, .requestResponseInformation, .maximumQoS,
            .retainAvailable, .wildcardSubscriptionAvailable, .subscriptionIdentifierAvailable,
            .sharedSubscriptionAvailable:
            .byte
        case .serverKeepAlive, .receiveMaximum, .topicAliasMaximum, .topicAlias: .twoByteInteger
        case .messageExpiryInterval, .sessionExpiryInterval, .willDelayInterval, .maximumPacketSize: .fourByteInteger
        case .subscriptionIdentifier: .variableByteInteger
        case .contentType, .responseTopic, .assignedClientIdentifier, .authenticationMethod, .responseInformation,
            .serverReference, .reasonString:
            .string
        case .userProperty: .stringPair
        case .correlationData, .authenticationData: .binary
        }
    }
}

/// A set of property identifiers: one bit each.
package struct PropertySet: OptionSet, Sendable, Hashable {
    package let rawValue: UInt64

    package init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    package init(_ identifier: PropertyIdentifier) {
        self.rawValue = 1 << UInt64(identifier.rawValue)
    }

    init(_ identifiers: [PropertyIdentifier]) {
        self.rawValue = identifiers.reduce(0) { $0 | 1 << UInt64($1.rawValue) }
    }

    @inline(__always)
    package func contains(_ identifier: PropertyIdentifier) -> Bool {
        rawValue & (1 << UInt64(identifier.rawValue)) != 0
    }
}

extension PropertySet {
    // Which properties each packet may carry (MQTT 5.0 §2.2.2.2).
    static let connect = PropertySet([
        .sessionExpiryInterval, .receiveMaximum, .maximumPacketSize, .topicAliasMaximum, .requestResponseInformation,
        .requestProblemInformation, .userProperty, .authenticationMethod, .authenticationData,
    ])
    static let will = PropertySet([
        .willDelayInterval, .payloadFormatIndicator, .messageExpiryInterval, .contentType, .responseTopic,
        .correlationData, .userProperty,
    ])
    static let connack = PropertySet([
        .sessionExpiryInterval, .receiveMaximum, .maximumQoS, .retainAvailable, .maximumPacketSize,
        .assignedClientIdentifier, .topicAliasMaximum, .reasonString, .userProperty, .wildcardSubscriptionAvailable,
        .subscriptionIdentifierAvailable, .sharedSubscriptionAvailable, .serverKeepAlive, .responseInformation,
        .serverReference, .authenticationMethod, .authenticationData,
    ])
    static let publish = PropertySet([
        .payloadFormatIndicator, .messageExpiryInterval, .topicAlias, .responseTopic, .correlationData, .userProperty,
        .subscriptionIdentifier, .contentType,
    ])
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    static let acknowledgement = PropertySet([.reasonString, .userProperty])
    static let subscribe = PropertySet([.subscriptionIdentifier, .userProperty])
    static let unsubscribe = PropertySet([.userProperty])
    /// DISCONNECT; the server reference is the server's alone.
    static let disconnectFromClient = PropertySet([.sessionExpiryInterval, .reasonString, .userProperty])
    /// A server must not send a session expiry interval in DISCONNECT [MQTT-3.14.2-2].
    static let disconnectFromServer = PropertySet([.reasonString, .userProperty, .serverReference])
    static let auth = PropertySet([.authenticationMethod, .authenticationData, .reasonString, .userProperty])
}
