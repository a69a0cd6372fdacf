package import MessageModel

/// How a subscription hands messages to its consumers, and what becomes of those that are not acknowledged.
package struct SubscriptionPolicy: Sendable, Equatable {
    /// Who gets messages when several consumers are attached.
    package enum Consumers: UInt8, Sendable, CaseIterable {
        /// Each message goes to one of them, in turn.
        case shared = 0
        /// The first has all; others are refused.
        case exclusive = 1
        /// The first has all; the others wait to take its place.
        case failover = 2
        /// As shared, but of the messages with one ordering key only one is out at a time, in their order.
        case orderedByKey = 3
    }

    /// What happens when an inbox is full.
    package enum Overflow: UInt8, Sendable, CaseIterable {
        /// The oldest messages make room.
        case dropHead = 0
        /// What is published is refused.
        case reject = 1
        /// The oldest messages make room and go to the dead-letter topic.
        case deadLetter = 2
    }

    package var consumers = Consumers.shared
    /// How long a delivered message is leased to its consumer, in µs. Zero: as long as the consumer is attached.
    package var leaseMicroseconds: UInt64 = 30_000_000
    /// Deliveries after which a message is dead-lettered, or dropped where there is no dead-letter topic; zero for no limit.
    package var maxAttempts: UInt32 = 0
    /// How long a message that was released without a delay of its own waits; nil: not at all.
    package var backoff: Backoff?
    /// The topic that takes what cannot be delivered; nil: it is dropped. Made where it is not there.
    package var deadLetterTopic: String?
    /// Only messages for which this holds; others count as done. Empty for all. A selector is read as
    /// `Selector`, tags as `TagExpression` are written.
    package var selector = ""
    package var tags = ""
    /// Only names that match this filter; empty for all. For cursor subscriptions: an inbox has bindings.
    package var nameFilter: [UInt8] = []
    /// Messages that may be passed over while their keys wait (`orderedByKey`), and that may be leased at once.
    package var window: UInt32 = 65_536

    // What follows is for inboxes.

    /// Definitions and progress survive a restart. Otherwise the inbox ends with the process, and with the session that
    /// made it.
    package var isDurable = true
    /// Deleted when nobody was attached for so long, in µs; zero for never.
    package var expiresUnusedMicroseconds: UInt64 = 0
    /// Limits of what waits or is leased; zero for none.
    package var maxMessages: UInt64 = 0
    package var maxBytes: UInt64 = 0
    /// How long a message may wait, in µs; zero for ever. A message's own expiry counts too.
    package var messageTTLMicroseconds: UInt64 = 0
    package var overflow = Overflow.dropHead
    /// Messages with a higher priority are delivered first, up to this number of levels; zero: in their order only.
    package var maxPriority: UInt8 = 0
    /// Takes messages with the delivery class `atMostOnce` too; those that have live filters for them do not need to.
    package var takesAtMostOnce = true
    /// What was delivered once neither expires nor makes room for others any more: it is delivered again until it is settled
    /// (MQTT 5.0 §4.3.3). For fronts: other clients cannot ask for it.
    package var keepsDelivered = false

    package init() {}
}

