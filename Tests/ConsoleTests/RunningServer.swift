import Foundation
import Testing

/// The built `sluice` as a server on free ports, with a data directory that goes with it.
final class RunningServer {
    private let process: Process
    private let directory: URL
    let native: String
    let http: String

    static var binary: URL {
        get throws {
            // The tests and the binary are built into one folder.
            let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
            return URL(fileURLWithPath: tests).deletingLastPathComponent().appendingPathComponent("sluice")
        }
    }

    init() throws {
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("sluice-\(UUID().uuidString)")
        process = Process()
        process.executableURL = try Self.binary
        process.arguments =
            ["serve", "--data-dir", directory.path]
            + ["native", "mqtt", "amqp", "http"].flatMap { ["--set", "\($0).listen=127.0.0.1:0"] }
            + ["--set", "storage.segment_size=16MiB", "--set", "storage.tail_cache=8MiB", "--set", "log.level=error"]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        var text = ""
        while !text.hasSuffix("ready\n") {
            let more = output.fileHandleForReading.availableData
            if more.isEmpty { break }
            text += String(decoding: more, as: UTF8.self)
        }
        func address(_ name: String) -> String? {
            text.split(separator: "\n").first { $0.hasPrefix(name) }?.split(separator: " ").last.map(String.init)
        }
        native = try #require(address("native"))
        http = "http://" + (try #require(address("http")))
    }

    deinit {
        kill(process.processIdentifier, SIGKILL)
        try? FileManager.default.removeItem(at: directory)
    }

    /// Runs a command against this server.
    func run(_ arguments: String..., input: String? = nil) throws -> (status: Int32, output: String, errors: String) {
        let command = try start(arguments, input: input)
        return command.finish()
    }

    func start(_ arguments: [String], input: String? = nil) throws -> RunningCommand {
        try RunningCommand(arguments, environment: ["SLUICE_SERVER": native, "SLUICE_URL": http], input: input)
    }
}

/// A command that has not ended.
final class RunningCommand {
    private let process = Process()
    private let output = Pipe()
    private let errors = Pipe()

    init(_ arguments: [String], environment: [String: String], input: String?) throws {
        process.executableURL = try RunningServer.binary
        process.arguments = arguments
        let inherited = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("SLUICE_") }
        process.environment = inherited.merging(environment) { $1 }
        process.standardOutput = output
        process.standardError = errors
        let standardInput = Pipe()
        process.standardInput = standardInput
        try process.run()
        if let input { standardInput.fileHandleForWriting.write(Data(input.utf8)) }
        try? standardInput.fileHandleForWriting.close()
    }

    /// Waits for some output.
    func readSome() -> String { String(decoding: output.fileHandleForReading.availableData, as: UTF8.self) }

    func interrupt() { kill(process.processIdentifier, SIGINT) }

    func finish() -> (status: Int32, output: String, errors: String) {
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        let talk = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text, talk)
    }
}
