import AdminConsole
import ArgumentParser
import Credentials
import Glibc

/// `sluice config user`.
struct ConfigUserCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "user",
        abstract: "Make an entry of mqtt.scram_users from a password, which is read from standard input."
    )

    @Argument(help: "The user's name.")
    var name: String

    @Option(help: "How much work it is to try a password.")
    var iterations: Int = ScramCredential.leastIterations

    func validate() throws {
        guard !name.isEmpty, !name.contains("="), !name.contains(","), !name.contains("$") else {
            throw ValidationError("a user's name is not empty, and has no '=', ',' or '$'")
        }
        let range = ScramCredential.leastIterations...ScramCredential.mostIterations
        guard range.contains(iterations) else {
            throw ValidationError("--iterations is \(range.lowerBound) to \(range.upperBound)")
        }
    }

    func run() throws {
        guard let password = try Self.readPassword(), !password.isEmpty else {
            throw CommandFailure(.failed, "there is no password on standard input")
        }
        let salt = (0..<16).map { _ in UInt8.random(in: .min ... .max) }
        guard let credential = ScramCredential(password: password, salt: salt, iterations: iterations) else {
            throw CommandFailure(.failed, "the password could not be hashed")
        }
        StandardStream.output.write("\(name)=\(credential.text)\n")
    }

    /// One line; what is typed on a terminal is not shown.
    private static func readPassword() throws(CommandFailure) -> String? {
        var saved = termios()
        let isTerminal = tcgetattr(0, &saved) == 0
        if isTerminal {
            StandardStream.error.write("Password: ")
            var quiet = saved
            quiet.c_lflag &= ~tcflag_t(ECHO)
            tcsetattr(0, TCSANOW, &quiet)
        }
        defer {
            if isTerminal {
                tcsetattr(0, TCSANOW, &saved)
                StandardStream.error.write("\n")
            }
        }
        var input = InputFile.standardInput
        guard let line = try input.line() else { return nil }
        guard let text = String(validating: line, as: UTF8.self) else {
            throw CommandFailure(.failed, "the password is not UTF-8")
        }
        return text
    }
}