/// What routes messages into an inbox.
package struct Binding: Sendable, Hashable {
    /// How `pattern` is read.
    package enum Kind: UInt8, Sendable, CaseIterable {
        /// A name or a filter with MQTT's wildcards, over full names.
        case filter = 0
        /// AMQP's exchange types: `topic` is the exchange, `pattern` the binding key as AMQP writes it.
        case direct = 1
        case topic = 2
        case fanout = 3
        case headers = 4
    }

    package var kind: Kind
    /// The exchange of an AMQP binding; empty for `filter`.
    package var topic: String
    package var pattern: [UInt8]
    /// The arguments of a headers binding, in the order in which they were given; a nil value asks for presence only.
    /// Of a filter: `selectorArgument` and `tagsArgument`, conditions on properties as `Selector` and `TagExpression`
    /// read them.
    package var arguments: [Argument]
    /// What must hold of a message besides, all of it: the bindings between exchanges on the way from `topic`, where the
    /// message is published, to the inbox. Of an AMQP binding only, at most `maxConditions`.
    package var also: [Condition] = []

    /// A binding of an exchange that messages come to by other exchanges: its pattern and arguments see the message with
    /// the routing key that it has in the first one.
    package struct Condition: Sendable, Hashable {
        /// Every kind but `filter`.
        package var kind: Kind
        package var pattern: [UInt8]
        package var arguments: [Argument]
        package init(kind: Kind, pattern: [UInt8], arguments: [Argument] = []) {
            self.kind = kind
            self.pattern = pattern
            self.arguments = arguments
        }
    }

    /// More exchanges behind each other than anybody needs; bounds the work for each message.
    package static let maxConditions = 16

    package static let selectorArgument = "selector"
    package static let tagsArgument = "tags"

    package struct Argument: Sendable, Hashable {
        package var name: [UInt8]
        package var value: [UInt8]?
        package init(name: [UInt8], value: [UInt8]?) {
            self.name = name
            self.value = value
        }
    }

    package init(
        kind: Kind,
        topic: String = "",
        pattern: [UInt8],
        arguments: [Argument] = [],
        also: [Condition] = []
    ) {
        self.kind = kind
        self.topic = topic
        self.pattern = pattern
        self.arguments = arguments
        self.also = also
    }

    /// Messages whose name matches a filter, and their properties the conditions that are not empty.
    package init(filter: String, selector: String = "", tags: String = "") {
        let conditions = [(Self.selectorArgument, selector), (Self.tagsArgument, tags)].filter { !$1.isEmpty }
        self.init(
            kind: .filter,
            pattern: Array(filter.utf8),
            arguments: conditions.map { Argument(name: Array($0.utf8), value: Array($1.utf8)) }
        )
    }
}

/// How a consumer, or the server for it, ends its work on leased messages.
package enum Settlement: Sendable, Equatable {
    /// Done: never delivered again.
    case accept
    /// To be delivered again, in its original place of the order.
    /// - Parameters:
    ///   - delayMicroseconds: not before; nil for what the subscription's back-off says.
    ///   - countsAttempt: whether this delivery counts towards the limit of attempts.
    case release(delayMicroseconds: UInt64?, countsAttempt: Bool)
    /// To the dead-letter topic with a reason; dropped where there is none.
    case reject(reason: String)
    /// The lease ends so long from now, in µs.
    case extend(byMicroseconds: UInt64)
}

/// Names one delivery of one message: valid until the message is delivered again or settled.
package struct Receipt: Sendable, Hashable {
    /// The subscription's number, which is never used again.
    package var subscription: SubscriptionID
    package var lane: UInt16
    package var sequence: UInt64
    /// Which lease of the message this is: no two of them have the same, whatever happens between them.
    package var generation: UInt64
    package init(subscription: SubscriptionID, lane: UInt16, sequence: UInt64, generation: UInt64) {
        self.subscription = subscription
        self.lane = lane
        self.sequence = sequence
        self.generation = generation
    }
}

/// A receipt as it is given out: with what shows that it was, so that nobody settles what was never delivered to
/// anybody he knows.
package struct SignedReceipt: Sendable, Hashable {
    package var receipt: Receipt
    /// The sequences that were leased together with it, from the first to the last.
    package var first: UInt64
    package var last: UInt64
    /// Over subscription, lane, generation and the two sequences, with a secret of the store.
    package var signature: UInt64

    package init(_ receipt: Receipt, first: UInt64, last: UInt64, signature: UInt64) {
        self.receipt = receipt
        self.first = first
        self.last = last
        self.signature = signature
    }
}

/// Where a subscription goes on.
package enum SeekTarget: Sendable, Equatable {
    case first
    case next
    /// For cursor subscriptions: an offset of one partition.
    case offset(partition: UInt16, UInt64)
    /// The first message that was stored at this time or later.
    case time(Timestamp)
}
