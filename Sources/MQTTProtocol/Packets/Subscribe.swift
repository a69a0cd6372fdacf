package import NIOCore

/// SUBSCRIBE (MQTT 5.0 §3.8; 3.1.1 §3.8).
package struct SubscribePacket: Sendable, Hashable {
    package var packetIdentifier: UInt16
    package var subscriptions: [SubscriptionRequest]
    package var subscriptionIdentifier: UInt32?
    package var userProperties: [UserProperty]

    package init(
        packetIdentifier: UInt16,
        subscriptions: [SubscriptionRequest],
        subscriptionIdentifier: UInt32? = nil,
        userProperties: [UserProperty] = []
    ) {
        self.packetIdentifier = packetIdentifier
        self.subscriptions = subscriptions
        self.subscriptionIdentifier = subscriptionIdentifier
        self.userProperties = userProperties
    }
}

/// One topic filter of SUBSCRIBE with its options (MQTT 5.0 §3.8.3.1); 3.x has the QoS only.
package struct SubscriptionRequest: Sendable, Hashable {
    package var filter: TopicFilter
    package var maximumQoS: QoS
    /// Do not send this client its own messages.
    package var isNoLocal: Bool
    /// Send the retain flag on as the publisher set it.
    package var retainsAsPublished: Bool
    package var retainHandling: RetainHandling

    package init(
        filter: TopicFilter,
        maximumQoS: QoS = .atMostOnce,
        isNoLocal: Bool = false,
        retainsAsPublished: Bool = false,
        retainHandling: RetainHandling = .sendAtSubscribe
    ) {
        self.filter = filter
        self.maximumQoS = maximumQoS
        self.isNoLocal = isNoLocal
        self.retainsAsPublished = retainsAsPublished
        self.retainHandling = retainHandling
    }
}

/// Whether retained messages are sent when a subscription is made.
package enum RetainHandling: UInt8, Sendable, Hashable, CaseIterable {
    case sendAtSubscribe = 0
    case sendIfNew = 1
    case doNotSend = 2
}

private enum SubscriptionOption {
    static let qos: UInt8 = 0x03
    static let noLocal: UInt8 = 0x04
    static let retainAsPublished: UInt8 = 0x08
    static let retainHandlingShift: UInt8 = 4
    static let reserved: UInt8 = 0xC0
}

extension SubscribePacket {
    package static func decode(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        context: DecodingContext
    ) throws(MQTTProtocolError) -> SubscribePacket {
        var reader = try ByteReader(body: header, of: bytes)
        var packet = SubscribePacket(packetIdentifier: try reader.readPacketIdentifier(), subscriptions: [])
        if context.version.hasProperties {
            var section = try PropertyReader(&reader, allowed: .subscribe)
            while let property = try section.next() {
                if property.identifier == .subscriptionIdentifier {
                    packet.subscriptionIdentifier = property.integer
                } else {
                    try section.append(property, to: &packet.userProperties, limits: context.limits)
                }
            }
        }
        guard !reader.isAtEnd else { throw .emptyPayload }
        while !reader.isAtEnd {
            guard packet.subscriptions.count < context.limits.maximumFiltersPerPacket else {
                throw .tooManyTopicFilters
            }
            packet.subscriptions.append(try SubscriptionRequest(decoding: &reader, context: context))
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
        if version.hasProperties {
            writer.writeProperties { section in
                section.write(.subscriptionIdentifier, variable: subscriptionIdentifier)
                section.write(userProperties)
            }
        }
        for subscription in subscriptions {
            writer.write(subscription.filter.text)
            writer.write(subscription.options(version))
        }
        return writer.finish(.subscribe, into: &buffer, maximumPacketSize: maximumPacketSize)
    }
}

extension SubscriptionRequest {
    fileprivate init(
        decoding reader: inout ByteReader,
        context: DecodingContext
    ) throws(MQTTProtocolError) {
        let text = try reader.takeLengthPrefixed()
        let options = try reader.readUInt8()
        let reserved = context.version.hasProperties ? SubscriptionOption.reserved : ~SubscriptionOption.qos
        guard options & reserved == 0 else { throw .reservedBitsSet }
        // QoS 3 is a protocol error in 5.0 and malformed in 3.1.1, where the connection is closed either way.
        guard let qos = QoS(rawValue: options & SubscriptionOption.qos),
            let handling = RetainHandling(rawValue: options >> SubscriptionOption.retainHandlingShift & 0b11)
        else { throw .invalidSubscriptionOptions }
        self.init(
            filter: try TopicFilter(reader.slice(text), limits: context.limits),
            maximumQoS: qos,
            isNoLocal: options & SubscriptionOption.noLocal != 0,
            retainsAsPublished: options & SubscriptionOption.retainAsPublished != 0,
            retainHandling: handling
        )
        if isNoLocal, filter.isShared { throw .noLocalOnSharedSubscription }
    }

    fileprivate func options(_ version: ProtocolVersion) -> UInt8 {
        guard version.hasProperties else { return maximumQoS.rawValue }
        return maximumQoS.rawValue | (isNoLocal ? SubscriptionOption.noLocal : 0)
            | (retainsAsPublished ? SubscriptionOption.retainAsPublished : 0)
            | retainHandling.rawValue << SubscriptionOption.retainHandlingShift
    }
}
