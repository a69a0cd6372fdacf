package import MessageModel

/// What a subscription is to be.
package struct SubscriptionSpecification: Sendable, Equatable {
    package enum Source: Sendable, Equatable {
        /// Progress is a place in each partition of a topic.
        case cursor(topic: TopicID, start: StartPosition)
        /// Its own index of the messages that its bindings route to it.
        case inbox(bindings: [Binding])
    }

    package var name: String
    package var source: Source
    package var policy: SubscriptionPolicy

    package init(name: String, source: Source, policy: SubscriptionPolicy = SubscriptionPolicy()) {
        self.name = name
        self.source = source
        self.policy = policy
    }

    /// A cursor subscription.
    package init(name: String, topic: TopicID, start: StartPosition, policy: SubscriptionPolicy = SubscriptionPolicy())
    {
        self.init(name: name, source: .cursor(topic: topic, start: start), policy: policy)
    }
}

package struct SubscriptionDescription: Sendable, Equatable {
    /// A partition of a cursor subscription, or a level of priority of an inbox.
    package struct Lane: Sendable, Equatable {
        /// Everything before this sequence is done.
        package var acknowledged: UInt64
        package var nextOffset: UInt64
        /// Messages that are not done, leased ones included.
        package var backlog: UInt64
        package var leased: UInt64
        /// Deliveries that ended without success and wait for the next.
        package var retrying: UInt64
        /// When the oldest of the backlog was stored; nil where there is none, or where it is not at hand.
        package var oldest: Timestamp?
        package init(
            acknowledged: UInt64,
            nextOffset: UInt64,
            backlog: UInt64 = 0,
            leased: UInt64 = 0,
            retrying: UInt64 = 0,
            oldest: Timestamp? = nil
        ) {
            self.acknowledged = acknowledged
            self.nextOffset = nextOffset
            self.backlog = backlog
            self.leased = leased
            self.retrying = retrying
            self.oldest = oldest
        }
    }

    package var id: SubscriptionID
    package var name: String
    /// The topic that a cursor subscription reads; nil for an inbox.
    package var topic: TopicID?
    package var topicName: String
    package var createdAt: Timestamp
    package var isPaused: Bool
    package var consumers: Int
    package var policy: SubscriptionPolicy
    package var lanes: [Lane]

    package var isAttached: Bool { consumers > 0 }

    package init(
        id: SubscriptionID,
        name: String,
        topic: TopicID?,
        topicName: String,
        createdAt: Timestamp,
        isPaused: Bool,
        consumers: Int,
        policy: SubscriptionPolicy,
        lanes: [Lane]
    ) {
        self.id = id
        self.name = name
        self.topic = topic
        self.topicName = topicName
        self.createdAt = createdAt
        self.isPaused = isPaused
        self.consumers = consumers
        self.policy = policy
        self.lanes = lanes
    }
}
