/// A PUBLISH of the kind that most are: see `receivedPlainPublish`.
package struct PlainPublish: Sendable {
    /// Bytes of the packet.
    package var totalLength: Int
    package var payloadOffset: Int
    package var packetIdentifier: UInt16
    package var qos: QoS
    package var isRetained: Bool
    /// As in `InboundPublish`; without meaning for QoS 0.
    package var ticket: UInt64

    package var payloadRange: Range<Int> { payloadOffset..<totalLength }
}

extension MQTTConnectionStateMachine {
    /// Takes the PUBLISH at the beginning of `bytes` where nothing is special about it: it is whole, has no properties and
    /// the name given, and breaks no rule. Otherwise nothing has happened, and it goes the usual way: `nextPacket`, then
    /// `receivedPublish`.
    ///
    /// - Parameters:
    ///   - bytes: the received bytes that are not yet used.
    ///   - topic: a name that was received and validated before.
    package mutating func receivedPlainPublish(
        _ bytes: UnsafeRawBufferPointer,
        topic: UnsafeRawBufferPointer,
        nowMilliseconds: Int64
    ) -> PlainPublish? {
        let available = bytes.count
        guard phase == .connected, !topic.isEmpty, available >= 2, bytes[0] >> 4 == PacketType.publish.rawValue else {
            return nil
        }
        let flags = bytes[0] & 0x0F
        guard let qos = QoS(rawValue: flags >> 1 & 0b11), qos <= options.maximumQoS, flags & 0b1110 != 0b1000 else {
            return nil
        }
        let isRetained = flags & 0b0001 != 0
        guard !isRetained || options.isRetainAvailable else { return nil }
        var length = Int(bytes[1] & 0x7F)
        var position = 2
        while bytes[position &- 1] & 0x80 != 0 {
            // Lengths of four bytes, and those that end in an empty one, are for the usual way.
            guard position < 4, position < available, bytes[position] != 0 else { return nil }
            length |= Int(bytes[position] & 0x7F) &<< (7 &* (position &- 1))
            position &+= 1
        }
        let total = position &+ length
        let isAcknowledged = qos != .atMostOnce
        let payload = position &+ 2 &+ topic.count &+ (isAcknowledged ? 2 : 0) &+ (version.hasProperties ? 1 : 0)
        guard total <= available, total <= framer.maximumPacketSize, payload <= total else { return nil }
        guard Int(UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt16.self))) == topic.count,
            Self.isEqual(bytes, at: position &+ 2, topic)
        else { return nil }
        position = position &+ 2 &+ topic.count
        var publish = PlainPublish(
            totalLength: total,
            payloadOffset: payload,
            packetIdentifier: 0,
            qos: qos,
            isRetained: isRetained,
            ticket: 0
        )
        if version.hasProperties, bytes[payload &- 1] != 0 { return nil }
        if isAcknowledged {
            let identifier = UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt16.self))
            guard identifier != 0, inboundCount < inboundLimit else { return nil }
            if qos == .exactlyOnce {
                guard exchanges.phase(identifier) == nil else { return nil }
                exchanges.begin(identifier)
            }
            publish.packetIdentifier = identifier
            publish.ticket = pending.append(packetIdentifier: identifier, isExactlyOnce: qos == .exactlyOnce)
        }
        lastPacketMilliseconds = nowMilliseconds
        return publish
    }

    /// Whether `text` stands in `bytes` at a place; the caller has checked that so many bytes are there.
    @inline(__always)
    private static func isEqual(
        _ bytes: UnsafeRawBufferPointer,
        at place: Int,
        _ text: UnsafeRawBufferPointer
    ) -> Bool {
        var index = 0
        while index &+ 8 <= text.count {
            guard
                bytes.loadUnaligned(fromByteOffset: place &+ index, as: UInt64.self)
                    == text.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            else { return false }
            index &+= 8
        }
        while index < text.count {
            guard bytes[place &+ index] == text[index] else { return false }
            index &+= 1
        }
        return true
    }
}
