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
    /// Gives a subscription another policy. What is fixed at its creation (durability, priorities) stays.
    case updateSubscription(name: String, SubscriptionPolicy)
    /// Adds a binding to an inbox; one that is there already changes nothing. What is published from then on counts.
    case bind(name: String, Binding)
    case unbind(name: String, Binding)
    case listBindings(name: String)
    /// Ends leases and goes on at another place. For an inbox: `next` empties it.
    case seek(name: String, SeekTarget)
    /// While it is paused nothing is delivered; what is published still waits for it.
    case pause(name: String, isPaused: Bool)
    /// Leases what of a subscription is ready now, at most `maxMessages`, to an attachment that was made as a `getter`. The
    /// messages are delivered on it (`batchDelivered`), also those that have to be read from the disk first; then the
    /// answer comes, `leased`. Requests are served in their order; messages of the next may come before the answer to the
    /// one before.
    case lease(attachment: UInt32, maxMessages: Int)
    /// Settles deliveries by their receipts, also from another session than the one that got them. Answered by
    /// `settled` when durable; one that storage did not sign is `denied`.
    case settle([SignedReceipt], Settlement)
    /// Messages that wait or are leased, in order, from a lane's sequence on; nothing is changed.
    case browse(name: String, lane: UInt16, from: UInt64, maxMessages: Int)
    case beginTransaction(TransactionSpecification)
    /// Lets a settlement of leased messages take effect with a transaction.
    case settleInTransaction(TransactionID, [SignedReceipt])
    case commitTransaction(TransactionID)
    case rollBackTransaction(TransactionID)
    /// This session answers for the open transactions of an owner: it is told (`transactionNeedsResolution`) when one is
    /// open for too long.
    /// - Parameter asPrefix: for all owners whose names begin with `owner`, as far as no session answers for just them.
    case adoptTransactions(owner: String, asPrefix: Bool = false)
    /// Withdraws a message that waits for its time, by the id that its append was answered with.
    case cancelScheduled(ScheduledID)
    /// The last values of names that match a filter, in the order of names behind `after`, at most `limit`.
    case scanRetained(filter: [UInt8], after: [UInt8]?, limit: Int)
    case lookUp(LookUpQuery)
    /// Sends messages of a dead-letter topic back to where they came from.
    case redrive(RedriveRequest)
    /// A subscription with all that is kept for its user.
    case getState(name: String)
    /// The values under one number in the session states of all subscriptions, in the order of their names behind
    /// `after`, at most `limit`.
    case scanState(key: UInt64, after: String?, limit: Int)
    /// Puts the last values of names that match a filter into a stored inbox, at most `limit` of those behind `after`.
    case queueRetained(name: String, filter: [UInt8], after: [UInt8]?, limit: Int)
    /// Moves messages that are leased to a consumer of this session to a stored inbox. Answered by `queued` when durable.
    case handOver(HandOver)
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
    case bindings([Binding])
    /// So many messages were leased: zero where none was ready. `remaining` are those of the subscription that are neither
    /// done nor leased nor wait for a delay.
    case leased(count: Int, remaining: UInt64)
    /// For each receipt, in their order: nil where it was accepted.
    case settled([ErrorCode?])
    case browsed([FoundMessage], next: UInt64?)
    case transaction(TransactionID)
    case retained([RetainedMessage], next: [UInt8]?)
    case found([FoundMessage])
    case redriven(messages: UInt64)
    /// In the order of the numbers.
    case state(SubscriptionDescription, [StateEntry])
    case states([SubscriptionState], next: String?)
    /// So many messages came into the inbox, with sequences from `first` on; `next` continues.
    case queued(first: UInt64, count: Int, next: [UInt8]?)
    case done
}

