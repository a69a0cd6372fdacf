import ArgumentParser
import Foundation
import NIOCore
import NIOPosix

/// `Benchmarks idle`.
struct IdleBenchmark: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "idle",
        abstract: "Resident memory of an idle MQTT connection with one subscription."
    )

    @Option(help: "How many connections.")
    var connections = 5_000

    @OptionGroup var options: ServerOptions

    func run() async throws {
        Report(notes: try await measure()).show(options.output)
    }

    func measure() async throws -> [String] {
        try raiseFileLimit()
        var notes: [String] = []
        let ours = try await bytesPerConnection(try ChildServer.sluice(options))
        notes.append(note("sluice", ours) + ", target ≤ 4.0 KiB: \(ours <= 4 * 1_024 ? "met" : "MISSED")")
        if options.measuresMosquitto {
            notes.append(note("mosquitto", try await bytesPerConnection(try ChildServer.mosquitto(options))))
        }
        return notes
    }

    private func note(_ server: String, _ bytes: Double) -> String {
        "idle MQTT connection, \(server): \(Report.number(bytes / 1_024)) KiB resident (\(connections) connections)"
    }

    private func bytesPerConnection(_ server: ChildServer) async throws -> Double {
        defer { server.stop() }
        progress("idle: \(connections) connections to \(server.name)")
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        // The first connections bring what all share.
        _ = try await connect(0..<100, server, loop)
        try await Task.sleep(for: .milliseconds(500))
        let before = server.probe.residentKiB
        for start in stride(from: 100, to: connections + 100, by: 500) {
            try await connect(start..<min(start + 500, connections + 100), server, loop)
        }
        try await Task.sleep(for: .seconds(1))
        let after = server.probe.residentKiB
        try await group.shutdownGracefully()
        return Double(after - before) * 1_024 / Double(connections)
    }

    private func connect(_ numbers: Range<Int>, _ server: ChildServer, _ loop: any EventLoop) async throws {
        let port = server.mqttPort
        let all = numbers.map { number in
            let ready = loop.makePromise(of: Void.self)
            ClientBootstrap(group: loop)
                .channelOption(
                    .recvAllocator,
                    value: FixedSizeRecvByteBufferAllocator(capacity: 256)
                )
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let role = MQTTLoadClient.Role.idle(topic: "idle/\(number)")
                        let client = MQTTLoadClient(name: "idle-\(number)", role: role, load: nil, ready)
                        try channel.pipeline.syncOperations.addHandler(client)
                    }
                }
                .connect(host: "127.0.0.1", port: port)
                .whenFailure { ready.fail($0) }
            return ready.futureResult
        }
        try await EventLoopFuture.andAllSucceed(all, on: loop).get()
    }

    /// Both ends of every connection are files: of this process and, as it inherits the limit, of the server.
    private func raiseFileLimit() throws {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        guard limit.rlim_cur > rlim_t(connections + 400) else {
            throw BenchmarkError("\(connections) connections need a higher limit of open files than \(limit.rlim_cur)")
        }
    }
}
