/// The fixed header of one control packet (MQTT 5.0 §2.1).
package struct PacketHeader: Sendable, Hashable {
    package var type: PacketType
    /// The low four bits of the first byte.
    package var flags: UInt8
    /// Bytes of the fixed header itself: 2 to 5.
    package var headerLength: Int
    /// Bytes that follow the fixed header.
    package var remainingLength: Int

    package init(type: PacketType, flags: UInt8, headerLength: Int, remainingLength: Int) {
        self.type = type
        self.flags = flags
        self.headerLength = headerLength
        self.remainingLength = remainingLength
    }

    /// Bytes of the whole packet.
    package var totalLength: Int { headerLength &+ remainingLength }

    /// Whether the remaining length uses no more bytes than needed.
    var isMinimal: Bool {
        headerLength == 1 + VariableByteInteger.size(UInt32(truncatingIfNeeded: remainingLength))
    }
}

/// Cuts packets out of a stream of bytes. It holds no bytes: the caller shows it what is readable, takes a packet's
/// `totalLength` off the front, and asks again.
package struct PacketFramer: Sendable {
    /// The greatest packet accepted, fixed header included; checked before the body has arrived.
    package var maximumPacketSize: Int
    /// The version of the connection; nil before CONNECT.
    package var version: ProtocolVersion?

    package init(maximumPacketSize: Int, version: ProtocolVersion?) {
        self.maximumPacketSize = maximumPacketSize
        self.version = version
    }

    package enum Result: Sendable, Hashable {
        /// A whole packet begins at the first byte.
        case packet(PacketHeader)
        /// So many bytes from the first on are needed at least before asking again makes sense.
        case needMore(total: Int)
        case invalid(MQTTProtocolError)
    }

    /// Looks at the beginning of `bytes`.
    package func next(_ bytes: UnsafeRawBufferPointer) -> Result {
        guard let first = bytes.first else { return .needMore(total: 2) }
        guard let type = PacketType(rawValue: first >> 4) else { return .invalid(.reservedPacketType) }
        let flags = first & 0x0F
        if type == .publish {
            if flags & 0b0110 == 0b0110 { return .invalid(.invalidQoS) }
            if flags & 0b1110 == 0b1000 { return .invalid(.duplicateFlagOnQoS0) }
        } else if flags != type.requiredFlags, !isRepetition(type, flags) {
            return .invalid(.invalidFixedHeaderFlags)
        }
        var length = 0
        var index = 1
        while true {
            guard index < bytes.count else { return .needMore(total: index &+ 1) }
            let byte = bytes[index]
            length |= Int(byte & 0x7F) &<< (7 &* (index &- 1))
            index &+= 1
            if byte & 0x80 == 0 {
                // 3.x does not forbid lengths padded with empty groups, and small clients send them.
                if byte == 0, index > 2, version == .v5 { return .invalid(.malformedRemainingLength) }
                break
            }
            if index > 4 { return .invalid(.malformedRemainingLength) }
        }
        let total = index &+ length
        guard total <= maximumPacketSize else { return .invalid(.packetTooLarge) }
        guard total <= bytes.count else { return .needMore(total: total) }
        return .packet(PacketHeader(type: type, flags: flags, headerLength: index, remainingLength: length))
    }

    /// MQTT 3.1 lets a client set DUP when it repeats PUBREL, SUBSCRIBE or UNSUBSCRIBE.
    private func isRepetition(_ type: PacketType, _ flags: UInt8) -> Bool {
        version == .v3_1 && type.requiredFlags == 0b0010 && flags == 0b1010
    }
}
