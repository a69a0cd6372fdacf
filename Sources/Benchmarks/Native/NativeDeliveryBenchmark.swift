import ArgumentParser
import SluiceClient

/// `Benchmarks leases`.
struct NativeDeliveryBenchmark: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "leases",
        abstract: "Leases and their acknowledgement, and fan-out to attached inboxes, over the native protocol."
    )

    @Option(help: ArgumentHelp("Bytes of a body.", valueName: "bytes"))
    var size = 128

    @Option(help: "Inboxes that get each message, for the fan-out.")
    var inboxes = 1_000

    @Option(help: "Inboxes whose consumers share a connection.")
    var inboxesPerConnection = 100

    @Option(help: "Only cases whose name holds this.")
    var only = ""

    @OptionGroup var options: ServerOptions

    func run() async throws {
        Report(rows: try await measure()).show(options.output)
    }

    func measure() async throws -> [Row] {
        var rows: [Row] = []
        func measure(
            _ name: String,
            target: Double?,
            _ body: (SluiceClient, ChildServer) async throws -> Measurement
        ) async throws {
            guard only.isEmpty || name.contains(only) else { return }
            var row = Row(name: name, server: "sluice", runs: [], target: target)
            for run in 1...options.runs {
                progress("\(name): run \(run)")
                let server = try ChildServer.sluice(options)
                defer { server.stop() }
                let client = try await SluiceClient.connect(
                    ClientConfiguration(host: "127.0.0.1", port: server.nativePort)
                )
                row.runs.append(try await body(client, server))
                await client.close()
            }
            rows.append(row)
        }
        for (source, isInbox) in [("cursor", false), ("inbox", true)] {
            try await measure("native lease and accept, \(source), batches of 256", target: 1.0) {
                try await drain($0, $1, inbox: isInbox)
            }
        }
        for (how, batch) in [("batches of 256", 256), ("one by one", 1)] {
            try await measure("native fan-out to \(inboxes) inboxes, \(how)", target: 0.4) {
                try await fanOut($0, $1, batch: batch)
            }
        }
        return rows
    }

    private func producer(_ client: SluiceClient, batch: Int, inFlight: Int) async throws -> Producer {
        var options = ProducerOptions()
        options.maxBatchRecords = batch
        options.maxInFlight = inFlight
        options.bufferBytes = (inFlight + 2) * (batch * (size + 8) + 72)
        return try await client.producer(to: "bench", options: options)
    }

    /// What it costs to lease, deliver and settle messages that are there; their production is not measured.
    private func drain(_ client: SluiceClient, _ server: ChildServer, inbox: Bool) async throws -> Measurement {
        try await client.createTopic("bench")
        // A good half of the memory for what is new.
        let perRound = (36 << 20) / (size + 8) / 256 * 256
        let producer = try await producer(client, batch: 256, inFlight: 32)
        let body = [UInt8](repeating: UInt8(ascii: "x"), count: size)
        let probe = server.probe
        var result = Measurement()
        var cpu = 0.0
        var wall = 0.0
        var messages = 0
        var round = 0
        repeat {
            let name = "bench-\(round)"
            try await client.createSubscription(
                name,
                from: inbox ? .inbox([.filter("bench")]) : .topic("bench", from: .next)
            )
            for _ in 0..<perRound { try await producer.enqueue(body) }
            try await producer.flush()
            let load = try await LeaseLoadHandle(credit: 65_536)
            try await load.attach([name], each: 1, port: server.nativePort, starts: false)
            let start = probe.read()
            try await load.start()
            try await load.wait(until: perRound)
            try await load.settled()
            let interval = ProcessProbe.Interval(from: start, to: probe.read())
            let found = try await load.result()
            try await load.close()
            try await client.deleteSubscription(name)
            cpu += interval.serverSeconds
            wall += interval.seconds
            messages += perRound
            result.faults += found.faults + abs(found.received - perRound)
            result.generatorPercent = interval.generatorSeconds / interval.seconds * 100
            result.othersPercent = interval.othersPercent
            round += 1
        } while wall < options.duration
        await producer.close()
        result.messagesPerSecond = Double(messages) / wall
        result.cpuPerMessage = cpu * 1e6 / Double(messages)
        result.residentKiB = probe.residentKiB
        return result
    }

    /// A publisher has so many batches on their way as a window says: those that are not delivered to all.
    private func fanOut(_ client: SluiceClient, _ server: ChildServer, batch: Int) async throws -> Measurement {
        try await client.createTopic("bench")
        var names: [String] = []
        for index in 0..<inboxes {
            let name = "inbox-\(index)"
            try await client.createSubscription(name, from: .inbox([.filter("bench")]))
            names.append(name)
        }
        let load = try await LeaseLoadHandle(credit: 65_536)
        try await load.attach(names, each: inboxesPerConnection, port: server.nativePort)
        let producer = try await producer(client, batch: batch, inFlight: 8)
        let body = [UInt8](repeating: UInt8(ascii: "x"), count: size)
        var sent = 0
        let inboxes = inboxes
        let window = batch == 1 ? 16 : 2
        func send() async throws {
            for _ in 0..<window * batch { try await producer.enqueue(body) }
            sent += window * batch
            try await load.wait(until: sent * inboxes)
        }
        for _ in 0..<4 { try await send() }
        try await load.beginMeasuring()
        let before = sent
        let probe = server.probe
        let start = probe.read()
        var interval = ProcessProbe.Interval(from: start, to: start)
        while interval.seconds < options.duration {
            try await send()
            interval = ProcessProbe.Interval(from: start, to: probe.read())
        }
        try await load.settled()
        interval = ProcessProbe.Interval(from: start, to: probe.read())
        let found = try await load.result()
        try await load.close()
        await producer.close()
        var result = Measurement(messages: (sent - before) * inboxes, interval, found.latencies)
        result.residentKiB = probe.residentKiB
        result.faults = found.faults + abs(found.received - sent * inboxes)
        return result
    }
}
