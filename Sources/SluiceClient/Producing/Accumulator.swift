internal import MessageModel
internal import NIOCore
internal import Synchronization

/// Where messages of any thread gather to batches, until the event loop takes them.
final class Accumulator: Sendable {
    /// What the event loop is to be woken for.
    enum Wake: Int, Comparable {
        case none
        /// Something waits, and may wait as long as it lingers.
        case linger
        case now
        static func < (left: Wake, right: Wake) -> Bool { left.rawValue < right.rawValue }
    }

    private final class OpenBatch: @unchecked Sendable {
        var builder: BatchBuilder
        var waiters: [SealedBatch.Waiter] = []
        init(capacity: Int) { builder = BatchBuilder(capacity: capacity) }
    }

    private struct FlushWaiter: @unchecked Sendable {
        var lastOrdinal: UInt64
        var remaining: Int
        var resume: (SluiceClientError?) -> Void
    }

    private struct State {
        var open: [OpenBatch?]
        var openCount = 0
        var sealed: [SealedBatch] = []
        var turn = 0
        var bytes = 0
        var nextOrdinal: UInt64 = 0
        /// Sealed and not completed.
        var outstanding = 0
        var wake = Wake.none
        var roomWaiters: [@Sendable () -> Void] = []
        var flushWaiters: [FlushWaiter] = []
        /// The first failure that no flush has reported.
        var firstError: SluiceClientError?
        /// The end: nothing is taken any more.
        var failure: SluiceClientError?
    }

    enum Admission {
        case accepted(Wake)
        case full
        case failed(SluiceClientError)
    }

    private let state: Mutex<State>
    private let options: ProducerOptions
    private let batchLimit: Int
    private let recordLimit: Int

    init(partitions: Int, options: ProducerOptions) {
        self.options = options
        batchLimit = min(max(options.maxBatchBytes, 1 << 10), Limits.batchBytes)
        recordLimit = min(max(options.maxBatchRecords, 1), Limits.recordsPerBatch)
        state = Mutex(State(open: Array(repeating: nil, count: max(1, partitions))))
    }

    /// Takes a message.
    /// - Parameters:
    ///   - partition: nil where batches take turns.
    ///   - waiter: told when the message is stored.
    /// - Returns: what to wake the event loop for, the first time that it is needed.
    func append(
        _ record: RecordFields,
        partition: Int?,
        waiter: ((Result<Receipt, SluiceClientError>) -> Void)? = nil
    ) -> Admission {
        let bound = BatchBuilder.sizeBound(record)
        return state.withLock { state in
            if let failure = state.failure { return .failed(failure) }
            guard state.bytes < options.bufferBytes else { return .full }
            var wake = Wake.none
            let index = partition ?? state.turn
            let batch: OpenBatch
            if let there = state.open[index] {
                batch = there
            } else {
                batch = OpenBatch(capacity: min(batchLimit, 16 << 10))
                state.open[index] = batch
            }
            if !batch.builder.isEmpty, batch.builder.byteCount + bound > batchLimit {
                seal(&state, index)
                wake = .now
            }
            if batch.builder.isEmpty {
                batch.builder.begin()
                state.openCount += 1
                wake = max(wake, .linger)
            }
            let before = batch.builder.byteCount
            if let waiter { batch.waiters.append((batch.builder.recordCount, waiter)) }
            batch.builder.append(record)
            state.bytes += batch.builder.byteCount - before
            if batch.builder.recordCount >= recordLimit || batch.builder.byteCount >= batchLimit {
                seal(&state, index)
                wake = .now
            }
            if wake == .linger, options.linger == .zero { wake = .now }
            guard wake > state.wake else { return .accepted(.none) }
            state.wake = wake
            return .accepted(wake)
        }
    }

    private func seal(_ state: inout State, _ index: Int) {
        guard let batch = state.open[index], !batch.builder.isEmpty else { return }
        let records = batch.builder.recordCount
        let waiters = batch.waiters
        batch.waiters.removeAll()
        let ordinal = state.nextOrdinal
        state.nextOrdinal += 1
        state.outstanding += 1
        state.openCount -= 1
        let deadline = NIODeadline.now() + TimeAmount(options.deliveryTimeout)
        let acknowledgement = options.wireAcknowledgement
        let sealed = batch.builder.finish { bytes in
            SealedBatch(
                bytes,
                partition: index,
                acknowledgement: acknowledgement,
                recordCount: records,
                ordinal: ordinal,
                waiters: waiters,
                deadline: deadline
            )
        }
        state.bytes += BatchLayout.headerBytes
        state.sealed.append(sealed)
        batch.builder.begin()
        if case .roundRobin = options.partitioning { state.turn = (state.turn + 1) % state.open.count }
    }

