import ArgumentParser
import SluiceClient
import Synchronization

/// `Benchmarks native`.
struct NativeBenchmark: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "native",
        abstract: "Durable produce in batches and one by one, and consume, over the native protocol."
    )

    @Option(help: ArgumentHelp("Bytes of a body.", valueName: "bytes"))
    var size = 128

    @OptionGroup var options: ServerOptions

    func run() async throws {
        Report(rows: try await measure()).show(options.output)
    }

    func measure() async throws -> [Row] {
        var batched = Row(name: "native produce, durable, batches of 256", server: "sluice", runs: [], target: 0.5)
        var single = Row(name: "native produce, durable, one by one", server: "sluice", runs: [])
        var hot = Row(name: "native consume, from memory", server: "sluice", runs: [], target: 0.3)
        var cold = Row(name: "native consume, from files", server: "sluice", runs: [])
        for run in 1...options.runs {
            progress("native: run \(run)")
            let server = try ChildServer.sluice(options)
            defer { server.stop() }
            let client = try await SluiceClient.connect(ClientConfiguration(host: "127.0.0.1", port: server.nativePort))
            batched.runs.append(try await produce(client, server, to: "batched", batch: 256, inFlight: 32))
            single.runs.append(try await produce(client, server, to: "single", batch: 1, inFlight: 64))
            let (fromMemory, fromFiles) = try await consume(client, server)
            hot.runs.append(fromMemory)
            cold.runs.append(fromFiles)
            await client.close()
        }
        return [batched, single, hot, cold]
    }

    private func produce(
        _ client: SluiceClient,
        _ server: ChildServer,
        to topic: String,
        batch: Int,
        inFlight: Int
    ) async throws -> Measurement {
        try await client.createTopic(topic)
        var options = ProducerOptions()
        options.maxBatchRecords = batch
        options.maxInFlight = inFlight
        options.bufferBytes = (inFlight + 2) * (batch * (size + 8) + 72)
        let producer = try await client.producer(to: topic, options: options)
        let load = ProduceLoad(producer: producer, size: size, batch: batch, window: inFlight)
        let sending = Task { try await load.run() }
        try await Task.sleep(for: .seconds(self.options.warmUp))
        let probe = server.probe
        load.beginMeasuring()
        let start = probe.read()
        let before = load.acknowledged
        try await Task.sleep(for: .seconds(self.options.duration))
        let end = probe.read()
        let after = load.acknowledged
        load.stop()
        try await sending.value
        var result = Measurement(messages: after - before, .init(from: start, to: end), load.latencies)
        result.residentKiB = probe.residentKiB
        return result
    }

    /// Reads what `produce` has left in "batched": the newest part again and again, then all of it from the start.
    private func consume(_ client: SluiceClient, _ server: ChildServer) async throws -> (Measurement, Measurement) {
        let topic = try await client.describeTopic("batched")
        let end = topic.partitions[0].nextOffset
        // A quarter of the tail cache of 64 MiB.
        let newest = min(end, UInt64((16 << 20) / (size + 8)))
        var hot = Measurement()
        var total = 0
        let probe = server.probe
        let first = probe.read()
        var last = first
        repeat {
            total += try await read(client, from: end - newest, to: end)
            last = probe.read()
        } while ProcessProbe.Interval(from: first, to: last).seconds < options.duration
        hot = Measurement(messages: total, .init(from: first, to: last), LatencyHistogram())
        hot.residentKiB = probe.residentKiB
        let beginning = probe.read()
        let oldest = try await read(client, from: 0, to: end - newest)
        var cold = Measurement(messages: oldest, .init(from: beginning, to: probe.read()), LatencyHistogram())
        cold.residentKiB = probe.residentKiB
        // A batch may reach beyond the end.
        cold.faults = max(0, Int(end - newest) - oldest)
        return (hot, cold)
    }

    /// Reads a range of offsets in order.
    /// - Throws: where one is missing or out of its order.
    private func read(_ client: SluiceClient, from start: UInt64, to end: UInt64) async throws -> Int {
        guard start < end else { return 0 }
        var options = ConsumerOptions()
        options.start = .offset(start)
        let consumer = try await client.consumer(of: "batched", options: options)
        var next = start
        while next < end, let batch = try await consumer.next() {
            guard batch.nextOffset - UInt64(batch.count) == next else {
                throw BenchmarkError("offset \(next) did not come next")
            }
            next = batch.nextOffset
        }
        await consumer.close()
        return Int(next - start)
    }
}
