internal import Gateway
internal import MessageModel
internal import NIOCore
internal import StorageService
internal import Synchronization

/// The way from handlers, which may run anywhere, to the gateway, which lives on one event loop: one session for the
/// whole front, whose answers resume the handlers that wait.
final class StorageBridge: Sendable {
    private let eventLoop: any EventLoop
    private let requests: NIOLoopBound<SessionRequests>
    private let gateway: NIOLoopBound<Gateway>
    private let lastToken = Atomic<UInt64>(0)

    private init(
        eventLoop: any EventLoop,
        gateway: NIOLoopBound<Gateway>,
        requests: NIOLoopBound<SessionRequests>
    ) {
        self.eventLoop = eventLoop
        self.gateway = gateway
        self.requests = requests
    }

    static func open(
        gateway: NIOLoopBound<Gateway>,
        eventLoop: any EventLoop,
        timeout: TimeAmount,
        maxWaits: Int
    ) async throws -> StorageBridge {
        try await eventLoop.submit {
            let requests = SessionRequests(eventLoop: eventLoop, timeout: timeout, maxWaits: maxWaits)
            requests.session = gateway.value.openSession(delegate: requests)
            return StorageBridge(
                eventLoop: eventLoop,
                gateway: gateway,
                requests: NIOLoopBound(requests, eventLoop: eventLoop)
            )
        }.get()
    }

    /// Runs `body` on the gateway's event loop.
    func withSession<Value: Sendable>(
        _ body: @escaping @Sendable (GatewaySession) throws -> Value
    ) async throws -> Value {
        try await eventLoop.submit { [requests] in
            guard let session = requests.value.session else { throw SessionRequests.stopped }
            return try body(session)
        }.get()
    }

    /// Asks the gateway for something, on its event loop, and waits for the answer.
    func withGateway<Value: Sendable>(
        _ body: @escaping @Sendable (Gateway, @escaping @Sendable (Result<Value, SluiceError>) -> Void) -> Void
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            eventLoop.execute { [gateway] in
                body(gateway.value) { result in continuation.resume(with: result.mapError { $0 as any Error }) }
            }
        }
    }

    /// Asks storage, and waits for the answer.
    func perform(_ request: StorageRequest) async throws -> StorageReply {
        let token = nextToken()
        return try await withCheckedThrowingContinuation { continuation in
            eventLoop.execute { [requests] in
                requests.value.perform(request, token: token, continuation)
            }
        }
    }

    /// Fetches, and waits for a message as the request says.
    /// - Returns: nil where the task was cancelled or the front stops while it waits.
    func fetch(_ request: FetchRequest) async throws -> FetchReply? {
        let token = nextToken()
        let isCancelled = NIOLoopBoundBox.makeBoxSendingValue(false, eventLoop: eventLoop)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                eventLoop.execute { [requests] in
                    guard !isCancelled.value else { return continuation.resume(returning: nil) }
                    requests.value.fetch(request, token: token, continuation)
                }
            }
        } onCancel: {
            eventLoop.execute { [requests] in
                isCancelled.value = true
                requests.value.endWait(token: token)
            }
        }
    }

    /// Appends batches in their order.
    /// - Returns: what became of each.
    /// - Parameter transaction: what they belong to; they are invisible until its commit.
    func append(
        _ batches: [EncodedBatch],
        acknowledgement: Acknowledgement?,
        transaction: TransactionID? = nil
    ) async -> [AppendResult] {
        let first = lastToken.add(UInt64(batches.count), ordering: .relaxed).oldValue + 1
        return await withCheckedContinuation { continuation in
            eventLoop.execute { [requests] in
                requests.value.append(batches, acknowledgement, transaction, firstToken: first, continuation)
            }
        }
    }

    /// Calls `body`, on the gateway's event loop, whenever the owner of a transaction is to be asked what became of it;
    /// from then on this front answers for owners whose names begin with `prefix`.
    func answerForTransactions(
        of prefix: String,
        _ body: @escaping @Sendable (TransactionID, String) -> Void
    ) async throws {
        try await eventLoop.submit { [requests] in requests.value.onTransactionCheck = body }.get()
        _ = try await perform(.adoptTransactions(owner: prefix, asPrefix: true))
    }

    /// Fetches that wait at this moment.
    var waits: Int {
        get async { (try? await eventLoop.submit { [requests] in requests.value.waits }.get()) ?? 0 }
    }

    /// Lets what waits for messages end, now and from here on.
    func stopWaiting() async {
        try? await eventLoop.submit { [requests] in requests.value.stopWaiting() }.get()
    }

    /// Ends the session; what is still under way ends with an error.
    func close() async {
        try? await eventLoop.submit { [requests] in requests.value.close() }.get()
    }

    private func nextToken() -> UInt64 { lastToken.add(1, ordering: .relaxed).newValue }
}

