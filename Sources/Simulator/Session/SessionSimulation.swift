internal import MessageModel
internal import StorageEngine
internal import StorageService

/// A shard under sessions as MQTT has them: clients that send and get messages exactly once, with what they need for it in
/// the session state of their inboxes; some messages go to one of them, by a group.
///
/// A small front stands between clients and shard, and forgets everything with each connection and each end of the process.
/// Clients forget nothing. The oracle counts what their applications get: each message once, whatever fails.
package final class SessionSimulation: ShardHost {
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
        package var got = 0
        package var sentAgain = 0
        package var handedOver = 0
        package var queued = 0
        package var connections = 0
        package var rests = 0
        package var lives = Lives()

        package init() {}

        package var description: String {
            """
            seed \(seed): \(steps) steps, \(published) messages published, \(got) got, \(sentAgain) sent again, \(handedOver) \
            handed over, \(queued) last values queued, \(connections) connections, \(rests) rests; \(lives.powerCuts) power \
            cuts, \(lives.kills) kills, \(lives.closes) closes, \(lives.failedLogs) failed logs, \(lives.fullDisks) full disks
            """
        }
    }

    /// Where a message goes.
    enum Kind: String, CaseIterable {
        /// To all clients.
        case all = "a"
        /// To one of them.
        case one = "g"
        /// To those that ask for last values.
        case kept = "r"
    }

    /// A message as it was sent; its number is in its body.
    struct Message {
        let kind: Kind
        /// Its client knows that it is stored.
        var isFinished = false
        /// Applications that got it, but for last values.
        var got = 0
    }

    enum Packet {
        case publish(UInt64, message: Int)
        case pubrec(UInt64)
        case pubrel(UInt64)
        case pubcomp(UInt64)
    }

    /// What a client keeps for itself, whatever becomes of its connection.
    struct Client {
        /// Exchanges that it began, by packet identifier: the message, and whether it was released.
        var sending: [UInt64: (message: Int, isReleased: Bool)] = [:]
        var nextIdentifier: UInt64 = 1
        /// Sequences of messages that it has, and that were not released.
        var received = Set<UInt64>()
        /// Those of all that its application got.
        var got = Set<UInt64>()
    }

    /// What the front knows of one connection.
    struct Connection {
        let session: UInt64
        var toClient: [Packet] = []
        var toServer: [Packet] = []
        /// Its state was found.
        var isOpen = false
        var state = StateChanges(subscription: SubscriptionID(rawValue: 0))
        /// Packet identifiers that were received and not released.
        var received = Set<UInt64>()
        /// Of messages in the inbox: leased, and how far.
        var leased = Set<UInt64>()
        var confirmed = Set<UInt64>()
        /// Finished before they were leased again.
        var finished = Set<UInt64>()
        /// Those that came by the group.
        var shared = Set<UInt64>()
    }

    enum Pending {
        case open(Int)
        case store(Int, identifier: UInt64)
        case confirm(Int, UInt64)
        case forget(Int, identifier: UInt64)
        case handOver(Int, count: Int)
        case queue(Int)
        case look
    }

    /// Whether a value is in a session's state.
    enum Presence { case certain, perhaps }

    static let own: UInt32 = 1
    static let group: UInt32 = 2

    let options: Options
    var report = Report()
    var topic = TopicID(rawValue: 0)
    var clients: [Client] = []
    var connections: [Int: Connection] = [:]
    var messages: [Message] = []
    /// By client and number; what is not here is certainly not there.
    var states: [[UInt64: Presence]] = []
    var pending: [UInt64: Pending] = [:]
    var answers: [UInt64: Result<StorageReply, SluiceError>] = [:]
    var looker: UInt64 = 0
    /// What is done as soon as the round is over.
    var later: [() -> Void] = []
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

    override func roundEnded() {
        let all = later
        later = []
        for action in all { action() }
    }

    override func lifeEnded() {
        later = []
        pending = [:]
        answers = [:]
        connections = [:]
    }

    override func closeSessions(_ shard: Shard) {
        for client in connections.keys.sorted() { disconnect(client) }
        shard.closeSession(looker)
    }

    override func lifeBegan(after end: ShardModel.End, isClean: Bool) throws(Violation) {
        guard let shard else { return }
        looker = shard.openSession(tenant: .default)
        disk.faults.read = .never
        for client in clients.indices { try checkState(of: client) }
        note("recovered")
    }

    override func checkAnswered() {
        for (token, request) in pending { fail("request \(token) is not answered: \(request)") }
    }
}
