/// One property in place: an integer, or where its bytes lie in the packet.
package struct PropertyView: Sendable, Hashable {
    package var identifier: PropertyIdentifier
    /// The value of integer kinds.
    package var integer: UInt32 = 0
    /// The bytes of a string or of binary data, or the name of a user property; positions in the packet.
    package var first: Range<Int> = 0..<0
    /// The value of a user property.
    package var second: Range<Int> = 0..<0
}

/// Walks a property section without allocating, and validates each property as it passes: known and allowed,
/// not repeated, well-formed, and with a value that the specification permits.
package struct PropertyReader {
    private var reader: ByteReader
    private let allowed: PropertySet
    private let repeatable: PropertySet
    /// The properties seen so far.
    package private(set) var seen: PropertySet = []
    /// Bytes of the packet that the section occupies, without its length.
    package let range: Range<Int>

    /// Begins at the property length where `reader` stands, and moves `reader` behind the section.
    init(
        _ reader: inout ByteReader,
        allowed: PropertySet,
        repeatable: PropertySet = PropertySet(.userProperty)
    ) throws(MQTTProtocolError) {
        let length = try reader.readVariableByteInteger()
        self.range = try reader.take(Int(length))
        self.reader = ByteReader(reader.bytes, in: range)
        self.allowed = allowed
        self.repeatable = repeatable
    }

    /// Walks a section that has been validated before, for example the `propertiesRange` of a `PublishView`.
    package init(validated range: Range<Int>, of packet: UnsafeRawBufferPointer) {
        self.range = range
        self.reader = ByteReader(packet, in: range)
        self.allowed = PropertySet(rawValue: .max)
        self.repeatable = PropertySet(rawValue: .max)
    }

    /// Where the next property begins; a position in the packet.
    package var position: Int { reader.position }

    /// The bytes of a range in a property that this reader returned.
    package func bytes(_ range: Range<Int>) -> UnsafeRawBufferPointer {
        reader.slice(range)
    }

    /// The next property, or nil at the end of the section.
    @inline(__always)
    package mutating func next() throws(MQTTProtocolError) -> PropertyView? {
        if reader.isAtEnd { return nil }
        return try readProperty()
    }

    private mutating func readProperty() throws(MQTTProtocolError) -> PropertyView {
        // Identifiers are variable byte integers, but all that exist take one byte.
        guard let identifier = PropertyIdentifier(rawValue: try reader.readUInt8()), allowed.contains(identifier)
        else { throw .propertyNotAllowed }
        if seen.contains(identifier), !repeatable.contains(identifier) { throw .duplicateProperty }
        seen.insert(PropertySet(identifier))
        var view = PropertyView(identifier: identifier)
        switch identifier.kind {
        case .byte: view.integer = UInt32(try reader.readUInt8())
        case .twoByteInteger: view.integer = UInt32(try reader.readUInt16())
        case .fourByteInteger: view.integer = try reader.readUInt32()
        case .variableByteInteger: view.integer = try reader.readVariableByteInteger()
        case .string:
            view.first = try reader.takeLengthPrefixed()
            try validateText(view.first)
        case .stringPair:
            view.first = try reader.takeLengthPrefixed()
            try validateText(view.first)
            view.second = try reader.takeLengthPrefixed()
            try validateText(view.second)
        case .binary: view.first = try reader.takeLengthPrefixed()
        }
        try validateValue(of: view)
        return view
    }

    private func validateText(_ range: Range<Int>) throws(MQTTProtocolError) {
        guard UTF8Text.isValid(reader.slice(range), .freeText) else { throw .malformedString }
    }

    private func validateValue(of view: PropertyView) throws(MQTTProtocolError) {
        switch view.identifier {
        case .payloadFormatIndicator, .requestProblemInformation, .requestResponseInformation, .maximumQoS,
            .retainAvailable, .wildcardSubscriptionAvailable, .subscriptionIdentifierAvailable,
            .sharedSubscriptionAvailable:
            guard view.integer <= 1 else { throw .invalidPropertyValue }
        case .receiveMaximum, .maximumPacketSize, .subscriptionIdentifier:
            guard view.integer != 0 else { throw .invalidPropertyValue }
        case .topicAlias:
            guard view.integer != 0 else { throw .topicAliasInvalid }
        case .responseTopic:
            // A topic name: not empty, no wildcards [MQTT-3.3.2-14].
            let topic = reader.slice(view.first)
            guard !topic.isEmpty, !topic.contains(where: { $0 == TopicByte.plus || $0 == TopicByte.hash }) else {
                throw .invalidPropertyValue
            }
        case .messageExpiryInterval, .contentType, .correlationData, .sessionExpiryInterval,
            .assignedClientIdentifier, .serverKeepAlive, .authenticationMethod, .authenticationData,
            .willDelayInterval, .responseInformation, .serverReference, .reasonString, .topicAliasMaximum,
            .userProperty:
            break
        }
    }
}
