package import ArgumentParser

/// Runs a command and says in the same way for all of them how it went.
package enum CommandRunner {
    /// Parses the arguments, runs the command they name, and reports a failure on standard error.
    /// - Returns: The exit code for the process.
    package static func run(_ root: (some ParsableCommand).Type, arguments: [String]? = nil) async -> Int32 {
        do {
            var command = try root.parseAsRoot(arguments)
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            return 0
        } catch let failure as CommandFailure {
            StandardStream.error.write(failure.lines)
            return failure.exitClass.rawValue
        } catch {
            let code = root.exitCode(for: error)
            let message = root.fullMessage(for: error)
            if code.isSuccess {
                // Help and completion scripts come as errors.
                if !message.isEmpty { StandardStream.output.write(message + "\n") }
            } else if !message.isEmpty {
                let isError = message.hasPrefix("Error: ")
                StandardStream.error.write((isError ? "error: " + message.dropFirst(7) : message) + "\n")
            }
            return code.rawValue
        }
    }
}
