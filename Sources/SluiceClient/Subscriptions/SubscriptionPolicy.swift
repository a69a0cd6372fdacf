internal import MessageModel
internal import NativeProtocol

/// How a subscription hands messages to its consumers, and what becomes of those that are not accepted.
///
/// ```swift
/// var policy = SubscriptionPolicy()
/// policy.lease = .seconds(10)
/// policy.maxAttempts = 3
/// policy.backoff = .list([.seconds(1), .seconds(30)])
/// policy.deadLetterTopic = "orders-dead"
/// try await client.createSubscription("billing", topic: "orders", start: .first, policy: policy)
/// ```
public struct SubscriptionPolicy: Sendable, Hashable {
    /// Who gets messages when several consumers are attached.
    public enum Consumers: String, Sendable, CaseIterable {
        /// Each message goes to one of them, in turn.
        case shared
        /// The first has all; others are refused.
        case exclusive
        /// The first has all; the others wait to take its place.
        case failover
        /// As shared, but of the messages with one ordering key only one is out at a time, in their order.
        case ordered
    }

    /// How long a message waits before its next delivery: a list of delays, one for each delivery and the last for all
    /// that follow, or a first delay that grows. As text `1s,5s,30s` or `exponential 1s x2 max 10m`, with the units
    /// `ms`, `s`, `m`, `h` and `d`.
    public struct Backoff: Sendable, Hashable, CustomStringConvertible, ExpressibleByStringLiteral {
        public let description: String

        /// - Parameter text: read by the server, which refuses what it does not understand.
        public init(_ text: String) { description = text }
        public init(stringLiteral text: String) { description = text }

        public static func list(_ delays: [Duration]) -> Backoff {
            Backoff(delays.map { "\($0.wholeMilliseconds)ms" }.joined(separator: ","))
        }

        /// - Parameter factor: with up to two decimals.
        public static func exponential(first: Duration, factor: Double = 2, maximum: Duration) -> Backoff {
            let hundredths = Int((max(1, min(factor, 100)) * 100).rounded())
            let (whole, part) = hundredths.quotientAndRemainder(dividingBy: 100)
            let text = part == 0 ? "\(whole)" : part < 10 ? "\(whole).0\(part)" : "\(whole).\(part)"
            return Backoff(
                "exponential \(first.wholeMilliseconds)ms x\(text) max \(maximum.wholeMilliseconds)ms"
            )
        }
    }

    /// What happens when an inbox is full.
    public enum Overflow: String, Sendable, CaseIterable {
        /// The oldest messages make room.
        case dropHead = "drop-head"
        /// What is published is refused.
        case reject
        /// The oldest messages make room and go to the dead-letter topic.
        case deadLetter = "dead-letter"
    }

    public var consumers = Consumers.shared
    /// How long a delivered message is leased to its consumer; zero for as long as the consumer is attached.
    public var lease: Duration = .seconds(30)
    /// Deliveries after which a message is dead; zero for no limit.
    public var maxAttempts: UInt32 = 0
    /// For messages that are released without a delay of their own.
    /// Nil: at once.
    public var backoff: Backoff?
    /// Takes what cannot be delivered, made where it is not there; nil: that is dropped.
    public var deadLetterTopic: String?
    /// Only messages for which this holds, in the SQL-92 subset of JMS and RocketMQ: `region = 'eu' AND amount > 10`.
    public var selector = ""
    /// Only messages with one of these tags: `created || paid`.
    public var tags = ""
    /// Only names that match, with MQTT's wildcards. For subscriptions to a topic; an inbox has bindings.
    public var nameFilter = ""
    /// Messages that may be out or waiting for their keys at a time.
    public var window: UInt32 = 65_536

    // For inboxes.

    /// It survives a restart of the server; otherwise it ends with the connection that made it.
    public var isDurable = true
    /// It is deleted when nobody was attached for so long; zero for never.
    public var expiresUnusedAfter: Duration = .zero
    /// Messages that may wait; zero for no limit.
    public var maxMessages: UInt64 = 0
    public var maxBytes: UInt64 = 0
    /// How long a message may wait; zero for ever.
    public var messageTTL: Duration = .zero
    public var overflow = Overflow.dropHead
    /// Messages with a higher priority come first, up to this number of levels; zero: in their order only.
    public var maxPriority: UInt8 = 0
    /// Also messages that were published to be delivered at most once.
    public var takesAtMostOnce = true

