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
    public var policy: TopicPolicy

    init(_ wire: WireTopicDescription) {
        policy = TopicPolicy(wire.policy)
        id = wire.id
        name = wire.name
        captures = wire.captures
        createdAt = wire.createdAt.rawValue
        partitions = wire.partitions.map { Partition(firstOffset: $0.from, nextOffset: $0.next) }
    }
}

/// A subscription as the server describes it.
public struct SubscriptionDescription: Sendable, Equatable {
    /// A partition of a topic, or a level of priority of an inbox.
    public struct Partition: Sendable, Equatable {
        /// Everything before this offset is done.
        public var acknowledged: UInt64
        public var nextOffset: UInt64
        /// Messages that are not done, leased ones included.
        public var backlog: UInt64
        public var leased: UInt64
        /// Messages that were delivered without success and wait for their next delivery.
        public var retrying: UInt64
        /// When the oldest of the backlog was stored; nil where there is none, or where it is not at hand.
        public var oldestStoredAt: Microseconds?
    }

    /// Never used again; names the subscription in receipts.
    public var id: UInt32
    public var name: String
    /// Empty for an inbox.
    public var topic: String
    public var createdAt: Microseconds
    /// Somebody reads it at this moment.
    public var isAttached: Bool
    public var isInbox: Bool
    public var isPaused: Bool
    public var consumers: Int
    public var policy: SubscriptionPolicy
    public var partitions: [Partition]

    /// Messages that are not done.
    public var backlog: UInt64 { partitions.reduce(0) { $0 &+ $1.backlog } }
    public var leased: UInt64 { partitions.reduce(0) { $0 &+ $1.leased } }
    public var retrying: UInt64 { partitions.reduce(0) { $0 &+ $1.retrying } }
    /// When the oldest message that is not done was stored, as far as that is at hand.
    public var oldestStoredAt: Microseconds? { partitions.compactMap(\.oldestStoredAt).min() }

    init(_ wire: WireSubscriptionDescription) {
        id = wire.id
        name = wire.name
        topic = wire.topicName
        createdAt = wire.createdAt.rawValue
        isAttached = wire.isAttached
        isInbox = wire.flags.contains(.inbox)
        isPaused = wire.flags.contains(.paused)
        consumers = Int(wire.consumers)
        policy = SubscriptionPolicy(wire.policy)
        partitions = wire.lanes.map { lane in
            Partition(
                acknowledged: lane.acknowledged,
                nextOffset: lane.next,
                backlog: lane.backlog,
                leased: lane.leased,
                retrying: lane.retrying,
                oldestStoredAt: lane.oldest == 0 ? nil : lane.oldest
            )
        }
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
