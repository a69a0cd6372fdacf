import AdminConsole
import ArgumentParser
import Dispatch
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

/// The signals that ask the process to stop.
private struct StopSignals {
    private let received: AsyncStream<Int32>
    /// Kept for as long as they are to be heard.
    private let sources: [any DispatchSourceSignal]

    init() {
        let (stream, continuation) = AsyncStream.makeStream(of: Int32.self)
        received = stream
        signal(SIGPIPE, SIG_IGN)
        sources = [SIGINT, SIGTERM].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { continuation.yield(number) }
            source.resume()
            return source
        }
    }

    func next() async -> Int32 {
        var iterator = received.makeAsyncIterator()
        return await iterator.next() ?? SIGTERM
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
