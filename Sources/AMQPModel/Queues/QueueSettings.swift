package import AMQPProtocol
package import StorageService

/// What a queue's arguments, and the policies that apply to it, say about how it keeps messages.
package struct QueueSettings: Sendable, Hashable {
    package enum Overflow: String, Sendable, Hashable {
        case dropHead = "drop-head"
        case rejectPublish = "reject-publish"
        /// As `rejectPublish`, and what is refused goes to the dead letters.
        case rejectPublishDeadLetter = "reject-publish-dlx"
    }

    package enum DeadLetterStrategy: String, Sendable, Hashable {
        case atMostOnce = "at-most-once"
        case atLeastOnce = "at-least-once"
    }

    package var messageTTLMilliseconds: UInt64?
    package var expiresMilliseconds: UInt64?
    package var maxLength: UInt64?
    package var maxLengthBytes: UInt64?
    package var overflow: Overflow?
    package var deadLetterExchange: ShortString?
    /// Nil: dead letters keep their keys.
    package var deadLetterRoutingKey: ShortString?
    package var deadLetterStrategy: DeadLetterStrategy?
    package var maxPriority: UInt8?
    package var isSingleActiveConsumer = false
    /// How often a message may come back before it is dead; negative for no limit, nil where nobody said anything.
    package var deliveryLimit: Int64?
    /// Streams: older messages go.
    package var maxAgeMilliseconds: UInt64?

    package init() {}

    /// A time to live of zero means a consumer that waits for the message. It gets it when it is stored, which takes this
    /// long at most on a disk that is not overloaded.
    static let shortestMicroseconds: UInt64 = 5_000

    /// How often a message of a quorum queue may come back where nobody said anything (RabbitMQ 4.0).
    static let quorumDeliveryLimit: Int64 = 20

    /// The policy of the inbox.
    ///
    /// Storage has no limit of nothing: a time to live of zero is short, a length of zero is one.
    package func inboxPolicy(kind: Queue.Kind, isDurable: Bool) -> SubscriptionPolicy {
        var policy = SubscriptionPolicy()
        // A channel holds its deliveries as long as it is open.
        policy.leaseMicroseconds = 0
        policy.isDurable = isDurable
        policy.consumers = isSingleActiveConsumer ? .failover : .shared
        policy.messageTTLMicroseconds = Self.microseconds(messageTTLMilliseconds)
        policy.expiresUnusedMicroseconds = Self.microseconds(expiresMilliseconds)
        policy.maxMessages = maxLength.map { max($0, 1) } ?? 0
        policy.maxBytes = maxLengthBytes.map { max($0, 1) } ?? 0
        policy.maxPriority = maxPriority ?? 0
        if kind == .quorum {
            let limit = deliveryLimit ?? Self.quorumDeliveryLimit
            // It is delivered once more than it may come back.
            if limit >= 0 { policy.maxAttempts = UInt32(clamping: limit.addingReportingOverflow(1).partialValue) }
        }
        if deadLetterExchange != nil { policy.deadLetterTopic = StorageNames.deadLetterTopic }
        switch overflow ?? .dropHead {
        case .dropHead: policy.overflow = deadLetterExchange == nil ? .dropHead : .deadLetter
        case .rejectPublish, .rejectPublishDeadLetter: policy.overflow = .reject
        }
        return policy
    }

    /// The policy of a stream's topic.
    package var streamPolicy: TopicPolicy {
        var policy = TopicPolicy()
        policy.retention = .limits
        policy.maxAgeMicroseconds = Self.microseconds(maxAgeMilliseconds)
        policy.maxBytes = maxLengthBytes.map { max($0, 1) } ?? 0
        return policy
    }

    private static func microseconds(_ milliseconds: UInt64?) -> UInt64 {
        guard let milliseconds else { return 0 }
        let (product, overflow) = milliseconds.multipliedReportingOverflow(by: 1_000)
        return overflow ? .max : max(product, shortestMicroseconds)
    }
}
