package import NIOCore

/// A validated PUBLISH in place: where its parts lie in the packet's bytes (MQTT 5.0 §3.3).
///
/// It holds no bytes and no references, so decoding a message allocates nothing; all positions count from the
/// packet's first byte.
package struct PublishView: Sendable, Hashable {
    private var flags: UInt8
    /// Zero for QoS 0.
    package private(set) var packetIdentifier: UInt16
    /// The alias that the packet sets or uses; zero when there is none.
    package private(set) var topicAlias: UInt16 = 0
    private var topicLength: UInt16
    private var topicOffset: UInt32
    private var propertiesOffset: UInt32
    private var propertiesLength: UInt32
    private var payloadOffset: UInt32
    private var payloadLength: UInt32
    private var expirySeconds: UInt32 = 0
    /// Which properties are there.
    package private(set) var properties: PropertySet = []

    package var qos: QoS { QoS(rawValue: flags >> 1 & 0b11) ?? .atMostOnce }
    package var isDuplicate: Bool { flags & 0b1000 != 0 }
    package var isRetained: Bool { flags & 0b0001 != 0 }
    /// Empty only when `topicAlias` stands for the topic.
    package var topicRange: Range<Int> { Int(topicOffset)..<Int(topicOffset) &+ Int(topicLength) }
    /// The property section without its length.
    package var propertiesRange: Range<Int> {
        Int(propertiesOffset)..<Int(propertiesOffset) &+ Int(propertiesLength)
    }
    package var payloadRange: Range<Int> { Int(payloadOffset)..<Int(payloadOffset) &+ Int(payloadLength) }
    /// Seconds the message may still be delivered, counted from its arrival; nil when it does not expire.
    package var messageExpirySeconds: UInt32? {
        properties.contains(.messageExpiryInterval) ? expirySeconds : nil
    }

    /// Whether the property section can be sent on as it is: no alias, no subscription identifier (both belong to
    /// one connection), no expiry (it is sent on with the remaining time).
    package var forwardsPropertiesVerbatim: Bool {
        properties.isDisjoint(with: Self.notForwarded)
    }

    private static let notForwarded = PropertySet([
        .topicAlias, .subscriptionIdentifier, .messageExpiryInterval,
    ])
}

extension PublishView {
    /// Validates a PUBLISH: topic name, packet identifier and every property.
    ///
    /// - Parameters:
    ///   - bytes: the packet from its first byte on; may extend beyond it.
    package static func decode(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        context: borrowing DecodingContext
    ) throws(MQTTProtocolError) -> PublishView {
        var reader = try ByteReader(body: header, of: bytes)
        let topic = try reader.takeLengthPrefixed()
        var packetIdentifier: UInt16 = 0
        if header.flags & 0b0110 != 0 { packetIdentifier = try reader.readPacketIdentifier() }
        var view = PublishView(
            flags: header.flags,
            packetIdentifier: packetIdentifier,
            topicLength: UInt16(truncatingIfNeeded: topic.count),
            topicOffset: UInt32(truncatingIfNeeded: topic.lowerBound),
            propertiesOffset: 0,
            propertiesLength: 0,
            payloadOffset: 0,
            payloadLength: 0
        )
        if context.version.hasProperties { try view.decodeProperties(&reader, from: context.sender) }
        if !topic.isEmpty {
            try TopicName.validate(reader.slice(topic), limits: context.limits)
        } else if view.topicAlias == 0 {
            throw .emptyTopicName
        }
        let payload = reader.takeRest()
        view.payloadOffset = UInt32(truncatingIfNeeded: payload.lowerBound)
        view.payloadLength = UInt32(truncatingIfNeeded: payload.count)
        return view
    }

    @inline(__always)
    private mutating func decodeProperties(
        _ reader: inout ByteReader,
        from sender: Peer
    ) throws(MQTTProtocolError) {
        var section = try PropertyReader(
            &reader,
            allowed: .publish,
            repeatable: sender == .server ? Self.repeatableFromServer : PropertySet(.userProperty)
        )
        while let property = try section.next() {
            switch property.identifier {
            case .topicAlias: topicAlias = UInt16(truncatingIfNeeded: property.integer)
            case .messageExpiryInterval: expirySeconds = property.integer
            case .subscriptionIdentifier:
                guard sender == .server else { throw .subscriptionIdentifierFromClient }
            default: break
            }
        }
        properties = section.seen
        propertiesOffset = UInt32(truncatingIfNeeded: section.range.lowerBound)
        propertiesLength = UInt32(truncatingIfNeeded: section.range.count)
    }

    private static let repeatableFromServer = PropertySet([.userProperty, .subscriptionIdentifier])

    /// Appends the properties that go on to subscribers (see `forwardsPropertiesVerbatim`), in their order and
    /// without a length. Only needed when they do not go on verbatim.
    package func writeForwardedProperties(from packet: UnsafeRawBufferPointer, into buffer: inout ByteBuffer) {
        var section = PropertyReader(validated: propertiesRange, of: packet)
        var start = section.position
        while let property = (try? section.next()) ?? nil {
            if !Self.notForwarded.contains(property.identifier) {
                buffer.writeBytes(section.bytes(start..<section.position))
            }
            start = section.position
        }
    }
}
