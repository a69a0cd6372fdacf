package import NIOCore

/// DISCONNECT (MQTT 5.0 §3.14; 3.1.1 §3.14). In 3.x only a client sends it, and it says nothing.
package struct DisconnectPacket: Sendable, Hashable {
    package var reason: ReasonCode
    /// From clients only; nil keeps what CONNECT said.
    package var sessionExpirySeconds: UInt32?
    /// From servers only.
    package var serverReference: MQTTString?
    package var diagnostics: Diagnostics

    package init(
        reason: ReasonCode = .success,
        sessionExpirySeconds: UInt32? = nil,
        serverReference: MQTTString? = nil,
        diagnostics: Diagnostics = .none
    ) {
        self.reason = reason
        self.sessionExpirySeconds = sessionExpirySeconds
        self.serverReference = serverReference
        self.diagnostics = diagnostics
    }

    package static func decode(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        context: DecodingContext
    ) throws(MQTTProtocolError) -> DisconnectPacket {
        var reader = try ByteReader(body: header, of: bytes)
        var packet = DisconnectPacket()
        if context.version.hasProperties, !reader.isAtEnd {
            guard let reason = ReasonCode(rawValue: try reader.readUInt8()),
                reason.isAllowed(in: .disconnect, from: context.sender)
            else { throw .invalidReasonCode }
            packet.reason = reason
            if !reader.isAtEnd { try packet.decodeProperties(&reader, context) }
        }
        try reader.expectEnd()
        return packet
    }

    private mutating func decodeProperties(
        _ reader: inout ByteReader,
        _ context: DecodingContext
    ) throws(MQTTProtocolError) {
        let allowed: PropertySet = context.sender == .client ? .disconnectFromClient : .disconnectFromServer
        var section = try PropertyReader(&reader, allowed: allowed)
        while let property = try section.next() {
            switch property.identifier {
            case .sessionExpiryInterval: sessionExpirySeconds = property.integer
            case .serverReference: serverReference = section.string(property)
            case .reasonString: diagnostics.reasonString = section.string(property)
            case .userProperty: try section.append(property, to: &diagnostics.userProperties, limits: context.limits)
            default: throw .propertyNotAllowed
            }
        }
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
        guard version.hasProperties else {
            return PacketWriter().finish(.disconnect, into: &buffer, maximumPacketSize: maximumPacketSize)
        }
        for diagnostics in diagnostics.reductions {
            var writer = PacketWriter()
            let hasProperties = sessionExpirySeconds != nil || serverReference != nil || !diagnostics.isEmpty
            if reason != .success || hasProperties { writer.write(reason.rawValue) }
            if hasProperties {
                writer.writeProperties { section in
                    section.write(.sessionExpiryInterval, sessionExpirySeconds)
                    section.write(.serverReference, serverReference)
                    section.write(diagnostics)
                }
            }
            if writer.finish(.disconnect, into: &buffer, maximumPacketSize: maximumPacketSize) { return true }
        }
        return false
    }
}
