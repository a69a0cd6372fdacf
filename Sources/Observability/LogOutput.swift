import Glibc
package import Logging
import Synchronization

/// How log lines are written.
package enum LogLineFormat: Sendable, Equatable {
    /// For people; colours mark the level.
    case text(colors: Bool)
    /// One JSON object a line.
    case json

    /// Text on a terminal, JSON lines otherwise. `NO_COLOR` in the environment, set to anything, means no colours.
    package static var automatic: LogLineFormat {
        isatty(STDERR_FILENO) == 1 ? .text(colors: terminalHasColors) : .json
    }

    /// Text, with colours where standard error is a terminal that may show them.
    package static var text: LogLineFormat {
        .text(colors: isatty(STDERR_FILENO) == 1 && terminalHasColors)
    }

    private static var terminalHasColors: Bool {
        let forbidden = getenv("NO_COLOR").map { $0.pointee != 0 } ?? false
        let dumb = getenv("TERM").map { String(cString: $0) == "dumb" } ?? true
        return !forbidden && !dumb
    }
}

/// Standard error as the destination of all log lines of the process.
package enum LogOutput {
    /// Lines of several threads follow each other, also where one is longer than a pipe takes at once.
    private static let lock = Mutex(())

    /// Makes every `Logger` of the process write lines of at least this level. To be called once, before the first
    /// logger is made.
    package static func bootstrap(level: Logger.Level, format: LogLineFormat) {
        LoggingSystem.bootstrap(
            { label, provider in
                LineLogHandler(label: label, level: level, format: format, provider: provider, write: write)
            },
            metadataProvider: LoggingSystem.metadataProvider
        )
    }

    /// Writes a whole line; a closed or full destination loses it, as logging must not stop the server.
    private static func write(_ line: [UInt8]) {
        lock.withLock { _ in
            var rest = line[...]
            while !rest.isEmpty {
                let count = rest.withUnsafeBytes { Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
                if count < 0 {
                    if errno == EINTR { continue }
                    return
                }
                rest = rest.dropFirst(count)
            }
        }
    }
}
