/// What a peer did against the protocol: one byte, so that it costs nothing to throw on the hot path.
///
/// A 5.0 client is told `reasonCode` in DISCONNECT (in CONNACK before it is connected); a 3.x client has its
/// connection closed without a packet, except for the refusals that CONNACK of 3.1.1 knows.
package enum MQTTProtocolError: UInt8, Error, Sendable, Hashable, CaseIterable {
    // Framing
    case reservedPacketType
    case invalidFixedHeaderFlags
    case malformedRemainingLength
    case packetTooLarge
    case truncatedPacket
    case trailingBytes
    // Fields
    case malformedString
    case malformedVariableByteInteger
    case packetIdentifierZero
    case invalidQoS
    case duplicateFlagOnQoS0
    case reservedBitsSet
    case emptyPayload
    case invalidReasonCode
    // Properties
    case propertyNotAllowed
    case duplicateProperty
    case invalidPropertyValue
    case authenticationDataWithoutMethod
    case subscriptionIdentifierFromClient
    case tooManyUserProperties
    // Topics
    case malformedTopicName
    case emptyTopicName
    case topicNameBeyondLimits
    case malformedTopicFilter
    case topicFilterBeyondLimits
    case tooManyTopicFilters
    case invalidSubscriptionOptions
    case noLocalOnSharedSubscription
    // Connection
    case unknownProtocolName
    case unsupportedProtocolVersion
    case invalidConnectFlags
    case clientIdentifierNotValid
    case unsupportedAuthenticationMethod
    case firstPacketNotConnect
    case unexpectedPacket
    case connectTimeout
    case keepAliveTimeout
    case receiveMaximumExceeded
    case topicAliasInvalid
    case topicAliasUnknown
    case qosNotSupported
    case retainNotSupported
    case sessionExpirySetAtDisconnect
}

extension MQTTProtocolError {
    /// The code a 5.0 peer is answered with.
    package var reasonCode: ReasonCode {
        switch self {
        case .reservedPacketType, .invalidFixedHeaderFlags, .malformedRemainingLength, .truncatedPacket,
            .trailingBytes, .malformedString, .malformedVariableByteInteger, .invalidQoS, .duplicateFlagOnQoS0,
            .reservedBitsSet, .propertyNotAllowed, .malformedTopicName, .malformedTopicFilter, .invalidConnectFlags:
            .malformedPacket
        case .packetIdentifierZero, .emptyPayload, .invalidReasonCode, .duplicateProperty, .invalidPropertyValue,
            .authenticationDataWithoutMethod, .subscriptionIdentifierFromClient, .emptyTopicName,
            .invalidSubscriptionOptions, .noLocalOnSharedSubscription, .firstPacketNotConnect, .unexpectedPacket,
            .connectTimeout, .topicAliasUnknown, .sessionExpirySetAtDisconnect:
            .protocolError
        case .packetTooLarge: .packetTooLarge
        case .topicNameBeyondLimits: .topicNameInvalid
        case .topicFilterBeyondLimits: .topicFilterInvalid
        case .tooManyTopicFilters, .tooManyUserProperties: .quotaExceeded
        case .unknownProtocolName, .unsupportedProtocolVersion: .unsupportedProtocolVersion
        case .clientIdentifierNotValid: .clientIdentifierNotValid
        case .unsupportedAuthenticationMethod: .badAuthenticationMethod
        case .keepAliveTimeout: .keepAliveTimeout
        case .receiveMaximumExceeded: .receiveMaximumExceeded
        case .topicAliasInvalid: .topicAliasInvalid
        case .qosNotSupported: .qosNotSupported
        case .retainNotSupported: .retainNotSupported
        }
    }
}

