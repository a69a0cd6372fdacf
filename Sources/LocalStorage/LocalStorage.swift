internal import Glibc
package import Logging
package import MessageModel
package import NIOCore
package import StorageEngine
package import StorageService

/// The storage service of this process: a shard on the event loop of the connections that use it.
///
/// What the connections of one event-loop tick ask for is done in one round behind them: one write, one sync, one report
/// to each. Only syncs, cold reads and file work run on other threads; their answers come back as tasks of the loop.
package final class LocalStorage: StorageService {
    package let eventLoop: any EventLoop
    private let loop: NIOIsolatedEventLoop
    private let shard: Shard
    private let logger: Logger
    /// Sessions by the slot in their number.
    @exclusivity(unchecked)
    private var sessions: [LocalSession?] = []
    /// Those that something was reported to in this round.
    @exclusivity(unchecked)
    private var touched: [LocalSession] = []
    @exclusivity(unchecked)
    private var isRoundScheduled = false
    private var isInRound = false
    /// Called at the beginning of the next round.
    private var early: [() -> Void] = []
    /// The time at which this tick of the event loop first asked for something.
    @exclusivity(unchecked)
    private var tickTime: Timestamp?
    private var timer: (deadline: Timestamp, task: Scheduled<Void>)?
    private var whenReady: [EventLoopPromise<Void>] = []
    private var whenClosed: [EventLoopPromise<Void>] = []

    /// Takes over a shard that was opened. To be called on the event loop.
    package init(shard: Shard, eventLoop: any EventLoop, logger: Logger) {
        eventLoop.preconditionInEventLoop()
        self.shard = shard
        self.eventLoop = eventLoop
        self.logger = logger
        loop = eventLoop.assumeIsolated()
        for region in shard.damaged {
            logger.error(
                "the log is damaged: messages in this part are lost",
                metadata: ["from": "\(region.start)", "to": "\(region.end)"]
            )
        }
        scheduleRound()
    }

    package var topics: TopicDirectory { shard.directory }

    package var isRoundDue: Bool { isRoundScheduled }

    package var health: StorageHealth { shard.health }

    /// Succeeds once everything that recovery found is known to be durable and the built-in topic is there.
    package func ready() -> EventLoopFuture<Void> {
        let promise = eventLoop.makePromise(of: Void.self)
        if isServing {
            promise.succeed()
        } else if let failure = failureReason {
            promise.fail(failure)
        } else {
            whenReady.append(promise)
            // The round that makes it ready may have run before anybody waited.
            scheduleRound()
        }
        return promise.futureResult
    }

    private var isServing: Bool {
        shard.isReady && shard.directory.topic(named: TopicDirectory.builtInTopic, tenant: .default) != nil
    }

    private var failureReason: SluiceError? {
        let health = shard.health
        guard !health.acceptsWrites, health.reason.hasPrefix("the log failed") || health.reason == "the disk is full"
        else { return nil }
        return SluiceError(
            health.reason == "the disk is full" ? .storageFull : .storageUnavailable,
            "the storage cannot be opened: \(health.reason)"
        )
    }

    /// Writes and syncs everything and takes a snapshot. Sessions are to be closed before.
    package func close() -> EventLoopFuture<Void> {
        let promise = eventLoop.makePromise(of: Void.self)
        whenClosed.append(promise)
        shard.close()
        scheduleRound()
        return promise.futureResult
    }

    // MARK: Sessions

    package func openSession(tenant: TenantID, delegate: any StorageSessionDelegate) -> any StorageSession {
        eventLoop.assertInEventLoop()
        let id = shard.openSession(tenant: tenant)
        let session = LocalSession(id: id, storage: self, delegate: delegate)
        let slot = Int(id & 0xFFFF_FFFF)
        while sessions.count <= slot { sessions.append(nil) }
        sessions[slot] = session
        return session
    }

    fileprivate func closed(_ session: LocalSession) {
        shard.closeSession(session.id)
        sessions[Int(session.id & 0xFFFF_FFFF)] = nil
        // What it had goes to others.
        scheduleRound()
    }

    /// The session with this number, noted as one that hears the end of the round.
    @inline(__always)
    private func session(_ id: UInt64) -> LocalSession? {
        let slot = Int(id & 0xFFFF_FFFF)
        guard slot < sessions.count, let session = sessions[slot], session.id == id else { return nil }
        if !session.isTouched {
            session.isTouched = true
            touched.append(session)
        }
        return session
    }

    // MARK: Rounds

    /// Runs a round once everything that this tick of the event loop brings has been handled.
    fileprivate func scheduleRound() {
        guard !isRoundScheduled else { return }
        isRoundScheduled = true
        loop.execute { self.runRound() }
    }

    /// Hands over what the device answered. Callable from its threads.
    package func deviceEvents(_ events: [DeviceEvent]) {
        eventLoop.assertInEventLoop()
        for event in events { shard.deviceCompleted(event) }
        runRound()
    }

    private func runRound() {
        callEarly()
        isRoundScheduled = false
        tickTime = nil
        let hasMore = shard.runRound(now: .now(), output: self)
        let reached = touched
        touched.removeAll(keepingCapacity: true)
        for session in reached {
            session.isTouched = false
            session.delegate?.storageRoundEnded()
        }
        if hasMore { scheduleRound() }
        if !whenReady.isEmpty || !whenClosed.isEmpty { reportLifecycle() }
        scheduleTimer()
    }

    package func beforeRound(_ body: @escaping () -> Void) {
        early.append(body)
        scheduleRound()
    }

    private func callEarly() {
        guard !early.isEmpty else { return }
        // What they ask for is done in the round that begins.
        isRoundScheduled = true
        let bodies = early
        early.removeAll(keepingCapacity: true)
        for body in bodies { body() }
    }

    private func reportLifecycle() {
        if shard.isReady, !whenReady.isEmpty {
            shard.ensureBuiltInTopic(now: .now())
            scheduleRound()
        }
        if !whenReady.isEmpty {
            if isServing {
                for promise in whenReady { promise.succeed() }
                whenReady = []
            } else if let failure = failureReason {
                for promise in whenReady { promise.fail(failure) }
                whenReady = []
            }
        }
        if shard.isClosed {
            for promise in whenClosed { promise.succeed() }
            whenClosed = []
            timer?.task.cancel()
            timer = nil
        }
    }

    private func scheduleTimer() {
        guard let deadline = shard.nextDeadline, !shard.isClosed else { return }
        if let timer {
            guard deadline < timer.deadline else { return }
            timer.task.cancel()
        }
        let now = Timestamp.now()
        let wait = deadline > now ? deadline.rawValue - now.rawValue : 0
        let task = loop.scheduleTask(in: .microseconds(Int64(clamping: wait))) {
            self.timer = nil
            self.runRound()
        }
        timer = (deadline, task)
    }

    // MARK: What sessions ask

    fileprivate func append(
        _ session: LocalSession,
        _ batch: BatchView,
        _ partition: PartitionID,
        _ options: AppendOptions,
        _ token: UInt64
    ) {
        eventLoop.assertInEventLoop()
        shard.append(
            session: session.id,
            batch: batch,
            to: partition,
            options: options,
            token: token,
            now: timeOfTick()
        )
        scheduleRound()
    }

    /// A round follows each tick, so that this is never far behind.
    private func timeOfTick() -> Timestamp {
        if let tickTime { return tickTime }
        let now = Timestamp.now()
        tickTime = now
        return now
    }

    fileprivate func withShard<Result>(_ body: (Shard, Timestamp) -> Result) -> Result {
        eventLoop.assertInEventLoop()
        defer { scheduleRound() }
        return body(shard, timeOfTick())
    }
}

