import ArgumentParser

/// Measures the layers one by one, from the outside. docs/benchmarks.md says what the figures mean.
@main
struct Benchmarks: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "Benchmarks",
        abstract: "Measure the server's CPU per message, throughput and latency.",
        subcommands: [
            StorageBenchmark.self, DeliveryBenchmark.self, RoutingBenchmark.self, NativeBenchmark.self,
            NativeDeliveryBenchmark.self, LatenessBenchmark.self, MQTTBenchmark.self, IdleBenchmark.self,
            StartupBenchmark.self, AllBenchmarks.self,
        ]
    )

    static func main() async {
        ChildProcess.installSignalHandlers()
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch {
            exit(withError: error)
        }
    }
}

/// `Benchmarks all`.
struct AllBenchmarks: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "all", abstract: "Everything, one after the other.")

    @OptionGroup var options: ServerOptions

    func run() async throws {
        var report = Report()
        report.notes.append(try command(StartupBenchmark.self).measure())
        report.notes += try await command(IdleBenchmark.self).measure()
        report.rows += try command(StorageBenchmark.self).measure()
        let routing = try command(RoutingBenchmark.self).measure()
        report.rows += routing.rows
        report.notes.append(routing.note)
        report.rows += try await command(NativeBenchmark.self).measure()
        report.rows += try await command(NativeDeliveryBenchmark.self).measure()
        report.notes += try await command(LatenessBenchmark.self).measure()
        report.rows += try await command(MQTTBenchmark.self).measure()
        report.show(options.output)
    }

    /// The command with its own defaults and these options.
    private func command<Command: ParsableCommand>(_ type: Command.Type) throws -> Command {
        var arguments = [
            "--runs", "\(options.runs)", "--duration", "\(options.duration)", "--warm-up", "\(options.warmUp)",
        ]
        if let sluice = options.sluice { arguments += ["--sluice", sluice] }
        if let directory = options.directory { arguments += ["--directory", directory] }
        if options.noMosquitto { arguments.append("--no-mosquitto") }
        return try type.parse(arguments)
    }
}