extension MQTTProtocolError: CustomStringConvertible {
    /// A sentence for the log and for the reason string, with the section of MQTT 5.0 that was broken.
    package var description: String {
        switch self {
        case .reservedPacketType: "packet type is reserved (§2.1.2)"
        case .invalidFixedHeaderFlags: "fixed header flags are wrong for the packet type (§2.1.3)"
        case .malformedRemainingLength:
            "remaining length is not a minimal variable byte integer of at most 4 bytes (§1.5.5)"
        case .packetTooLarge: "packet exceeds the maximum packet size of the server (§3.2.2.3.6)"
        case .truncatedPacket: "a field runs past the end of the packet"
        case .trailingBytes: "bytes follow the last field of the packet"
        case .malformedString: "string is not well-formed UTF-8, or contains U+0000 or a control character (§1.5.4)"
        case .malformedVariableByteInteger: "variable byte integer is too long or not minimal (§1.5.5)"
        case .packetIdentifierZero: "packet identifier is zero (§2.2.1)"
        case .invalidQoS: "QoS 3 does not exist (§3.3.1.2)"
        case .duplicateFlagOnQoS0: "DUP is set on a QoS 0 message (§3.3.1.1)"
        case .reservedBitsSet: "reserved bits are set"
        case .emptyPayload: "packet has no topic filter (§3.8.3, §3.10.3)"
        case .invalidReasonCode: "reason code is not allowed in this packet (§2.4)"
        case .propertyNotAllowed: "property is unknown or not allowed in this packet (§2.2.2.2)"
        case .duplicateProperty: "property is there more than once (§2.2.2.2)"
        case .invalidPropertyValue: "property has a value that the specification forbids"
        case .authenticationDataWithoutMethod: "authentication data without an authentication method (§3.1.2.11.10)"
        case .subscriptionIdentifierFromClient: "a client's PUBLISH carries a subscription identifier (§3.3.4)"
        case .tooManyUserProperties: "more user properties in one packet than this server accepts"
        case .malformedTopicName: "topic name contains a wildcard or is not well-formed UTF-8 (§3.3.2.1)"
        case .emptyTopicName: "topic name is empty and there is no topic alias (§3.3.2.1)"
        case .topicNameBeyondLimits: "topic name is longer or deeper than this server accepts"
        case .malformedTopicFilter: "topic filter is malformed (§4.7.1, §4.8.2)"
        case .topicFilterBeyondLimits: "topic filter is longer or deeper than this server accepts"
        case .tooManyTopicFilters: "more topic filters in one packet than this server accepts"
        case .invalidSubscriptionOptions: "QoS or retain handling of a subscription is 3 (§3.8.3.1)"
        case .noLocalOnSharedSubscription: "no-local is set on a shared subscription (§3.8.3.1)"
        case .unknownProtocolName: "protocol name is not MQTT (§3.1.2.1)"
        case .unsupportedProtocolVersion: "protocol version is not supported (§3.1.2.2)"
        case .invalidConnectFlags: "connect flags contradict each other (§3.1.2.3)"
        case .clientIdentifierNotValid: "an empty client identifier needs clean session (3.1.1 §3.1.3.1)"
        case .unsupportedAuthenticationMethod: "authentication method is not supported (§4.12)"
        case .firstPacketNotConnect: "the first packet is not CONNECT (§3.1)"
        case .unexpectedPacket: "packet is not allowed from a client in this state (§4.13.1)"
        case .connectTimeout: "no CONNECT arrived in time (§3.1)"
        case .keepAliveTimeout: "nothing arrived for one and a half times the keep alive (§3.1.2.10)"
        case .receiveMaximumExceeded: "more unacknowledged messages than the receive maximum (§3.3.4)"
        case .topicAliasInvalid: "topic alias is zero or above the topic alias maximum (§3.3.2.3.4)"
        case .topicAliasUnknown: "topic alias was not set on this connection (§3.3.2.3.4)"
        case .qosNotSupported: "QoS is above the maximum QoS of the server (§3.2.2.3.4)"
        case .retainNotSupported: "retained messages are not supported (§3.2.2.3.5)"
        case .sessionExpirySetAtDisconnect: "session expiry was zero in CONNECT and is not in DISCONNECT (§3.14.2.2.2)"
        }
    }
}
