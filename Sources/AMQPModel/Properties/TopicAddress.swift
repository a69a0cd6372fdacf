internal import AMQPProtocol
internal import MessageModel

/// What AMQP readers are told about messages of a topic: worth keeping for each topic while the model's `epoch` stays.
package struct TopicAddress: Sendable, Hashable {
    enum Kind: Sendable, Hashable {
        case exchange
        /// No exchange is called so: `amq.topic` and the whole name.
        case wholeTree
        /// What was appended to the stream itself came by the default exchange, with its name as the key.
        case stream
    }

    let kind: Kind
    /// The exchange, or the stream's name.
    let name: [UInt8]

    /// Of a topic that is no exchange.
    package static let wholeTree = TopicAddress(kind: .wholeTree, name: Array(NameMapping.wholeTreeExchange.utf8))
}

extension VirtualHostModel {
    /// The address of a topic's messages. Walks all exchanges where no exchange has the topic's own name.
    package func address(ofTopic topic: String) -> TopicAddress {
        if topic == StorageNames.defaultExchangeTopic { return TopicAddress(kind: .exchange, name: []) }
        let sameName = ShortString(topic)
        if exchanges[sameName]?.topic == topic { return TopicAddress(kind: .exchange, name: sameName.bytes) }
        if let queue = queues[sameName], queue.isStream, queue.storageName == topic {
            return TopicAddress(kind: .stream, name: sameName.bytes)
        }
        guard topicsInUse.contains(topic) else { return .wholeTree }
        if let other = exchanges.values.first(where: { $0.topic == topic }) {
            return TopicAddress(kind: .exchange, name: other.name.bytes)
        }
        if let other = queues.values.first(where: { $0.isStream && $0.storageName == topic }) {
            return TopicAddress(kind: .stream, name: other.name.bytes)
        }
        return .wholeTree
    }
}
