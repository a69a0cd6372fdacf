package import NIOCore

/// A PUBLISH to write, put together from borrowed pieces: nothing is copied before it lands in the output.
///
/// The pieces must stay valid for the call that encodes them, and are trusted to be valid (a topic name without
/// wildcards, a well-formed property section); lengths are not.
package struct OutboundPublish {
    package var version: ProtocolVersion
    package var qos: QoS
    package var isRetained: Bool
    package var isDuplicate: Bool
    /// Left at zero for QoS 0, and when the identifier is patched in afterwards.
    package var packetIdentifier: UInt16
    /// The topic name is `topicPrefix` followed by `topicRest`.
    package var topicPrefix: UnsafeRawBufferPointer
    package var topicRest: UnsafeRawBufferPointer
    package var payload: UnsafeRawBufferPointer

    // What follows is for 5.0 and left out for 3.x.

    /// Encoded properties that go out as they are, without a length.
    package var properties: UnsafeRawBufferPointer
    /// The remaining time to live; nil when the message does not expire.
    package var messageExpirySeconds: UInt32?
    /// Zero for none.
    package var topicAlias: UInt16
    package var subscriptionIdentifiers: UnsafeBufferPointer<UInt32>

    package init(
        version: ProtocolVersion,
        qos: QoS = .atMostOnce,
        isRetained: Bool = false,
        isDuplicate: Bool = false,
        packetIdentifier: UInt16 = 0,
        topicPrefix: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
        topicRest: UnsafeRawBufferPointer,
        payload: UnsafeRawBufferPointer,
        properties: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
        messageExpirySeconds: UInt32? = nil,
        topicAlias: UInt16 = 0,
        subscriptionIdentifiers: UnsafeBufferPointer<UInt32> = UnsafeBufferPointer(start: nil, count: 0)
    ) {
        self.version = version
        self.qos = qos
        self.isRetained = isRetained
        self.isDuplicate = isDuplicate
        self.packetIdentifier = packetIdentifier
        self.topicPrefix = topicPrefix
        self.topicRest = topicRest
        self.payload = payload
        self.properties = properties
        self.messageExpirySeconds = messageExpirySeconds
        self.topicAlias = topicAlias
        self.subscriptionIdentifiers = subscriptionIdentifiers
    }
}

/// Where an encoded PUBLISH lies, so that one encoding serves many subscribers.
package struct EncodedPublish: Sendable, Hashable {
    /// Index of its first byte in the buffer it was written to.
    package var start: Int
    /// Bytes of the whole packet, payload included even if only the head was written.
    package var packetSize: Int
    /// Distance from the first byte to the packet identifier; zero when the packet has none.
    package var packetIdentifierOffset: Int
    /// Distance from the first byte to the value of the message expiry interval; zero when the packet has none.
    package var messageExpiryOffset = 0

    /// Gives a copy of the packet that begins at `start` in `buffer` its own packet identifier.
    package func setPacketIdentifier(_ identifier: UInt16, in buffer: inout ByteBuffer, packetAt start: Int) {
        guard packetIdentifierOffset > 0 else { return }
        buffer.setInteger(identifier, at: start + packetIdentifierOffset)
    }

    /// Says how much is left of a message's time where the packet waited.
    package func setMessageExpiry(seconds: UInt32, in buffer: inout ByteBuffer, packetAt start: Int) {
        guard messageExpiryOffset > 0 else { return }
        buffer.setInteger(seconds, at: start + messageExpiryOffset)
    }
}

extension OutboundPublish {
    /// The exact size of the packet in bytes, to be compared with the receiver's maximum packet size; nil when it is
    /// greater than MQTT can say.
    package var packetSize: Int? {
        sizes.map { $0.packet }
    }

    /// Appends the packet.
    ///
    /// - Returns: where it lies; nil, with nothing written, when topic or packet are longer than MQTT can say.
    @discardableResult
    package func encode(into buffer: inout ByteBuffer) -> EncodedPublish? {
        guard let sizes else { return nil }
        return encode(sizes, includingPayload: true, into: &buffer)
    }

    /// Appends everything but the payload, for large payloads that are written as a slice of their own.
    @discardableResult
    package func encodeHead(into buffer: inout ByteBuffer) -> EncodedPublish? {
        guard let sizes else { return nil }
        return encode(sizes, includingPayload: false, into: &buffer)
    }

