import AdminConsole
import ArgumentParser
import MessageModel
import SluiceClient

/// `sluice consume`.
struct ConsumeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "consume",
        abstract: "Read messages.",
        discussion: """
            The address is a topic, a full name, or a filter with wildcards: 'factory/+/temp', 'factory/#'. A line a \
            message: its name, a tab, its body, with what is not printable escaped. --format writes bodies as they are.

            With --subscription messages are leased to this consumer and settled as --ack says; any number of consumers \
            share a subscription as its --mode says.
            """
    )

    @Argument(help: "A topic's name, a full name, or a filter. May be left out with a --subscription that is there.")
    var address: String?

    @Option(
        help: ArgumentHelp(
            "Read through this subscription, made where there is none and an address or --inbox is given.",
            valueName: "name"
        )
    )
    var subscription: String?

    @Flag(help: "With --subscription: be its only reader, whose position is committed, without leases.")
    var byPosition = false

    @OptionGroup(title: "Leases") var leases: LeaseOptions
    @OptionGroup(title: "A subscription that is made: inboxes") var inbox: SubscriptionSourceOptions
    @OptionGroup(title: "A subscription that is made: policy") var policy: SubscriptionPolicyOptions

    @Option(
        help: ArgumentHelp(
            "The name of this reader. One that comes under the same name takes its place.",
            valueName: "name"
        )
    )
    var consumer: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Where to begin: \(StartText.form). Without it next, and with --no-follow first.",
            valueName: "start"
        )
    )
    var from: StartText?

    @Option(help: ArgumentHelp("Read one partition only.", valueName: "index"))
    var partition: Int?

    @Option(help: ArgumentHelp("End after this many messages.", valueName: "n"))
    var count: Int?

    @Flag(
        name: [.customShort("f"), .long],
        inversion: .prefixedNo,
        help: "Wait for more, or end with what is stored at the start."
    )
    var follow = true

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("How a message is written, without a line end of its own: \(MessageFormat.form)")
    )
    var format: MessageFormat?

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func validate() throws {
        if let count, count < 1 { throw ValidationError("--count is at least 1") }
        if let partition, partition < 0 { throw ValidationError("--partition is at least 0") }
        if consumer != nil, subscription == nil {
            throw ValidationError("--consumer names a reader of a --subscription")
        }
        if partition != nil, subscription != nil {
            throw ValidationError("a --subscription reads all partitions; --partition is for reading without one")
        }
        if subscription == nil {
            if address == nil { throw ValidationError("an address is missing, or a --subscription that is there") }
            if inbox.inbox || byPosition || !policy.isEmpty || !leases.isEmpty {
                throw ValidationError("leases and policies are a --subscription's")
            }
        }
        if byPosition {
            if address == nil { throw ValidationError("--by-position needs an address") }
            if inbox.inbox || !policy.isEmpty || !leases.isEmpty {
                throw ValidationError("--by-position reads without leases and policies")
            }
        }
        if inbox.inbox, from != nil { throw ValidationError("an --inbox begins with what is published from now on") }
        try inbox.check()
        if format != nil, output.format == .json { throw ValidationError("--format and -o json exclude each other") }
    }

    func run() async throws {
        if let subscription, !byPosition { return try await consumeLeases(of: subscription) }
        guard let address else { return }
        let signal = try await server.withClient { client in
            // Made before a message can come: it takes a moment until signals are heard.
            let signals = StopSignals()
            let topic = try await calling("read \(address)") { () async throws(SluiceClientError) in
                try await client.describeTopic(holding: address)
            }
            if let partition, partition >= topic.partitions.count {
                throw CommandFailure(
                    .notFound,
                    "cannot read \(address)",
                    why: "the topic \(topic.name) has \(topic.partitions.count) partitions"
                )
            }
            let session = try await open(client, topic, address)
            return try await signals.cancelling { try await session.run() }
        }
        if let signal { throw ExitCode(128 + signal) }
    }

    private func open(
        _ client: SluiceClient,
        _ topic: TopicDescription,
        _ address: String
    ) async throws(CommandFailure) -> ConsumeSession {
        var options = ConsumerOptions()
        options.start = StartingPoint(from ?? (follow ? .next : .first))
        options.partition = partition
        var bounds = Dictionary(uniqueKeysWithValues: topic.partitions.enumerated().map { ($0, $1.nextOffset) })
        var positions: [Int: UInt64] = [:]
        if let partition { bounds = bounds.filter { $0.key == partition } }
        if let subscription {
            let start = options.start
            let (description, isNew) = try await calling("read \(address)") { () async throws(SluiceClientError) in
                try await client.createSubscription(subscription, topic: topic.name, start: start)
            }
            if !isNew, from != nil {
                StandardStream.error.write(
                    "note: subscription \(printable(subscription)) exists and goes on where it was; --from does not count\n"
                )
            }
            for (index, partition) in description.partitions.enumerated() {
                bounds[index] = partition.nextOffset
                positions[index] = partition.acknowledged
            }
            options.subscription = subscription
            options.createsSubscription = false
            options.consumerName = consumer ?? ""
        } else if !follow {
            for index in bounds.keys {
                let start = options.start
                positions[index] = try await calling("read \(address)") { () async throws(SluiceClientError) in
                    try await client.findOffset(topic: topic.name, partition: index, start)
                }
            }
        }
        // To see where the stored messages end, all of them have to come: the last one may not match the filter.
        let readsAll = follow || address == topic.name
        let consumerOptions = options
        let consumer = try await calling("read \(address)") { () async throws(SluiceClientError) in
            try await client.consumer(of: readsAll ? address : topic.name, options: consumerOptions)
        }
        return ConsumeSession(
            consumer: consumer,
            address: address,
            filter: readsAll ? nil : Array(address.utf8),
            limit: count,
            ends: follow ? nil : bounds,
            positions: positions,
            printer: MessagePrinter(style),
            committer: subscription == nil ? nil : PositionCommitter(consumer)
        )
    }

    var style: MessagePrinter.Style {
        if let format { return .format(format, StandardStream.output.isTerminal ? .terminal : .none) }
        return output.format == .json ? .json : .format(.line, .line)
    }
}

