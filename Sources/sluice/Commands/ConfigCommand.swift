import AdminConsole
import ArgumentParser
import ServerConfiguration

/// `sluice config validate|show|explain|user`.
struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Check, show and explain a server's configuration.",
        subcommands: [
            ConfigValidateCommand.self, ConfigShowCommand.self, ConfigExplainCommand.self, ConfigUserCommand.self,
        ]
    )
}

struct ConfigValidateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "validate",
        abstract: "Check a configuration file, with the environment and flags that would override it."
    )

    @Argument(help: "The configuration file.")
    var file: String

    @OptionGroup var options: ConfigurationOptions

    func run() throws {
        _ = try options.load(file: file)
        StandardStream.error.write("\(printable(file)) is valid\n")
    }
}

struct ConfigShowCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Show every key, the value that counts, and where it comes from."
    )

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var output: OutputOptions

    func run() throws {
        let loaded = try options.load()
        output.show(
            Listing(
                columns: [.init("key"), .init("value"), .init("source")],
                rows: ConfigurationSchema.keys.map { key in
                    [
                        .text(key.path), .text(key.text(in: loaded.configuration)),
                        .text(loaded.origin(of: key.path).description),
                    ]
                }
            )
        )
    }
}

struct ConfigExplainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Say what a key means, permits and defaults to."
    )

    @Argument(help: "A key, or a section for all of its keys. Without one, all keys are listed.")
    var key: String?

    @OptionGroup var output: OutputOptions

    func run() throws {
        let keys = ConfigurationSchema.keys
        guard let key else {
            // The meaning is too long for a column; JSON and the single key have it.
            return output.show(output.format == .json ? full(keys) : brief(keys))
        }
        if let known = ConfigurationSchema.key(key) { return output.show(record(known)) }
        let section = keys.filter { $0.path.hasPrefix(key + ".") }
        guard section.isEmpty else { return output.show(output.format == .json ? full(section) : brief(section)) }
        throw CommandFailure(
            .notFound,
            "there is no key \(key)",
            hint: ConfigurationSchema.suggestion(for: key).map { "did you mean \($0)?" }
                ?? "sluice config explain lists all keys"
        )
    }

    private func brief(_ keys: [ConfigurationKey]) -> Listing {
        Listing(
            columns: [.init("key"), .init("kind"), .init("default"), .init("effect"), .init("permitted")],
            rows: keys.map { key in
                [
                    .text(key.path), .text(key.kind), .text(key.defaultText), .text(key.takesEffect.rawValue),
                    .text(key.limits),
                ]
            }
        )
    }

    private func full(_ keys: [ConfigurationKey]) -> Listing {
        let rows = keys.map { record($0).fields }
        return Listing(columns: (rows.first ?? []).map { .init($0.key) }, rows: rows.map { $0.map(\.value) })
    }

    private func record(_ key: ConfigurationKey) -> Record {
        Record([
            .init("key", .text(key.path)),
            .init("kind", .text(key.kind)),
            .init("permitted", .text(key.limits)),
            .init("default", .text(key.defaultText)),
            .init("effect", .text(key.takesEffect.rawValue)),
            .init("environment", .text(key.environmentName)),
            .init("meaning", .text(key.documentation)),
        ])
    }
}
