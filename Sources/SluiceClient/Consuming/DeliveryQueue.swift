internal import NIOCore
internal import Synchronization

/// Delivered batches between the event loop that brings them and the task that takes them.
final class DeliveryQueue: Sendable {
    /// Credit to give back to an attachment.
    struct Used: Equatable {
        var messages: UInt64 = 0
        var bytes: UInt64 = 0
    }

    private struct State {
        var batches = CircularBuffer<ConsumedBatch>()
        var waiter: CheckedContinuation<Result<ConsumedBatch?, SluiceClientError>, Never>?
        var end: Result<ConsumedBatch?, SluiceClientError>?
        /// The next offset of each partition after what was handed out, and after what came before the latest batch.
        var handedOut: [Int: UInt64] = [:]
        var processed: [Int: UInt64] = [:]
        var latest: ConsumedBatch?
        var used: [Int: Used] = [:]
        var isReturnDue = false
        var returnAt = Used(messages: 1, bytes: 1)
    }

    private let state = Mutex(State())
    private let returnCredit: @Sendable () -> Void

    /// - Parameter returnCredit: called when an attachment has used enough to give it back.
    init(returnCredit: @escaping @Sendable () -> Void) {
        self.returnCredit = returnCredit
    }

    /// With so much used by one attachment, credit is given back.
    func setReturn(at used: Used) { state.withLock { $0.returnAt = used } }

    /// The event loop brings what a read had.
    func push(_ batches: [ConsumedBatch]) {
        var isDue = false
        let handed: (CheckedContinuation<Result<ConsumedBatch?, SluiceClientError>, Never>, ConsumedBatch)? =
            state.withLock { state in
                guard state.end == nil else { return nil }
                state.batches.append(contentsOf: batches)
                guard let waiter = state.waiter, let first = state.batches.popFirst() else { return nil }
                state.waiter = nil
                isDue = take(first, &state)
                return (waiter, first)
            }
        if let (waiter, batch) = handed { waiter.resume(returning: .success(batch)) }
        if isDue { returnCredit() }
    }

    /// Notes what handing out a batch means; true where credit is to be given back now.
    private func take(_ batch: ConsumedBatch, _ state: inout State) -> Bool {
        if let latest = state.latest { state.processed[latest.partition] = latest.nextOffset }
        state.latest = batch
        state.handedOut[batch.partition] = batch.nextOffset
        var used = state.used[batch.attachment] ?? Used()
        used.messages += batch.creditMessages
        used.bytes += batch.creditBytes
        state.used[batch.attachment] = used
        guard !state.isReturnDue, used.messages >= state.returnAt.messages || used.bytes >= state.returnAt.bytes else {
            return false
        }
        state.isReturnDue = true
        return true
    }

    /// The next batch; nil at the end and when the task is cancelled.
    func next() async throws(SluiceClientError) -> ConsumedBatch? {
        let result: Result<ConsumedBatch?, SluiceClientError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                var isDue = false
                let ready: Result<ConsumedBatch?, SluiceClientError>? = state.withLock { state in
                    if let batch = state.batches.popFirst() {
                        isDue = take(batch, &state)
                        return .success(batch)
                    }
                    if let end = state.end { return end }
                    if Task.isCancelled { return .success(nil) }
                    guard state.waiter == nil else {
                        return .failure(SluiceClientError(.invalidArgument, "a consumer has one reader at a time"))
                    }
                    state.waiter = continuation
                    return nil
                }
                if let ready { continuation.resume(returning: ready) }
                if isDue { returnCredit() }
            }
        } onCancel: {
            let waiter = state.withLock { state in
                defer { state.waiter = nil }
                return state.waiter
            }
            waiter?.resume(returning: .success(nil))
        }
        return try result.get()
    }

    /// Nothing more comes; what is there is still handed out.
    func finish(_ error: SluiceClientError?) {
        let end: Result<ConsumedBatch?, SluiceClientError> = error.map { .failure($0) } ?? .success(nil)
        let waiter = state.withLock { state in
            if state.end == nil { state.end = end }
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume(returning: end)
    }

    /// What was used by each attachment since the last call.
    func takeUsed() -> [Int: Used] {
        state.withLock { state in
            state.isReturnDue = false
            defer { state.used.removeAll() }
            return state.used
        }
    }

    /// The position of each partition behind everything that was handed out.
    var handedOut: [Int: UInt64] { state.withLock { $0.handedOut } }

    /// The position of each partition behind everything before the latest batch.
    var processed: [Int: UInt64] { state.withLock { $0.processed } }
}