extension LocalStorage: ShardOutput {
    package func appendCompleted(session id: UInt64, token: UInt64, result: AppendResult) {
        session(id)?.delegate?.appendCompleted(token: token, result: result)
    }

    package func batchDelivered(session id: UInt64, _ delivery: BatchDelivery) {
        session(id)?.delegate?.batchDelivered(delivery)
    }

    package func messageRouted(session id: UInt64, _ message: RoutedMessage) {
        session(id)?.delegate?.messageRouted(message)
    }

    package func messagesRouted(session id: UInt64, _ run: RoutedRun) {
        session(id)?.delegate?.messagesRouted(run)
    }

    package func consumerChanged(session id: UInt64, attachment: UInt32, isActive: Bool) {
        session(id)?.delegate?.consumerChanged(attachment: attachment, isActive: isActive)
    }

    package func transactionNeedsResolution(session id: UInt64, _ transaction: TransactionID, owner: String) {
        session(id)?.delegate?.transactionNeedsResolution(transaction, owner: owner)
    }

    package func attachmentEnded(session id: UInt64, attachment: UInt32, error: SluiceError) {
        session(id)?.delegate?.attachmentEnded(attachment: attachment, error: error)
    }

    package func requestCompleted(session id: UInt64, token: UInt64, result: Result<StorageReply, SluiceError>) {
        session(id)?.delegate?.requestCompleted(token: token, result: result)
    }