    public init() {}

    var wire: WireSubscriptionPolicy {
        var wire = WireSubscriptionPolicy()
        wire.consumers = UInt8(Consumers.allCases.firstIndex(of: consumers) ?? 0)
        wire.leaseMicroseconds = lease.wholeMicroseconds
        wire.maxAttempts = maxAttempts
        wire.backoff = backoff?.description
        wire.deadLetterTopic = deadLetterTopic
        wire.selector = selector
        wire.tags = tags
        wire.nameFilter = Array(nameFilter.utf8)
        wire.window = window
        wire.isDurable = isDurable
        wire.expiresUnusedMicroseconds = expiresUnusedAfter.wholeMicroseconds
        wire.maxMessages = maxMessages
        wire.maxBytes = maxBytes
        wire.messageTTLMicroseconds = messageTTL.wholeMicroseconds
        wire.overflow = UInt8(Overflow.allCases.firstIndex(of: overflow) ?? 0)
        wire.maxPriority = maxPriority
        wire.takesAtMostOnce = takesAtMostOnce
        return wire
    }

    /// What the server did not say has its default.
    init(_ wire: WireSubscriptionPolicy) {
        if let number = wire.consumers.map(Int.init), number < Consumers.allCases.count {
            consumers = Consumers.allCases[number]
        }
        if let number = wire.overflow.map(Int.init), number < Overflow.allCases.count {
            overflow = Overflow.allCases[number]
        }
        lease = wire.leaseMicroseconds.map { Duration(microseconds: $0) } ?? lease
        maxAttempts = wire.maxAttempts ?? maxAttempts
        if let text = wire.backoff, !text.isEmpty { backoff = Backoff(text) }
        deadLetterTopic = wire.deadLetterTopic
        selector = wire.selector ?? selector
        tags = wire.tags ?? tags
        nameFilter = wire.nameFilter.map { String(decoding: $0, as: UTF8.self) } ?? nameFilter
        window = wire.window ?? window
        isDurable = wire.isDurable ?? isDurable
        expiresUnusedAfter = wire.expiresUnusedMicroseconds.map { Duration(microseconds: $0) } ?? expiresUnusedAfter
        maxMessages = wire.maxMessages ?? maxMessages
        maxBytes = wire.maxBytes ?? maxBytes
        messageTTL = wire.messageTTLMicroseconds.map { Duration(microseconds: $0) } ?? messageTTL
        maxPriority = wire.maxPriority ?? maxPriority
        takesAtMostOnce = wire.takesAtMostOnce ?? takesAtMostOnce
    }
}

extension Duration {
    /// µs; what is below zero or does not fit is cut.
    var wholeMicroseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        let (whole, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000)
        return overflow ? .max : whole &+ UInt64(attoseconds / 1_000_000_000_000)
    }

    var wholeMilliseconds: UInt64 { wholeMicroseconds / 1_000 }

    init(microseconds: UInt64) { self = .microseconds(Int64(clamping: microseconds)) }
}

/// What routes messages into an inbox.
///
/// ```swift
/// .filter("factory/+/temp")                         // names, with MQTT's wildcards
/// .amqpTopic(exchange: "orders", key: "eu.*.paid")  // as AMQP says it
/// ```
public struct Binding: Sendable, Hashable {
    /// How `pattern` is read.
    public enum Kind: String, Sendable, CaseIterable {
        /// A name or a filter with MQTT's wildcards, over full names.
        case filter
        /// AMQP's exchange types: `exchange` names the topic, `pattern` is the binding key as AMQP writes it.
        case direct
        case topic
        case fanout
        case headers
    }

    /// An argument of a headers binding, where a nil value asks for presence only; or `selector` or `tags` of a filter.
    public struct Argument: Sendable, Hashable {
        public var name: String
        public var value: String?
        public init(name: String, value: String?) {
            self.name = name
            self.value = value
        }
    }

