internal import MessageModel
internal import NativeProtocol

/// A topic as the server describes it.
public struct TopicDescription: Sendable, Equatable {
    public struct Partition: Sendable, Equatable {
        /// The oldest offset that is there.
        public var firstOffset: UInt64
        /// The offset that the next message gets.
        public var nextOffset: UInt64
    }

    public var id: UInt32
    public var name: String
    /// What it captures besides its own name and subtree.
    public var captures: [String]
    public var createdAt: Microseconds
    public var partitions: [Partition]

    init(_ wire: WireTopicDescription) {
        id = wire.id
        name = wire.name
        captures = wire.captures
        createdAt = wire.createdAt.rawValue
        partitions = wire.partitions.map { Partition(firstOffset: $0.from, nextOffset: $0.next) }
    }
}

/// A subscription as the server describes it.
public struct SubscriptionDescription: Sendable, Equatable {
    public struct Partition: Sendable, Equatable {
        /// Everything before this offset is done.
        public var acknowledged: UInt64
        public var nextOffset: UInt64
    }

    public var name: String
    public var topic: String
    public var createdAt: Microseconds
    /// Somebody reads it at this moment.
    public var isAttached: Bool
    public var partitions: [Partition]

    init(_ wire: WireSubscriptionDescription) {
        name = wire.name
        topic = wire.topicName
        createdAt = wire.createdAt.rawValue
        isAttached = wire.isAttached
        partitions = wire.partitions.map { Partition(acknowledged: $0.from, nextOffset: $0.next) }
    }
}

/// Whether the server takes messages.
public struct ServerHealth: Sendable, Equatable {
    public var acceptsWrites: Bool
    /// Why not; empty where it does.
    public var reason: String
    /// Everything before this place in the server's log is fsynced, and where the log ends.
    public var durablePosition: UInt64
    public var endPosition: UInt64
}

/// What a fetch brought.
public struct FetchedBatches: Sendable {
    public var batches: [ConsumedBatch]
    /// The bounds of the partition at that moment.
    public var firstOffset: UInt64
    public var nextOffset: UInt64
}
