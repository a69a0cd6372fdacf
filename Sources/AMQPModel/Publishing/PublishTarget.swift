package import AMQPProtocol
internal import MessageModel

/// What a publisher has to know about an exchange: small, and good for as long as the model's `epoch` stays the same.
package struct PublishTarget: Sendable, Hashable {
    package enum Routing: Sendable, Hashable {
        /// What is appended to the exchange's topic reaches all that it is to reach.
        case storage
        /// Each message is routed by `VirtualHostModel.route`, which says what is to be appended where.
        case model
    }

    package let exchange: ShortString
    /// What is appended to; nil for `amq.topic`: whichever topic captures the name.
    package let topic: String?
    package let routing: Routing
    /// Clients may not publish to it: 403, `AMQPError.internalExchange`.
    package let isInternal: Bool
    /// The header `x-delay` says when a message is to be routed.
    package let isDelayed: Bool
    /// Of which a routing key may have no more.
    let maximumWords: Int

    init(_ exchange: Exchange, routing: Routing) {
        self.exchange = exchange.name
        topic = exchange.topic
        self.routing = routing
        isInternal = exchange.isInternal
        isDelayed = exchange.isDelayed
        let levels = exchange.topic.map { $0.utf8.count { $0 == NameRules.separator } + 1 } ?? 0
        maximumWords = max(0, Limits.nameLevels - levels)
    }

    /// Where the name of a message is in its topic.
    package enum Placement: Sendable, Hashable {
        /// The topic's own name: the record has no routing key.
        case topicItself
        /// What was written is the part behind the topic's name.
        case below
        /// What was written is the full name; the topic that captures it is to be looked up, and `NamePlacement` says
        /// what goes into the record.
        case wholeName
    }

    /// Writes what goes into the record for a routing key behind what `name` holds; nothing is allocated where that has
    /// room.
    ///
    /// - Throws: 406 for a key with more words than a name has levels.
    package func place(
        _ routingKey: UnsafeRawBufferPointer,
        into name: inout [UInt8]
    ) throws(AMQPError) -> Placement {
        if topic == nil {
            try check(routingKey)
            RoutingKeyCoding.encodeWholeName(routingKey, into: &name)
            return .wholeName
        }
        guard !routingKey.isEmpty else { return .topicItself }
        try check(routingKey)
        RoutingKeyCoding.encode(routingKey, into: &name)
        return .below
    }

    @inline(__always)
    private func check(_ routingKey: UnsafeRawBufferPointer) throws(AMQPError) {
        // Each word but the last has a byte behind it.
        guard routingKey.count >= maximumWords else { return }
        let words = routingKey.count { $0 == UInt8(ascii: ".") } + 1
        guard words <= maximumWords else {
            throw AMQPError(
                .preconditionFailed,
                "a routing key has at most \(maximumWords) words here, and this one \(words)",
                method: .basicPublish
            )
        }
    }
}

extension VirtualHostModel {
    /// What to know about an exchange before publishing to it; nil where it is not there, which is 404. Looking it up
    /// costs a hash of the name: keep it until `epoch` changes.
    package func publishTarget(_ exchange: UnsafeRawBufferPointer) -> PublishTarget? {
        publishTarget(ShortString(exchange))
    }

    package func publishTarget(_ exchange: ShortString) -> PublishTarget? {
        exchanges[exchange].map { PublishTarget($0, routing: routing(of: $0)) }
    }
}
