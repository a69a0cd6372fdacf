import AdminConsole
import ArgumentParser
import SluiceClient

/// `sluice lookup`.
struct LookUpCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lookup",
        abstract: "Find stored messages by their message id or by a key."
    )

    @Option(help: ArgumentHelp("The message id.", valueName: "id"))
    var id: String?

    @Option(help: ArgumentHelp("A look-up key.", valueName: "key"))
    var key: String?

    @Option(help: ArgumentHelp("Only messages of this topic.", valueName: "topic"))
    var topic: String?

    @Option(help: ArgumentHelp("Stored at this time or later, such as 2026-11-20T09:00:00Z.", valueName: "time"))
    var from: TimeArgument?

    @Option(help: ArgumentHelp("Stored at this time or earlier.", valueName: "time"))
    var to: TimeArgument?

    @Option(help: ArgumentHelp("At most this many.", valueName: "n"))
    var limit: Int = 64

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func validate() throws {
        if (id == nil) == (key == nil) { throw ValidationError("either --id or --key says what is looked for") }
        if limit < 1 { throw ValidationError("--limit is at least 1") }
    }

    func run() async throws {
        let what = id.map { SluiceClient.LookUp.messageID($0) } ?? .key(key ?? "")
        try await server.withClient { client in
            let found = try await calling("look up messages") { () async throws(SluiceClientError) in
                try await client.lookUp(
                    what,
                    topic: topic,
                    from: from?.microseconds ?? 0,
                    to: to?.microseconds ?? .max,
                    limit: limit
                )
            }
            output.show(found)
        }
    }
}

/// `sluice redrive`.
struct RedriveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "redrive",
        abstract: "Send dead letters back to where they came from."
    )

    @Argument(help: "The dead-letter topic.")
    var topic: String

    @Option(
        name: .customLong("filter"),
        help: ArgumentHelp("Only messages for which this holds.", valueName: "selector")
    )
    var selector: String = ""

    @Option(help: ArgumentHelp("Messages a second; 0 for no limit.", valueName: "n"))
    var rate: UInt32 = 0

    @Option(help: ArgumentHelp("At most this many; 0 for all.", valueName: "n"))
    var limit: UInt64 = 0

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func run() async throws {
        try await server.withClient { client in
            let count = try await calling("redrive \(topic)") { () async throws(SluiceClientError) in
                try await client.redrive(topic, selector: selector, rate: rate, limit: limit)
            }
            switch output.format {
            case .table: StandardStream.error.write("\(count) messages sent back\n")
            case .json: output.show(Record([.init("messages", .integer(Int64(clamping: count)))]))
            }
        }
    }
}

/// `sluice schedule`.
struct ScheduleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "schedule",
        abstract: "Messages that wait for their time.",
        subcommands: [ScheduleCancelCommand.self]
    )
}

struct ScheduleCancelCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cancel",
        abstract: "Withdraw a message that waits for its time."
    )

    @Argument(help: "Its id, as sluice produce -v gives it.")
    var id: String

    @OptionGroup var server: NativeServerOptions

    func run() async throws {
        guard let scheduled = ScheduledMessageID(id) else {
            throw CommandFailure(
                .usage,
                "'\(id)' is no id of a scheduled message",
                hint: "sluice produce --deliver-in 10m -v prints it"
            )
        }
        try await server.withClient { client in
            try await calling("withdraw message \(id)") { () async throws(SluiceClientError) in
                try await client.cancelScheduled(scheduled)
            }
            StandardStream.error.write("message \(id) withdrawn\n")
        }
    }
}
