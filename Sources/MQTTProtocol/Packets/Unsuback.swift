package import NIOCore

/// UNSUBACK (MQTT 5.0 §3.11): one reason for each filter in 5.0, none in 3.x.
package struct UnsubackPacket: Sendable, Hashable {
    package var packetIdentifier: UInt16
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
    ) throws(MQTTProtocolError) -> UnsubackPacket {
        var reader = try ByteReader(body: header, of: bytes)
        var packet = UnsubackPacket(packetIdentifier: try reader.readPacketIdentifier(), reasons: [])
        if context.version.hasProperties {
            packet.diagnostics = try PropertyReader.diagnostics(
                &reader,
                allowed: .acknowledgement,
                limits: context.limits
            )
            guard !reader.isAtEnd else { throw .emptyPayload }
            while !reader.isAtEnd {
                guard let reason = ReasonCode(rawValue: try reader.readUInt8()),
                    reason.isAllowed(in: .unsuback, from: .server)
                else { throw .invalidReasonCode }
                packet.reasons.append(reason)
            }
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
        for diagnostics in version.hasProperties ? diagnostics.reductions : [.none] {
            var writer = PacketWriter()
            writer.write(packetIdentifier)
            if version.hasProperties {
                writer.writeProperties { $0.write(diagnostics) }
                writer.writeRaw(reasons.map(\.rawValue))
            }
            if writer.finish(.unsuback, into: &buffer, maximumPacketSize: maximumPacketSize) { return true }
        }
        return false
    }
}
