internal import MessageModel
internal import StorageEngine
internal import StorageService

/// A shard under a random workload of everything that has to do with delivery: subscriptions of both kinds with random
/// policies, consumers that come and go and settle as they please, schedules and transactions.
///
/// `DeliveryModel` says after each delivery whether it was one that had to be, and at rest whether all have been.
package final class DeliverySimulation: ShardHost {
    package struct Options: Sendable {
        /// Power cuts, kills, failing syncs and writes, full disks, damaged snapshots.
        package var hasFaults = true
        /// Keep what happened to the disk, for crash points; the whole run must be short then.
        package var keepsHistory = false
        /// Lines of the trace that a violation shows.
        package var traceLines = 120

        package init() {}

        var settings: Settings {
            Settings(shard: nil, hasFaults: hasFaults, keepsHistory: keepsHistory, traceLines: traceLines)
        }
    }

    /// What a run did.
    package struct Report: Sendable, Equatable, CustomStringConvertible {
        package var seed: UInt64 = 0
        package var steps = 0
        package var published = 0
        package var delivered = 0
        package var redelivered = 0
        /// Deliveries that were asked for one by one.
        package var asked = 0
        /// Consumers that retired.
        package var retired = 0
        /// Messages of which it was said that nobody took them, and that a full inbox had no room for them.
        package var unrouted = 0
        package var refused = 0
        package var accepted = 0
        package var released = 0
        package var rejected = 0
        package var lateReceipts = 0
        package var deadLetters = 0
        package var scheduled = 0
        package var withdrawn = 0
        package var commits = 0
        package var rollBacks = 0
        package var seeks = 0
        package var rests = 0
        package var lives = Lives()

        package init() {}

        package var description: String {
            """
            seed \(seed): \(steps) steps, \(published) messages published (\(scheduled) scheduled, \(withdrawn) \
            withdrawn), \(delivered) deliveries (\(redelivered) again, \(asked) asked for), \(accepted) accepted, \
            \(released) released, \(rejected) rejected, \(lateReceipts) late receipts, \(deadLetters) dead letters, \
            \(commits) commits, \(rollBacks) roll-backs, \(unrouted) unrouted, \(refused) refused, \(retired) retired, \
            \(seeks) seeks, \(rests) rests; \(lives.powerCuts) power cuts, \(lives.kills) \
            kills, \(lives.closes) closes, \(lives.failedLogs) failed logs, \(lives.fullDisks) full disks
            """
        }

        package static func += (left: inout Report, right: Report) {
            left.steps += right.steps
            left.published += right.published
            left.delivered += right.delivered
            left.redelivered += right.redelivered
            left.asked += right.asked
            left.retired += right.retired
            left.unrouted += right.unrouted
            left.refused += right.refused
            left.accepted += right.accepted
            left.released += right.released
            left.rejected += right.rejected
            left.lateReceipts += right.lateReceipts
            left.deadLetters += right.deadLetters
            left.scheduled += right.scheduled
            left.withdrawn += right.withdrawn
            left.commits += right.commits
            left.rollBacks += right.rollBacks
            left.seeks += right.seeks
            left.rests += right.rests
            left.lives += right.lives
        }
    }

    /// What a consumer has in its hands.
    struct Held {
        let session: UInt64
        let attachment: UInt32
        let subscription: Int
        let id: SubscriptionID
        let lane: UInt16
        let message: Int
        let sequence: UInt64
        let lease: UInt64
        /// Nil where it stands for all that a consumer has.
        var terms: BatchDelivery.Lease?
    }

    /// A request that has not been answered.
    struct Pending {
        enum Kind {
            case append(batch: Int)
            case createTopic(Int)
            case createSubscription(Int)
            case deleteSubscription(Int)
            case deleteTopic(Int)
            case bind(Int, Int)
            case unbind(Int, Int)
            case update(Int, SubscriptionPolicy)
            case pause(Int, Bool)
            case seek(Int)
            case settle([Bool?])
            case settleByAttachment
            case lease(Int, attachment: UInt32)
            case describe(Int, leased: UInt64?)
            case begin(Int)
            case stage(Int, [(held: Held, expected: Bool?)])
            case commit(Int)
            case rollBack(Int)
            case adopt
            case cancel(message: Int)
            case look
        }

        var session: UInt64
        var kind: Kind
        var moment: DeliveryModel.Moment
    }

    let options: Options
    let model: DeliveryModel
    var report = Report()
    var groups: [ModelSubscription.Group] = []
    /// Appends whose answers name what nobody took.
    var asksForRoutes = Set<UInt64>()
    /// Open sessions, and the attachments of each.
    var sessions: [UInt64] = []
    var pending: [UInt64: Pending] = [:]
    var answers: [UInt64: Result<StorageReply, SluiceError>] = [:]
    var held: [Held] = []
    /// What consumers of earlier lives had.
    var heldBefore: [Held] = []
    /// When the disk last refused a read, and how often in a row.
    var lastRefusedRead: (at: Timestamp, count: Int)?
    /// What is accepted as soon as the round is over.
    var toAccept: [Held] = []
    var nextAttachment: UInt32 = 1
    /// Attachments that are to be refused, because another is exclusive.
    var refused = Set<UInt32>()
    var nextOwner: UInt64 = 1
    /// A new life is being looked at.
    var isRecovering = false

    package init(seed: UInt64, options: Options = Options()) {
        self.options = options
        model = DeliveryModel(tickMicroseconds: ShardOptions().timerTickMicroseconds)
        super.init(seed: seed, options.settings)
        report.seed = seed
    }

    /// One that looks at a disk with the oracle of another.
    init(
        seed: UInt64,
        options: Options,
        shard: ShardOptions,
        model: DeliveryModel,
        disk: SimulatedDisk,
        schedulerSeed: UInt64
    ) {
        self.options = options
        self.model = model
        var settings = options.settings
        settings.shard = shard
        super.init(seed: seed, settings, disk: disk, schedulerSeed: schedulerSeed)
    }

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

    // MARK: For the host

    override var violation: String? { model.violation }
    override func fail(_ text: String) { model.fail(text) }
    override var output: any ShardOutput { self }
    override var hasBegun: Bool { report.published > 0 }
    override func lifeBegan(after end: ShardModel.End, isClean: Bool) throws(Violation) {
        try recover(isClean: isClean)
    }
    override func act() throws(Violation) { try doSomething() }

    override func roundBegins() {
        model.stamp = keepsHistory ? disk.history.count : 0
        model.timePasses(to: scheduler.now, endsLeases: !isRecovering)
    }

    override func roundEnded() {
        acceptAll()
        if isQuiet, isServing, !isRecovering, pending.isEmpty, toAccept.isEmpty { checkNeglect() }
    }

    /// Nobody waits who could be served: a wake-up would have been lost.
    private func checkNeglect() {
        guard !faults.hasFailedLog, !faults.isFull, !faults.hasFailedSync, isQuiet, !mayWaitForReading else { return }
        for subscription in model.subscriptions {
            if let message = model.neglected(subscription) {
                note(model.summary(subscription))
                // What the shard thinks of it.
                send(.describeSubscription(name: subscription.name), .look)
                _ = shard?.runRound(now: scheduler.now, output: self)
                model.fail(
                    "\(model.text(message)) waits in \(subscription.name) at \(scheduler.now.rawValue), and so does a consumer"
                )
            }
        }
    }

    override func readWasRefused() {
        if let last = lastRefusedRead, scheduler.now < last.at.advanced(byMicroseconds: 10_000_000) {
            lastRefusedRead = (scheduler.now, last.count + 1)
        } else {
            lastRefusedRead = (scheduler.now, 1)
        }
    }

    /// What could not be read is tried again after a while, which grows.
    private var mayWaitForReading: Bool {
        guard let last = lastRefusedRead else { return false }
        let pause = min(UInt64(50_000) << UInt64(min(last.count, 7)), 5_000_000)
        return scheduler.now <= last.at.advanced(byMicroseconds: pause)
    }

    override func lifeEnded() {
        for request in pending.values { abandoned(request) }
        sessions = []
        pending = [:]
        answers = [:]
        heldBefore = Array((held.reversed() + heldBefore).prefix(20))
        held = []
        toAccept = []
        for subscription in model.subscriptions {
            subscription.consumers = []
            subscription.others = []
        }
        groups = []
    }

    override func closeSessions(_ shard: Shard) {
        for session in sessions { close(session, shard) }
    }

    override func checkAnswered() {
        for (token, request) in pending {
            model.fail("request \(token) is not answered: \(request.kind)")
        }
    }
}
