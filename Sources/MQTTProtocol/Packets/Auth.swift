package import NIOCore

/// AUTH, a step of enhanced authentication (MQTT 5.0 §3.15). There is none in 3.x.
package struct AuthPacket: Sendable, Hashable {
    package var reason: ReasonCode
    package var authenticationMethod: MQTTString?
    package var authenticationData: [UInt8]?
    package var diagnostics: Diagnostics

    package init(
        reason: ReasonCode,
        authenticationMethod: MQTTString? = nil,
        authenticationData: [UInt8]? = nil,
        diagnostics: Diagnostics = .none
    ) {
        self.reason = reason
        self.authenticationMethod = authenticationMethod
        self.authenticationData = authenticationData
        self.diagnostics = diagnostics
    }

    package static func decode(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        context: DecodingContext
    ) throws(MQTTProtocolError) -> AuthPacket {
        guard context.version.hasProperties else { throw .reservedPacketType }
        var reader = try ByteReader(body: header, of: bytes)
        var packet = AuthPacket(reason: .success)
        if !reader.isAtEnd {
            guard let reason = ReasonCode(rawValue: try reader.readUInt8()),
                reason.isAllowed(in: .auth, from: context.sender)
            else { throw .invalidReasonCode }
            packet.reason = reason
            if !reader.isAtEnd { try packet.decodeProperties(&reader, context.limits) }
        }
        if packet.authenticationData != nil, packet.authenticationMethod == nil {
            throw .authenticationDataWithoutMethod
        }
        try reader.expectEnd()
        return packet
    }

    private mutating func decodeProperties(
        _ reader: inout ByteReader,
        _ limits: MQTTLimits
    ) throws(MQTTProtocolError) {
        var section = try PropertyReader(&reader, allowed: .auth)
        while let property = try section.next() {
            switch property.identifier {
            case .authenticationMethod: authenticationMethod = section.string(property)
            case .authenticationData: authenticationData = section.binary(property)
            case .reasonString: diagnostics.reasonString = section.string(property)
            case .userProperty: try section.append(property, to: &diagnostics.userProperties, limits: limits)
            default: throw .propertyNotAllowed
            }
        }
    }

    /// Appends the packet, without its diagnostics if it would exceed `maximumPacketSize`.
    ///
    /// - Returns: false, with nothing written, when it is too large even so.
    @discardableResult
    package func encode(into buffer: inout ByteBuffer, maximumPacketSize: Int = .max) -> Bool {
        for diagnostics in diagnostics.reductions {
            var writer = PacketWriter()
            let hasProperties = authenticationMethod != nil || authenticationData != nil || !diagnostics.isEmpty
            if reason != .success || hasProperties {
                writer.write(reason.rawValue)
                writer.writeProperties { section in
                    section.write(.authenticationMethod, authenticationMethod)
                    section.write(.authenticationData, binary: authenticationData)
                    section.write(diagnostics)
                }
            }
            if writer.finish(.auth, into: &buffer, maximumPacketSize: maximumPacketSize) { return true }
        }
        return false
    }
}
