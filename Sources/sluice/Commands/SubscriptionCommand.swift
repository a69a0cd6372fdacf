import AdminConsole
import ArgumentParser
import SluiceClient

/// `sluice subscription …`.
struct SubscriptionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "subscription",
        abstract: "Create, show, change and delete subscriptions.",
        subcommands: [
            SubscriptionCreateCommand.self, SubscriptionListCommand.self, SubscriptionShowCommand.self,
            SubscriptionUpdateCommand.self, SubscriptionDeleteCommand.self, SubscriptionSeekCommand.self,
            SubscriptionPauseCommand.self, SubscriptionResumeCommand.self, SubscriptionBindCommand.self,
            SubscriptionUnbindCommand.self, SubscriptionBindingsCommand.self, SubscriptionBrowseCommand.self,
        ],
        aliases: ["sub"]
    )
}

struct SubscriptionCreateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Create a subscription, or check that it is there as described."
    )

    @Argument(help: "The subscription's name.")
    var name: String

    @Argument(help: "The topic that it reads; none with --inbox.")
    var topic: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Where it begins: \(StartText.form).", valueName: "start")
    )
    var from: StartText?

    @OptionGroup(title: "Inboxes") var inbox: SubscriptionSourceOptions
    @OptionGroup(title: "Policy") var policy: SubscriptionPolicyOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func validate() throws {
        try inbox.check()
        if inbox.inbox, topic != nil { throw ValidationError("an --inbox reads no topic: --bind says what it takes") }
        if !inbox.inbox, topic == nil { throw ValidationError("a topic is missing, or --inbox with --bind") }
        if inbox.inbox, from != nil { throw ValidationError("an --inbox begins with what is published from now on") }
        if inbox.inbox, inbox.transient {
            throw ValidationError("a transient inbox would end with this command; sluice consume --transient makes one")
        }
    }

    private var source: SubscriptionSource {
        guard let topic, !inbox.inbox else { return .inbox(inbox.bindings.map { .filter($0) }) }
        return .topic(topic, from: StartingPoint(from ?? .next))
    }

    func run() async throws {
        let policy = inbox.applied(to: policy.applied(to: SubscriptionPolicy()))
        let source = source
        try await server.withClient { client in
            let (made, isNew) = try await calling("create subscription \(name)") { () async throws(SluiceClientError) in
                try await client.createSubscription(name, from: source, policy: policy)
            }
            switch output.format {
            case .table:
                let note = isNew ? "created" : "is there already, as described"
                StandardStream.error.write("subscription \(printable(name)) \(note)\n")
            case .json:
                output.show(
                    Record([
                        .init("name", .text(name)), .init("topic", made.isInbox ? .none : .text(made.topic)),
                        .init("inbox", .boolean(made.isInbox)),
                        .init("result", .text(isNew ? "created" : "unchanged")),
                    ])
                )
            }
        }
    }
}

struct SubscriptionListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List subscriptions.",
        aliases: ["ls"]
    )

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func run() async throws {
        try await server.withClient { client in
            let all = try await calling("list subscriptions") { () async throws(SluiceClientError) in
                try await client.listSubscriptions()
            }
            output.show(
                Listing(
                    columns: [
                        .init("name"), .init("topic"), .init("consumers", alignment: .right),
                        .init("lag", alignment: .right), .init("leased", alignment: .right), .init("paused"),
                        .init("created_at"),
                    ],
                    rows: all.map { subscription in
                        [
                            .text(subscription.name), .text(subscription.isInbox ? "(inbox)" : subscription.topic),
                            .integer(subscription.consumers), .integer(Int64(clamping: subscription.backlog)),
                            .integer(Int64(clamping: subscription.leased)), .boolean(subscription.isPaused),
                            .text(TimeText.format(microseconds: subscription.createdAt)),
                        ]
                    }
                )
            )
        }
    }
}

struct SubscriptionShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "show", abstract: "Show one subscription.")

    @Argument(help: "The subscription's name.")
    var name: String

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func run() async throws {
        try await server.withClient { client in
            let found = try await calling("show subscription \(name)") { () async throws(SluiceClientError) in
                try await client.describeSubscription(name)
            }
            output.show(found.record(now: WallClock.microseconds()))
        }
    }
}

struct SubscriptionDeleteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete",
        abstract: "Delete a subscription and its position."
    )

    @Argument(help: "The subscription's name.")
    var name: String

    @Flag(help: "Do not ask.")
    var yes = false

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func run() async throws {
        if !yes { try Confirmation.require("subscription", named: name) }
        try await server.withClient { client in
            try await calling("delete subscription \(name)") { () async throws(SluiceClientError) in
                try await client.deleteSubscription(name)
            }
            switch output.format {
            case .table: StandardStream.error.write("subscription \(printable(name)) deleted\n")
            case .json: output.show(Record([.init("name", .text(name)), .init("result", .text("deleted"))]))
            }
        }
    }
}

extension SubscriptionDescription {
    /// - Parameter now: µs since 1970, for the age of the oldest message.
    func record(now: UInt64) -> Record {
        func count(_ number: UInt64) -> OutputValue { .integer(Int64(clamping: number)) }
        func age(_ time: Microseconds?) -> OutputValue {
            time.map { .text(DurationText.format(microseconds: (now - min(now, $0)) / 1_000_000 * 1_000_000)) } ?? .none
        }
        let lanes = Listing(
            columns: [
                .init("index", title: isInbox ? "PRIORITY" : "PARTITION", alignment: .right),
                .init("acknowledged", alignment: .right), .init("next_offset", alignment: .right),
                .init("lag", alignment: .right), .init("leased", alignment: .right),
                .init("retrying", alignment: .right), .init("oldest", alignment: .right),
            ],
            rows: partitions.enumerated().map { index, partition in
                [
                    .integer(index), count(partition.acknowledged), count(partition.nextOffset),
                    count(partition.backlog),
                    count(partition.leased), count(partition.retrying), age(partition.oldestStoredAt),
                ]
            }
        )
        return Record([
            .init("name", .text(name)), .init("topic", isInbox ? .none : .text(topic)),
            .init("inbox", .boolean(isInbox)), .init("paused", .boolean(isPaused)),
            .init("consumers", .integer(consumers)), .init("lag", count(backlog)), .init("leased", count(leased)),
            .init("retrying", count(retrying)), .init("oldest", age(oldestStoredAt)),
            .init("created_at", .text(TimeText.format(microseconds: createdAt))),
            .init("policy", .record(policy.record)),
            .init("partitions", .listing(lanes)),
        ])
    }
}
