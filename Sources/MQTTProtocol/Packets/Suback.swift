package import NIOCore

/// SUBACK (MQTT 5.0 §3.9): one reason for each filter of the SUBSCRIBE, in its order.
package struct SubackPacket: Sendable, Hashable {
    package var packetIdentifier: UInt16
    /// For 3.x every failure becomes 0x80.
    package var reasons: [ReasonCode]
    package var diagnostics: Diagnostics

    package init(packetIdentifier: UInt16, reasons: [ReasonCode], diagnostics: Diagnostics = .none) {
        self.packetIdentifier = packetIdentifier
        self.reasons = reasons
        self.diagnostics = diagnostics
    }

    package static func decode(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        context: DecodingContext
    ) throws(MQTTProtocolError) -> SubackPacket {
        var reader = try ByteReader(body: header, of: bytes)
        var packet = SubackPacket(packetIdentifier: try reader.readPacketIdentifier(), reasons: [])
        if context.version.hasProperties {
            packet.diagnostics = try PropertyReader.diagnostics(
                &reader,
                allowed: .acknowledgement,
                limits: context.limits
            )
        }
        guard !reader.isAtEnd else { throw .emptyPayload }
        while !reader.isAtEnd {
            guard let reason = ReasonCode(rawValue: try reader.readUInt8()),
                reason.isAllowed(in: .suback, from: .server),
                context.version.hasProperties || reason.rawValue <= ReasonCode.unspecifiedError.rawValue
            else { throw .invalidReasonCode }
            packet.reasons.append(reason)
        }
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
        for diagnostics in version.hasProperties ? diagnostics.reductions : [.none] {
            var writer = PacketWriter()
            writer.write(packetIdentifier)
            if version.hasProperties { writer.writeProperties { $0.write(diagnostics) } }
            for reason in reasons {
                let shown = version.hasProperties || !reason.isFailure ? reason : .unspecifiedError
                writer.write(shown.rawValue)
            }
            if writer.finish(.suback, into: &buffer, maximumPacketSize: maximumPacketSize) { return true }
        }
        return false
    }
}
