import AdminConsole
import ArgumentParser
import Glibc

/// The one binary: the server and its console.
@main
struct Sluice: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sluice",
        abstract: "A multi-protocol message gateway over one shared log.",
        subcommands: [
            ServeCommand.self, ProduceCommand.self, ConsumeCommand.self, TopicCommand.self, SubscriptionCommand.self,
            LookUpCommand.self, RedriveCommand.self, RetainedCommand.self, SessionCommand.self, ScheduleCommand.self,
            BenchCommand.self, SimCommand.self, ConfigCommand.self, VersionCommand.self,
        ]
    )

    static func main() async {
        Glibc.exit(await CommandRunner.run(Sluice.self))
    }
}
