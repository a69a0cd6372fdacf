internal import MessageModel
internal import StorageService

/// A subscription as the oracle knows it, from its creation to its deletion.
final class ModelSubscription {
    enum Source {
        case cursor(topic: Int)
        case inbox
    }

    struct Bound {
        let binding: Binding
        var added: DeliveryModel.Moment
        /// It was there by then.
        var addedBy = DeliveryModel.never
        var removed = DeliveryModel.Moment(serial: DeliveryModel.never, stamp: DeliveryModel.never)
        var removedBy = DeliveryModel.never
        /// Nobody said whether it is there.
        var isUncertain = false
    }

    /// One message in it.
    struct Entry {
        enum State: Equatable {
            case waiting
            case leased(owner: UInt64, deadline: Timestamp)
            case delayed(until: Timestamp)
            /// Never to be delivered again.
            case done
            /// On its way to the dead letters.
            case dying(reason: String)
        }

        let message: Int
        var lane: UInt16?
        var sequence: UInt64?
        var state = State.waiting
        /// Deliveries that ended and count.
        var failed: UInt32 = 0
        /// What became of it is not known exactly: it is not missed, and may come.
        var isVague = false
        /// Not delivered before, for certain; and perhaps not before that.
        var heldUntil = Timestamp.zero
        var mayBeHeldUntil = Timestamp.zero
        /// The latest end of a delay or of a lease by receipt since this life began: a crash may go back to it.
        var latestHold = Timestamp.zero
        /// When it was done.
        var done: DeliveryModel.Moment?
        var isAccepted = false
        /// It was on its way to the dead letters before it was done.
        var hasDied = false
        /// What a look showed as its attempts since when: what a crash may go back to.
        var attempts: [(moment: DeliveryModel.Moment, count: UInt32)] = []
        /// The generation of its last lease, and those of all.
        var lease: UInt64 = 0
        var leases = Set<UInt64>()
        /// A crash may have taken that one's record.
        var mayHaveLostLease = false
        /// A seek since then may have taken it back.
        var mayBeSought = false
        /// A seek may bring it back, and let it die again.
        var generation = 0
        var deadLetters = 0
        /// A transaction that was asked to commit settles it.
        var isStaged = false

        var isOpen: Bool {
            switch state {
            case .waiting, .leased, .delayed: true
            case .done, .dying: false
            }
        }
    }

    struct Asked {
        let token: UInt64
        let count: Int
    }

    /// Credit that consumers of a session share.
    final class Group {
        let session: UInt64
        let number: UInt32
        var messages: Int64 = 0
        init(session: UInt64, number: UInt32) {
            self.session = session
            self.number = number
        }
    }

    struct Consumer {
        let session: UInt64
        let attachment: UInt32
        let owner: UInt64
        let isByReceipt: Bool
        var creditMessages: Int64
        var creditBytes: Int64
        /// Accepts whatever comes.
        var isDraining = false
        /// What it asked for one by one, as far as it was not answered; nil for a consumer, or one that was.
        var asked: [Asked]?
        /// What it was given for that: messages of several requests may come before the first answer.
        var taken = 0
        var priority: Int32 = 0
        var group: Group?
        var hasCredit: Bool { creditMessages > 0 && creditBytes > 0 && (group.map { $0.messages > 0 } ?? true) }
        var messageCredit: Int64 { min(creditMessages, group?.messages ?? .max) }
    }

