import ArgumentParser
import MQTTProtocol
import NIOCore
import NIOPosix

/// A case of `Benchmarks mqtt`.
struct MQTTCase: Sendable {
    var key: String
    var name: String
    var shape: MQTTShape
    var qos: QoS
    /// Settings of sluice; other servers never sync.
    var settings: [String] = []
    /// The most CPU per delivery that is wanted, in µs.
    var target: Double?
    /// Sessions that outlive their connections.
    var isStored = false

    private static let received = ["storage.durability=received"]

    static let all = [
        MQTTCase(key: "qos0-1", name: "MQTT QoS 0, 1:1", shape: .onePair, qos: .atMostOnce),
        MQTTCase(key: "qos0-10", name: "MQTT QoS 0, 10:10", shape: .tenPairs, qos: .atMostOnce, target: 0.5),
        MQTTCase(key: "qos0-100", name: "MQTT QoS 0, 100:100", shape: .hundredPairs, qos: .atMostOnce, target: 0.9),
        MQTTCase(
            key: "qos1-10",
            name: "MQTT QoS 1, 10:10, received",
            shape: .tenPairs,
            qos: .atLeastOnce,
            settings: received,
            target: 0.8
        ),
        MQTTCase(
            key: "qos1-100",
            name: "MQTT QoS 1, 100:100, received",
            shape: .hundredPairs,
            qos: .atLeastOnce,
            settings: received,
            target: 1.6
        ),
        MQTTCase(
            key: "qos1-durable-10",
            name: "MQTT QoS 1, 10:10, durable",
            shape: .tenPairs,
            qos: .atLeastOnce,
            target: 1.5
        ),
        MQTTCase(key: "qos2-10", name: "MQTT QoS 2, 10:10, durable", shape: .tenPairs, qos: .exactlyOnce, target: 1.4),
        MQTTCase(
            key: "qos1-stored-10",
            name: "MQTT QoS 1, 10:10, durable, stored sessions",
            shape: .tenPairs,
            qos: .atLeastOnce,
            isStored: true
        ),
        MQTTCase(
            key: "qos2-stored-10",
            name: "MQTT QoS 2, 10:10, durable, stored sessions",
            shape: .tenPairs,
            qos: .exactlyOnce,
            isStored: true
        ),
        MQTTCase(key: "fanout-100", name: "MQTT QoS 0, 1:100", shape: .toHundred, qos: .atMostOnce, target: 3),
        MQTTCase(key: "fanout-1000", name: "MQTT QoS 0, 1:1000", shape: .toThousand, qos: .atMostOnce, target: 4),
    ]
}

/// `Benchmarks mqtt`.
struct MQTTBenchmark: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mqtt",
        abstract:
            "CPU of a delivery at each quality of service, to one subscriber and to many; connects; retained messages.",
        discussion: "Cases: \((MQTTCase.all.map(\.key) + MQTTExtra.allCases.map(\.rawValue)).joined(separator: ", "))."
    )

    @Option(help: ArgumentHelp("Bytes of a payload.", valueName: "bytes"))
    var size = 128

    @Option(help: ArgumentHelp("Only these cases, with commas between them.", valueName: "cases"))
    var only: String?

    @Option(help: "How many names have a last value when 'all-retained' subscribes to '#'.")
    var retained = 1_000_000

    @OptionGroup var options: ServerOptions

    func validate() throws {
        let known = Set(MQTTCase.all.map(\.key) + MQTTExtra.allCases.map(\.rawValue))
        for key in chosen ?? [] where !known.contains(key) { throw ValidationError("no case is called '\(key)'") }
    }

    private var chosen: [String]? { only?.split(separator: ",").map(String.init) }
    private func isChosen(_ key: String) -> Bool { chosen?.contains(key) ?? true }

    func run() async throws {
        var report = Report()
        report.rows = try await measure()
        if isChosen(MQTTExtra.connects.rawValue) { report.rows += try ConnectStorm(options: options).measure() }
        if isChosen(MQTTExtra.retained.rawValue) {
            report.notes.append(try await RetainedBenchmark(options: options, size: size).store(100_000))
        }
        if isChosen(MQTTExtra.allRetained.rawValue) {
            report.notes += try await RetainedBenchmark(options: options, size: size).readAll(retained)
        }
        report.show(options.output)
    }

    func measure() async throws -> [Row] {
        var rows: [Row] = []
        for benchmark in MQTTCase.all where isChosen(benchmark.key) {
            var ours = Row(name: benchmark.name, server: "sluice", runs: [])
            ours.target = benchmark.target
            var peers = Row(name: benchmark.name, server: "mosquitto", runs: [])
            // In turns, so that what else the machine does meets both alike.
            for run in 1...options.runs {
                progress("\(benchmark.name): run \(run)")
                let server = try ChildServer.sluice(options, settings: benchmark.settings)
                ours.runs.append(try await measure(server, benchmark))
                guard options.measuresMosquitto else { continue }
                peers.runs.append(try await measure(try ChildServer.mosquitto(options), benchmark))
            }
            rows.append(ours)
            if !peers.runs.isEmpty { rows.append(peers) }
        }
        return rows
    }

    private func measure(_ server: ChildServer, _ benchmark: MQTTCase) async throws -> Measurement {
        defer { server.stop() }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let size = size
        let load = try await loop.submit {
            let load = MQTTLoad(
                shape: benchmark.shape,
                qos: benchmark.qos,
                size: size,
                isStored: benchmark.isStored,
                eventLoop: loop
            )
            return NIOLoopBound(load, eventLoop: loop)
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

/// Cases of `Benchmarks mqtt` that are no pairs of publishers and subscribers.
enum MQTTExtra: String, CaseIterable {
    case connects
    case retained
    case allRetained = "all-retained"
}
