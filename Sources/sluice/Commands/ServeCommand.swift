import AdminConsole
import ArgumentParser
import Glibc
import Logging
import MessageModel
import Observability
import ServerConfiguration

/// `sluice serve`: runs a server until it is told to stop.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run a server.",
        discussion: "It stops on SIGINT and SIGTERM, after everything it acknowledged is safe on disk."
    )

    @OptionGroup var options: ConfigurationOptions

    func run() async throws {
        let signals = StopSignals()
        let configuration = try options.load().configuration
        LogOutput.bootstrap(level: configuration.log.level.logger, format: configuration.log.format.lines)
        let logger = Logger(label: "sluice")
        let server: Server
        do {
            server = try await Server.start(configuration, logger: logger)
        } catch let error as SluiceError {
            throw CommandFailure(
                .failed,
                "the server cannot start",
                why: error.message,
                hint: error.hint.isEmpty ? nil : error.hint
            )
        }
        for listening in server.listening {
            StandardStream.output.write("\(listening.protocolName) listens on \(listening.address)\n")
        }
        StandardStream.output.write("ready\n")
        let signal = await signals.next()
        logger.info("stopping", metadata: ["signal": "\(signal == SIGINT ? "SIGINT" : "SIGTERM")"])
        await server.stop()
    }
}

extension SluiceConfiguration.LogLevel {
    fileprivate var logger: Logger.Level { Logger.Level(rawValue: rawValue) ?? .info }
}

extension SluiceConfiguration.LogFormat {
    fileprivate var lines: LogLineFormat {
        switch self {
        case .auto: .automatic
        case .text: .text
        case .json: .json
        }
    }
}
