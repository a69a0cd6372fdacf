import AdminConsole
import ArgumentParser
import SluiceClient

/// `sluice subscription create|list|show|delete`.
struct SubscriptionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "subscription",
        abstract: "Create, list, show and delete subscriptions.",
        subcommands: [
            SubscriptionCreateCommand.self, SubscriptionListCommand.self, SubscriptionShowCommand.self,
            SubscriptionDeleteCommand.self,
        ],
        aliases: ["sub"]
    )
}

struct SubscriptionCreateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Create a subscription, or check that it is there for the topic."
    )

    @Argument(help: "The subscription's name.")
    var name: String

    @Argument(help: "The topic that it reads.")
    var topic: String

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Where it begins: \(StartText.form).", valueName: "start")
    )
    var from: StartText = .next

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func run() async throws {
        try await server.withClient { client in
            let start = StartingPoint(from)
            let (_, isNew) = try await calling("create subscription \(name)") { () async throws(SluiceClientError) in
                try await client.createSubscription(name, topic: topic, start: start)
            }
            switch output.format {
            case .table:
                let note = isNew ? "created" : "is there already, for this topic"
                StandardStream.error.write("subscription \(printable(name)) \(note)\n")
            case .json:
                output.show(
                    Record([
                        .init("name", .text(name)), .init("topic", .text(topic)),
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
                        .init("name"), .init("topic"), .init("attached"), .init("lag", alignment: .right),
                        .init("created_at"),
                    ],
                    rows: all.map { subscription in
                        [
                            .text(subscription.name), .text(subscription.topic), .boolean(subscription.isAttached),
                            .integer(subscription.lag),
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
            let partitions = Listing(
                columns: [
                    .init("index", title: "PARTITION", alignment: .right),
                    .init("acknowledged", alignment: .right), .init("next_offset", alignment: .right),
                    .init("lag", alignment: .right),
                ],
                rows: found.partitions.enumerated().map { index, partition in
                    [
                        .integer(index), .integer(Int64(clamping: partition.acknowledged)),
                        .integer(Int64(clamping: partition.nextOffset)), .integer(partition.lag),
                    ]
                }
            )
            output.show(
                Record([
                    .init("name", .text(found.name)), .init("topic", .text(found.topic)),
                    .init("attached", .boolean(found.isAttached)), .init("lag", .integer(found.lag)),
                    .init("created_at", .text(TimeText.format(microseconds: found.createdAt))),
                    .init("partitions", .listing(partitions)),
                ])
            )
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
    /// Messages that are not acknowledged.
    fileprivate var lag: Int64 { partitions.reduce(0) { $0 &+ $1.lag } }
}

extension SubscriptionDescription.Partition {
    fileprivate var lag: Int64 { Int64(clamping: nextOffset - min(nextOffset, acknowledged)) }
}
