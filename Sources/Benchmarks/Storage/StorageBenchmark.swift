import ArgumentParser
import Foundation
import MessageModel
import StorageEngine
import StorageService

/// `Benchmarks storage`.
struct StorageBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "storage",
        abstract: "The storage engine alone, on files: append and sync, read back from memory and from disk."
    )

    @Option(help: ArgumentHelp("Bytes of a body.", valueName: "bytes"))
    var size = 128

    @Option(help: "Batches that wait for their sync at a time.")
    var window = 64

    @OptionGroup var options: ServerOptions

    func run() throws {
        Report(rows: try measure()).show(options.output)
    }

    func measure() throws -> [Row] {
        var batched = Row(name: "storage append, durable, batches of 256", server: "engine", runs: [])
        var single = Row(name: "storage append, durable, one by one", server: "engine", runs: [])
        var hot = Row(name: "storage read, from memory", server: "engine", runs: [])
        var cold = Row(name: "storage read, from disk", server: "engine", runs: [])
        for run in 1...options.runs {
            progress("storage: run \(run)")
            let parent = options.directory.map { URL(fileURLWithPath: $0) } ?? FileManager.default.temporaryDirectory
            let directory = parent.appendingPathComponent("sluice-benchmark-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: directory) }
            let path = directory.appendingPathComponent("shard").path
            var engine = try EngineDriver(directory: path, tailCacheBytes: 64 << 20)
            let partition = try createTopic(engine)
            single.runs.append(append(engine, to: partition, batch: 1))
            batched.runs.append(append(engine, to: partition, batch: 256))
            let end = try nextOffset(engine)
            let newest = min(end, UInt64((16 << 20) / (size + 8)))
            hot.runs.append(read(engine, partition, from: end - newest, to: end, repeats: true))
            engine.close()
            // Opening drops the files from the system's cache, and this cache is too small to hold anything.
            engine = try EngineDriver(directory: path, tailCacheBytes: 1 << 20)
            cold.runs.append(read(engine, partition, from: 0, to: end, repeats: false))
            engine.close()
        }
        return [batched, single, hot, cold]
    }

    private func createTopic(_ engine: EngineDriver) throws -> PartitionID {
        guard case .topicCreated(let topic, _) = try engine.perform(.createTopic(TopicSpecification(name: "bench")))
        else { throw BenchmarkError("the topic was not created") }
        return PartitionID(topic: topic.id, index: 0)
    }

    private func nextOffset(_ engine: EngineDriver) throws -> UInt64 {
        guard case .topic(let topic) = try engine.perform(.describeTopic(name: "bench")) else {
            throw BenchmarkError("the topic is not there")
        }
        return topic.partitions[0].nextOffset
    }

    private func append(_ engine: EngineDriver, to partition: PartitionID, batch: Int) -> Measurement {
        var builder = BatchBuilder(capacity: batch * (size + 64) + 256)
        builder.begin()
        let body = [UInt8](repeating: UInt8(ascii: "x"), count: size)
        body.withUnsafeBytes { body in
            var fields = RecordFields()
            fields.body = body
            fields.born = .now
            for _ in 0..<batch { builder.append(fields) }
        }
        let bytes = builder.finish { Array($0) }
        let probe = ProcessProbe(pid: getpid())
        var latencies = LatencyHistogram()
        var outstanding = 0
        var completed = 0
        var faults = 0
        engine.whenAppended = { stamp, result in
            latencies.add(nanoseconds: MonotonicClock.nanoseconds() - stamp)
            outstanding -= 1
            completed += batch
            if result.error != nil { faults += 1 }
        }
        func run(for seconds: Double) {
            let end = MonotonicClock.nanoseconds() + UInt64(seconds * 1e9)
            while MonotonicClock.nanoseconds() < end {
                bytes.withUnsafeBytes { bytes in
                    guard let view = BatchView(prefixOf: bytes) else { return }
                    while outstanding < window {
                        outstanding += 1
                        engine.shard.append(
                            session: engine.session,
                            batch: view,
                            to: partition,
                            options: AppendOptions(acknowledgement: .durable),
                            token: MonotonicClock.nanoseconds(),
                            now: .now
                        )
                    }
                }
                engine.turn()
            }
        }
        run(for: options.warmUp)
        latencies.reset()
        completed = 0
        let start = probe.read()
        run(for: options.duration)
        var result = Measurement(messages: completed, .init(from: start, to: probe.read()), latencies)
        result.residentKiB = probe.residentKiB
        while outstanding > 0 { engine.turn() }
        result.faults = faults
        return result
    }

    private func read(
        _ engine: EngineDriver,
        _ partition: PartitionID,
        from start: UInt64,
        to end: UInt64,
        repeats: Bool
    ) -> Measurement {
        let probe = ProcessProbe(pid: getpid())
        let first = probe.read()
        var last = first
        var messages = 0
        var faults = 0
        var attachment: UInt32 = 0
        repeat {
            attachment += 1
            var next = start
            engine.whenDelivered = { delivery in
                var count = 0
                for range in delivery.ranges { count += Int(range.last - range.first) + 1 }
                if delivery.batch.nextOffset - UInt64(count) != next { faults += 1 }
                next = delivery.batch.nextOffset
                messages += count
            }
            engine.shard.attach(
                session: engine.session,
                AttachRequest(
                    source: .partition(partition, .offset(start)),
                    filter: [],
                    consumer: "",
                    creditMessages: UInt64(Int64.max),
                    creditBytes: UInt64(Int64.max)
                ),
                attachment: attachment,
                now: .now
            )
            while next < end { engine.turn() }
            engine.shard.detach(session: engine.session, attachment: attachment)
            last = probe.read()
        } while repeats && ProcessProbe.Interval(from: first, to: last).seconds < options.duration
        var result = Measurement(messages: messages, .init(from: first, to: last), LatencyHistogram())
        result.residentKiB = probe.residentKiB
        result.faults = faults
        return result
    }
}
