import Foundation
import Testing

/// What a run of the built `sluice` said.
private struct Run {
    var status: Int32
    var output: String
    var errors: String

    init(_ arguments: String..., environment: [String: String] = [:]) throws {
        // The tests and the binary are built into one folder.
        let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let process = Process()
        process.executableURL = URL(fileURLWithPath: tests).deletingLastPathComponent().appendingPathComponent("sluice")
        process.arguments = arguments
        let inherited = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("SLUICE_") }
        process.environment = inherited.merging(environment) { $1 }
        let (output, errors) = (Pipe(), Pipe())
        process.standardOutput = output
        process.standardError = errors
        try process.run()
        // Neither stream of these commands fills a pipe, so that reading one after the other does not block.
        self.output = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        self.errors = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        status = process.terminationStatus
    }
}

@Suite struct BinaryTests {
    @Test("the version is one line of data, and with -v a record of what is linked")
    func version() throws {
        let plain = try Run("version")
        #expect(plain.status == 0)
        #expect(plain.output.hasPrefix("sluice "))
        #expect(plain.errors.isEmpty)
        let verbose = try Run("version", "-v")
        #expect(verbose.output.contains("\nopenssl\tOpenSSL 3."))
        #expect(verbose.output.contains("\nlibmosquitto\t2."))
        #expect(try Run("version", "-o", "json").output.hasPrefix(#"{"sluice":""#))
    }

    @Test("a wrong command line is told on standard error with exit code 64")
    func usage() throws {
        for run in [try Run("nonsense"), try Run("version", "-o", "xml"), try Run("topic", "list", "--limit", "0")] {
            #expect(run.status == 64)
            #expect(run.output.isEmpty)
            #expect(run.errors.hasPrefix("error: "))
        }
        #expect(try Run("topic", "list", "--url", "ftp://a").status == 64)
        #expect(try Run("config", "show", "--set", "x").status == 64)
    }

    @Test("help is data")
    func help() throws {
        let run = try Run("topic", "--help")
        #expect(run.status == 0)
        #expect(run.output.contains("USAGE: sluice topic"))
    }

    @Test("a server that is not there is exit code 7, whichever way it is named")
    func unreachable() throws {
        // Port 1 of this machine is reserved and has no listener.
        let byFlag = try Run("topic", "list", "--url", "http://127.0.0.1:1")
        #expect(byFlag.status == 7)
        #expect(
            byFlag.errors == """
                error: cannot reach http://127.0.0.1:1
                why:   Connection refused
                hint:  is the server running there? --url or SLUICE_URL names another

                """
        )
        let byVariable = try Run("topic", "show", "a", environment: ["SLUICE_URL": "http://127.0.0.1:1"])
        #expect(byVariable.status == 7)
    }

    @Test("config validate is silent on standard output and lists every problem on standard error")
    func validate() throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("sluice-\(UUID().uuidString).yaml")
            .path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data("mqtt:\n  lisen: x\n  enabled: 1\n".utf8).write(to: URL(fileURLWithPath: path))
        let wrong = try Run("config", "validate", path)
        #expect(wrong.status == 1)
        #expect(wrong.output.isEmpty)
        #expect(
            wrong.errors == """
                \(path):2:3: mqtt.lisen: unknown key (did you mean mqtt.listen?)
                \(path):3:12: mqtt.enabled: '1' is not true or false
                error: \(path) is not valid
                why:   2 problems, named above
                hint:  sluice config explain says what a key means and permits

                """
        )
        try Data("mqtt:\n  enabled: true\n".utf8).write(to: URL(fileURLWithPath: path))
        #expect(try Run("config", "validate", path).status == 0)
        #expect(try Run("config", "validate", path, environment: ["SLUICE_MQTT__ENABLED": "1"]).status == 1)
    }

    @Test("config show says each value and where it comes from")
    func show() throws {
        let run = try Run(
            "config",
            "show",
            "--data-dir",
            "/d",
            "--set",
            "node.name=n",
            environment: ["SLUICE_MQTT__RECEIVE_MAXIMUM": "5"]
        )
        #expect(run.status == 0)
        let lines = run.output.split(separator: "\n")
        #expect(lines.contains("storage.data_directory\t/d\t--data-dir"))
        #expect(lines.contains("node.name\tn\t--set node.name"))
        #expect(lines.contains("mqtt.receive_maximum\t5\tSLUICE_MQTT__RECEIVE_MAXIMUM"))
        #expect(lines.contains("mqtt.listen\t127.0.0.1:1883\tdefault"))
    }

    @Test("config explain knows keys and sections, and corrects what is neither")
    func explain() throws {
        #expect(try Run("config", "explain", "mqtt.listen").output.contains("environment\tSLUICE_MQTT__LISTEN\n"))
        #expect(try Run("config", "explain", "log").output.split(separator: "\n").count == 2)
        #expect(
            try Run("config", "explain", "log", "-o", "json").output.hasPrefix(#"[{"key":"log.level","kind":"choice""#)
        )
        let wrong = try Run("config", "explain", "mqtt.lisen")
        #expect(wrong.status == 4)
        #expect(wrong.errors == "error: there is no key mqtt.lisen\nhint:  did you mean mqtt.listen?\n")
    }
}
