import AdminConsole
import ArgumentParser
import Glibc
import Logging
import MessageModel
import NIOPosix
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
        // Before any thread is made, so that all of them inherit it.
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

/// The signals that ask the process to stop.
private struct StopSignals {
    private let set: sigset_t

    /// Keeps the signals from ending the process; they are waited for instead.
    init() {
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGINT)
        sigaddset(&set, SIGTERM)
        pthread_sigmask(SIG_BLOCK, &set, nil)
        signal(SIGPIPE, SIG_IGN)
        self.set = set
    }

    func next() async -> Int32 {
        let set = self.set
        let pool = NIOThreadPool(numberOfThreads: 1)
        pool.start()
        let received = try? await pool.runIfActive {
            var set = set
            var number: Int32 = 0
            sigwait(&set, &number)
            return number
        }
        try? await pool.shutdownGracefully()
        return received ?? SIGTERM
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
