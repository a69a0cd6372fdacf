package import NIOCore

/// UNSUBSCRIBE (MQTT 5.0 §3.10; 3.1.1 §3.10).
package struct UnsubscribePacket: Sendable, Hashable {
    package var packetIdentifier: UInt16
    package var filters: [TopicFilter]
    package var userProperties: [UserProperty]

    package init(packetIdentifier: UInt16, filters: [TopicFilter], userProperties: [UserProperty] = []) {
        self.packetIdentifier = packetIdentifier
        self.filters = filters
        self.userProperties = userProperties
    }

    package static func decode(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        context: DecodingContext
    ) throws(MQTTProtocolError) -> UnsubscribePacket {
        var reader = try ByteReader(body: header, of: bytes)
        var packet = UnsubscribePacket(packetIdentifier: try reader.readPacketIdentifier(), filters: [])
        if context.version.hasProperties {
            var section = try PropertyReader(&reader, allowed: .unsubscribe)
            while let property = try section.next() {
                try section.append(property, to: &packet.userProperties, limits: context.limits)
            }
        }
        guard !reader.isAtEnd else { throw .emptyPayload }
        while !reader.isAtEnd {
            guard packet.filters.count < context.limits.maximumFiltersPerPacket else { throw .tooManyTopicFilters }
            let text = try reader.takeLengthPrefixed()
            packet.filters.append(try TopicFilter(reader.slice(text), limits: context.limits))
        }
        return packet
    }

    /// Appends the packet.
    ///
    /// - Returns: false, with nothing written, when it is longer than the protocol or `maximumPacketSize` allows.
    @discardableResult
    package func encode(
        into buffer: inout ByteBuffer,
        version: ProtocolVersion,
        maximumPacketSize: Int = .max
    ) -> Bool {
        var writer = PacketWriter()
        writer.write(packetIdentifier)
        if version.hasProperties { writer.writeProperties { $0.write(userProperties) } }
        for filter in filters { writer.write(filter.text) }
        return writer.finish(.unsubscribe, into: &buffer, maximumPacketSize: maximumPacketSize)
    }
}