/// A finished batch and where it goes.
struct EncodedBatch: Sendable {
    var partition: PartitionID
    var bytes: [UInt8]
}

/// The requests of the front's session that are under way. Belongs to the gateway's event loop.
final class SessionRequests: StorageSessionDelegate {
    static let stopped = SluiceError(.shuttingDown, "the server is shutting down")

    private enum Waiting {
        case request(CheckedContinuation<StorageReply, any Error>, Scheduled<Void>)
        case fetch(CheckedContinuation<FetchReply?, any Error>, mayWait: Bool)
        case append(Appends)
    }

    /// The batches of one publish request, which are answered together.
    private final class Appends {
        let firstToken: UInt64
        private(set) var results: [AppendResult?]
        private var left: Int
        private let continuation: CheckedContinuation<[AppendResult], Never>
        var timer: Scheduled<Void>?

        init(firstToken: UInt64, count: Int, _ continuation: CheckedContinuation<[AppendResult], Never>) {
            self.firstToken = firstToken
            results = Array(repeating: nil, count: count)
            left = count
            self.continuation = continuation
        }

        func complete(token: UInt64, _ result: AppendResult) {
            let index = Int(token - firstToken)
            guard results[index] == nil else { return }
            results[index] = result
            left -= 1
            guard left == 0 else { return }
            timer?.cancel()
            continuation.resume(returning: results.compactMap { $0 })
        }
    }

    private let loop: NIOIsolatedEventLoop
    private let timeout: TimeAmount
    private let maxWaits: Int
    /// Fetches that may be waiting.
    fileprivate var waits = 0
    fileprivate var session: GatewaySession?
    private var waiting: [UInt64: Waiting] = [:]
    private var isStopping = false
    /// Called when an application is to be asked about its transaction.
    fileprivate var onTransactionCheck: (@Sendable (TransactionID, String) -> Void)?

    init(eventLoop: any EventLoop, timeout: TimeAmount, maxWaits: Int) {
        loop = eventLoop.assumeIsolated()
        self.timeout = timeout
        self.maxWaits = maxWaits
    }

    fileprivate func perform(
        _ request: StorageRequest,
        token: UInt64,
        _ continuation: CheckedContinuation<StorageReply, any Error>
    ) {
        guard let session else { return continuation.resume(throwing: Self.stopped) }
        let timer = loop.scheduleTask(in: timeout) { [weak self] in
            guard let self, case .request(let continuation, _) = waiting.removeValue(forKey: token) else { return }
            let code: ErrorCode = request.changesSomething ? .indeterminate : .storageUnavailable
            continuation.resume(throwing: SluiceError(code, "storage did not answer in time"))
        }
        waiting[token] = .request(continuation, timer)
        session.storage.perform(request, token: token)
    }

    fileprivate func fetch(
        _ request: FetchRequest,
        token: UInt64,
        _ continuation: CheckedContinuation<FetchReply?, any Error>
    ) {
        guard let session else { return continuation.resume(returning: nil) }
        var request = request
        if isStopping { request.waitMicroseconds = 0 }
        let mayWait = request.waitMicroseconds > 0
        guard !mayWait || waits < maxWaits else {
            return continuation.resume(throwing: SluiceError(.busy, "too many reads wait for messages"))
        }
        if mayWait { waits += 1 }
        waiting[token] = .fetch(continuation, mayWait: mayWait)
        session.storage.perform(.fetch(request), token: token)
    }

    fileprivate func endWait(token: UInt64) {
        guard case .fetch(let continuation, let mayWait) = waiting[token] else { return }
        waiting[token] = nil
        if mayWait { waits -= 1 }
        session?.storage.cancel(token: token)
        continuation.resume(returning: nil)
    }

