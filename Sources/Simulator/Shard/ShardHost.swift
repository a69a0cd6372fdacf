internal import MessageModel
internal import StorageEngine
internal import StorageService

/// A shard on a simulated disk, in virtual time: what the simulations of its parts have in common.
///
/// Everything follows from the seed: the sizes, what is asked, in which order the disk answers, when it fails and when
/// the machine loses its power. A subclass brings the clients and an oracle; what is not as it must be ends the run with
/// a `Violation` that names the seed.
package class ShardHost {
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

    /// How often a shard's life ended, and why.
    package struct Lives: Sendable, Equatable {
        package var powerCuts = 0
        package var kills = 0
        package var closes = 0
        package var failedLogs = 0
        package var fullDisks = 0

        package init() {}

        static func += (left: inout Lives, right: Lives) {
            left.powerCuts += right.powerCuts
            left.kills += right.kills
            left.closes += right.closes
            left.failedLogs += right.failedLogs
            left.fullDisks += right.fullDisks
        }
    }

    /// What happens next, in virtual time.
    enum Event {
        case client
        case round
        case completion
        case timer
    }

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

    let seed: UInt64
    let shardOptions: ShardOptions
    let hasFaults: Bool
    let keepsHistory: Bool
    private let traceLines: Int
    var lives = Lives()
    var random: SeededGenerator
    var scheduler: SeededScheduler<Event>
    var disk: SimulatedDisk
    var shard: Shard?

    private var isRoundScheduled = false
    private var timerAt: Timestamp?
    private var completionsScheduled = 0
    /// Clients do nothing meanwhile.
    var isResting = false
    var isServing = false
    var faults = LifeFaults()
    var nextToken: UInt64 = 1
    private(set) var trace: [String] = []

    struct Settings {
        var shard: ShardOptions?
        var hasFaults: Bool
        var keepsHistory: Bool
        var traceLines: Int
    }

    init(seed: UInt64, _ settings: Settings) {
        self.seed = seed
        hasFaults = settings.hasFaults
        keepsHistory = settings.keepsHistory
        traceLines = settings.traceLines
        var random = SeededGenerator(seed: seed)
        shardOptions = settings.shard ?? Self.tinyOptions(&random)
        scheduler = SeededScheduler(seed: random.next(), start: Timestamp(rawValue: 1_000_000))
        disk = SimulatedDisk(seed: random.next(), order: .shuffled, keepsHistory: settings.keepsHistory)
        self.random = random
    }

    /// One that goes on with a disk that is there.
    init(seed: UInt64, _ settings: Settings, disk: SimulatedDisk, schedulerSeed: UInt64) {
        self.seed = seed
        hasFaults = settings.hasFaults
        keepsHistory = settings.keepsHistory
        traceLines = settings.traceLines
        self.disk = disk
        random = SeededGenerator(seed: schedulerSeed)
        shardOptions = settings.shard ?? Self.tinyOptions(&random)
        scheduler = SeededScheduler(seed: schedulerSeed, start: Timestamp(rawValue: 1_000_000))
    }

    /// So small that segments, index files and snapshots come every few steps.
    static func tinyOptions(_ random: inout SeededGenerator) -> ShardOptions {
        var options = ShardOptions()
        options.segmentBytes = (8 << 10) << Int.random(in: 0...4, using: &random)
        options.blockBytes = (4 << 10) << Int.random(in: 0...2, using: &random)
        options.tailCacheBytes = (4 << 10) << Int.random(in: 0...5, using: &random)
        options.indexMemoryBytes = 128 << (options.tailCacheBytes.trailingZeroBitCount - 11)
        options.entriesPerRun = 2
        options.lazySyncMicroseconds = .random(in: 500...20_000, using: &random)
        options.lazySyncBytes = 1 << Int.random(in: 9...16, using: &random)
        options.deliveryBytesPerRound = 1 << Int.random(in: 9...14, using: &random)
        options.coldReadBytes = 1 << Int.random(in: 9...15, using: &random)
        options.fullRetryMicroseconds = .random(in: 1_000...200_000, using: &random)
        if random.percent(20) { options.deferredBytes = 8 << 10 }
        options.logIdentity = UInt32.random(in: 1...UInt32.max, using: &random)
        options.hash = KeyedHash(key0: UInt64(options.logIdentity), key1: 1)
        options.trimPauseMicroseconds = .random(in: 1_000...50_000, using: &random)
        options.surveyPauseMicroseconds = .random(in: 100...10_000, using: &random)
        options.compactionBytesPerRound = 1 << Int.random(in: 9...14, using: &random)
        options.compactionDeadPercent = .random(in: 1...40, using: &random)
        options.compactionLivePercent = .random(in: 50...95, using: &random)
        return options
    }

    // MARK: For subclasses

    /// The first thing that was not as it must be.
    var violation: String? { nil }
    func fail(_ text: String) {}
    /// Whom the shard tells.
    var output: any ShardOutput { preconditionFailure("a subclass tells") }
    /// A client does something.
    func act() throws(Violation) {}
    /// The shard is about to run a round.
    func roundBegins() {}
    /// The shard ran a round.
    func roundEnded() {}
    /// The shard is gone, with everything that its clients had of it.
    func lifeEnded() {}
    /// Sessions are closed before the shard is.
    func closeSessions(_ shard: Shard) {}
    /// The shard was opened again.
    /// - Parameter isClean: it had been closed in order.
    func lifeBegan(after end: ShardModel.End, isClean: Bool) throws(Violation) {}
    /// The disk is another one, whose history begins now.
    func historyBegins() {}
    /// The disk refused to read something.
    func readWasRefused() {}
    /// Nobody may wait for an answer any more.
    func checkAnswered() {}
    /// Whether reads may fail: what cannot be read is passed over and reported.
    var readsFail: Bool { true }
    /// Whether something is at stake already.
    var hasBegun: Bool { true }

    func check(_ condition: Bool, _ text: @autoclosure () -> String) {
        if !condition { fail(text()) }
    }

    // MARK: Running

    /// Lets virtual time pass until the next client event, then has a client do something.
    func clientStep() throws(Violation) {
        scheduler.schedule(.client, afterMicroseconds: 0...UInt64(random.percent(3) ? 20_000 : 150))
        var events = 0
        while let event = scheduler.step() {
            if case .client = event { break }
            handle(event)
            events += 1
            check(
                events < 100_000,
                "the shard is busy for ever, its deadline is \(String(describing: shard?.nextDeadline))"
            )
            try throwViolation()
        }
        if isServing { try act() } else { try waitForService() }
        try throwViolation()
    }

    private func handle(_ event: Event) {
        guard let shard else { return }
        switch event {
        case .client:
            break
        case .round:
            isRoundScheduled = false
            runRound()
        case .timer:
            // One that an earlier one took the place of.
            guard let timerAt, timerAt <= scheduler.now else { break }
            self.timerAt = nil
            runRound()
        case .completion:
            completionsScheduled -= 1
            guard let event = disk.completeNext() else { break }
            if case .read(_, .success) = event {} else { note("\(Self.text(event))") }
            if case .read(_, .failure) = event { readWasRefused() }
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
            case .failure(let error): "disk: read \(token) failed: \(error)"
            }
        case .fileWritten(let token, let error): "disk: file \(token) \(error == nil ? "written" : "failed")"
        }
    }

    private func runRound() {
        guard let shard else { return }
        roundBegins()
        if shard.runRound(now: scheduler.now, output: output) { scheduleRound() }
        afterCall()
        roundEnded()
    }

    private func scheduleRound() {
        guard !isRoundScheduled else { return }
        isRoundScheduled = true
        scheduler.schedule(.round, afterMicroseconds: 0...30)
    }

    /// The shard waits for nothing but clients and time.
    var isQuiet: Bool { !isRoundScheduled && completionsScheduled == 0 }

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
        guard let deadline = shard?.nextDeadline.map({ max($0, scheduler.now) }), timerAt.map({ deadline < $0 }) ?? true
        else { return }
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
        fail("the shard does not come to rest")
        try throwViolation()
        return false
    }

    /// Forgets the shard and everything on its way to it.
    func forgetLife() {
        shard = nil
        isServing = false
        scheduler.removeAll()
        isRoundScheduled = false
        timerAt = nil
        completionsScheduled = 0
        lifeEnded()
    }

    // MARK: The trace

    func note(_ text: @autoclosure () -> String) {
        guard traceLines > 0 else { return }
        if trace.count >= 2 * traceLines { trace.removeFirst(traceLines) }
        trace.append("\(scheduler.now.rawValue): \(text())")
    }

    func throwViolation() throws(Violation) {
        guard let message = violation else { return }
        throw Violation(seed: seed, message: message, trace: Array(trace.suffix(traceLines)))
    }
}