    /// What is ready for the event loop.
    /// - Parameters:
    ///   - sealsOpen: also batches that would take more, of the partitions for which this says so.
    /// - Returns: also whether batches stay that would take more.
    func take(sealsOpen: (Int) -> Bool) -> (sealed: [SealedBatch], hasOpen: Bool) {
        state.withLock { state in
            state.wake = .none
            if state.openCount > 0 {
                for index in state.open.indices where state.open[index]?.builder.isEmpty == false && sealsOpen(index) {
                    seal(&state, index)
                }
            }
            let result = state.sealed
            state.sealed.removeAll()
            return (result, state.openCount > 0)
        }
    }

    /// Nothing waits here or on its way.
    var isIdle: Bool { state.withLock { $0.outstanding == 0 && $0.openCount == 0 } }

    /// Batches have their outcome: gives their room back, and tells who waits.
    func completed(_ outcomes: [ProducerState.Outcome]) {
        guard !outcomes.isEmpty else { return }
        var flushed: [FlushWaiter] = []
        var error: SluiceClientError?
        let waiting: [@Sendable () -> Void] = state.withLock { state in
            for outcome in outcomes {
                state.bytes -= outcome.batch.byteCount
                state.outstanding -= 1
                if case .failure(let failure) = outcome.result, state.firstError == nil, hasSilentRecords(outcome.batch)
                {
                    state.firstError = failure
                }
                for index in state.flushWaiters.indices
                where outcome.batch.ordinal <= state.flushWaiters[index].lastOrdinal {
                    state.flushWaiters[index].remaining -= 1
                }
            }
            if state.flushWaiters.contains(where: { $0.remaining == 0 }) {
                flushed = state.flushWaiters.filter { $0.remaining == 0 }
                state.flushWaiters.removeAll { $0.remaining == 0 }
                error = state.firstError
                state.firstError = nil
            }
            guard state.bytes < options.bufferBytes || state.failure != nil else { return [] }
            let waiting = state.roomWaiters
            state.roomWaiters.removeAll()
            return waiting
        }
        for outcome in outcomes {
            for waiter in outcome.batch.waiters {
                waiter.resume(
                    outcome.result.map {
                        Receipt(
                            partition: outcome.batch.partition,
                            baseOffset: $0,
                            index: UInt32(truncatingIfNeeded: waiter.index),
                            scheduled: outcome.scheduled
                        )
                    }
                )
            }
        }
        for waiter in flushed { waiter.resume(error) }
        for resume in waiting { resume() }
    }

    private func hasSilentRecords(_ batch: SealedBatch) -> Bool { batch.waiters.count < Int(batch.recordCount) }

    /// Seals everything, and calls `resume` once all that was taken before has its outcome.
    /// - Returns: whether the event loop is to be woken.
    func flush(_ resume: @escaping (SluiceClientError?) -> Void) -> Bool {
        let (isDone, error): (Bool, SluiceClientError?) = state.withLock { state in
            for index in state.open.indices { seal(&state, index) }
            guard state.outstanding > 0 else {
                defer { state.firstError = nil }
                return (true, state.firstError ?? state.failure)
            }
            state.flushWaiters.append(
                FlushWaiter(lastOrdinal: state.nextOrdinal - 1, remaining: state.outstanding, resume: resume)
            )
            return (false, nil)
        }
        if isDone { resume(error) }
        return !isDone
    }

    /// Calls `resume` once there is room, or the end has come.
    func waitForRoom(_ resume: @escaping @Sendable () -> Void) {
        let isThere = state.withLock { state in
            if state.bytes < options.bufferBytes || state.failure != nil { return true }
            state.roomWaiters.append(resume)
            return false
        }
        if isThere { resume() }
    }

    /// Takes nothing any more.
    /// - Returns: what nobody has taken yet, to be failed.
    func end(_ error: SluiceClientError) -> [SealedBatch] {
        let (left, waiting) = state.withLock { state in
            if state.failure == nil { state.failure = error }
            for index in state.open.indices { seal(&state, index) }
            let left = state.sealed
            state.sealed.removeAll()
            let waiting = state.roomWaiters
            state.roomWaiters.removeAll()
            return (left, waiting)
        }
        for resume in waiting { resume() }
        return left
    }
}
