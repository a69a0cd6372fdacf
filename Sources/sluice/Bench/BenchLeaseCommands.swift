import AdminConsole
import ArgumentParser
import Glibc
import SluiceClient
import Synchronization

/// `sluice bench lease`.
struct BenchLeaseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lease",
        abstract: "Take messages of a subscription under leases and acknowledge them."
    )

    @Argument(help: "The name of a topic that is there.")
    var address = "bench"

    @Option(help: "The subscription; made where there is none, from the first message on.")
    var subscription = "bench"

    @Option(help: ArgumentHelp("Messages that may be out and not acknowledged.", valueName: "n"))
    var prefetch: UInt64 = 16_384

    @Option(
        help: ArgumentHelp(
            "End after this many seconds, and after half a second without a message.",
            valueName: "seconds"
        )
    )
    var duration: Double = 10

    @Option(help: ArgumentHelp("End after this many messages, if that is earlier.", valueName: "n"))
    var count: Int?

    @Option(help: ArgumentHelp("A server on this machine, whose CPU time for each message is told.", valueName: "pid"))
    var serverPid: Int32?

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func validate() throws {
        guard duration > 0, duration <= 86_400 else {
            throw ValidationError("--duration is more than 0, at most 86400")
        }
        if let count, count < 1 { throw ValidationError("--count is at least 1") }
        guard (1...1_000_000).contains(prefetch) else { throw ValidationError("--prefetch is 1 to 1000000") }
    }

    func run() async throws {
        let cpu = try serverPid.map { try ServerCPU(pid: $0) }
        let summary = try await server.withClient { client in
            var options = SubscriptionConsumerOptions()
            options.source = .topic(address, from: .first)
            options.prefetch = prefetch
            options.prefetchBytes = max(8 << 20, prefetch * 512)
            let consumerOptions = options
            let consumer = try await calling("consume \(subscription)") { () async throws(SluiceClientError) in
                try await client.consumer(subscription: subscription, options: consumerOptions)
            }
            let run = LeaseRun(consumers: [consumer])
            return try await calling("consume \(subscription)") { () async throws(SluiceClientError) in
                try await run.measure(duration: .seconds(duration), count: count ?? .max)
            }
        }
        output.show(summary.record(cpu))
    }
}

/// `sluice bench fan-out`.
struct BenchFanOutCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fan-out",
        abstract: "Publish to many attached inboxes, which acknowledge everything.",
        discussion: """
            The inboxes are transient: they end with this command. A message to a thousand inboxes counts as a thousand \
            deliveries.
            """
    )

    @Argument(help: "A topic's name, or the full name of the messages.")
    var address = "bench"

    @Option(help: ArgumentHelp("How many inboxes get each message.", valueName: "n"))
    var inboxes = 1_000

    @Option(help: ArgumentHelp("End after this many seconds.", valueName: "seconds"))
    var duration: Double = 10

    @Option(help: ArgumentHelp("End after this many messages, if that is earlier.", valueName: "n"))
    var count: Int?

    @Option(help: ArgumentHelp("Bytes of a body.", valueName: "bytes"))
    var size = 128

    @Option(help: ArgumentHelp("Messages in a batch.", valueName: "n"))
    var batch = 1

    @Option(help: ArgumentHelp("Batches that are on their way to inboxes at a time.", valueName: "n"))
    var inFlight = 16

    @Option(help: ArgumentHelp("A server on this machine, whose CPU time for each delivery is told.", valueName: "pid"))
    var serverPid: Int32?

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func validate() throws {
        guard duration > 0, duration <= 86_400 else {
            throw ValidationError("--duration is more than 0, at most 86400")
        }
        if let count, count < 1 { throw ValidationError("--count is at least 1") }
        guard (1...100_000).contains(inboxes) else { throw ValidationError("--inboxes is 1 to 100000") }
        guard (0...(8 << 20)).contains(size) else { throw ValidationError("--size is 0 to \(8 << 20)") }
        guard (1...65_535).contains(batch) else { throw ValidationError("--batch is 1 to 65535") }
        guard (1...64).contains(inFlight) else { throw ValidationError("--in-flight is 1 to 64") }
    }

    func run() async throws {
        let pid = serverPid
        let (summary, cpu) = try await server.withClient { client in
            var consumers: [SubscriptionConsumer] = []
            let process = getpid()
            for index in 0..<inboxes {
                var options = SubscriptionConsumerOptions()
                options.source = .inbox([.filter(address)])
                options.policy.isDurable = false
                options.prefetch = UInt64(batch * inFlight * 2)
                let consumerOptions = options
                let name = "bench-\(process)-\(index)"
                consumers.append(
                    try await calling("consume \(name)") { () async throws(SluiceClientError) in
                        try await client.consumer(subscription: name, options: consumerOptions)
                    }
                )
            }
            var options = ProducerOptions()
            options.maxBatchRecords = batch
            options.maxInFlight = inFlight
            let producerOptions = options
            let producer = try await calling("send to \(address)") { () async throws(SluiceClientError) in
                try await client.producer(to: address, options: producerOptions)
            }
            let cpu = try pid.map { try ServerCPU(pid: $0) }
            let run = LeaseRun(consumers: consumers)
            let summary = try await calling("fan out \(address)") { () async throws(SluiceClientError) in
                try await run.measureFanOut(
                    producer,
                    body: [UInt8](repeating: UInt8(ascii: "x"), count: size),
                    each: batch * inFlight,
                    duration: .seconds(duration),
                    count: count ?? .max
                )
            }
            return (summary, cpu)
        }
        output.show(summary.record(cpu))
    }
}

extension BenchSummary {
    /// With what the server took for each message since `cpu` was made.
    fileprivate func record(_ cpu: ServerCPU?) -> Record {
        var record = record
        if let cpu {
            let each = cpu.used() * 1e6 / Double(max(1, messages))
            record.fields.append(.init("server_cpu_us_per_message", .number((each * 1_000).rounded() / 1_000)))
        }
        return record
    }
}

/// The processor time of a process on this machine, from /proc (proc(5)).
struct ServerCPU: Sendable {
    private let pid: Int32
    private let start: Double

    init(pid: Int32) throws {
        guard let now = Self.read(pid) else {
            throw CommandFailure(.notFound, "no process \(pid) whose times can be read")
        }
        self.pid = pid
        start = now
    }

    /// Seconds since it was made, of all threads.
    func used() -> Double { (Self.read(pid) ?? start) - start }

    private static func read(_ pid: Int32) -> Double? {
        guard let file = fopen("/proc/\(pid)/stat", "r") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1_024)
        let count = fread(&bytes, 1, bytes.count, file)
        // The second field is a name that may hold anything.
        guard let end = bytes[..<count].lastIndex(of: UInt8(ascii: ")")) else { return nil }
        let fields = bytes[(end + 1)..<count].split(separator: UInt8(ascii: " "))
        guard fields.count > 12, let user = Double(String(decoding: fields[11], as: UTF8.self)),
            let system = Double(String(decoding: fields[12], as: UTF8.self))
        else { return nil }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }
}
