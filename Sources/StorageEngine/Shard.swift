internal import DequeModule
package import MessageModel
package import StorageService

/// The unit of storage, ordering and failover: one commit log and everything derived from it.
///
/// A shard is a deterministic state machine: it knows no clock, thread or file. Its owner calls it from one thread, passes
/// the time in, hands over what the device answered, and runs a round after each burst of calls. Only a round writes,
/// syncs and reports.
///
/// What each delivery touches has no dynamic checks for exclusive access, which were a fifth of its cost: no method hands
/// out access to a whole property while it calls anything else that uses it.
package final class Shard {
    package let options: ShardOptions
    package let device: any LogDevice
    let log: CommitLog
    @exclusivity(unchecked) var state: ShardState
    /// Parts of the log that were found damaged when it was opened.
    package let damaged: [DamagedRegion]

    @exclusivity(unchecked) var sessions: [SessionSlot] = []
    var freeSessions: [Int] = []
    var filters: [TenantID: LiveFilters] = [:]

    /// What waits until the log is durable up to a place, in the order of places.
    var unsettled: Deque<Unsettled> = []
    /// Appends that asked for `received`, until the device has them.
    var unwritten: Deque<Unsettled> = []
    /// Answers that wait for nothing but the next round.
    var outbox: [Reply] = []
    /// What arrived while the next segment was being made.
    var deferred: Deque<Deferred> = []
    var deferredBytes = 0
    /// What they waited for has come.
    var canReplay = false
    /// Messages that attached readers get before they are durable.
    var routable: [RoutableBatch] = []
    /// The end of the last record whose messages live filters get when it is durable.
    var unroutedEnd: UInt64 = 0
    @exclusivity(unchecked)
    var liveRun = LiveRun()
    @exclusivity(unchecked)
    var routedIDs: [UInt32] = []
    @exclusivity(unchecked)
    var nextSerial: UInt64 = 1

    /// What readers are to see when the log is durable so far, in the order of places.
    @exclusivity(unchecked) var growth: Deque<Growth> = []
    /// Changes of delivery states that are not in the log yet.
    @exclusivity(unchecked) var journal: DeliveryJournal
    /// Changes of session states that are not in the log yet: written behind those of delivery states.
    @exclusivity(unchecked) var stateJournal: StateJournal
    /// When the journal is written even if nobody waits for it.
    @exclusivity(unchecked) var journalDeadline: Timestamp?
    /// Answers that wait until the journal is durable.
    var journalWaiters: [Reply] = []
    @exclusivity(unchecked) var routes: [InboxRoute] = []
    @exclusivity(unchecked) var readySubscriptions: Deque<Subscription> = []
    /// Lanes with messages on their way to the dead letters.
    var readyDead: Deque<LaneKey> = []
    var queuedDead = Set<LaneKey>()
    /// Deadlines of subscriptions and transactions.
    let timers = TimerHeap()
    @exclusivity(unchecked) var pieces: [DeliveryState.Lease] = []
    var readyFetchesOfRecords: Deque<RecordFetch> = []
    /// Messages that are due and being read.
    var dueFetch: RecordFetch?
    /// Who answers for the open transactions of an owner.
    var transactionOwners: [TransactionOwnerKey: [UInt64]] = [:]
    var transactionOwnerPrefixes: [TransactionOwnerPrefix] = []
    /// Lanes whose dead letters wait for room in the log, or for the device.
    var waitingDead = Set<LaneKey>()
    /// Held while they look.
    var browsing: [ObjectIdentifier: BrowseTask] = [:]
    /// Dead letters on their way back, by their topic.
    var redrives: [TopicID: RedriveTask] = [:]
    var readyRedrives: Deque<RedriveTask> = []
    /// Held while they search.
    var lookUps: [ObjectIdentifier: LookUpTask] = [:]
    /// Overdue messages are not published before.
    var duePause: Timestamp?
    /// Since they could not be read.
    var dueReadPause = ReadPause()
    /// Transactions whose messages are being read for their commit.
    var committing = Set<TransactionID>()
    var nextAttachment: UInt64 = 1
    var nextTransaction: UInt32 = 1
    var nextTransient = SubscriptionID.firstTransient
    var readyAttachments: Deque<Attachment> = []
    var readyFetches: Deque<FetchTask> = []
    var readySearches: Deque<TimeSearch> = []
    var waitingFetches: [ObjectIdentifier: FetchTask] = [:]
    /// No fetch has to be answered before this time; it may be earlier than need be.
    var fetchDeadline = Timestamp.never
    /// Searches that go on: nothing else holds one while it waits for the device.
    var searches: [ObjectIdentifier: TimeSearch] = [:]
    @exclusivity(unchecked) var coldRequests = ColdRequests()
    var coldReads: [UInt64: (client: any ColdClient, source: ColdRequests.Request.Source)] = [:]
    @exclusivity(unchecked) var rangeScratch: [RecordRange] = []
    @exclusivity(unchecked)
    var nameScratch: [UInt8] = []

    var pendingFiles: [UInt64: PendingFile] = [:]
    var nextDeviceToken: UInt64 = 1
    /// The newest time that this shard was told.
    @exclusivity(unchecked) var clock = Timestamp.zero
    var snapshotWork = SnapshotWork()
    var reclaiming = ReclaimWork()
    var compaction = CompactionWork()
    var diskWatch = DiskWatch()
    /// The disk is so full that compaction does more than it would otherwise.
    var isDiskTight = false
    var nextProducer: UInt32 = 1
    /// When what nobody waits for is synced.
    var lazyDeadline: Timestamp?
    var retryDeadline: Timestamp?
    var hasReportedFailure = false
    /// Where messages go follows from records before this position.
    @exclusivity(unchecked) var definitionsEnd: UInt64 = 0
    /// Last values refused that were reported, and when the next are.
    var retainedWarning = (count: UInt64(0), next: Timestamp.zero)
    /// The first record of this epoch is in the log.
    var hasOpened = false
    package internal(set) var isReady = false

    init(
        log: CommitLog,
        state: ShardState,
        damaged: [DamagedRegion],
        options: ShardOptions
    ) {
        self.log = log
        self.device = log.device
        self.state = state
        self.damaged = damaged
        self.options = options
        journal = DeliveryJournal(recordBytes: min(options.journalBytes, options.segmentBytes / 8))
        stateJournal = StateJournal(recordBytes: min(options.journalBytes, options.segmentBytes / 8))
    }

    /// The topics by name and capture, kept up to date by this shard.
    package var directory: TopicDirectory { state.directory }

    /// What an append or a request waits for.
    struct Unsettled {
        enum Kind {
            case batch(session: UInt64, token: UInt64, RoutableBatch, AppendResult, acknowledges: Bool)
            case answered(session: UInt64, token: UInt64, AppendResult)
            case published([RoutableBatch])
            case reply(Reply)
            case opened
        }
        /// The end of its record.
        var end: UInt64
        var kind: Kind
    }

    struct RoutableBatch {
        /// Who appended it.
        var session: UInt64
        /// Whose its records are, see `AppendOptions.owners`.
        var owners: [RecordOwner] = []
        var topic: TopicState
        var position: UInt64
        var isRouted: Bool
        /// Messages that were stored before and are published now: not in memory any more, perhaps.
        var copy: [UInt8]?
    }

    /// A sequence grew: readers see it once the log is durable to here.
    struct Growth {
        var end: UInt64
        var sequence: IndexedSequence
        var nextOffset: UInt64
    }

    struct Reply {
        enum Kind {
            case append(AppendResult)
            case request(Result<StorageReply, SluiceError>)
            case attachmentEnded(UInt32, SluiceError)
            case consumerChanged(UInt32, isActive: Bool)
            case transactionNeedsResolution(TransactionID, owner: String)
        }
        var session: UInt64
        var token: UInt64
        var kind: Kind
    }

    enum Deferred {
        case append(session: UInt64, [UInt8], PartitionID, AppendOptions, token: UInt64)
        case request(session: UInt64, StorageRequest, token: UInt64)
    }

    // MARK: Sessions

    struct SessionSlot {
        /// Grows each time the slot is used again.
        var generation: UInt32 = 0
        var isOpen = false
        var tenant = TenantID.default
        var attachments: [UInt32: Attachment] = [:]
        var creditGroups: [UInt32: CreditGroup] = [:]
        var filters: [UInt32: LiveFilter] = [:]
        var transactionOwners: [TransactionOwnerKey] = []
        /// Nothing more is leased to its consumers.
        var isStopped = false
        var flow = SessionFlow()
        /// Inboxes that end with it.
        var subscriptions: [SubscriptionID] = []
    }

    /// The live filters of a tenant: a class, so that a message is matched in place and no table is copied.
    final class LiveFilters {
        @exclusivity(unchecked)
        var table = RoutingTable()
    }

    struct LiveFilter {
        var pattern: NamePattern
        /// Shared with the same filter of others.
        var group: UInt64?
    }

    struct TransactionOwnerKey: Hashable {
        var tenant: TenantID
        var owner: String
    }

    struct TransactionOwnerPrefix: Equatable {
        var tenant: TenantID
        var prefix: String
        var session: UInt64
    }

    /// Opens a session; its number is never used again.
    package func openSession(tenant: TenantID) -> UInt64 {
        let slot = freeSessions.popLast() ?? sessions.count
        if slot == sessions.count { sessions.append(SessionSlot()) }
        sessions[slot].isOpen = true
        sessions[slot].isStopped = false
        sessions[slot].flow = SessionFlow()
        sessions[slot].tenant = tenant
        return UInt64(slot) | UInt64(sessions[slot].generation) << 32
    }

    /// The slot of a session that is open.
    func slot(_ session: UInt64) -> Int? {
        let slot = Int(session & 0xFFFF_FFFF)
        guard slot < sessions.count, sessions[slot].isOpen, UInt64(sessions[slot].generation) == session >> 32 else {
            return nil
        }
        return slot
    }

    /// Ends a session with everything that belongs to it.
    package func closeSession(_ session: UInt64) {
        guard let slot = slot(session) else { return }
        for attachment in Array(sessions[slot].attachments.values) { detach(attachment) }
        for id in Array(sessions[slot].filters.keys) { _ = removeFilter(session: session, id: id) }
        for task in waitingFetches.values where task.session == session { withdraw(task) }
        for key in sessions[slot].transactionOwners { transactionOwners[key]?.removeAll { $0 == session } }
        transactionOwnerPrefixes.removeAll { $0.session == session }
        endSubscriptions(ofSession: session)
        sessions[slot].isOpen = false
        sessions[slot].generation &+= 1
        sessions[slot].flow.removeAll()
        sessions[slot].attachments = [:]
        sessions[slot].creditGroups = [:]
        sessions[slot].filters = [:]
        sessions[slot].transactionOwners = []
        freeSessions.append(slot)
    }

    // MARK: Time and the device

    /// The time for new records: never before that of the newest.
    func recordTime(_ now: Timestamp) -> Timestamp {
        state.lastTime = max(state.lastTime, now)
        return state.lastTime
    }

    /// When a round must be run even if nothing happens; nil for never.
    package var nextDeadline: Timestamp? {
        var earliest: Timestamp?
        func take(_ deadline: Timestamp?) {
            guard let deadline else { return }
            earliest = earliest.map { min($0, deadline) } ?? deadline
        }
        take(lazyDeadline)
        take(log.gatheringDeadline)
        take(retryDeadline)
        if fetchDeadline != .never { take(fetchDeadline) }
        take(journalDeadline)
        take(reclaiming.wakeAt)
        guard !snapshotWork.isSealed else { return earliest }
        if let timer = timers.first { take(Timestamp(rawValue: timer.due)) }
        if canPublishDue {
            if let due = state.held.timers.first { take(max(Timestamp(rawValue: due.due), duePause ?? .zero)) }
            if !state.held.leaving.isEmpty { take(duePause) }
        }
        return earliest
    }

    /// The device answered something.
    package func deviceCompleted(_ event: DeviceEvent) {
        switch event {
        case .segmentReady(let segment, let error):
            log.segmentReady(segment, error)
            canReplay = true
        case .synced(let token, let error):
            log.synced(token: token, error)
        case .read(let token, let result):
            coldReads.removeValue(forKey: token)?.client.received(result, shard: self)
        case .fileWritten(let token, let error):
            guard let file = pendingFiles.removeValue(forKey: token) else { return }
            fileWritten(file, error)
        }
    }

    func takeToken() -> UInt64 {
        defer { nextDeviceToken += 1 }
        return nextDeviceToken
    }
}
