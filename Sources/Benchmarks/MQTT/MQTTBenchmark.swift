import ArgumentParser
import MQTTProtocol
import NIOCore
import NIOPosix

/// `Benchmarks mqtt`.
struct MQTTBenchmark: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mqtt",
        abstract: "QoS 0 and 1: one pair, ten pairs, one publisher to a hundred subscribers."
    )

    @Option(help: ArgumentHelp("Bytes of a payload.", valueName: "bytes"))
    var size = 128

    @OptionGroup var options: ServerOptions

    func run() async throws {
        Report(rows: try await measure()).show(options.output)
    }

    func measure() async throws -> [Row] {
        var rows: [Row] = []
        for qos in [QoS.atMostOnce, .atLeastOnce] {
            for shape in MQTTShape.all {
                let name = "MQTT QoS \(qos.rawValue), \(shape.name)"
                var ours = Row(name: name, server: "sluice", runs: [])
                ours.targetRatio = qos == .atMostOnce ? 1 : 2
                var peers = Row(name: name, server: "mosquitto", runs: [])
                // In turns, so that what else the machine does meets both alike.
                for run in 1...options.runs {
                    progress("\(name): run \(run)")
                    ours.runs.append(try await measure(try ChildServer.sluice(options), shape, qos))
                    guard options.measuresMosquitto else { continue }
                    peers.runs.append(try await measure(try ChildServer.mosquitto(options), shape, qos))
                }
                rows.append(ours)
                if !peers.runs.isEmpty { rows.append(peers) }
            }
        }
        return rows
    }

    private func measure(_ server: ChildServer, _ shape: MQTTShape, _ qos: QoS) async throws -> Measurement {
        defer { server.stop() }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let size = size
        let load = try await loop.submit {
            NIOLoopBound(MQTTLoad(shape: shape, qos: qos, size: size, eventLoop: loop), eventLoop: loop)
        }.get()
        let port = server.mqttPort
        try await loop.flatSubmit { load.value.connect(port: port) }.get()
        loop.execute { load.value.start() }
        try await Task.sleep(for: .seconds(options.warmUp))
        let probe = server.probe
        let start = try await loop.submit {
            load.value.beginMeasuring()
            return probe.read()
        }.get()
        try await Task.sleep(for: .seconds(options.duration))
        let (end, deliveries, latencies) = try await loop.submit {
            let result = (probe.read(), load.value.deliveries, load.value.latencies)
            load.value.stop()
            return result
        }.get()
        let resident = probe.residentKiB
        for _ in 0..<100 {
            if try await loop.submit({ load.value.isDrained }).get() { break }
            try await Task.sleep(for: .milliseconds(50))
        }
        var result = Measurement(messages: deliveries, .init(from: start, to: end), latencies)
        result.residentKiB = resident
        result.faults = try await loop.submit {
            load.value.close()
            return load.value.faults
        }.get()
        try await group.shutdownGracefully()
        return result
    }
}