/// What a topic is to be.
package struct TopicSpecification: Sendable, Equatable {
    package var name: String
    package var partitions: Int
    /// What it captures besides its own name and subtree: exact names, or subtrees written `a/b/#`.
    package var captures: [String]
    package var policy: TopicPolicy
    /// A front makes it for itself: its name may begin with `$`. Never what a client asked for.
    package var isInternal: Bool

    package init(
        name: String,
        partitions: Int = 1,
        captures: [String] = [],
        policy: TopicPolicy = TopicPolicy(),
        isInternal: Bool = false
    ) {
        self.name = name
        self.partitions = partitions
        self.captures = captures
        self.policy = policy
        self.isInternal = isInternal
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
    package var policy: TopicPolicy
    package var partitions: [Partition]

    package init(
        id: TopicID,
        name: String,
        captures: [String],
        createdAt: Timestamp,
        policy: TopicPolicy = TopicPolicy(),
        partitions: [Partition]
    ) {
        self.id = id
        self.name = name
        self.captures = captures
        self.createdAt = createdAt
        self.policy = policy
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

/// What an attached reader reads.
package struct AttachRequest: Sendable, Equatable {
    package enum Source: Sendable, Equatable {
        /// All partitions of a topic, without an acknowledged position.
        case topic(TopicID, StartPosition)
        /// One partition, without an acknowledged position.
        case partition(PartitionID, StartPosition)
        /// A cursor subscription, from its acknowledged position on, moved by `commit`. One reader at a time.
        case subscription(name: String)
        /// A consumer of a subscription: messages are leased to it and settled one by one or in ranges.
        case consumer(of: String, LeaseOwner)
        /// Who asks a subscription for single messages (`StorageRequest.lease`): no consumer, so that it is not counted, no
        /// other is refused for it, and it gets messages beside an exclusive or active one. What it was leased is its own
        /// until it is settled, the lease ends, or the attachment does.
        case getter(of: String)
    }

    /// What ends the leases of a consumer's messages besides their settlement and their deadline.
    package enum LeaseOwner: UInt8, Sendable {
        /// The end of the attachment.
        case attachment = 0
        /// Nothing: whoever has the receipt settles.
        case receipt = 1
    }

    package var source: Source
    /// Only messages whose full name matches; empty for all.
    package var filter: [UInt8]
    /// Names the consumer: one that attaches again under the same name takes its own earlier place, others are refused
    /// while a subscription has its reader.
    package var consumer: String
    package var creditMessages: UInt64
    package var creditBytes: UInt64
    /// Consumers with a lower one get messages only while none with a higher one has credit. Where one consumer is active,
    /// the one with the highest is next; it does not take the place of another.
    package var priority: Int32
    /// Attachments of a session with the same number need credit for messages of their group besides their own, see
    /// `StorageSession.grantCredit(group:messages:)`. Nil: none. Without meaning for getters.
    package var creditGroup: UInt32?

    package init(
        source: Source,
        filter: [UInt8] = [],
        consumer: String = "",
        creditMessages: UInt64 = 0,
        creditBytes: UInt64 = 0,
        priority: Int32 = 0,
        creditGroup: UInt32? = nil
    ) {
        self.source = source
        self.filter = filter
        self.consumer = consumer
        self.creditMessages = creditMessages
        self.creditBytes = creditBytes
        self.priority = priority
        self.creditGroup = creditGroup
    }
}

package struct StorageHealth: Sendable, Equatable {
    package var acceptsWrites: Bool
    /// Why not; empty where it does.
    package var reason: String
    /// Everything before this place in the commit log is fsynced.
    package var durable: LogPosition
    package var end: LogPosition
    /// Names that have a last value.
    package var retainedMessages: Int
    /// What fronts keep for their own use: subscriptions whose names begin with `$`, by their names up to the first `/`.
    package var families: [String: SubscriptionFamily] = [:]
    package init(
        acceptsWrites: Bool,
        reason: String,
        durable: LogPosition,
        end: LogPosition,
        retainedMessages: Int = 0
    ) {
        self.retainedMessages = retainedMessages
        self.acceptsWrites = acceptsWrites
        self.reason = reason
        self.durable = durable
        self.end = end
    }
}
