internal import MessageModel
package import StorageEngine
internal import StorageService

/// A shard on a simulated disk, in virtual time, under a random workload with random faults, watched by an oracle.
///
/// Everything follows from the seed: the sizes, what is asked, in which order the disk answers, when it fails and when
/// the machine loses its power. A run that finds something wrong throws a `Violation` that names the seed.
package final class ShardSimulation: ShardHost {
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

        var settings: Settings {
            Settings(shard: shard, hasFaults: hasFaults, keepsHistory: keepsHistory, traceLines: traceLines)
        }
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
        package var lives = Lives()
        package var checkedBatches = 0
        package var rests = 0

        package init() {}

        package var description: String {
            """
            seed \(seed): \(steps) steps, \(appends) appends (\(durable) durable, \(refused) refused, \(duplicates) \
            repeated), \(delivered) messages delivered, \(routed) routed, \(fetches) fetches, \(commits) commits; \
            \(lives.powerCuts) power cuts, \(lives.kills) kills, \(lives.closes) closes, \(lives.failedLogs) failed logs, \(lives.fullDisks) full \
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
            left.lives += right.lives
            left.checkedBatches += right.checkedBatches
            left.rests += right.rests
        }
    }

    let options: Options
    let model: ShardModel
    var report = Report()
    var sessions: [SimulatedSession] = []
    var pending: [UInt64: PendingRequest] = [:]
    /// What was asked only to look.
    var answers: [UInt64: Result<StorageReply, SluiceError>] = [:]
    /// Withdrawn fetches: they may have been answered in the same moment.
    var cancelled = Set<UInt64>()

    package init(seed: UInt64, options: Options = Options()) {
        self.options = options
        model = ShardModel()
        super.init(seed: seed, options.settings)
        report.seed = seed
    }

    /// One that looks at a disk with the oracle of another.
    init(seed: UInt64, options: Options, model: ShardModel, disk: SimulatedDisk, schedulerSeed: UInt64) {
        self.options = options
        self.model = model
        super.init(seed: seed, options.settings, disk: disk, schedulerSeed: schedulerSeed)
    }

    override var violation: String? { model.violation }
    override func fail(_ text: String) { model.fail(text) }
    override var output: any ShardOutput { self }
    override var hasBegun: Bool { report.appends > 0 }
    override func act() throws(Violation) { try doSomething() }
    override func checkAnswered() { checkAllAnswered() }
    override func roundBegins() { model.stamp = keepsHistory ? disk.history.count : 0 }
    override func historyBegins() { model.beginHistory() }

    override func lifeEnded() {
        sessions = []
        pending = [:]
        answers = [:]
        cancelled = []
    }

    override func closeSessions(_ shard: Shard) {
        for session in sessions { shard.closeSession(session.id) }
        sessions = []
        dropPending { _ in true }
    }

    override func lifeBegan(after end: ShardModel.End, isClean: Bool) throws(Violation) {
        let found = try observe()
        model.verify(found, stamp: ShardModel.never - 1, after: end)
        try throwViolation()
        model.adopt(found)
        try throwViolation()
        note("recovered")
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
        report.lives = lives
        return report
    }
}
