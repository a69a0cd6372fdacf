internal import MessageModel
internal import StorageEngine
internal import StorageService

/// A shard whose messages die and are sent back, again and again, with crashes at any moment.
///
/// The oracle counts: each letter that is marked as sent back has exactly one copy in its topic, whenever the process
/// ended, and no other message has any. Copies are what was published, and every subscription of their topic gets them.
package final class RedriveSimulation: ShardHost {
    package struct Options: Sendable {
        /// Power cuts, kills, failing syncs and writes, full disks, damaged snapshots.
        package var hasFaults = true
        /// Lines of the trace that a violation shows.
        package var traceLines = 120

        package init() {}
    }

    /// What a run did.
    package struct Report: Sendable, Equatable, CustomStringConvertible {
        package var seed: UInt64 = 0
        package var steps = 0
        package var published = 0
        package var rejected = 0
        package var redrives = 0
        package var sentBack = 0
        package var rests = 0
        package var lives = Lives()

        package init() {}

        package var description: String {
            """
            seed \(seed): \(steps) steps, \(published) messages published, \(rejected) rejected, \(redrives) redrives, \
            \(sentBack) letters sent back, \(rests) rests; \(lives.powerCuts) power cuts, \(lives.kills) kills, \
            \(lives.closes) closes, \(lives.failedLogs) failed logs, \(lives.fullDisks) full disks
            """
        }
    }

    /// A message as it was sent; its number is in its body.
    struct Message {
        let topic: Int
        let partition: UInt16
        let name: [UInt8]
        let key: [UInt8]?
        /// The user property `number`.
        let number: Int
        /// Its publisher was told that it is durable.
        var isDurable = false
    }

    struct Topic {
        let name: String
        let partitions: Int
        var id = TopicID(rawValue: 0)
        /// It was deleted at any time: what was in it is gone.
        var wasDeleted = false
    }

    /// A subscription whose consumer accepts, rejects and gives back.
    struct Reader {
        let name: String
        var attachment: UInt32?
        /// What was delivered, by lane and sequence.
        var delivered = Set<Place>()
    }

    struct Place: Hashable {
        var lane: UInt16
        var sequence: UInt64
    }

    struct Delivered {
        var reader: Int
        var attachment: UInt32
        var place: Place
    }

    enum Pending {
        case publication(first: Int, count: Int)
        case redrive(RedriveRequest)
        case topic(Int)
        case look
    }

    static let deadTopic = 2
    static let selectors = ["", "", "number = '1'", "number <> '2'"]

    let options: Options
    var report = Report()
    var topics = [
        Topic(name: "t0", partitions: 2), Topic(name: "t1/deep", partitions: 1), Topic(name: "dead", partitions: 2),
        Topic(name: "ring", partitions: 1),
    ]
    var readers = [Reader(name: "w0"), Reader(name: "w1")]
    var messages: [Message] = []
    var session: UInt64 = 0
    var pending: [UInt64: Pending] = [:]
    var answers: [UInt64: Result<StorageReply, SluiceError>] = [:]
    var toSettle: [Delivered] = []
    var nextAttachment: UInt32 = 1
    /// The selectors that were asked for since the beginning.
    var asked = Set<String>()
    /// Letters that were sent back, as far as they can be counted: nil while a redrive may run of which nobody is told.
    var counted: Int?
    /// Consumers accept everything.
    var isDraining = false
    private var found: String?

    package init(seed: UInt64, options: Options = Options()) {
        self.options = options
        super.init(
            seed: seed,
            Settings(shard: nil, hasFaults: options.hasFaults, keepsHistory: false, traceLines: options.traceLines)
        )
        report.seed = seed
    }

    /// Runs so many client steps, then brings everything to rest, checks it, and closes.
    package func run(steps: Int) throws(Violation) -> Report {
        try open()
        try runUntilReady()
        try prepare()
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

    override var violation: String? { found }
    override func fail(_ text: String) { found = found ?? text }
    override var output: any ShardOutput { self }
    override var hasBegun: Bool { report.published > 0 }
    override func act() throws(Violation) { try doSomething() }
    override func roundEnded() { settleAll() }

    override func lifeEnded() {
        pending = [:]
        answers = [:]
        toSettle = []
        for reader in readers.indices { readers[reader].attachment = nil }
    }

    override func closeSessions(_ shard: Shard) {
        shard.closeSession(session)
        pending = [:]
        for reader in readers.indices { readers[reader].attachment = nil }
    }

    override func lifeBegan(after end: ShardModel.End, isClean: Bool) throws(Violation) {
        guard let shard else { return }
        session = shard.openSession(tenant: .default)
        disk.faults.read = .never
        // One that was interrupted goes on by itself, and its count is for whoever asks for the same.
        counted = nil
        try check(isAtRest: false)
        note("recovered")
    }

    override func checkAnswered() {
        for (token, request) in pending {
            // One that takes its time is answered at its end.
            if case .redrive = request { continue }
            fail("request \(token) is not answered: \(request)")
        }
    }
}
