internal import NIOCore
internal import Synchronization

/// Deliveries between the event loop that brings them and the task that takes them.
final class LeaseQueue: Sendable {
    private typealias Answer = Result<Delivery?, SluiceClientError>

    private struct State {
        var deliveries = CircularBuffer<Delivery>()
        var waiter: CheckedContinuation<Answer, Never>?
        var end: Answer?
        /// Bytes of credit of what was taken.
        var usedBytes: UInt64 = 0
    }

    private let state = Mutex(State())
    private let returnAt: UInt64
    private let returnCredit: @Sendable () -> Void

    /// - Parameters:
    ///   - returnAt: bytes that were taken, from which on they are given back.
    ///   - returnCredit: called then.
    init(returnAt: UInt64, returnCredit: @escaping @Sendable () -> Void) {
        self.returnAt = max(1, returnAt)
        self.returnCredit = returnCredit
    }

    /// The event loop brings what a read had.
    func push(_ deliveries: [Delivery]) {
        var isDue = false
        let handed = state.withLock { state -> (CheckedContinuation<Answer, Never>, Delivery)? in
            guard state.end == nil else { return nil }
            state.deliveries.append(contentsOf: deliveries)
            guard let waiter = state.waiter, let first = state.deliveries.popFirst() else { return nil }
            state.waiter = nil
            isDue = take(first, &state)
            return (waiter, first)
        }
        if let (waiter, delivery) = handed { waiter.resume(returning: .success(delivery)) }
        if isDue { returnCredit() }
    }

    private func take(_ delivery: Delivery, _ state: inout State) -> Bool {
        let before = state.usedBytes
        state.usedBytes += delivery.batch.creditBytes
        return before < returnAt && state.usedBytes >= returnAt
    }

    /// Lets go of what is not taken: its leases are lost.
    func drop() {
        state.withLock { state in
            state.deliveries.removeAll()
            state.usedBytes = 0
        }
    }

    func takeUsedBytes() -> UInt64 {
        state.withLock { state in
            defer { state.usedBytes = 0 }
            return state.usedBytes
        }
    }

    /// The next delivery; nil at the end and when the task is cancelled.
    func next() async throws(SluiceClientError) -> Delivery? {
        let result: Answer = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                var isDue = false
                let ready = state.withLock { state -> Answer? in
                    if let delivery = state.deliveries.popFirst() {
                        isDue = take(delivery, &state)
                        return .success(delivery)
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
        let end: Answer = error.map { .failure($0) } ?? .success(nil)
        let waiter = state.withLock { state in
            if state.end == nil { state.end = end }
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume(returning: end)
    }
}
