package import MessageModel

/// A request of those that are not on the path of every message.
package enum StorageRequest: Sendable {
    case createTopic(TopicSpecification)
    case deleteTopic(name: String)
    case describeTopic(name: String)
    /// Topics in the order of their names, behind `after`, at most `limit`.
    case listTopics(after: String?, limit: Int)
    case openProducer(ProducerRequest)
    case fetch(FetchRequest)
    case findOffset(PartitionID, OffsetQuery)
    case createSubscription(SubscriptionSpecification)
    case deleteSubscription(name: String)
    case describeSubscription(name: String)
    case listSubscriptions(after: String?, limit: Int)
    /// Moves a cursor subscription's acknowledged position forward: everything before `offset` is done. A position at
    /// or before the present one changes nothing. Answered when it is durable.
    case commit(name: String, PartitionID, offset: UInt64)
    case health
    /// A verb that is designed and not there yet.
    case unsupported(StorageVerb)
}

/// The answer to a `StorageRequest`.
package enum StorageReply: Sendable {
    case topicCreated(TopicDescription, isNew: Bool)
    case topic(TopicDescription)
    /// `next` continues the list; nil at its end.
    case topics([TopicDescription], next: String?)
    case producer(ProducerReply)
    case fetched(FetchReply)
    case offset(UInt64, Timestamp)
    case subscriptionCreated(SubscriptionDescription, isNew: Bool)
    case subscription(SubscriptionDescription)
    case subscriptions([SubscriptionDescription], next: String?)
    case health(StorageHealth)
    case done
}

/// What a topic is to be.
package struct TopicSpecification: Sendable, Equatable {
    package var name: String
    package var partitions: Int
    /// What it captures besides its own name and subtree: exact names, or subtrees written `a/b/#`.
    package var captures: [String]

    package init(name: String, partitions: Int = 1, captures: [String] = []) {
        self.name = name
        self.partitions = partitions
        self.captures = captures
    }
}

package struct TopicDescription: Sendable, Equatable {
    package struct Partition: Sendable, Equatable {
        /// The oldest offset that is there, and the one that the next message gets.
        package var firstOffset: UInt64
        package var nextOffset: UInt64
        package init(firstOffset: UInt64, nextOffset: UInt64) {
            self.firstOffset = firstOffset
            self.nextOffset = nextOffset
        }
    }

    package var id: TopicID
    package var name: String
    package var captures: [String]
    package var createdAt: Timestamp
    package var partitions: [Partition]

    package init(id: TopicID, name: String, captures: [String], createdAt: Timestamp, partitions: [Partition]) {
        self.id = id
        self.name = name
        self.captures = captures
        self.createdAt = createdAt
        self.partitions = partitions
    }
}

/// Asks for a producer's identity.
package struct ProducerRequest: Sendable, Equatable {
    /// The identity to go on with after a reconnect; nil for a new one.
    package var resume: ProducerID?
    /// The partition whose last sequence is wanted in the answer.
    package var partition: PartitionID
    package init(resume: ProducerID? = nil, partition: PartitionID) {
        self.resume = resume
        self.partition = partition
    }
}

package struct ProducerReply: Sendable, Equatable {
    package var producer: ProducerID
    package var epoch: UInt16
    /// The sequence that the partition's next batch of this producer must have.
    package var nextSequence: UInt32
    package init(producer: ProducerID, epoch: UInt16, nextSequence: UInt32) {
        self.producer = producer
        self.epoch = epoch
        self.nextSequence = nextSequence
    }
}

/// Asks for stored batches from an offset on.
package struct FetchRequest: Sendable, Equatable {
    package var partition: PartitionID
    package var offset: UInt64
    /// No more than this, but at least one batch where there is one.
    package var maxBytes: Int
    /// Waits so long, in µs, for the first batch where there is none yet.
    package var waitMicroseconds: UInt64
    package init(partition: PartitionID, offset: UInt64, maxBytes: Int, waitMicroseconds: UInt64 = 0) {
        self.partition = partition
        self.offset = offset
        self.maxBytes = maxBytes
        self.waitMicroseconds = waitMicroseconds
    }
}

