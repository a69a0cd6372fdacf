import AdminConsole
import ArgumentParser
import Glibc
import Simulator

/// `sluice sim`.
struct SimCommand: ParsableCommand {
    enum Mode: String, ExpressibleByArgument, CaseIterable {
        case streams
        case delivery
        case crashPoints = "crash-points"
        case damage
    }

    static let configuration = CommandConfiguration(
        commandName: "sim",
        abstract: "Run the storage engine on a simulated disk and check everything that it does.",
        discussion: """
            Each seed is a history of its own: sizes, requests, the order in which the disk answers, its failures, and \
            when the power is cut. The same seed repeats it. docs/simulation.md says what is checked.
            """
    )

    @Option(help: ArgumentHelp("The first seed.", valueName: "n"))
    var seed: UInt64 = 1

    @Option(help: ArgumentHelp("How many seeds, one after the other.", valueName: "n"))
    var seeds: UInt64 = 1_000

    @Option(help: ArgumentHelp("What clients do in one history.", valueName: "n"))
    var steps = 100

    @Option(help: "streams, delivery, crash-points or damage.")
    var mode = Mode.delivery

    @Flag(help: "Go on with further seeds until one fails.")
    var untilFailure = false

    @Option(help: ArgumentHelp("Lines that are shown of what went before a failure.", valueName: "n"))
    var trace = 120

    func validate() throws {
        guard seeds >= 1 else { throw ValidationError("--seeds is at least 1") }
        guard (1...100_000).contains(steps) else { throw ValidationError("--steps is 1 to 100000") }
        guard (1...1_000_000).contains(trace) else { throw ValidationError("--trace is 1 to 1000000") }
    }

    func run() throws {
        try repeatably()
        var progress = Progress()
        var seed = seed
        var delivery = DeliverySimulation.Report()
        while untilFailure || seed - self.seed < seeds {
            do throws(ShardHost.Violation) {
                try runOne(seed, &delivery)
            } catch {
                StandardStream.output.write("\(error.description)\n")
                throw CommandFailure(
                    .failed,
                    "seed \(error.seed) found a fault: \(error.message)",
                    hint: "sluice sim --mode \(mode.rawValue) --seed \(error.seed) --seeds 1 --steps \(steps)"
                )
            }
            seed &+= 1
            progress.done(seed &- self.seed)
        }
        if mode == .delivery { StandardStream.error.write("all together: \(delivery)\n") }
        StandardStream.output.write("\(seed - self.seed) seeds from \(self.seed) on, nothing found\n")
    }

    private func runOne(_ seed: UInt64, _ delivery: inout DeliverySimulation.Report) throws(ShardHost.Violation) {
        switch mode {
        case .streams:
            var options = ShardSimulation.Options()
            options.traceLines = trace
            _ = try ShardSimulation(seed: seed, options: options).run(steps: steps)
        case .damage:
            var options = ShardSimulation.Options()
            options.traceLines = trace
            _ = try ShardSimulation(seed: seed, options: options).runWithDamage(steps: steps)
        case .delivery:
            var options = DeliverySimulation.Options()
            options.traceLines = trace
            delivery += try DeliverySimulation(seed: seed, options: options).run(steps: steps)
        case .crashPoints:
            _ = try CrashPoints(seed: seed).run(steps: steps)
            _ = try DeliveryCrashPoints(seed: seed).run(steps: steps)
        }
    }

    /// Dictionaries of Swift have another order in each process, and with it some of what happens at the same time: a seed
    /// repeats its history only where the order is fixed, which a process is told when it starts.
    private func repeatably() throws {
        let name = "SWIFT_DETERMINISTIC_HASHING"
        guard getenv(name) == nil else { return }
        setenv(name, "1", 1)
        var arguments = CommandLine.arguments.map { strdup($0) }
        arguments.append(nil)
        execv("/proc/self/exe", arguments)
        // It goes on without.
        for argument in arguments { free(argument) }
    }
}

/// Says about every second how far it is.
private struct Progress {
    private var lastSecond = 0

    mutating func done(_ seeds: UInt64) {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        guard now.tv_sec > lastSecond else { return }
        defer { lastSecond = now.tv_sec }
        if lastSecond > 0 { StandardStream.error.write("\(seeds) seeds\n") }
    }
}