    fileprivate func append(
        _ batches: [EncodedBatch],
        _ acknowledgement: Acknowledgement?,
        _ transaction: TransactionID?,
        firstToken: UInt64,
        _ continuation: CheckedContinuation<[AppendResult], Never>
    ) {
        guard let session, !batches.isEmpty else {
            let refused = AppendResult(error: .shuttingDown)
            return continuation.resume(returning: Array(repeating: refused, count: batches.count))
        }
        let appends = Appends(firstToken: firstToken, count: batches.count, continuation)
        appends.timer = loop.scheduleTask(in: timeout) { [weak self] in self?.giveUp(appends) }
        for (index, batch) in batches.enumerated() {
            let token = firstToken + UInt64(index)
            waiting[token] = .append(appends)
            batch.bytes.withUnsafeBytes { bytes in
                guard let view = BatchView(prefixOf: bytes) else {
                    return appendCompleted(token: token, result: AppendResult(error: .tooLarge))
                }
                let options = AppendOptions(
                    acknowledgement: acknowledgement ?? session.acknowledgement,
                    transaction: transaction
                )
                session.storage.append(view, to: batch.partition, options: options, token: token)
            }
        }
    }

    /// Reports what has no result yet as in doubt.
    private func giveUp(_ appends: Appends) {
        for index in appends.results.indices where appends.results[index] == nil {
            appendCompleted(token: appends.firstToken + UInt64(index), result: AppendResult(error: .indeterminate))
        }
    }

    fileprivate func stopWaiting() {
        isStopping = true
        for (token, entry) in waiting {
            if case .fetch = entry { endWait(token: token) }
        }
    }

    fileprivate func close() {
        isStopping = true
        session?.storage.close()
        session = nil
        let left = waiting
        waiting = [:]
        for entry in left.values {
            switch entry {
            case .request(let continuation, let timer):
                timer.cancel()
                continuation.resume(throwing: SluiceError(.indeterminate, "the server stopped before storage answered"))
            case .fetch(let continuation, _): continuation.resume(returning: nil)
            case .append: break
            }
        }
        for (token, entry) in left {
            guard case .append(let appends) = entry else { continue }
            appends.complete(token: token, AppendResult(error: .indeterminate))
        }
    }

    // MARK: StorageSessionDelegate

    func appendCompleted(token: UInt64, result: AppendResult) {
        guard case .append(let appends) = waiting.removeValue(forKey: token) else { return }
        appends.complete(token: token, result)
    }

    func requestCompleted(token: UInt64, result: Result<StorageReply, SluiceError>) {
        switch waiting.removeValue(forKey: token) {
        case .request(let continuation, let timer):
            timer.cancel()
            continuation.resume(with: result.mapError { $0 as any Error })
        case .fetch(let continuation, let mayWait):
            if mayWait { waits -= 1 }
            switch result {
            case .success(.fetched(let reply)): continuation.resume(returning: reply)
            case .success: continuation.resume(returning: nil)
            case .failure(let error): continuation.resume(throwing: error)
            }
        case .append, nil: break
        }
    }

    func transactionNeedsResolution(_ transaction: TransactionID, owner: String) {
        guard !isStopping else { return }
        onTransactionCheck?(transaction, owner)
    }

    // The front attaches no readers and adds no filters.
    func batchDelivered(_ delivery: BatchDelivery) {}
    func messageRouted(_ message: RoutedMessage) {}
    func attachmentEnded(attachment: UInt32, error: SluiceError) {}
    func storageRoundEnded() {}
}

extension StorageRequest {
    /// Whether it is in doubt what became of it where no answer comes.
    fileprivate var changesSomething: Bool {
        switch self {
        case .createTopic, .deleteTopic, .createSubscription, .deleteSubscription, .commit, .updateSubscription, .bind,
            .unbind, .seek, .pause, .settle, .beginTransaction, .settleInTransaction, .commitTransaction,
            .rollBackTransaction, .cancelScheduled, .redrive, .queueRetained, .handOver, .lease:
            true
        case .listBindings, .browse, .adoptTransactions, .scanRetained, .lookUp, .describeTopic, .listTopics,
            .openProducer, .fetch, .findOffset, .describeSubscription, .getState, .scanState,
            .listSubscriptions, .health, .unsupported:
            false
        }
    }
}
