import AdminConsole
import ArgumentParser
import Glibc
import Simulator

/// `sluice sim`.
struct SimCommand: ParsableCommand {
    enum Mode: String, ExpressibleByArgument, CaseIterable {
        case all
        case delivery
        case redrive
        case sessions
        case streams
        case damage
        case crashPoints = "crash-points"

        /// What is run for each seed, one after the other.
        var parts: [Mode] { self == .all ? [.delivery, .redrive, .sessions, .streams, .damage, .crashPoints] : [self] }
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

    @Option(
        help: ArgumentHelp(
            "With --mode all: what clients do in a history of which every crash point is tried; it costs its square.",
            valueName: "n"
        )
    )
    var crashSteps = 8

    @Option(help: "all, delivery, redrive, sessions, streams, damage or crash-points.")
    var mode = Mode.delivery

    @Flag(help: "Go on with further seeds until one fails.")
    var untilFailure = false

    @Flag(help: "Go on behind faults, and name all seeds that found one at the end.")
    var keepGoing = false

    @Option(help: ArgumentHelp("Lines that are shown of what went before a failure.", valueName: "n"))
    var trace = 120

    func validate() throws {
        guard seeds >= 1 else { throw ValidationError("--seeds is at least 1") }
        guard (1...100_000).contains(steps) else { throw ValidationError("--steps is 1 to 100000") }
        guard (1...1_000).contains(crashSteps) else { throw ValidationError("--crash-steps is 1 to 1000") }
        guard (1...1_000_000).contains(trace) else { throw ValidationError("--trace is 1 to 1000000") }
        guard !untilFailure || !keepGoing else { throw ValidationError("--until-failure ends with the first fault") }
    }

    func run() throws {
        try repeatably()
        var campaign = SimCampaign(parts: mode.parts.map(\.rawValue))
        var seed = seed
        while untilFailure || seed - self.seed < seeds {
            for part in mode.parts {
                do throws(ShardHost.Violation) {
                    try campaign.run(part.rawValue) { (report) throws(ShardHost.Violation) in
                        try runOne(seed, part, &report)
                    }
                } catch {
                    try found(error, part, &campaign)
                }
            }
            seed &+= 1
            campaign.done(seed &- self.seed)
        }
        campaign.show()
        guard campaign.faults.isEmpty else {
            throw CommandFailure(.failed, "\(campaign.faults.count) histories found faults", hint: campaign.faults[0])
        }
        StandardStream.output.write("\(seed - self.seed) seeds from \(self.seed) on, nothing found\n")
    }

    /// - Throws: unless it is to go on.
    private func found(_ violation: ShardHost.Violation, _ part: Mode, _ campaign: inout SimCampaign) throws {
        let command =
            "sluice sim --mode \(part.rawValue) --seed \(violation.seed) --seeds 1 --steps \(steps(of: part))"
        let text = "seed \(violation.seed) found a fault: \(violation.message)"
        if keepGoing {
            StandardStream.error.write("\(part.rawValue): \(text)\n")
            return campaign.faults.append(command)
        }
        StandardStream.output.write("\(violation.description)\n")
        campaign.show()
        throw CommandFailure(.failed, text, hint: command)
    }

    private func steps(of part: Mode) -> Int { mode == .all && part == .crashPoints ? crashSteps : steps }

    private func runOne(
        _ seed: UInt64,
        _ part: Mode,
        _ delivery: inout DeliverySimulation.Report
    ) throws(ShardHost.Violation) {
        let steps = steps(of: part)
        switch part {
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
        case .redrive:
            var options = RedriveSimulation.Options()
            options.traceLines = trace
            _ = try RedriveSimulation(seed: seed, options: options).run(steps: steps)
        case .sessions:
            var options = SessionSimulation.Options()
            options.traceLines = trace
            _ = try SessionSimulation(seed: seed, options: options).run(steps: steps)
        case .crashPoints:
            _ = try CrashPoints(seed: seed).run(steps: steps)
            _ = try DeliveryCrashPoints(seed: seed).run(steps: steps)
        case .all:
            break
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

/// What was run so far, for each mode, and what it found.
private struct SimCampaign {
    private var parts: [(name: String, histories: Int, seconds: Double)]
    private var delivery = DeliverySimulation.Report()
    /// The commands that repeat them.
    var faults: [String] = []
    private let start = Self.seconds()
    private var said = Self.seconds()

    init(parts: [String]) { self.parts = parts.map { ($0, 0, 0) } }

    mutating func run(
        _ name: String,
        _ body: (inout DeliverySimulation.Report) throws(ShardHost.Violation) -> Void
    ) throws(ShardHost.Violation) {
        let start = Self.seconds()
        defer {
            if let place = parts.firstIndex(where: { $0.name == name }) {
                parts[place].histories += 1
                parts[place].seconds += Self.seconds() - start
            }
        }
        try body(&delivery)
    }

    /// Says every few seconds how far it is.
    mutating func done(_ seeds: UInt64) {
        let now = Self.seconds()
        guard now - said >= (now - start < 60 ? 1 : 10) else { return }
        said = now
        let faults = faults.isEmpty ? "" : ", \(faults.count) faults"
        StandardStream.error.write("\(seeds) seeds in \(Int(now - start)) s\(faults)\n")
    }

    func show() {
        for part in parts where part.histories > 0 {
            let each = part.seconds * 1_000 / Double(part.histories)
            let rounded = (each * 100).rounded() / 100
            StandardStream.output.write(
                "\(part.name): \(part.histories) histories in \(Int(part.seconds.rounded())) s, \(rounded) ms each\n"
            )
        }
        if delivery.steps > 0 { StandardStream.output.write("deliveries: \(delivery)\n") }
        for fault in faults { StandardStream.output.write("fault: \(fault)\n") }
    }

    private static func seconds() -> Double {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
    }
}