    public var kind: Kind
    /// Empty for `filter`.
    public var exchange: String
    public var pattern: String
    public var arguments: [Argument]

    public init(kind: Kind, exchange: String = "", pattern: String, arguments: [Argument] = []) {
        self.kind = kind
        self.exchange = exchange
        self.pattern = pattern
        self.arguments = arguments
    }

    /// Names that match a filter, of messages that have one of the tags and for which the selector holds; both are
    /// conditions as `SubscriptionPolicy` has them, and empty for all.
    public static func filter(_ filter: String, selector: String = "", tags: String = "") -> Binding {
        let conditions = [("selector", selector), ("tags", tags)].filter { !$1.isEmpty }
        return Binding(
            kind: .filter,
            pattern: filter,
            arguments: conditions.map { Argument(name: $0, value: $1) }
        )
    }

    public static func amqpTopic(exchange: String, key: String) -> Binding {
        Binding(kind: .topic, exchange: exchange, pattern: key)
    }

    var wire: WireBinding {
        WireBinding(
            kind: UInt8(Kind.allCases.firstIndex(of: kind) ?? 0),
            topic: exchange,
            pattern: Array(pattern.utf8),
            arguments: arguments.map { .init(name: Array($0.name.utf8), value: $0.value.map { Array($0.utf8) }) }
        )
    }

    init?(_ wire: WireBinding) {
        guard Int(wire.kind) < Kind.allCases.count else { return nil }
        self.init(
            kind: Kind.allCases[Int(wire.kind)],
            exchange: wire.topic,
            pattern: String(decoding: wire.pattern, as: UTF8.self),
            arguments: wire.arguments.map { argument in
                Argument(
                    name: String(decoding: argument.name, as: UTF8.self),
                    value: argument.value.map { String(decoding: $0, as: UTF8.self) }
                )
            }
        )
    }
}

/// What a subscription reads.
public enum SubscriptionSource: Sendable, Hashable {
    /// A topic, with a place in each of its partitions.
    case topic(String, from: StartingPoint)
    /// An inbox: its own index of the messages that its bindings route to it from now on.
    case inbox([Binding])
}

/// What a topic keeps, and what it asks of its messages.
public struct TopicPolicy: Sendable, Hashable {
    public enum Retention: String, Sendable, CaseIterable {
        /// For replay, up to the limits of age and size.
        case limits
        /// Only what a subscription still needs.
        case subscriptions
        /// The last message of each ordering key, besides the newest part.
        case compacted
    }

    public var retention = Retention.limits
    /// Older messages are let go; zero for no limit.
    public var maxAge: Duration = .zero
    /// What all partitions together may take; zero for no limit.
    public var maxBytes: UInt64 = 0
    /// A message whose message id was stored within so long is not stored again; zero: ids are not compared.
    public var deduplicationWindow: Duration = .zero
    /// How far ahead a message may be scheduled.
    public var maxDelay: Duration = .seconds(366 * 86_400)

    public init() {}

    var wire: WireTopicPolicy {
        var wire = WireTopicPolicy()
        wire.retention = UInt8(Retention.allCases.firstIndex(of: retention) ?? 0)
        wire.maxAgeMicroseconds = maxAge.wholeMicroseconds
        wire.maxBytes = maxBytes
        wire.deduplicationMicroseconds = deduplicationWindow.wholeMicroseconds
        wire.maxDelayMicroseconds = maxDelay.wholeMicroseconds
        return wire
    }

    init(_ wire: WireTopicPolicy) {
        if let number = wire.retention.map(Int.init), number < Retention.allCases.count {
            retention = Retention.allCases[number]
        }
        maxAge = wire.maxAgeMicroseconds.map { Duration(microseconds: $0) } ?? maxAge
        maxBytes = wire.maxBytes ?? maxBytes
        deduplicationWindow = wire.deduplicationMicroseconds.map { Duration(microseconds: $0) } ?? deduplicationWindow
        maxDelay = wire.maxDelayMicroseconds.map { Duration(microseconds: $0) } ?? maxDelay
    }
}
