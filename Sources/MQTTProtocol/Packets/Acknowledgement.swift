package import NIOCore

/// PUBACK, PUBREC, PUBREL or PUBCOMP: one form for all four (MQTT 5.0 §3.4 to §3.7).
///
/// Decoding validates the properties but does not keep them, so that it allocates nothing.
package struct AcknowledgementPacket: Sendable, Hashable {
    package var type: PacketType
    package var packetIdentifier: UInt16
    /// Always success for 3.x, which cannot say more.
    package var reason: ReasonCode
    /// Where reason string and user properties lie in the packet; empty when there are none.
    package var propertiesRange: Range<Int>

    package init(type: PacketType, packetIdentifier: UInt16, reason: ReasonCode = .success) {
        self.type = type
        self.packetIdentifier = packetIdentifier
        self.reason = reason
        self.propertiesRange = 0..<0
    }

    package static func decode(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        context: borrowing DecodingContext
    ) throws(MQTTProtocolError) -> AcknowledgementPacket {
        var reader = try ByteReader(body: header, of: bytes)
        var packet = AcknowledgementPacket(type: header.type, packetIdentifier: try reader.readPacketIdentifier())
        // Reason and property length may be left out when they say success and nothing (§3.4.2.1, §3.4.2.2.1).
        if context.version.hasProperties, !reader.isAtEnd {
            guard let reason = ReasonCode(rawValue: try reader.readUInt8()),
                reason.isAllowed(in: header.type, from: context.sender)
            else { throw .invalidReasonCode }
            packet.reason = reason
            if !reader.isAtEnd {
                var section = try PropertyReader(&reader, allowed: .acknowledgement)
                while try section.next() != nil {}
                packet.propertiesRange = section.range
            }
        }
        try reader.expectEnd()
        return packet
    }

    /// Appends the packet in its shortest form: four bytes for success and for 3.x, five for another reason.
    @inline(__always)
    package func encode(into buffer: inout ByteBuffer, version: ProtocolVersion) {
        let first = UInt32(type.rawValue << 4 | type.requiredFlags) << 24
        if reason == .success || !version.hasProperties {
            buffer.writeInteger(first | 2 << 16 | UInt32(packetIdentifier))
        } else {
            buffer.writeMultipleIntegers(first | 3 << 16 | UInt32(packetIdentifier), reason.rawValue)
        }
    }

    /// Appends the packet with diagnostics, as far as they fit.
    ///
    /// - Returns: false, with nothing written, when it is too large even without.
    @discardableResult
    package func encode(
        into buffer: inout ByteBuffer,
        version: ProtocolVersion,
        diagnostics: Diagnostics,
        maximumPacketSize: Int = .max
    ) -> Bool {
        for diagnostics in version.hasProperties ? diagnostics.reductions : [.none] {
            var writer = PacketWriter()
            writer.write(packetIdentifier)
            if version.hasProperties, reason != .success || !diagnostics.isEmpty { writer.write(reason.rawValue) }
            if !diagnostics.isEmpty { writer.writeProperties { $0.write(diagnostics) } }
            if writer.finish(type, into: &buffer, maximumPacketSize: maximumPacketSize) { return true }
        }
        return false
    }
}
