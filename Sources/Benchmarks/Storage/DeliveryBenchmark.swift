import ArgumentParser
import Foundation
import MessageModel
import StorageEngine
import StorageService

/// `Benchmarks delivery`.
struct DeliveryBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delivery",
        abstract: "Leases, settlements, fan-out, backlogs and idle inboxes in the storage engine alone, on files."
    )

    @Option(help: ArgumentHelp("Bytes of a body.", valueName: "bytes"))
    var size = 128

    @Option(help: "Inboxes that get each message, for the fan-out.")
    var inboxes = 1_000

    @Option(help: "Messages of the backlog that is drained; 0 leaves that out.")
    var backlog = 2_000_000

    @Option(help: "Idle inboxes whose memory is measured; 0 leaves that out.")
    var idle = 0

    @Option(help: "Messages to inboxes that nobody reads, one by one; 0 leaves that out.")
    var unread = 0

    @Option(help: "Only cases whose name holds this.")
    var only = ""

    @OptionGroup var options: ServerOptions

    func run() throws {
        Report(rows: try measure()).show(options.output)
    }

    func measure() throws -> [Row] {
        var rows: [String: Row] = [:]
        var order: [String] = []
        func add(_ name: String, target: Double? = nil, _ measurement: Measurement) {
            if rows[name] == nil {
                rows[name] = Row(name: name, server: "engine", runs: [], target: target)
                order.append(name)
            }
            rows[name]?.runs.append(measurement)
        }
        func measure(_ name: String, target: Double? = nil, _ body: (EngineDriver) throws -> Measurement) throws {
            guard only.isEmpty || name.contains(only) else { return }
            try withEngine { add(name, target: target, try body($0)) }
        }
        for run in 1...options.runs {
            progress("delivery: run \(run)")
            for (source, isInbox) in [("cursor", false), ("inbox", true)] {
                try measure("lease and accept, \(source), batches of 256", target: 1.0) {
                    try drain($0, inbox: isInbox, batch: 256)
                }
                try measure("lease and accept, \(source), one by one") { try drain($0, inbox: isInbox, batch: 1) }
            }
            for (how, batch) in [("batches of 256", 256), ("one by one", 1)] {
                try measure("fan-out to \(inboxes) inboxes, \(how)", target: 0.4) { try fanOut($0, batch: batch) }
            }
            if backlog > 0 {
                for (source, isInbox) in [("cursor", false), ("inbox", true)] {
                    try measure("fresh messages, \(source)") { try drain($0, inbox: isInbox, batch: 256) }
                    try measure("backlog of \(backlog), \(source)") { try drainBacklog($0, inbox: isInbox) }
                }
            }
            if unread > 0 {
                try measure("\(unread) messages to \(inboxes) inboxes that nobody reads") { try fanOutUnread($0) }
            }
            if idle > 0 { try measure("\(idle) idle inboxes") { try idleInboxes($0) } }
        }
        return order.compactMap { rows[$0] }
    }

    private func withEngine(_ body: (EngineDriver) throws -> Void) throws {
        let parent = options.directory.map { URL(fileURLWithPath: $0) } ?? FileManager.default.temporaryDirectory
        let directory = parent.appendingPathComponent("sluice-benchmark-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let engine = try EngineDriver(
            directory: directory.appendingPathComponent("shard").path,
            tailCacheBytes: 64 << 20
        )
        try body(engine)
        engine.close()
    }

    // MARK: Pieces

    private func topic(_ engine: EngineDriver) throws -> PartitionID {
        let name = "bench-\(UUID().uuidString)"
        guard case .topicCreated(let topic, _) = try engine.perform(.createTopic(TopicSpecification(name: name))) else {
            throw BenchmarkError("the topic was not created")
        }
        return PartitionID(topic: topic.id, index: 0)
    }

    private func subscribe(_ engine: EngineDriver, _ name: String, _ partition: PartitionID, inbox: Bool) throws {
        let source: SubscriptionSpecification.Source
        if inbox {
            guard let topic = engine.shard.directory.topic(partition.topic) else { throw BenchmarkError("no topic") }
            source = .inbox(bindings: [Binding(filter: topic.name)])
        } else {
            source = .cursor(topic: partition.topic, start: .next)
        }
        _ = try engine.perform(.createSubscription(SubscriptionSpecification(name: name, source: source)))
    }

    private func attach(_ engine: EngineDriver, _ name: String, as id: UInt32) {
        let request = AttachRequest(
            source: .consumer(of: name, .attachment),
            creditMessages: UInt64(Int64.max),
            creditBytes: UInt64(Int64.max)
        )
        engine.shard.attach(session: engine.session, request, attachment: id, now: .now)
    }

    private func makeBatch(_ count: Int) -> [UInt8] {
        var builder = BatchBuilder(capacity: count * (size + 64) + 256)
        builder.begin()
        let body = [UInt8](repeating: UInt8(ascii: "x"), count: size)
        body.withUnsafeBytes { body in
            var fields = RecordFields()
            fields.body = body
            fields.born = .now
            for _ in 0..<count { builder.append(fields) }
        }
        return builder.finish { Array($0) }
    }

    /// Appends so many batches and waits until all are durable.
    private func fill(_ engine: EngineDriver, _ partition: PartitionID, _ bytes: [UInt8], batches: Int) {
        var outstanding = 0
        var sent = 0
        engine.whenAppended = { _, _ in outstanding -= 1 }
        while sent < batches || outstanding > 0 {
            bytes.withUnsafeBytes { bytes in
                guard let view = BatchView(prefixOf: bytes) else { return }
                while outstanding < 256, sent < batches {
                    outstanding += 1
                    sent += 1
                    engine.shard.append(
                        session: engine.session,
                        batch: view,
                        to: partition,
                        options: AppendOptions(),
                        token: 0,
                        now: .now
                    )
                }
            }
            engine.turn()
        }
    }

    /// Settles everything that comes, at once.
    private func acceptAll(_ engine: EngineDriver, count: @escaping (Int) -> Void) {
        engine.whenDelivered = { [unowned engine] delivery in
            guard let lease = delivery.lease, let first = delivery.ranges.first else { return }
            var messages = 0
            for range in delivery.ranges {
                let start = lease.firstSequence + UInt64(range.first - first.first)
                messages += Int(range.last - range.first) + 1
                engine.shard.settle(
                    session: engine.session,
                    attachment: delivery.attachment,
                    lane: lease.lane,
                    first: start,
                    last: start + UInt64(range.last - range.first),
                    .accept,
                    token: nil,
                    now: .now
                )
            }
            count(messages)
        }
    }

    // MARK: Cases

    /// What it costs to deliver and settle what is in memory; the appends are not measured.
    private func drain(_ engine: EngineDriver, inbox: Bool, batch: Int) throws -> Measurement {
        let partition = try topic(engine)
        let name = "s-\(UUID().uuidString)"
        try subscribe(engine, name, partition, inbox: inbox)
        let bytes = makeBatch(batch)
        let perRound = batch == 1 ? 50_000 : 1_000
        var messages = 0
        var seconds = 0.0
        var wall = 0.0
        var received = 0
        acceptAll(engine) { received += $0 }
        let probe = ProcessProbe(pid: getpid())
        var attachment: UInt32 = 0
        // Most of the time goes into the appends, which are not measured.
        let end = MonotonicClock.nanoseconds() + UInt64(options.duration * 1e9)
        while messages == 0 || MonotonicClock.nanoseconds() < end {
            fill(engine, partition, bytes, batches: perRound)
            attachment += 1
            let expected = received + perRound * batch
            let start = probe.read()
            attach(engine, name, as: attachment)
            while received < expected { engine.turn() }
            // The settlements are part of the work until they are written.
            engine.turn()
            let interval = ProcessProbe.Interval(from: start, to: probe.read())
            seconds += interval.serverSeconds
            wall += interval.seconds
            messages += perRound * batch
            engine.shard.detach(session: engine.session, attachment: attachment)
        }
        var result = Measurement()
        result.messagesPerSecond = Double(messages) / wall
        result.cpuPerMessage = seconds * 1e6 / Double(messages)
        result.residentKiB = probe.residentKiB
        result.faults = received - messages
        return result
    }

    /// Appends, deliveries to all inboxes and their settlements, for each delivery.
    private func fanOut(_ engine: EngineDriver, batch: Int) throws -> Measurement {
        let partition = try topic(engine)
        for index in 0..<inboxes {
            try subscribe(engine, "i\(index)", partition, inbox: true)
            attach(engine, "i\(index)", as: UInt32(index + 1))
        }
        let bytes = makeBatch(batch)
        var received = 0
        acceptAll(engine) { received += $0 }
        fill(engine, partition, bytes, batches: 4)
        while received < 4 * batch * inboxes { engine.turn() }
        received = 0
        let probe = ProcessProbe(pid: getpid())
        let start = probe.read()
        var sent = 0
        var interval = ProcessProbe.Interval(from: start, to: start)
        let perRound = batch == 1 ? 64 : 16
        while interval.seconds < options.duration {
            fill(engine, partition, bytes, batches: perRound)
            sent += perRound * batch
            while received < sent * inboxes { engine.turn() }
            interval = ProcessProbe.Interval(from: start, to: probe.read())
        }
        var result = Measurement(messages: received, interval, LatencyHistogram())
        result.residentKiB = probe.residentKiB
        result.faults = received - sent * inboxes
        return result
    }

    /// What waits for many: each message costs an index entry in every inbox, and its memory must not grow with them.
    private func fanOutUnread(_ engine: EngineDriver) throws -> Measurement {
        let partition = try topic(engine)
        for index in 0..<inboxes { try subscribe(engine, "i\(index)", partition, inbox: true) }
        let bytes = makeBatch(1)
        let probe = ProcessProbe(pid: getpid())
        let start = probe.read()
        for part in 1...8 {
            fill(engine, partition, bytes, batches: unread / 8)
            progress("\(unread / 8 * part * inboxes) unread messages: \(probe.residentKiB >> 10) MiB")
        }
        var result = Measurement(
            messages: unread / 8 * 8 * inboxes,
            .init(from: start, to: probe.read()),
            LatencyHistogram()
        )
        result.residentKiB = probe.residentKiB
        return result
    }

    /// The rate at which a backlog is consumed that is mostly on the disk.
    private func drainBacklog(_ engine: EngineDriver, inbox: Bool) throws -> Measurement {
        let partition = try topic(engine)
        let name = "b-\(UUID().uuidString)"
        try subscribe(engine, name, partition, inbox: inbox)
        fill(engine, partition, makeBatch(256), batches: backlog / 256)
        let probe = ProcessProbe(pid: getpid())
        progress("a backlog of \(backlog) takes \(probe.residentKiB >> 10) MiB of memory")
        var received = 0
        acceptAll(engine) { received += $0 }
        let start = probe.read()
        attach(engine, name, as: 1_000_000)
        while received < backlog / 256 * 256 { engine.turn() }
        var old = Measurement(messages: received, .init(from: start, to: probe.read()), LatencyHistogram())
        old.residentKiB = probe.residentKiB
        engine.shard.detach(session: engine.session, attachment: 1_000_000)
        return old
    }

    /// The memory that inboxes take which nobody uses; "messages" are inboxes made.
    private func idleInboxes(_ engine: EngineDriver) throws -> Measurement {
        let probe = ProcessProbe(pid: getpid())
        let before = probe.residentKiB
        let start = probe.read()
        for index in 0..<idle {
            let specification = SubscriptionSpecification(
                name: "device-\(index)",
                source: .inbox(bindings: [Binding(filter: "devices/\(index)/commands")])
            )
            engine.shard.perform(session: engine.session, .createSubscription(specification), token: 0, now: .now)
            if index % 1_000 == 0 { engine.turn() }
        }
        engine.turn()
        var result = Measurement(messages: idle, .init(from: start, to: probe.read()), LatencyHistogram())
        result.residentKiB = probe.residentKiB - before
        progress("\(idle) idle inboxes take \(result.residentKiB >> 10) MiB")
        return result
    }
}
