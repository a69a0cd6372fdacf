internal import MessageModel
internal import StorageService

/// What a shard was asked for, what it has said, and what must therefore become of each message in each subscription:
/// the oracle of the delivery simulation.
///
/// Everything that happens gets a serial number. What a durable answer promises is everything with a lower one; so a crash
/// may take back what has a higher one, and nothing else. A stamp is a place in the history of the simulated disk, as in
/// `ShardModel`.
final class DeliveryModel {
    static let never = Int.max
    /// Behind everything that has happened.
    static let end = Int.max - 1

    /// When something was asked for.
    struct Moment {
        var serial: Int
        var stamp: Int
        static let start = Moment(serial: 0, stamp: 0)
    }

    struct Topic {
        let name: String
        let partitions: Int
        /// It takes dead letters, and nobody publishes to it.
        let isForDead: Bool
        /// What it lets go.
        var policy = TopicPolicy()
        var id: TopicID?
        var submitted: Moment
        var isAnswered = false
        /// Its end was asked for.
        var isEnding = false
        var isGone = false
        /// When its creation and its end were known to be durable.
        var createdAt = DeliveryModel.never
        var endingAt = DeliveryModel.never

        var isUsable: Bool { id != nil && isAnswered && !isEnding && !isGone }

        /// Messages may be gone from it, when its subscriptions are done with them or before.
        var letsGo: Bool { policy.retention != .limits || isLimited }
        /// Messages go although subscriptions need them.
        var isLimited: Bool { policy.retention == .limits && policy.maxAgeMicroseconds + policy.maxBytes > 0 }
    }

    struct Batch {
        enum Kind: Equatable {
            case plain
            case scheduled
            case prepared(transaction: Int)
        }

        enum Fate {
            /// Nobody said what became of it.
            case open
            case durable
            case refused
            /// A crash took it.
            case lost
        }

        let topic: Int
        let partition: PartitionID
        /// Its messages are `first..<first + count`.
        let first: Int
        let count: Int
        let bytes: [UInt8]
        let kind: Kind
        let submitted: Moment
        var fate = Fate.open
        /// The stamp at which it was said to be durable.
        var durableAt = DeliveryModel.never
        /// It was stored at this time or before.
        var storedBy = Timestamp.never
        /// Where its first message waits for its time.
        var scheduled: ScheduledID?

        var messages: Range<Int> { first..<first + count }
    }

    struct Message {
        let batch: Int
        let index: Int
        let name: [UInt8]
        let key: [UInt8]?
        let tag: String?
        /// The user property `number`.
        let number: Int?
        /// It has a message id, which nothing else has.
        let hasID: Bool
        let lookUpKey: Int?
        let isRetained: Bool
        let priority: UInt8
        let expiry: Timestamp?
        /// Not to be seen before.
        let due: Timestamp?
        let isAtMostOnce: Bool
        var offset: UInt64?
        var appendTime: Timestamp?
        /// The bindings that count are those of a moment between these two.
        var routedFrom: Int
        var routedTo: Int
        /// Withdrawn: for certain, or perhaps.
        var isWithdrawn = false
        var mayBeWithdrawn = false
        /// Full inboxes may have refused it: it was asked for, and not answered or answered so.
        var mayBeRefused = false
        /// It was seen in the log, by anybody, at this stamp.
        var seenAt = DeliveryModel.never

        var isSeen: Bool { seenAt != DeliveryModel.never }
    }

    struct Transaction {
        enum State {
            case beginning, open, committing, committed, endingOtherwise, ended
        }

        var id: TransactionID?
        let specification: TransactionSpecification
        var state = State.beginning
        var batches: [Int] = []
        var staged: [(subscription: Int, message: Int, lease: UInt64)] = []
        var begunAt: Timestamp
        /// When its commit was asked for, and answered.
        var commitSubmitted: Moment?
        var committedAt = DeliveryModel.never
        /// Requests about it that were not answered.
        var pending = 0
        /// A crash left open what became of it.
        var isUncertain = false
        var rolledBackAt = DeliveryModel.never
    }

    var topics: [Topic] = []
    var batches: [Batch] = []
    var messages: [Message] = []
    var transactions: [Transaction] = []
    var subscriptions: [ModelSubscription] = []
    var stamp = 0
    private(set) var serial = 0
    var now = Timestamp.zero
    let tickMicroseconds: UInt64
    /// What was asked for before these is known to be durable, from these stamps on. Ascending.
    private(set) var journalFrontier: [Moment] = []
    /// A clean stop, a recovery: everything before this is durable.
    private(set) var violation: String?
    /// Messages of topics that are gone count for nothing.
    var isTolerant = false

    init(tickMicroseconds: UInt64) { self.tickMicroseconds = tickMicroseconds }

    func fail(_ text: String) { violation = violation ?? text }

    func check(_ condition: Bool, _ text: @autoclosure () -> String) {
        if !condition { fail(text()) }
    }

    func moment() -> Moment {
        serial += 1
        return Moment(serial: serial, stamp: stamp)
    }

    /// Something was answered durably that makes durable what was noted before it was asked for.
    func journalIsDurable(before moment: Moment) {
        guard moment.serial > journalFrontier.last?.serial ?? 0 else { return }
        journalFrontier.append(Moment(serial: moment.serial, stamp: stamp))
    }

    /// The changes before this serial are in the log of a crash at `stamp`, for certain.
    func frontier(at stamp: Int) -> Int { journalFrontier.last { $0.stamp <= stamp }?.serial ?? 0 }