    let number: Int
    let name: String
    let source: Source
    var policy: SubscriptionPolicy
    /// Asked for and not answered.
    var pendingPolicies: [SubscriptionPolicy] = []
    var id: SubscriptionID?
    var submitted: DeliveryModel.Moment
    var isAnswered = false
    var isEnding = false
    var isGone = false
    var createdAt = DeliveryModel.never
    var endingAt = DeliveryModel.never
    /// Where a cursor subscription began.
    var start: [UInt64]?
    /// What that was before the last seek was asked for.
    var startBeforeSeek: [UInt64]?
    var bindings: [Bound] = []
    var isPaused = false
    var pendingPauses: [Bool] = []
    var pendingSeeks = 0
    /// A seek was asked for at any time.
    var wasSought = false
    /// The last seek was over by then: what may have been published before it is not missed.
    var soughtBy = 0
    var entries: [Int: Entry] = [:]
    /// In the order in which they attached.
    var consumers: [Consumer] = []
    /// Attachments that have messages, or may ask for some, and are no consumers.
    var others: [Consumer] = []
    /// It is made by a session and ends with it.
    var ownerSession: UInt64?
    /// The message at a place, as far as it was shown.
    var places: [Place: Int] = [:]
    /// It may have deleted itself.
    var expiresUnused: Bool { policy.expiresUnusedMicroseconds > 0 }
    /// Any of its policies had a limit of length.
    var mayDrop = false
    /// Any of them refused what there was no room for.
    var mayRefuse = false
    /// Of all of its policies; zero for none.
    var shortestTTL: UInt64 = 0
    var limitsOfAttempts = Set<UInt32>()

    struct Place: Hashable {
        var lane: UInt16
        var sequence: UInt64
    }

    init(number: Int, name: String, source: Source, policy: SubscriptionPolicy, submitted: DeliveryModel.Moment) {
        self.number = number
        self.name = name
        self.source = source
        self.policy = policy
        self.submitted = submitted
        mayHave(policy)
    }

    /// Behind those with the same priority or a higher one, and never before the first.
    func insert(_ consumer: Consumer) {
        let place = consumers.dropFirst().firstIndex { $0.priority < consumer.priority } ?? consumers.count
        consumers.insert(consumer, at: place)
    }

    var hasGetter: Bool { others.contains { $0.asked != nil } }

    /// A message is known to wait for somebody.
    var hasWaiting: Bool { entries.values.contains { $0.state == .waiting && !$0.isVague } }

    /// The consumer or other that is attached as this.
    func attached(_ session: UInt64, _ attachment: UInt32) -> Consumer? {
        (consumers + others).first { $0.session == session && $0.attachment == attachment }
    }

    var isUsable: Bool { isAnswered && !isEnding && !isGone }
    var isInbox: Bool { if case .inbox = source { true } else { false } }
    var isVague: Bool { !pendingPolicies.isEmpty || !pendingPauses.isEmpty || pendingSeeks > 0 }

    func mayHave(_ policy: SubscriptionPolicy) {
        if policy.maxMessages > 0 || policy.maxBytes > 0 {
            if policy.overflow == .reject { mayRefuse = true } else { mayDrop = true }
        }
        if policy.messageTTLMicroseconds > 0 {
            shortestTTL = min(shortestTTL == 0 ? .max : shortestTTL, policy.messageTTLMicroseconds)
        }
        limitsOfAttempts.insert(policy.maxAttempts)
    }

    /// It was delivered as often as it may be: it dies when it is looked at.
    func isSpent(_ entry: Entry) -> Bool {
        ([policy] + pendingPolicies).contains { $0.maxAttempts > 0 && entry.failed >= $0.maxAttempts }
    }

    /// The dead go nowhere: it has no dead-letter topic, or none as soon as a policy counts whose answer nobody got.
    var mayDropTheDead: Bool { ([policy] + pendingPolicies).contains { $0.deadLetterTopic == nil } }

    /// What its filter says; bindings are another matter.
    func wants(_ message: DeliveryModel.Message) -> Bool {
        if !policy.nameFilter.isEmpty, !NameFilter.matches(policy.nameFilter, name: message.name) { return false }
        if !policy.tags.isEmpty, policy.tags != message.tag { return false }
        return SimulatedSelector.matches(policy.selector, message)
    }

    func lane(of message: DeliveryModel.Message) -> UInt16? {
        isInbox ? UInt16(min(message.priority, policy.maxPriority)) : nil
    }
}
