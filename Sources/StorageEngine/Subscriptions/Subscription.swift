internal import DequeModule
internal import MessageModel
internal import StorageService

/// A named reader with its own progress: of a topic's partitions, or of an inbox of its own.
final class Subscription: ReaderOwner {
    enum Source {
        case cursor(TopicState)
        case inbox
    }

    /// A binding as it stands in the routing table.
    struct Bound {
        var binding: Binding
        var pattern: NamePattern
        var id: UInt32
        var predicate: UInt32 = 0

        func target(_ subscription: Subscription) -> RoutingTarget {
            RoutingTarget(owner: UInt64(subscription.id.rawValue), id: id, predicate: predicate)
        }
    }

    let id: SubscriptionID
    let name: String
    let tenant: TenantID
    let source: Source
    let createdAt: Timestamp
    var policy: SubscriptionPolicy { didSet { rules = DeliveryRules(policy) } }
    /// What of the policy each delivery asks for.
    @exclusivity(unchecked) private(set) var rules: DeliveryRules
    @exclusivity(unchecked) var isPaused = false
    /// Letters are being sent back by its progress.
    var redrive: RedriveRun?
    /// A cursor subscription has one for each partition. An inbox has them by priority, made when first needed.
    @exclusivity(unchecked) var lanes: [Lane?]
    var bindings: [Bound] = []
    /// The number that the next binding gets in the routing table.
    var nextBinding: UInt32 = 0
    /// What is kept for its user, by the user's numbers.
    @exclusivity(unchecked) var sessionState: [UInt64: [UInt8]] = [:]
    /// Which gathering of changes has the last one of that.
    var stateGeneration = UInt32.max
    /// Those that it is counted with.
    var family: FamilyCount?
    /// When it was last without consumers; for inboxes that expire.
    var unusedSince: Timestamp?

    // What follows is not in the log.

    /// The reader that has it by position.
    var reader: Attachment?
    /// The consumers that messages are leased to, in the order in which they came.
    @exclusivity(unchecked) var consumers: [Attachment] = []
    /// Attachments that messages can be leased to, or were, and that are no consumers.
    var others: [Attachment] = []
    /// What getters have asked for, and was not answered.
    @exclusivity(unchecked) var leaseRequests: Deque<LeaseRequest> = []
    /// Some consumers come before others.
    @exclusivity(unchecked) private(set) var hasPriorities = false
    /// Who has the next turn.
    @exclusivity(unchecked) var turn = 0
    @exclusivity(unchecked) var laneTurn = 0
    /// It is in the shard's queue of those that may have something to deliver.
    @exclusivity(unchecked) var isQueued = false
    @exclusivity(unchecked) var isDeleted = false
    /// What a consumer of it must match; nil for everything.
    @exclusivity(unchecked) var filter: MessageFilter?
    unowned var shard: Shard?
    /// Marks what this batch routed here already, see `Shard.collectRoutes`.
    @exclusivity(unchecked) var routeMark: (serial: UInt64, route: Int) = (0, 0)
    /// Who owns it, where it ends with a session.
    var ownerSession: UInt64?

    /// - Parameter epoch: that of the record that made it.
    init(_ definition: SubscriptionDefinition, topic: TopicState?, epoch: UInt32) {
        id = definition.id
        name = definition.name
        tenant = definition.tenant
        createdAt = definition.createdAt
        policy = definition.policy
        rules = DeliveryRules(definition.policy)
        isPaused = definition.isPaused
        switch definition.source {
        case .cursor(_, let offsets):
            if let topic {
                source = .cursor(topic)
                lanes = zip(topic.partitions, offsets).enumerated().map { index, pair in
                    Lane(LaneKey(subscription: definition.id, lane: UInt16(index)), pair.0, at: pair.1, epoch: epoch)
                }
            } else {
                source = .inbox
                lanes = []
            }
        case .inbox:
            source = .inbox
            lanes = []
        }
    }

    /// As it is now, for the snapshot; where a cursor subscription began is not in it.
    var definition: SubscriptionDefinition {
        let kept: SubscriptionDefinition.Source =
            switch source {
            case .cursor(let topic): .cursor(topic.info.id, lanes.map { $0?.delivery.watermark ?? 0 })
            case .inbox: .inbox(bindings.map(\.binding))
            }
        return SubscriptionDefinition(
            id: id,
            tenant: tenant,
            createdAt: createdAt,
            name: name,
            source: kept,
            policy: policy,
            isPaused: isPaused
        )
    }

    var isInbox: Bool { if case .inbox = source { true } else { false } }
    var topic: TopicState? { if case .cursor(let topic) = source { topic } else { nil } }
    /// What it does is in the log.
    var isLogged: Bool { id.rawValue < SubscriptionID.firstTransient }

    func lane(_ number: UInt16) -> Lane? {
        Int(number) < lanes.count ? lanes[Int(number)] : nil
    }