    /// A life has begun with everything that there is being durable.
    func everythingIsDurable() {
        journalFrontier = [Moment(serial: moment().serial, stamp: stamp)]
    }

    func topic(_ id: TopicID) -> Int? { topics.lastIndex { $0.id == id } }

    func subscription(_ id: SubscriptionID) -> ModelSubscription? { subscriptions.last { $0.id == id && !$0.isGone } }

    func tick(_ time: Timestamp) -> Timestamp {
        Timestamp(rawValue: (time.rawValue + tickMicroseconds - 1) / tickMicroseconds * tickMicroseconds)
    }

    func text(_ message: Int) -> String { "message \(messages[message].batch).\(messages[message].index)" }

    // MARK: What is to be where

    enum Expectation { case never, perhaps, certainly }

    /// Whether a message belongs to a subscription and is delivered.
    func expectation(_ message: Int, _ subscription: ModelSubscription) -> Expectation {
        subscription.wants(messages[message]) ? placing(message, subscription) : .never
    }

    /// Whether a message is in a subscription, be it only to be passed over.
    func placing(_ message: Int, _ subscription: ModelSubscription) -> Expectation {
        let known = messages[message]
        let batch = batches[known.batch]
        switch subscription.source {
        case .cursor(let topic):
            guard topic == batch.topic else { return .never }
            guard let start = subscription.start else { return .perhaps }
            guard let offset = known.offset else { return .perhaps }
            return offset >= start[Int(batch.partition.index)] ? .certainly : .never
        case .inbox:
            if known.isAtMostOnce, !subscription.policy.takesAtMostOnce { return .never }
            let isExact = batch.kind == .plain
            var isPossible = false
            for binding in subscription.bindings where binding.binding.routes(known) {
                let isAdded = isExact ? binding.added.serial < known.routedFrom : binding.addedBy < known.routedFrom
                let isRemoved =
                    isExact ? binding.removed.serial < known.routedTo : binding.removed.serial <= known.routedTo
                if isAdded, !isRemoved, !binding.isUncertain {
                    return known.mayBeRefused && subscription.mayRefuse ? .perhaps : .certainly
                }
                let wasRemoved =
                    isExact && !binding.isUncertain
                    ? binding.removed.serial < known.routedFrom : binding.removedBy < known.routedFrom
                if binding.added.serial < known.routedTo, !wasRemoved { isPossible = true }
            }
            return isPossible ? .perhaps : .never
        }
    }

    /// Its topic may let go what it still needs.
    func mayLose(_ subscription: ModelSubscription) -> Bool {
        if case .cursor(let topic) = subscription.source { topics[topic].isLimited } else { false }
    }

    /// Why a message may be gone without anybody having accepted it.
    func isDroppable(_ message: Int, _ subscription: ModelSubscription) -> Bool {
        let known = messages[message]
        if subscription.mayDrop { return true }
        if mayLose(subscription) { return true }
        return isExpired(message, subscription) || known.expiry.map { $0 <= now } == true
    }

    func isExpired(_ message: Int, _ subscription: ModelSubscription) -> Bool {
        let known = messages[message]
        if let expiry = known.expiry, expiry <= now { return true }
        guard subscription.shortestTTL > 0 else { return false }
        guard let stored = known.appendTime else { return true }
        return stored.advanced(byMicroseconds: subscription.shortestTTL) <= now
    }

    /// A message is visible now, as far as the shard said: it belongs to subscriptions.
    func becameVisible(_ message: Int) {
        for subscription in subscriptions where subscription.isUsable && subscription.entries[message] == nil {
            guard expectation(message, subscription) == .certainly else { continue }
            var entry = ModelSubscription.Entry(message: message)
            if subscription.pendingSeeks > 0 || messages[message].routedFrom <= subscription.soughtBy {
                entry.isVague = true
                entry.generation = 1
            }
            subscription.entries[message] = entry
        }
    }

    /// Somebody was shown a message.
    func saw(_ message: Int, offset: UInt64?, appendTime: Timestamp?) {
        let batch = messages[message].batch
        switch batches[batch].fate {
        case .refused: fail("\(text(message)) was refused and is there")
        case .lost: fail("\(text(message)) was lost by a crash and is there again")
        case .open, .durable: break
        }
        if messages[message].isWithdrawn { fail("\(text(message)) was withdrawn and is there") }
        if case .prepared(let transaction) = batches[batch].kind {
            check(
                transactions[transaction].commitSubmitted != nil || transactions[transaction].isUncertain,
                "\(text(message)) is visible and its transaction was not committed"
            )
            check(
                transactions[transaction].rolledBackAt == Self.never,
                "\(text(message)) is visible and its transaction was rolled back"
            )
        }
        if let due = messages[message].due {
            check(due <= now, "\(text(message)) is visible at \(now.rawValue), before its time \(due.rawValue)")
        }
        if let offset {
            if let other = messages[message].offset {
                check(other == offset, "\(text(message)) stood at \(other) and stands at \(offset)")
            }
            messages[message].offset = offset
        }
        if let appendTime {
            messages[message].appendTime = messages[message].appendTime ?? appendTime
            if let due = messages[message].due {
                check(appendTime >= due, "\(text(message)) was published at \(appendTime.rawValue), before its time")
            }
        }
        if !messages[message].isSeen {
            messages[message].seenAt = stamp
            messages[message].routedTo = min(messages[message].routedTo, serial)
        }
        if batches[batch].durableAt == Self.never { batches[batch].durableAt = stamp }
        if batches[batch].fate == .open { batches[batch].fate = .durable }
    }
}
