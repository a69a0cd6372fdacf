import Foundation

/// Why a benchmark could not run.
struct BenchmarkError: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// A server under test: a child process on free loopback ports, with a directory of its own that goes with it.
final class ChildServer {
    let name: String
    let pid: Int32
    /// Zero where the server does not speak it.
    let mqttPort: Int
    let nativePort: Int
    private let process: ChildProcess
    private let directory: URL

    var probe: ProcessProbe { ProcessProbe(pid: pid) }

    private init(name: String, process: ChildProcess, directory: URL, mqttPort: Int, nativePort: Int) {
        self.name = name
        self.process = process
        self.directory = directory
        self.mqttPort = mqttPort
        self.nativePort = nativePort
        pid = process.pid
    }

    /// Starts the `sluice` that was built beside this program, or the one given.
    /// - Parameter settings: as `--set` takes them.
    static func sluice(_ options: ServerOptions, settings: [String] = []) throws -> ChildServer {
        let directory = try makeDirectory(options)
        let process = try ChildProcess(
            options.sluiceURL.path,
            [
                "serve", "--data-dir", directory.appendingPathComponent("data").path, "--set",
                "native.listen=127.0.0.1:0", "--set", "mqtt.listen=127.0.0.1:0", "--set",
                "amqp.listen=127.0.0.1:0", "--set", "http.enabled=false", "--set", "log.level=warning",
            ] + settings.flatMap { ["--set", $0] }
        )
        var ports: [String: Int] = [:]
        var lines = LineReader(process)
        while let line = lines.next(), line != "ready" {
            let words = line.split(separator: " ")
            if words.count == 4, let port = words[3].split(separator: ":").last { ports[String(words[0])] = Int(port) }
        }
        guard let mqtt = ports["mqtt"], let native = ports["native"] else {
            process.terminate()
            process.wait()
            try? FileManager.default.removeItem(at: directory)
            throw BenchmarkError("sluice did not start")
        }
        return ChildServer(name: "sluice", process: process, directory: directory, mqttPort: mqtt, nativePort: native)
    }

    static let mosquittoPath = "/usr/sbin/mosquitto"
    static var hasMosquitto: Bool { FileManager.default.isExecutableFile(atPath: mosquittoPath) }

    /// Starts mosquitto without persistence and without limits of its own.
    static func mosquitto(_ options: ServerOptions) throws -> ChildServer {
        let directory = try makeDirectory(options)
        let port = try freePort()
        let configuration = """
            listener \(port) 127.0.0.1
            allow_anonymous true
            persistence false
            log_type none
            max_inflight_messages 0
            max_queued_messages 0
            set_tcp_nodelay true

            """
        let file = directory.appendingPathComponent("mosquitto.conf")
        try Data(configuration.utf8).write(to: file)
        let process = try ChildProcess(mosquittoPath, ["-c", file.path])
        for _ in 0..<100 where !accepts(port) { usleep(20_000) }
        return ChildServer(name: "mosquitto", process: process, directory: directory, mqttPort: port, nativePort: 0)
    }

    func stop() {
        process.terminate()
        process.wait()
        try? FileManager.default.removeItem(at: directory)
    }

    private static func makeDirectory(_ options: ServerOptions) throws -> URL {
        let parent = options.directory.map { URL(fileURLWithPath: $0) } ?? FileManager.default.temporaryDirectory
        let directory = parent.appendingPathComponent("sluice-benchmark-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        return directory
    }

    private static func address(_ port: Int, host: UInt32 = 0x7F00_0001) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = host.bigEndian
        return address
    }

    /// Calls with an address as the system wants it.
    static func withAddress<Result>(_ port: Int, host: UInt32, _ body: (UnsafePointer<sockaddr>) -> Result) -> Result {
        var address = address(port, host: host)
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1, body)
        }
    }

    /// A port that was free a moment ago.
    private static func freePort() throws -> Int {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var local = address(0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let found = withUnsafeMutablePointer(to: &local) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard found else { throw BenchmarkError("no port is free") }
        return Int(UInt16(bigEndian: local.sin_port))
    }

    private static func accepts(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var remote = address(port)
        return withUnsafePointer(to: &remote) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}

/// Lines of a process, as they come.
private struct LineReader {
    private let process: ChildProcess
    private var buffer: [UInt8] = []

    init(_ process: ChildProcess) { self.process = process }

    mutating func next() -> String? {
        while true {
            if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                let line = String(decoding: buffer[..<end], as: UTF8.self)
                buffer.removeSubrange(...end)
                return line
            }
            guard let more = process.read() else { return nil }
            buffer += more
        }
    }
}