package struct FetchReply: Sendable, Equatable {
    /// Whole stored batches, one behind the other. The first may begin before the offset that was asked for.
    package var batches: [UInt8]
    /// The bounds of the partition at this moment, as far as readers may see.
    package var firstOffset: UInt64
    package var nextOffset: UInt64
    package init(batches: [UInt8], firstOffset: UInt64, nextOffset: UInt64) {
        self.batches = batches
        self.firstOffset = firstOffset
        self.nextOffset = nextOffset
    }
}

/// A place in a partition in other words than an offset.
package enum OffsetQuery: Sendable, Equatable {
    case first
    case next
    /// The first message that was stored at this time or later; the next offset where there is none.
    case time(Timestamp)
}

/// Where a reader begins that has no acknowledged position.
package enum StartPosition: Sendable, Equatable {
    case first
    case next
    case offset(UInt64)
    case time(Timestamp)
}

/// What a cursor subscription is to be.
package struct SubscriptionSpecification: Sendable, Equatable {
    package var name: String
    package var topic: TopicID
    package var start: StartPosition
    package init(name: String, topic: TopicID, start: StartPosition) {
        self.name = name
        self.topic = topic
        self.start = start
    }
}

package struct SubscriptionDescription: Sendable, Equatable {
    package struct Partition: Sendable, Equatable {
        /// Everything before this offset is done.
        package var acknowledged: UInt64
        package var nextOffset: UInt64
        package init(acknowledged: UInt64, nextOffset: UInt64) {
            self.acknowledged = acknowledged
            self.nextOffset = nextOffset
        }
    }

    package var name: String
    package var topic: TopicID
    package var topicName: String
    package var createdAt: Timestamp
    package var isAttached: Bool
    package var partitions: [Partition]

    package init(
        name: String,
        topic: TopicID,
        topicName: String,
        createdAt: Timestamp,
        isAttached: Bool,
        partitions: [Partition]
    ) {
        self.name = name
        self.topic = topic
        self.topicName = topicName
        self.createdAt = createdAt
        self.isAttached = isAttached
        self.partitions = partitions
    }
}

/// What an attached reader reads.
package struct AttachRequest: Sendable, Equatable {
    package enum Source: Sendable, Equatable {
        /// All partitions of a topic, without an acknowledged position.
        case topic(TopicID, StartPosition)
        /// One partition, without an acknowledged position.
        case partition(PartitionID, StartPosition)
        /// A cursor subscription, from its acknowledged position on. One reader at a time.
        case subscription(name: String)
    }

    package var source: Source
    /// Only messages whose full name matches; empty for all.
    package var filter: [UInt8]
    /// Names the consumer: one that attaches again under the same name takes its own earlier place, others are refused
    /// while a subscription has its reader.
    package var consumer: String
    package var creditMessages: UInt64
    package var creditBytes: UInt64

    package init(
        source: Source,
        filter: [UInt8] = [],
        consumer: String = "",
        creditMessages: UInt64 = 0,
        creditBytes: UInt64 = 0
    ) {
        self.source = source
        self.filter = filter
        self.consumer = consumer
        self.creditMessages = creditMessages
        self.creditBytes = creditBytes
    }
}

package struct StorageHealth: Sendable, Equatable {
    package var acceptsWrites: Bool
    /// Why not; empty where it does.
    package var reason: String
    /// Everything before this place in the commit log is fsynced.
    package var durable: LogPosition
    package var end: LogPosition
    package init(acceptsWrites: Bool, reason: String, durable: LogPosition, end: LogPosition) {
        self.acceptsWrites = acceptsWrites
        self.reason = reason
        self.durable = durable
        self.end = end
    }
}
