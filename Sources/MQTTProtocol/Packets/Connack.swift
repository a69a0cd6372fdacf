package import NIOCore

/// CONNACK (MQTT 5.0 §3.2; 3.1.1 §3.2).
package struct ConnackPacket: Sendable, Hashable {
    package var sessionPresent: Bool
    /// For 3.x it is mapped to and from the return codes of §3.2.2.3.
    package var reason: ReasonCode
    package var properties: ConnackProperties

    package init(
        reason: ReasonCode,
        sessionPresent: Bool = false,
        properties: ConnackProperties = ConnackProperties()
    ) {
        self.sessionPresent = sessionPresent
        self.reason = reason
        self.properties = properties
    }
}

/// The properties of CONNACK, at their defaults when absent (MQTT 5.0 §3.2.2.3).
package struct ConnackProperties: Sendable, Hashable {
    /// Only when it differs from what the client asked for.
    package var sessionExpirySeconds: UInt32?
    package var receiveMaximum: UInt16 = .max
    package var maximumQoS: QoS = .exactlyOnce
    package var isRetainAvailable = true
    package var maximumPacketSize: UInt32?
    package var assignedClientIdentifier: MQTTString?
    package var topicAliasMaximum: UInt16 = 0
    package var isWildcardSubscriptionAvailable = true
    package var isSubscriptionIdentifierAvailable = true
    package var isSharedSubscriptionAvailable = true
    /// When there, it replaces the client's keep alive.
    package var serverKeepAliveSeconds: UInt16?
    package var responseInformation: MQTTString?
    package var serverReference: MQTTString?
    package var authenticationMethod: MQTTString?
    package var authenticationData: [UInt8]?
    package var diagnostics = Diagnostics.none

    package init() {}
}

extension ConnackPacket {
    /// The return code of 3.x for a reason of 5.0 (3.1.1 §3.2.2.3); what has no counterpart is "server unavailable".
    package static func returnCode(for reason: ReasonCode) -> UInt8 {
        switch reason {
        case .success: 0
        case .unsupportedProtocolVersion: 1
        case .clientIdentifierNotValid: 2
        case .badUserNameOrPassword: 4
        case .notAuthorized, .banned, .badAuthenticationMethod: 5
        default: 3
        }
    }

    private static let reasonsOfReturnCodes: [ReasonCode] = [
        .success, .unsupportedProtocolVersion, .clientIdentifierNotValid, .serverUnavailable, .badUserNameOrPassword,
        .notAuthorized,
    ]

    package static func decode(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        context: DecodingContext
    ) throws(MQTTProtocolError) -> ConnackPacket {
        var reader = try ByteReader(body: header, of: bytes)
        let flags = try reader.readUInt8()
        guard flags & 0xFE == 0 else { throw .reservedBitsSet }
        let code = try reader.readUInt8()
        var packet = ConnackPacket(reason: .success, sessionPresent: flags == 1)
        if context.version.hasProperties {
            guard let reason = ReasonCode(rawValue: code), reason.isAllowed(in: .connack, from: .server) else {
                throw .invalidReasonCode
            }
            packet.reason = reason
            packet.properties = try ConnackProperties(decoding: &reader, limits: context.limits)
        } else {
            guard Int(code) < reasonsOfReturnCodes.count else { throw .invalidReasonCode }
            packet.reason = reasonsOfReturnCodes[Int(code)]
        }
        try reader.expectEnd()
        return packet
    }

