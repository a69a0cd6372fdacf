import AdminConsole
import ArgumentParser
import SluiceClient

/// `sluice retained list|get|clear`.
struct RetainedCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "retained",
        abstract: "The last values of names.",
        subcommands: [RetainedListCommand.self, RetainedGetCommand.self, RetainedClearCommand.self],
        defaultSubcommand: RetainedListCommand.self
    )
}

struct RetainedListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "Show the last values of names.",
        aliases: ["ls"]
    )

    @Argument(help: "A name or a filter: 'factory/#'.")
    var filter: String = "#"

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func run() async throws {
        try await server.withClient { client in
            output.show(try await client.retained(filter).map(\.message))
        }
    }
}

struct RetainedGetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get",
        abstract: "Write the last value of one name to standard output, as it was published."
    )

    @Argument(help: "The name.")
    var name: String

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func validate() throws { try RetainedName.check(name) }

    func run() async throws {
        try await server.withClient { client in
            guard let found = try await client.retained(name).first else {
                throw CommandFailure(
                    .notFound,
                    "\(name) has no last value",
                    hint: "sluice retained list shows which have"
                )
            }
            switch output.format {
            case .table: _ = StandardStream.output.write(found.message.message.body)
            case .json: output.show([found.message])
            }
        }
    }
}

struct RetainedClearCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clear",
        abstract: "Let names have no last value any more. What is stored of them in topics stays."
    )

    @Argument(help: "A name or a filter: 'factory/#'.")
    var filter: String

    @Flag(help: "Do not ask.")
    var yes = false

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func run() async throws {
        if !yes { try Confirmation.require("the last values of", named: filter) }
        try await server.withClient { client in
            let names = try await client.retained(filter).map(\.name)
            for name in names {
                try await calling("clear \(name)") { () async throws(SluiceClientError) in
                    let producer = try await client.producer(to: name)
                    // An empty one takes the place of the last value, and is none.
                    var message = OutgoingMessage([])
                    message.isRetained = true
                    _ = try await producer.send(message)
                    await producer.close()
                }
            }
            switch output.format {
            case .table: StandardStream.error.write("\(names.count) last values cleared\n")
            case .json: output.show(Record([.init("names", .list(names)), .init("result", .text("cleared"))]))
            }
        }
    }
}

private enum RetainedName {
    static func check(_ name: String) throws {
        guard !name.isEmpty, !name.contains(where: { $0 == "+" || $0 == "#" }) else {
            throw ValidationError("'\(name)' is no name; sluice retained list takes filters")
        }
    }
}

extension SluiceClient {
    fileprivate func retained(_ filter: String) async throws(CommandFailure) -> [RetainedMessage] {
        try await calling("show retained messages") { () async throws(SluiceClientError) in
            try await retained(matching: filter)
        }
    }
}
