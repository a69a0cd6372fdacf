import AdminConsole
import ArgumentParser
import SluiceClient

/// What a subscription is to be like: for those that make or change one. What is not given stays, or has its default.
struct SubscriptionPolicyOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "How long a message is leased to a consumer: \(DurationText.form); 0 for as long as it is attached.",
            valueName: "length"
        )
    )
    var lease: DurationText?

    @Option(
        help: "Who gets messages: all in turn, the first only, the first until it goes, or in turn and ordered by key."
    )
    var mode: ConsumerMode?

    @Option(help: ArgumentHelp("Deliveries after which a message is dead; 0 for no limit.", valueName: "n"))
    var maxAttempts: UInt32?

    @Option(
        help: ArgumentHelp(
            "How long a released message waits: '1s,5s,30s', 'exponential 1s x2 max 10m', or '' for not at all.",
            valueName: "delays"
        )
    )
    var backoff: String?

    @Option(
        help: ArgumentHelp("The topic for what cannot be delivered, or '' to drop that.", valueName: "topic")
    )
    var deadLetter: String?

    @Option(
        name: .customLong("filter"),
        help: ArgumentHelp(
            "Only messages for which this holds: \"region = 'eu' AND amount > 10\".",
            valueName: "selector"
        )
    )
    var selector: String?

    @Option(help: ArgumentHelp("Only messages with one of these tags: 'created || paid'.", valueName: "tags"))
    var tags: String?

    @Option(help: ArgumentHelp("Only names that match: 'orders/+/created'.", valueName: "filter"))
    var names: String?

    @Option(help: ArgumentHelp("Messages that may be out or wait for their keys.", valueName: "n"))
    var window: UInt32?

    @Option(help: ArgumentHelp("An inbox is deleted when it was unused for so long; 0 for never.", valueName: "length"))
    var expiresUnused: DurationText?

    @Option(help: ArgumentHelp("How long a message may wait; 0 for ever.", valueName: "length"))
    var messageTTL: DurationText?

    @Option(help: ArgumentHelp("Messages that an inbox holds; 0 for no limit.", valueName: "n"))
    var maxMessages: UInt64?

    @Option(help: ArgumentHelp("Bytes that an inbox holds; 0 for no limit.", valueName: "size"))
    var maxBytes: SizeText?

    @Option(help: "What happens when an inbox is full.")
    var overflow: OverflowWord?

    /// Whether anything was said.
    var isEmpty: Bool { applied(to: SubscriptionPolicy()) == SubscriptionPolicy() }

    func applied(to policy: SubscriptionPolicy) -> SubscriptionPolicy {
        var policy = policy
        policy.lease = lease?.duration ?? policy.lease
        policy.consumers = mode.flatMap { .init(rawValue: $0.rawValue) } ?? policy.consumers
        policy.maxAttempts = maxAttempts ?? policy.maxAttempts
        if let backoff { policy.backoff = backoff.isEmpty ? nil : .init(backoff) }
        if let deadLetter { policy.deadLetterTopic = deadLetter.isEmpty ? nil : deadLetter }
        policy.selector = selector ?? policy.selector
        policy.tags = tags ?? policy.tags
        policy.nameFilter = names ?? policy.nameFilter
        policy.window = window ?? policy.window
        policy.expiresUnusedAfter = expiresUnused?.duration ?? policy.expiresUnusedAfter
        policy.messageTTL = messageTTL?.duration ?? policy.messageTTL
        policy.maxMessages = maxMessages ?? policy.maxMessages
        policy.maxBytes = maxBytes?.bytes ?? policy.maxBytes
        policy.overflow = overflow.flatMap { .init(rawValue: $0.rawValue) } ?? policy.overflow
        return policy
    }
}

/// What is fixed when a subscription is made.
struct SubscriptionSourceOptions: ParsableArguments {
    @Flag(help: "An inbox: it has its own index of the messages that its bindings route to it from now on.")
    var inbox = false

    @Option(
        name: .customLong("bind"),
        help: ArgumentHelp(
            "With --inbox: names that it takes, such as 'factory/+/alarm'. Repeatable.",
            valueName: "filter"
        )
    )
    var bindings: [String] = []

    @Option(
        help: ArgumentHelp("With --inbox: levels of priority above 0; higher ones come first.", valueName: "n")
    )
    var maxPriority: UInt8?

    @Flag(help: "With --inbox: it ends with the connection that made it.")
    var transient = false

    func check() throws {
        guard !inbox else { return }
        if !bindings.isEmpty { throw ValidationError("--bind is for an --inbox") }
        if maxPriority != nil { throw ValidationError("--max-priority is for an --inbox") }
        if transient { throw ValidationError("--transient is for an --inbox") }
    }

    func applied(to policy: SubscriptionPolicy) -> SubscriptionPolicy {
        var policy = policy
        policy.maxPriority = maxPriority ?? policy.maxPriority
        if transient { policy.isDurable = false }
        return policy
    }
}

/// The words of `SubscriptionPolicy.Consumers`.
enum ConsumerMode: String, ExpressibleByArgument, CaseIterable {
    case shared, exclusive, failover, ordered
}

/// The words of `SubscriptionPolicy.Overflow`.
enum OverflowWord: String, ExpressibleByArgument, CaseIterable {
    case dropHead = "drop-head"
    case reject
    case deadLetter = "dead-letter"
}

/// The words of `Binding.Kind`.
enum BindingKind: String, ExpressibleByArgument, CaseIterable {
    case filter, direct, topic, fanout, headers
}

extension SubscriptionPolicy {
    /// As `subscription show` has it.
    var record: Record {
        func length(_ duration: Duration) -> OutputValue {
            let (seconds, attoseconds) = duration.components
            let microseconds =
                UInt64(clamping: seconds) &* 1_000_000 &+ UInt64(clamping: attoseconds / 1_000_000_000_000)
            return .text(DurationText.format(microseconds: microseconds))
        }
        func count(_ number: some BinaryInteger) -> OutputValue { .integer(Int64(clamping: number)) }
        return Record([
            .init("mode", .text(consumers.rawValue)), .init("lease", length(lease)),
            .init("max_attempts", count(maxAttempts)),
            .init("backoff", backoff.map { .text($0.description) } ?? .none),
            .init("dead_letter", deadLetterTopic.map(OutputValue.text) ?? .none),
            .init("filter", .text(selector)), .init("tags", .text(tags)), .init("names", .text(nameFilter)),
            .init("window", count(window)), .init("durable", .boolean(isDurable)),
            .init("expires_unused", length(expiresUnusedAfter)), .init("message_ttl", length(messageTTL)),
            .init("max_messages", count(maxMessages)), .init("max_bytes", count(maxBytes)),
            .init("overflow", .text(overflow.rawValue)), .init("max_priority", count(maxPriority)),
        ])
    }
}