    /// The lane of an inbox; made where it is not there.
    func makeLane(_ number: UInt16, epoch: UInt32) -> Lane {
        while lanes.count <= Int(number) { lanes.append(nil) }
        if let lane = lanes[Int(number)] { return lane }
        let key = LaneKey(subscription: id, lane: number)
        let lane = Lane(key, IndexedSequence(.inbox(key), inbox: self), at: 0, epoch: epoch)
        lanes[Int(number)] = lane
        return lane
    }

    /// The lane of an inbox that takes messages of a priority.
    func lane(forPriority priority: UInt8) -> UInt16 { UInt16(min(priority, rules.maxPriority)) }

    /// Behind those with the same priority or a higher one. The first stays the first: with one active consumer that is it.
    func insertConsumer(_ consumer: Attachment) {
        let place = consumers.dropFirst().firstIndex { $0.priority < consumer.priority } ?? consumers.count
        consumers.insert(consumer, at: place)
        hasPriorities = hasPriorities || consumer.priority != 0
    }

    func removeConsumer(at place: Int) {
        consumers.remove(at: place)
        if hasPriorities { hasPriorities = consumers.contains { $0.priority != 0 } }
    }

    var hasConsumers: Bool { !consumers.isEmpty || reader?.isDetached == false }

    func readerBecameReady(_ reader: SequenceReader) {
        guard let shard else { return }
        if let lane = lane(reader.sequence.id.index), lane.dead === reader {
            shard.readerOfDeadBecameReady(lane, self)
        } else {
            shard.enqueue(self)
        }
    }
}

/// The numbers of a policy: copied without the strings beside them.
struct DeliveryRules {
    let consumers: SubscriptionPolicy.Consumers
    let leaseMicroseconds: UInt64
    let maxAttempts: UInt32
    let window: Int
    let maxMessages: UInt64
    let maxBytes: UInt64
    let messageTTLMicroseconds: UInt64
    let overflow: SubscriptionPolicy.Overflow
    let maxPriority: UInt8
    let takesAtMostOnce: Bool
    let keepsDelivered: Bool
    let hasDeadLetters: Bool

    init(_ policy: SubscriptionPolicy) {
        consumers = policy.consumers
        leaseMicroseconds = policy.leaseMicroseconds
        maxAttempts = policy.maxAttempts
        window = Int(policy.window)
        maxMessages = policy.maxMessages
        maxBytes = policy.maxBytes
        messageTTLMicroseconds = policy.messageTTLMicroseconds
        overflow = policy.overflow
        maxPriority = policy.maxPriority
        takesAtMostOnce = policy.takesAtMostOnce
        keepsDelivered = policy.keepsDelivered
        hasDeadLetters = policy.deadLetterTopic != nil
    }

    var limitsLength: Bool { maxMessages > 0 || maxBytes > 0 }
    /// Something of an inbox is to be looked at when it gets a message.
    var limitsInbox: Bool { limitsLength || messageTTLMicroseconds > 0 }
}

/// A sequence as a subscription reads it.
final class Lane {
    let key: LaneKey
    let sequence: IndexedSequence
    @exclusivity(unchecked) var delivery: DeliveryState
    /// Where fresh messages are read, and those that are delivered again, and those that are dead.
    @exclusivity(unchecked) var fresh: SequenceReader?
    var again: SequenceReader?
    var dead: SequenceReader?
    /// Since what is to be delivered, or what is dead, could not be read.
    var readPause = ReadPause()
    var deadPause = ReadPause()
    /// Why messages are dying, where it is not the number of their attempts.
    var reasons: [UInt64: String] = [:]
    /// The body sizes of what an inbox with a limit of bytes holds, from `sizesStart` on.
    @exclusivity(unchecked) var sizes: Deque<UInt32> = []
    /// A timer is set for this time.
    @exclusivity(unchecked) var timerAt = Timestamp.never
    /// When the oldest message that waits may be no longer wanted; never where none is known to be.
    @exclusivity(unchecked) var headExpiry = Timestamp.never
    /// It got messages with an expiry of their own.
    @exclusivity(unchecked) var mayExpire = false
    @exclusivity(unchecked) var sizesStart: UInt64 = 0
    /// Messages done behind the watermark, when whoever frees the log was last told.
    var notedDeaths: UInt64 = 0
    var bytes: UInt64 = 0

    init(_ key: LaneKey, _ sequence: IndexedSequence, at start: UInt64, epoch: UInt32) {
        self.key = key
        self.sequence = sequence
        delivery = DeliveryState(at: start, base: LeaseGeneration(epoch: epoch, number: 0))
    }

    /// Its subscription is gone.
    func endReading() {
        for reader in [fresh, again, dead] {
            guard let reader else { continue }
            reader.owner = nil
            sequence.waiters.removeAll { $0 === reader }
        }
        fresh = nil
        again = nil
        dead = nil
    }

    var backlog: UInt64 { delivery.backlog(before: sequence.visibleOffset) }
}