    package func warning(_ text: String) { logger.error("\(text)") }
}

/// A session with the shard of this process.
private final class LocalSession: StorageSession {
    let id: UInt64
    var number: UInt64 { id }
    unowned let storage: LocalStorage
    @exclusivity(unchecked)
    var delegate: (any StorageSessionDelegate)?
    /// Something was reported to it in this round.
    @exclusivity(unchecked)
    var isTouched = false

    init(id: UInt64, storage: LocalStorage, delegate: any StorageSessionDelegate) {
        self.id = id
        self.storage = storage
        self.delegate = delegate
    }

    func append(_ batch: BatchView, to partition: PartitionID, options: AppendOptions, token: UInt64) {
        storage.append(self, batch, partition, options, token)
    }

    func attach(_ request: AttachRequest, attachment: UInt32) {
        storage.withShard { shard, now in shard.attach(session: id, request, attachment: attachment, now: now) }
    }

    func grantCredit(attachment: UInt32, messages: UInt64, bytes: UInt64) {
        storage.withShard { shard, _ in
            shard.grantCredit(session: id, attachment: attachment, messages: messages, bytes: bytes)
        }
    }

    func grantCredit(group: UInt32, messages: UInt64) {
        storage.withShard { shard, _ in shard.grantCredit(session: id, group: group, messages: messages) }
    }

    func takeUp(bytes: Int) {
        storage.withShard { shard, _ in shard.takeUp(session: id, bytes: bytes) }
    }

    func detach(attachment: UInt32) {
        storage.withShard { shard, _ in shard.detach(session: id, attachment: attachment) }
    }

    func retire(attachment: UInt32) {
        storage.withShard { shard, _ in shard.retire(session: id, attachment: attachment) }
    }

    func settle(
        attachment: UInt32,
        lane: UInt16,
        first: UInt64,
        last: UInt64,
        _ settlement: Settlement,
        token: UInt64?
    ) {
        storage.withShard { shard, now in
            shard.settle(
                session: id,
                attachment: attachment,
                lane: lane,
                first: first,
                last: last,
                settlement,
                token: token,
                now: now
            )
        }
    }

    func stopDelivering() {
        storage.withShard { shard, _ in shard.stopDelivering(session: id) }
    }

    func addFilter(_ filter: UnsafeRawBufferPointer, id filterID: UInt32, group: UInt64?) -> SluiceError? {
        storage.withShard { shard, _ in shard.addFilter(session: id, filter, id: filterID, group: group) }
    }

    func removeFilter(id filterID: UInt32) -> Bool {
        storage.withShard { shard, _ in shard.removeFilter(session: id, id: filterID) }
    }

    func perform(_ request: StorageRequest, token: UInt64) {
        storage.withShard { shard, now in shard.perform(session: id, request, token: token, now: now) }
    }

    func putState(_ changes: StateChanges, token: UInt64?) {
        storage.withShard { shard, now in shard.putState(session: id, changes, token: token, now: now) }
    }

    func cancel(token: UInt64) {
        storage.withShard { shard, _ in shard.cancel(session: id, token: token) }
    }

    func close() {
        guard delegate != nil else { return }
        delegate = nil
        storage.closed(self)
    }
}

extension Timestamp {
    /// The time of the system's clock.
    package static func now() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(rawValue: UInt64(time.tv_sec) * 1_000_000 + UInt64(time.tv_nsec) / 1_000)
    }
}
