import AdminConsole
import ArgumentParser
import SluiceClient

/// `sluice bench produce|consume|lease|fan-out`.
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure how fast a server takes and gives messages.",
        discussion: """
            The messages are real: they are stored as any others, under the address that is given. What is measured is \
            this client and the server together; docs/benchmarks.md says how the server alone is measured.
            """,
        subcommands: [
            BenchProduceCommand.self, BenchConsumeCommand.self, BenchLeaseCommand.self, BenchFanOutCommand.self,
        ]
    )
}

struct BenchProduceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "produce",
        abstract: "Send messages as fast as they are acknowledged, or at a rate."
    )

    @Argument(help: "A topic's name, or the full name of the messages.")
    var address = "bench"

    @Option(help: ArgumentHelp("End after this many seconds.", valueName: "seconds"))
    var duration: Double = 10

    @Option(help: ArgumentHelp("End after this many messages, if that is earlier.", valueName: "n"))
    var count: Int?

    @Option(help: ArgumentHelp("Bytes of a body.", valueName: "bytes"))
    var size: Int = 128

    @Option(help: ArgumentHelp("Messages in a batch, at most.", valueName: "n"))
    var batch: Int = 256

    @Option(help: ArgumentHelp("Batches that wait for their acknowledgement at a time, at most.", valueName: "n"))
    var inFlight: Int = 16

    @Option(help: ArgumentHelp("Messages a second; without it as many as go.", valueName: "n"))
    var rate: Double?

    @Option(help: "When a message counts as sent.")
    var ack: ProduceCommand.Acknowledgement = .durable

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func validate() throws {
        guard duration > 0, duration <= 86_400 else {
            throw ValidationError("--duration is more than 0, at most 86400")
        }
        if let count, count < 1 { throw ValidationError("--count is at least 1") }
        guard (0...(8 << 20)).contains(size) else { throw ValidationError("--size is 0 to \(8 << 20)") }
        guard (1...65_535).contains(batch) else { throw ValidationError("--batch is 1 to 65535") }
        guard (1...64).contains(inFlight) else { throw ValidationError("--in-flight is 1 to 64") }
        if let rate, !(rate > 0) { throw ValidationError("--rate is more than 0") }
    }

    func run() async throws {
        let summary = try await server.withClient { client in
            var options = ProducerOptions()
            options.acknowledgement = ack == .durable ? .durable : .received
            options.maxBatchRecords = batch
            options.maxInFlight = inFlight
            // A little more than what is on its way, so that the next batch is ready when one is acknowledged.
            options.bufferBytes = (inFlight + 2) * (batch * (size + 16) + 80)
            options.maxBatchBytes = max(options.maxBatchBytes, min(16 << 20, batch * (size + 64)))
            let producerOptions = options
            let producer = try await calling("send to \(address)") { () async throws(SluiceClientError) in
                try await client.producer(to: address, options: producerOptions)
            }
            let run = ProduceRun(producer: producer, size: size, batch: batch)
            return try await calling("send to \(address)") { () async throws(SluiceClientError) in
                try await run.measure(duration: .seconds(duration), count: count ?? .max, rate: rate)
            }
        }
        output.show(summary.record)
    }
}

struct BenchConsumeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "consume",
        abstract: "Read messages as fast as they come."
    )

    @Argument(help: "A topic's name, a full name, or a filter.")
    var address = "bench"

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Where to begin: \(StartText.form).", valueName: "start")
    )
    var from: StartText = .first

    @Option(help: ArgumentHelp("End after this many seconds.", valueName: "seconds"))
    var duration: Double = 10

    @Option(help: ArgumentHelp("End after this many messages, if that is earlier.", valueName: "n"))
    var count: Int?

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func validate() throws {
        guard duration > 0, duration <= 86_400 else {
            throw ValidationError("--duration is more than 0, at most 86400")
        }
        if let count, count < 1 { throw ValidationError("--count is at least 1") }
    }

    func run() async throws {
        let summary = try await server.withClient { client in
            var options = ConsumerOptions()
            options.start = StartingPoint(from)
            let consumerOptions = options
            let consumer = try await calling("read \(address)") { () async throws(SluiceClientError) in
                try await client.consumer(of: address, options: consumerOptions)
            }
            // Of what was stored earlier, the age says nothing.
            let run = ConsumeRun(consumer: consumer, measuresLatency: from == .next)
            return try await calling("read \(address)") { () async throws(SluiceClientError) in
                try await run.measure(duration: .seconds(duration), count: count ?? .max)
            }
        }
        output.show(summary.record)
    }
}