/// One run of `consume`: from the first message to the last that is wanted.
private struct ConsumeSession: Sendable {
    let consumer: Consumer
    let address: String
    /// What a message's name must match; nil where the server sees to it.
    let filter: [UInt8]?
    let limit: Int?
    /// The offset behind the last message of each partition; nil to wait for more.
    let ends: [Int: UInt64]?
    let positions: [Int: UInt64]
    let printer: MessagePrinter
    let committer: PositionCommitter?

    func run() async throws(CommandFailure) {
        var failure: CommandFailure?
        do {
            try await read()
        } catch let error as SluiceClientError {
            failure = CommandFailure(error, toDo: "read \(address)")
        } catch {
            failure = CommandFailure(.failed, "cannot read \(address)", why: "\(error)")
        }
        let commitError = await committer?.finish()
        await consumer.close()
        if let failure { throw failure }
        if let commitError {
            throw CommandFailure(
                .failed,
                "what was printed is not acknowledged and comes again",
                why: "\(commitError.message) (\(commitError.code))"
            )
        }
    }

    private func read() async throws {
        var remaining = limit ?? .max
        var waiting = (ends ?? [:]).filter { positions[$0.key, default: 0] < $0.value }
        if ends != nil, waiting.isEmpty { return }
        var printer = printer
        while let batch = try await consumer.next() {
            let end = ends?[batch.partition] ?? .max
            var next = min(batch.nextOffset, end)
            for message in batch {
                guard message.offset < end else { break }
                guard matches(message) else { continue }
                printer.append(message)
                remaining -= 1
                if remaining == 0 {
                    next = message.offset + 1
                    break
                }
            }
            // What nobody took is not done.
            guard printer.flush() else { return }
            committer?.isDone(partition: batch.partition, before: next)
            if remaining == 0 { return }
            if next >= end {
                waiting[batch.partition] = nil
                if waiting.isEmpty { return }
            }
        }
    }

    private func matches(_ message: Message) -> Bool {
        guard let filter else { return true }
        var name = message.name
        return filter.withUnsafeBytes { filter in
            name.withUTF8 { NameFilter.matches(filter, name: UnsafeRawBufferPointer($0)) }
        }
    }
}