    struct Sizes {
        var topic: Int
        var properties: UInt32
        var remaining: UInt32
        var packet: Int
    }

    var sizes: Sizes? {
        let topic = topicPrefix.count + topicRest.count
        guard topic <= Int(UInt16.max) else { return nil }
        var remaining = 2 + topic + (qos == .atMostOnce ? 0 : 2) + payload.count
        var section = 0
        if version.hasProperties {
            section = properties.count
            if messageExpirySeconds != nil { section += 5 }
            if topicAlias != 0 { section += 3 }
            for identifier in subscriptionIdentifiers { section += 1 + VariableByteInteger.size(identifier) }
            guard section <= Int(VariableByteInteger.maximum) else { return nil }
            remaining += section + VariableByteInteger.size(UInt32(section))
        }
        guard remaining <= Int(VariableByteInteger.maximum) else { return nil }
        let length = UInt32(remaining)
        return Sizes(
            topic: topic,
            properties: UInt32(section),
            remaining: length,
            packet: 1 + VariableByteInteger.size(length) + remaining
        )
    }

    @discardableResult
    func encode(_ sizes: Sizes, includingPayload: Bool, into buffer: inout ByteBuffer) -> EncodedPublish {
        var result = EncodedPublish(start: buffer.writerIndex, packetSize: sizes.packet, packetIdentifierOffset: 0)
        let written = includingPayload ? sizes.packet : sizes.packet - payload.count
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: written) { output in
            var cursor = OutputCursor(output)
            var flags = qos.rawValue << 1
            if isRetained { flags |= 0b0001 }
            if isDuplicate { flags |= 0b1000 }
            cursor.write(PacketType.publish.rawValue << 4 | flags)
            cursor.writeVariableByteInteger(sizes.remaining)
            cursor.write(UInt16(truncatingIfNeeded: sizes.topic))
            cursor.write(topicPrefix)
            cursor.write(topicRest)
            if qos != .atMostOnce {
                result.packetIdentifierOffset = cursor.position
                cursor.write(packetIdentifier)
            }
            if version.hasProperties {
                if messageExpirySeconds != nil {
                    // It is the first of the properties, behind their length and its own identifier.
                    result.messageExpiryOffset = cursor.position + VariableByteInteger.size(sizes.properties) + 1
                }
                writeProperties(sizes.properties, &cursor)
            }
            if includingPayload { cursor.write(payload) }
            return cursor.position
        }
        return result
    }

    @inline(__always)
    private func writeProperties(_ size: UInt32, _ cursor: inout OutputCursor) {
        cursor.writeVariableByteInteger(size)
        if let messageExpirySeconds {
            cursor.write(PropertyIdentifier.messageExpiryInterval.rawValue)
            cursor.write(messageExpirySeconds)
        }
        if topicAlias != 0 {
            cursor.write(PropertyIdentifier.topicAlias.rawValue)
            cursor.write(topicAlias)
        }
        for identifier in subscriptionIdentifiers {
            cursor.write(PropertyIdentifier.subscriptionIdentifier.rawValue)
            cursor.writeVariableByteInteger(identifier)
        }
        cursor.write(properties)
    }
}

/// Writes into memory whose size was computed before; never beyond it.
struct OutputCursor {
    private let output: UnsafeMutableRawBufferPointer
    private(set) var position = 0

    init(_ output: UnsafeMutableRawBufferPointer) {
        self.output = output
    }

    @inline(__always)
    mutating func write(_ value: some FixedWidthInteger) {
        let size = value.bitWidth / 8
        guard output.count &- position >= size else { return }
        output.storeBytes(of: value.bigEndian, toByteOffset: position, as: type(of: value))
        position &+= size
    }

    @inline(__always)
    mutating func writeVariableByteInteger(_ value: UInt32) {
        var rest = value
        while rest >= 0x80 {
            write(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        write(UInt8(truncatingIfNeeded: rest))
    }

    @inline(__always)
    mutating func write(_ bytes: UnsafeRawBufferPointer) {
        guard let source = bytes.baseAddress, let target = output.baseAddress,
            output.count &- position >= bytes.count
        else { return }
        (target + position).copyMemory(from: source, byteCount: bytes.count)
        position &+= bytes.count
    }
}
