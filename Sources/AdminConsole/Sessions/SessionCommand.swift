package import ArgumentParser

/// `sluice session list|show|kick|purge`.
package struct SessionCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "session",
        abstract: "Look after MQTT clients and their sessions.",
        subcommands: [
            SessionListCommand.self, SessionShowCommand.self, SessionKickCommand.self, SessionPurgeCommand.self,
        ]
    )

    package init() {}
}

struct SessionListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List sessions: those that are stored, then those that end with their connections.",
        aliases: ["ls"]
    )

    @Option(help: "List at most this many.")
    var limit: Int?

    @Flag(help: "Only those whose clients are connected.")
    var connected = false

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: ServerOptions

    func validate() throws {
        if let limit, limit < 1 { throw ValidationError("--limit is at least 1") }
    }

    func run() async throws {
        let api = SessionAPI(exchange: try server.exchange)
        var sessions = try await api.list(limit: connected ? .max : limit ?? .max)
        if connected { sessions = Array(sessions.filter(\.connected).prefix(limit ?? .max)) }
        output.show(SessionAPI.listing(of: sessions))
    }
}

struct SessionShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Show one client: how it is, what waits for it, what it subscribed to."
    )

    @Argument(help: "The client's identifier.")
    var client: String

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: ServerOptions

    func run() async throws {
        let session = try await SessionAPI(exchange: try server.exchange).show(client)
        output.show(SessionAPI.record(of: session))
    }
}

struct SessionKickCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kick",
        abstract: "End a client's connection. Its session stays, and the client may come back to it."
    )

    @Argument(help: "The client's identifier.")
    var client: String

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: ServerOptions

    func run() async throws {
        try await SessionAPI(exchange: try server.exchange).kick(client)
        output.report(client, "disconnected")
    }
}

struct SessionPurgeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "purge",
        abstract: "Delete a session with everything that waits in it; a connected client is disconnected."
    )

    @Argument(help: "The client's identifier.")
    var client: String

    @Flag(help: "Do not ask.")
    var yes = false

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: ServerOptions

    func run() async throws {
        if !yes { try Confirmation.require("the session of client", named: client) }
        try await SessionAPI(exchange: try server.exchange).purge(client)
        output.report(client, "purged")
    }
}

extension OutputOptions {
    fileprivate func report(_ client: String, _ result: String) {
        switch format {
        case .table: StandardStream.error.write("client \(printable(client)) \(result)\n")
        case .json: show(Record([.init("client", .text(client)), .init("result", .text(result))]))
        }
    }
}
