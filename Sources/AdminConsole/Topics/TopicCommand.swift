package import ArgumentParser

/// `sluice topic create|list|show`.
package struct TopicCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "topic",
        abstract: "Create, list and show topics.",
        subcommands: [TopicCreateCommand.self, TopicListCommand.self, TopicShowCommand.self]
    )

    package init() {}
}

struct TopicCreateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Create a topic, or check that it is there as described."
    )

    @Argument(help: "The topic's name.")
    var name: String

    @Option(help: "How many ordered sequences the topic is made of.")
    var partitions: Int = 1

    @Option(
        name: .customLong("capture"),
        help: "A subtree of names that belongs to the topic, such as factory/#. Repeatable."
    )
    var captures: [String] = []

    @Option(
        help: "What is kept: up to the limits below, only what subscriptions need, or the last message of each key."
    )
    var retention: Retention?

    @Option(help: ArgumentHelp("Older messages are let go; 0 for no limit.", valueName: "length"))
    var maxAge: DurationText?

    @Option(help: ArgumentHelp("What all partitions together may take; 0 for no limit.", valueName: "size"))
    var maxBytes: SizeText?

    @Option(
        help: ArgumentHelp("A message id that was stored within so long is not stored again.", valueName: "length")
    )
    var deduplication: DurationText?

    @Option(help: ArgumentHelp("How far ahead a message may be scheduled.", valueName: "length"))
    var maxDelay: DurationText?

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: ServerOptions

    enum Retention: String, ExpressibleByArgument, CaseIterable {
        case limits, subscriptions, compacted
    }

    func run() async throws {
        var policy = TopicAPI.Policy()
        policy.retention = retention?.rawValue
        policy.maxAge = maxAge
        policy.maxBytes = maxBytes
        policy.deduplication = deduplication
        policy.maxDelay = maxDelay
        let created = try await TopicAPI(exchange: server.exchange)
            .create(name, partitions: partitions, captures: captures, policy: policy)
        switch output.format {
        case .table:
            let note = created ? "created" : "is there already, as described"
            StandardStream.error.write("topic \(printable(name)) \(note)\n")
        case .json:
            output.show(
                Record([.init("name", .text(name)), .init("result", .text(created ? "created" : "unchanged"))])
            )
        }
    }
}

struct TopicListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List topics.", aliases: ["ls"])

    @Option(help: "List at most this many.")
    var limit: Int?

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: ServerOptions

    func validate() throws {
        if let limit, limit < 1 { throw ValidationError("--limit is at least 1") }
    }

    func run() async throws {
        let topics = try await TopicAPI(exchange: server.exchange).list(limit: limit ?? .max)
        output.show(TopicAPI.listing(of: topics))
    }
}

struct TopicShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "show", abstract: "Show one topic.")

    @Argument(help: "The topic's name.")
    var name: String

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: ServerOptions

    func run() async throws {
        output.show(TopicAPI.record(of: try await TopicAPI(exchange: server.exchange).show(name)))
    }
}
