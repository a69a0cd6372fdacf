import AdminConsole
import ArgumentParser
import Glibc
import ServerConfiguration

/// Where a server's configuration comes from: a file, the environment, flags. For `serve` and `config` alike.
struct ConfigurationOptions: ParsableArguments {
    @Option(name: .shortAndLong, help: "The configuration file. Without one the defaults count.")
    var config: String?

    @Option(help: "Where messages are kept; the same as --set storage.data_directory=PATH.")
    var dataDir: String?

    @Option(
        name: .customLong("set"),
        help: ArgumentHelp("Set one key, over file and environment. Repeatable.", valueName: "key=value")
    )
    var assignments: [String] = []

    /// Reads and checks everything.
    /// - Parameter file: Instead of the one that `--config` names.
    /// - Throws: `CommandFailure`, after every problem was written to standard error on a line of its own.
    func load(file: String? = nil) throws(CommandFailure) -> LoadedConfiguration {
        var flags: [ConfigurationSources.Flag] = []
        for assignment in assignments {
            guard let flag = ConfigurationSources.Flag(assignment: assignment) else {
                throw CommandFailure(
                    .usage,
                    "'--set \(assignment)' sets no key",
                    hint: "--set mqtt.listen=127.0.0.1:1884"
                )
            }
            flags.append(flag)
        }
        if let dataDir {
            flags.append(.init(key: "storage.data_directory", value: dataDir, name: "--data-dir"))
        }
        let file = file ?? config
        let sources = ConfigurationSources(file: file, environment: processEnvironment(), flags: flags)
        do throws(ConfigurationError) {
            return try LoadedConfiguration(sources)
        } catch {
            for problem in error.problems { StandardStream.error.write(printable(problem.description) + "\n") }
            throw CommandFailure(
                .failed,
                "\(file ?? "the configuration") is not valid",
                why: error.problems.count == 1
                    ? "1 problem, named above" : "\(error.problems.count) problems, named above",
                hint: "sluice config explain says what a key means and permits"
            )
        }
    }
}

/// The variables of this process.
private func processEnvironment() -> [String: String] {
    var variables: [String: String] = [:]
    var entry = environ
    while let line = entry.pointee {
        let parts = String(cString: line).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        if parts.count == 2 { variables[String(parts[0])] = String(parts[1]) }
        entry += 1
    }
    return variables
}