    /// Appends the packet, without its diagnostics if it would exceed `maximumPacketSize`.
    ///
    /// - Returns: false, with nothing written, when it is too large even so.
    @discardableResult
    package func encode(
        into buffer: inout ByteBuffer,
        version: ProtocolVersion,
        maximumPacketSize: Int = .max
    ) -> Bool {
        // A refusal never speaks of a session [MQTT-3.2.2-6].
        let flags: UInt8 = sessionPresent && reason == .success ? 1 : 0
        guard version.hasProperties else {
            var writer = PacketWriter()
            // The acknowledge flags of MQTT 3.1 are reserved.
            writer.write(version == .v3_1 ? 0 : flags)
            writer.write(Self.returnCode(for: reason))
            return writer.finish(.connack, into: &buffer, maximumPacketSize: maximumPacketSize)
        }
        for diagnostics in properties.diagnostics.reductions {
            var writer = PacketWriter()
            writer.write(flags)
            writer.write(reason.rawValue)
            writer.writeProperties { properties.write(&$0, diagnostics) }
            if writer.finish(.connack, into: &buffer, maximumPacketSize: maximumPacketSize) { return true }
        }
        return false
    }
}

extension ConnackProperties {
    fileprivate init(decoding reader: inout ByteReader, limits: MQTTLimits) throws(MQTTProtocolError) {
        self.init()
        var section = try PropertyReader(&reader, allowed: .connack)
        while let property = try section.next() {
            let isSet = property.integer == 1
            let short = UInt16(truncatingIfNeeded: property.integer)
            switch property.identifier {
            case .sessionExpiryInterval: sessionExpirySeconds = property.integer
            case .receiveMaximum: receiveMaximum = short
            case .maximumQoS: maximumQoS = isSet ? .atLeastOnce : .atMostOnce
            case .retainAvailable: isRetainAvailable = isSet
            case .maximumPacketSize: maximumPacketSize = property.integer
            case .assignedClientIdentifier: assignedClientIdentifier = section.string(property)
            case .topicAliasMaximum: topicAliasMaximum = short
            case .wildcardSubscriptionAvailable: isWildcardSubscriptionAvailable = isSet
            case .subscriptionIdentifierAvailable: isSubscriptionIdentifierAvailable = isSet
            case .sharedSubscriptionAvailable: isSharedSubscriptionAvailable = isSet
            case .serverKeepAlive: serverKeepAliveSeconds = short
            case .responseInformation: responseInformation = section.string(property)
            case .serverReference: serverReference = section.string(property)
            case .authenticationMethod: authenticationMethod = section.string(property)
            case .authenticationData: authenticationData = section.binary(property)
            case .reasonString: diagnostics.reasonString = section.string(property)
            case .userProperty: try section.append(property, to: &diagnostics.userProperties, limits: limits)
            default: throw .propertyNotAllowed
            }
        }
        if authenticationData != nil, authenticationMethod == nil { throw .authenticationDataWithoutMethod }
    }

    fileprivate func write(_ writer: inout PropertyWriter, _ diagnostics: Diagnostics) {
        writer.write(.sessionExpiryInterval, sessionExpirySeconds)
        writer.write(.receiveMaximum, receiveMaximum == .max ? nil : receiveMaximum)
        writer.write(.maximumQoS, byte: maximumQoS == .exactlyOnce ? nil : maximumQoS.rawValue)
        writer.write(.retainAvailable, byte: isRetainAvailable ? nil : 0)
        writer.write(.maximumPacketSize, maximumPacketSize)
        writer.write(.assignedClientIdentifier, assignedClientIdentifier)
        writer.write(.topicAliasMaximum, topicAliasMaximum == 0 ? nil : topicAliasMaximum)
        writer.write(.wildcardSubscriptionAvailable, byte: isWildcardSubscriptionAvailable ? nil : 0)
        writer.write(.subscriptionIdentifierAvailable, byte: isSubscriptionIdentifierAvailable ? nil : 0)
        writer.write(.sharedSubscriptionAvailable, byte: isSharedSubscriptionAvailable ? nil : 0)
        writer.write(.serverKeepAlive, serverKeepAliveSeconds)
        writer.write(.responseInformation, responseInformation)
        writer.write(.serverReference, serverReference)
        writer.write(.authenticationMethod, authenticationMethod)
        writer.write(.authenticationData, binary: authenticationData)
        writer.write(diagnostics)
    }
}
