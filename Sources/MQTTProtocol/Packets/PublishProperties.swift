/// The properties of a message as values (MQTT 5.0 §3.3.2.3). The hot path does without; wills, clients and the
/// mapping to other protocols use them.
package struct PublishProperties: Sendable, Hashable {
    /// The payload is declared to be UTF-8 text; nil when nothing is declared.
    package var isPayloadText: Bool?
    package var messageExpirySeconds: UInt32?
    /// Zero when there is none.
    package var topicAlias: UInt16 = 0
    package var responseTopic: MQTTString?
    package var correlationData: [UInt8]?
    package var userProperties: [UserProperty] = []
    package var subscriptionIdentifiers: [UInt32] = []
    package var contentType: MQTTString?

    package init() {}

    /// Reads a property section that was validated before.
    package init(
        validated range: Range<Int>,
        of packet: UnsafeRawBufferPointer,
        limits: MQTTLimits = MQTTLimits()
    ) throws(MQTTProtocolError) {
        self.init()
        var section = PropertyReader(validated: range, of: packet)
        while let property = try section.next() {
            try set(property, from: section, limits: limits)
        }
    }

    mutating func set(
        _ property: PropertyView,
        from section: borrowing PropertyReader,
        limits: MQTTLimits
    ) throws(MQTTProtocolError) {
        switch property.identifier {
        case .payloadFormatIndicator: isPayloadText = property.integer == 1
        case .messageExpiryInterval: messageExpirySeconds = property.integer
        case .topicAlias: topicAlias = UInt16(truncatingIfNeeded: property.integer)
        case .responseTopic: responseTopic = section.string(property)
        case .correlationData: correlationData = section.binary(property)
        case .userProperty: try section.append(property, to: &userProperties, limits: limits)
        case .subscriptionIdentifier: subscriptionIdentifiers.append(property.integer)
        case .contentType: contentType = section.string(property)
        default: throw .propertyNotAllowed
        }
    }

    func write(_ writer: inout PropertyWriter) {
        writer.write(.payloadFormatIndicator, byte: isPayloadText.map { $0 ? 1 : 0 })
        writer.write(.messageExpiryInterval, messageExpirySeconds)
        writer.write(.topicAlias, topicAlias == 0 ? nil : topicAlias)
        writer.write(.responseTopic, responseTopic)
        writer.write(.correlationData, binary: correlationData)
        writer.write(userProperties)
        for identifier in subscriptionIdentifiers { writer.write(.subscriptionIdentifier, variable: identifier) }
        writer.write(.contentType, contentType)
    }

    /// The encoded section without its length, as `OutboundPublish.properties` takes it; nil when a value is longer
    /// than the protocol can say.
    package func encoded() -> [UInt8]? {
        var writer = PropertyWriter()
        write(&writer)
        return writer.section.isOverlong ? nil : writer.section.bytes
    }
}
