internal import MessageModel
package import StorageEngine
internal import StorageService

/// A shard on a simulated disk, in virtual time, under a random workload with random faults, watched by an oracle.
///
/// Everything follows from the seed: the sizes, what is asked, in which order the disk answers, when it fails and when
/// the machine loses its power. A run that finds something wrong throws a `Violation` that names the seed.
package final class ShardSimulation {
    package struct Options: Sendable {
        /// Nil: as the seed decides, so small that segments, index files and snapshots come every few steps.
        package var shard: ShardOptions?
        /// Power cuts, kills, failing syncs and writes, full disks, damaged snapshots.
        package var hasFaults = true
        /// Keep what happened to the disk, for crash points; the whole run must be short then.
        package var keepsHistory = false
        /// Lines of the trace that a violation shows.
        package var traceLines = 120

        package init() {}
    }

    /// What a run did.
    package struct Report: Sendable, Equatable, CustomStringConvertible {
        package var seed: UInt64 = 0
        package var steps = 0
        package var appends = 0
        package var durable = 0
        package var refused = 0
        package var duplicates = 0
        package var delivered = 0
        package var routed = 0
        package var fetches = 0
        package var commits = 0
        package var powerCuts = 0
        package var kills = 0
        package var closes = 0
        package var failedLogs = 0
        package var fullDisks = 0
        package var checkedBatches = 0
        package var rests = 0

        package init() {}

        package var description: String {
            """
            seed \(seed): \(steps) steps, \(appends) appends (\(durable) durable, \(refused) refused, \(duplicates) \
            repeated), \(delivered) messages delivered, \(routed) routed, \(fetches) fetches, \(commits) commits; \
            \(powerCuts) power cuts, \(kills) kills, \(closes) closes, \(failedLogs) failed logs, \(fullDisks) full \
            disks, \(rests) rests, \(checkedBatches) batches checked
            """
        }

        package static func += (left: inout Report, right: Report) {
            left.steps += right.steps
            left.appends += right.appends
            left.durable += right.durable
            left.refused += right.refused
            left.duplicates += right.duplicates
            left.delivered += right.delivered
            left.routed += right.routed
            left.fetches += right.fetches
            left.commits += right.commits
            left.powerCuts += right.powerCuts
            left.kills += right.kills
            left.closes += right.closes
            left.failedLogs += right.failedLogs
            left.fullDisks += right.fullDisks
            left.checkedBatches += right.checkedBatches
            left.rests += right.rests
        }
    }

    /// Something was not as it must be.
    package struct Violation: Error, CustomStringConvertible {
        package var seed: UInt64
        package var message: String
        /// The last things that happened.
        package var trace: [String]

        package var description: String {
            "seed \(seed): \(message)\n" + trace.map { "    " + $0 }.joined(separator: "\n")
        }
    }

    /// What happens next, in virtual time.
    enum Event {
        case client
        case round
        case completion
        case timer
    }

    let seed: UInt64
    let options: Options
    let shardOptions: ShardOptions
    let model: ShardModel
    var report = Report()
    var random: SeededGenerator
    var scheduler: SeededScheduler<Event>
    var disk: SimulatedDisk
    var shard: Shard?

    var isRoundScheduled = false
    var timerAt: Timestamp?
    var completionsScheduled = 0
    /// Clients do nothing meanwhile.
    var isResting = false
    var isServing = false
    var faults = LifeFaults()

    var sessions: [SimulatedSession] = []
    var pending: [UInt64: PendingRequest] = [:]
    /// What was asked only to look.
    var answers: [UInt64: Result<StorageReply, SluiceError>] = [:]
    var nextToken: UInt64 = 1
    /// Withdrawn fetches: they may have been answered in the same moment.
    var cancelled = Set<UInt64>()
    private var trace: [String] = []

    /// What could have gone wrong in this life of the shard, and so may be reported.
    struct LifeFaults {
        /// A sync failed: what was only received may be lost although the machine runs on.
        var hasFailedSync = false
        var hasFailedLog = false
        /// Segments were refused.
        var wasFull = false
        var isFull = false
        var failsReads = false
    }

    package init(seed: UInt64, options: Options = Options()) {
        self.seed = seed
        self.options = options
        var random = SeededGenerator(seed: seed)
        shardOptions = options.shard ?? Self.tinyOptions(&random)
        model = ShardModel()
        scheduler = SeededScheduler(seed: random.next(), start: Timestamp(rawValue: 1_000_000))
        disk = SimulatedDisk(seed: random.next(), order: .shuffled, keepsHistory: options.keepsHistory)
        self.random = random
        report.seed = seed
    }

    /// One that looks at a disk with the oracle of another.
    init(seed: UInt64, options: Options, model: ShardModel, disk: SimulatedDisk, schedulerSeed: UInt64) {
        self.seed = seed
        self.options = options
        self.model = model
        self.disk = disk
        random = SeededGenerator(seed: schedulerSeed)
        shardOptions = options.shard ?? Self.tinyOptions(&random)
        scheduler = SeededScheduler(seed: schedulerSeed, start: Timestamp(rawValue: 1_000_000))
    }

    static func tinyOptions(_ random: inout SeededGenerator) -> ShardOptions {
        var options = ShardOptions()
        options.segmentBytes = (8 << 10) << Int.random(in: 0...4, using: &random)
        options.blockBytes = (4 << 10) << Int.random(in: 0...2, using: &random)
        options.tailCacheBytes = (4 << 10) << Int.random(in: 0...5, using: &random)
        options.lazySyncMicroseconds = .random(in: 500...20_000, using: &random)
        options.lazySyncBytes = 1 << Int.random(in: 9...16, using: &random)
        options.deliveryBytesPerRound = 1 << Int.random(in: 9...14, using: &random)
        options.coldReadBytes = 1 << Int.random(in: 9...15, using: &random)
        options.fullRetryMicroseconds = .random(in: 1_000...200_000, using: &random)
        if random.percent(20) { options.deferredBytes = 8 << 10 }
        options.logIdentity = UInt32.random(in: 1...UInt32.max, using: &random)
        return options
    }

    // MARK: Running

    /// Runs so many client steps, then brings everything to rest, checks it, and closes.
    package func run(steps: Int) throws(Violation) -> Report {
        try open()
        for _ in 0..<steps {
            try clientStep()
            report.steps += 1
        }
        try rest()
        try closeAndReopen()
        try rest()
        return report
    }

    /// Lets virtual time pass until the next client event, then has a client do something.
    func clientStep() throws(Violation) {
        scheduler.schedule(.client, afterMicroseconds: 0...UInt64(random.percent(3) ? 20_000 : 150))
        var events = 0
        while let event = scheduler.step() {
            if case .client = event { break }
            handle(event)
            events += 1
            model.check(
                events < 100_000,
                "the shard is busy for ever, its deadline is \(String(describing: shard?.nextDeadline))"
            )
            try throwViolation()
        }
        if isServing { try act() } else { try waitForService() }
        try throwViolation()
    }

    func handle(_ event: Event) {
        guard let shard else { return }
        switch event {
        case .client:
            break
        case .round:
            isRoundScheduled = false
            runRound()
        case .timer:
            timerAt = nil
            runRound()
        case .completion:
            completionsScheduled -= 1
            guard let event = disk.completeNext() else { break }
            if case .read(_, .success) = event {} else { note("\(Self.text(event))") }
            if case .synced(_, .some) = event { faults.hasFailedSync = true }
            shard.deviceCompleted(event)
            runRound()
        }
        if !isServing, shard.isReady { isServing = true }
    }

    private static func text(_ event: DeviceEvent) -> String {
        switch event {
        case .segmentReady(let segment, let error): "disk: segment \(segment) \(error == nil ? "ready" : "refused")"
        case .synced(let token, let error): "disk: sync \(token) \(error == nil ? "done" : "failed")"
        case .read(let token, let result):
            switch result {
            case .success(let bytes): "disk: read \(token) gave \(bytes.count) bytes"
            case .failure: "disk: read \(token) failed"
            }
        case .fileWritten(let token, let error): "disk: file \(token) \(error == nil ? "written" : "failed")"
        }
    }

    private func runRound() {
        guard let shard else { return }
        model.stamp = options.keepsHistory ? disk.history.count : 0
        if shard.runRound(now: scheduler.now, output: self) { scheduleRound() }
        afterCall()
    }

    private func scheduleRound() {
        guard !isRoundScheduled else { return }
        isRoundScheduled = true
        scheduler.schedule(.round, afterMicroseconds: 0...30)
    }

    /// To be called behind each call to the shard.
    func called() {
        scheduleRound()
        afterCall()
    }

    private func afterCall() {
        while completionsScheduled < disk.inFlight {
            completionsScheduled += 1
            scheduler.schedule(.completion, afterMicroseconds: 10...UInt64(random.percent(10) ? 15_000 : 600))
        }
        guard let deadline = shard?.nextDeadline, timerAt.map({ deadline < $0 }) ?? true else { return }
        timerAt = deadline
        scheduler.schedule(.timer, at: deadline)
    }

    /// Runs what is scheduled until a condition holds.
    /// - Returns: false where nothing more happens before it holds.
    func run(until isReached: () -> Bool, events limit: Int = 200_000) throws(Violation) -> Bool {
        for _ in 0..<limit {
            try throwViolation()
            if isReached() { return true }
            guard let event = scheduler.step() else { return isReached() }
            handle(event)
        }
        model.fail("the shard does not come to rest")
        try throwViolation()
        return false
    }

    // MARK: The trace

    func note(_ text: @autoclosure () -> String) {
        guard options.traceLines > 0 else { return }
        if trace.count >= 2 * options.traceLines { trace.removeFirst(options.traceLines) }
        trace.append("\(scheduler.now.rawValue): \(text())")
    }

    func throwViolation() throws(Violation) {
        guard let message = model.violation else { return }
        throw Violation(seed: seed, message: message, trace: Array(trace.suffix(options.traceLines)))
    }
}
