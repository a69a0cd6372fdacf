package import AMQPProtocol
internal import StorageService

/// The exchanges, queues and bindings of one virtual host, as RabbitMQ has them, and what they are in storage.
///
/// Every change takes the method that a client sent, refuses it as RabbitMQ does, or changes the value at once and
/// returns what has to be done for it. Whoever owns the model carries that out in order and answers the client when it
/// is durable. The model has no clock, no connection and no storage.
package struct VirtualHostModel: Sendable {
    /// As clients call it; for reply texts.
    package let name: ShortString
    package let limits: AMQPModelLimits
    /// Another one whenever a `PublishTarget` that was asked for before may be wrong.
    package internal(set) var epoch: UInt64 = 1

    var exchanges: [ShortString: Exchange] = [:]
    var queues: [ShortString: Queue] = [:]
    var queueNames: [QueueNumber: ShortString] = [:]
    /// Exclusive queues by their connections.
    var queuesOfConnections: [UInt64: Set<ShortString>] = [:]
    /// Topics of exchanges and streams, and inboxes that are not called as their queues.
    var topicsInUse: Set<String> = [TopicDirectory.builtInTopic]
    var unusualInboxes: Set<String> = []
    /// Numbers under which definitions are stored.
    var storedNumbers: Set<UInt64> = []
    var nextQueue: UInt32 = 1
    var streams = 0
    var policies = PolicyTable()
    /// Queues that are gone, whose letters may still be on their way.
    var formerQueues = FormerQueues()
    /// Of exchanges that messages were routed by.
    var routingIndexes: [ShortString: RoutingIndex] = [:]

    /// A virtual host with the predeclared exchanges only.
    package init(name: ShortString, limits: AMQPModelLimits = AMQPModelLimits()) {
        self.name = name
        self.limits = limits
        for (name, kind) in Self.predeclared {
            let topic: String? =
                switch name.description {
                case "": StorageNames.defaultExchangeTopic
                case "amq.topic": nil
                default: name.description
                }
            if let topic { topicsInUse.insert(topic) }
            exchanges[name] = Exchange(
                name: name,
                type: kind == .headers ? "headers" : kind == .topic ? "topic" : kind == .fanout ? "fanout" : "direct",
                kind: kind,
                isDurable: true,
                isAutoDelete: false,
                isInternal: name.equals("amq.rabbitmq.trace"),
                isDelayed: false,
                arguments: FieldTable(),
                topic: topic,
                storedNumber: 0
            )
        }
    }

    private static let predeclared: [(ShortString, ExchangeKind)] = [
        ("", .direct), ("amq.direct", .direct), ("amq.fanout", .fanout), ("amq.headers", .headers),
        ("amq.match", .headers), ("amq.rabbitmq.trace", .topic), ("amq.topic", .topic),
    ]

    /// What has to be in storage before anything of this virtual host is: the topics of the predeclared exchanges.
    package var foundation: [ModelEffect] {
        exchanges.values.filter(\.isPredeclared).compactMap(\.topic).sorted().map { topic in
            .createTopic(name: topic, policy: Self.exchangePolicy)
        }
    }

    /// An exchange keeps what queues need, and nothing else.
    static var exchangePolicy: TopicPolicy {
        var policy = TopicPolicy()
        policy.retention = .subscriptions
        return policy
    }

    // MARK: Looking

    package func exchange(_ name: ShortString) -> Exchange? { exchanges[name] }
    package func queue(_ name: ShortString) -> Queue? { queues[name] }
    package func queue(_ number: QueueNumber) -> Queue? { queueNames[number].flatMap { queues[$0] } }

    package var exchangeCount: Int { exchanges.count }
    package var queueCount: Int { queues.count }

    /// In the order of their names.
    package var allExchanges: [Exchange] {
        exchanges.values.sorted { $0.name.bytes.lexicographicallyPrecedes($1.name.bytes) }
    }
    package var allQueues: [Queue] {
        queues.values.sorted { $0.name.bytes.lexicographicallyPrecedes($1.name.bytes) }
    }

    /// The queue that a connection wants to consume from, get from, purge or bind.
    ///
    /// - Throws: 404, and 405 for an exclusive queue of another connection.
    package func queue(_ name: ShortString, for connection: UInt64) throws(AMQPError) -> Queue {
        guard let queue = queues[name] else { throw .noQueue(name, virtualHost: self.name) }
        try checkOwner(queue, connection)
        return queue
    }

    /// - Throws: 404.
    package func existing(_ exchange: ShortString) throws(AMQPError) -> Exchange {
        guard let found = exchanges[exchange] else { throw .noExchange(exchange, virtualHost: name) }
        return found
    }

    func checkOwner(_ queue: Queue, _ connection: UInt64) throws(AMQPError) {
        guard queue.owner == nil || queue.owner == connection else {
            throw .lockedQueue(queue.name, virtualHost: name)
        }
    }
}
