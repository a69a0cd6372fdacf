import SluiceClient
import Synchronization

/// One measured run of consumers that acknowledge whatever they get.
final class LeaseRun: Sendable {
    private let consumers: [SubscriptionConsumer]
    private let state = Mutex(State())
    /// How long the last messages of a run may take.
    private static let patience = Duration.seconds(20)

    private struct State {
        var summary = BenchSummary()
        var first: ContinuousClock.Instant?
        var last: ContinuousClock.Instant?
        /// Who waits until so many messages have come.
        var waiting: (count: Int, continuation: CheckedContinuation<Void, Never>)?
        var error: SluiceClientError?
        /// Consumers that have ended.
        var ended = 0
    }

    init(consumers: [SubscriptionConsumer]) { self.consumers = consumers }

    private var taken: Int { state.withLock { $0.summary.messages } }

    /// Takes what is there and what comes.
    func measure(duration: Duration, count: Int) async throws(SluiceClientError) -> BenchSummary {
        let progress = BenchProgress { self.taken }
        defer { progress.stop() }
        let consuming = start(until: count)
        let end = ContinuousClock.now + duration
        var before = -1
        var quiet = 0
        while ContinuousClock.now < end, taken < count, quiet < 5, !isOver {
            try? await Task.sleep(for: .milliseconds(100))
            quiet = taken == before && before > 0 ? quiet + 1 : 0
            before = taken
        }
        return try await finish(consuming)
    }

    /// Publishes so many messages at a time and waits until everybody has them.
    func measureFanOut(
        _ producer: Producer,
        body: [UInt8],
        each: Int,
        duration: Duration,
        count: Int
    ) async throws(SluiceClientError) -> BenchSummary {
        let progress = BenchProgress { self.taken }
        defer { progress.stop() }
        let consuming = start(until: .max)
        let end = ContinuousClock.now + duration
        let watchdog = Task {
            guard (try? await Task.sleep(for: duration + Self.patience)) != nil else { return }
            giveUp()
        }
        defer { watchdog.cancel() }
        var sent = 0
        while ContinuousClock.now < end, sent < count, !isOver {
            for _ in 0..<each { try await producer.enqueue(body) }
            sent += each
            await wait(until: sent * consumers.count)
        }
        await producer.close()
        return try await finish(consuming)
    }

    private var isOver: Bool { state.withLock { $0.error != nil || $0.ended == consumers.count } }

    /// What was sent does not come: a connection was lost, and transient inboxes with it.
    private func giveUp() {
        let error = SluiceClientError(.timedOut, "not all messages came within \(Self.patience) of the end")
        let waiting = state.withLock { state in
            guard let waiting = state.waiting else { return nil as CheckedContinuation<Void, Never>? }
            state.waiting = nil
            state.error = state.error ?? error
            return waiting.continuation
        }
        waiting?.resume()
    }

    private func wait(until count: Int) async {
        await withCheckedContinuation { continuation in
            let isThere = state.withLock { state in
                guard state.summary.messages < count, state.error == nil else { return true }
                state.waiting = (count, continuation)
                return false
            }
            if isThere { continuation.resume() }
        }
    }

    private func start(until count: Int) -> [Task<Void, Never>] {
        consumers.map { consumer in
            Task {
                do throws(SluiceClientError) {
                    while let delivery = try await consumer.next() {
                        try delivery.accept()
                        if took(delivery) >= count { break }
                    }
                    ended(nil)
                } catch {
                    ended(error)
                }
            }
        }
    }

    private func ended(_ error: SluiceClientError?) {
        let waiting = state.withLock { state in
            state.ended += 1
            state.error = state.error ?? error
            guard state.error != nil else { return nil as CheckedContinuation<Void, Never>? }
            defer { state.waiting = nil }
            return state.waiting?.continuation
        }
        waiting?.resume()
    }

    /// - Returns: how many have come altogether.
    private func took(_ delivery: Delivery) -> Int {
        let now = ContinuousClock.now
        var bytes = 0
        var born: UInt64 = 0
        for message in delivery {
            bytes += message.bodyByteCount
            if born == 0 { born = message.bornAt }
        }
        let time = WallClock.microseconds()
        let (total, waiting) = state.withLock { state -> (Int, CheckedContinuation<Void, Never>?) in
            if state.first == nil { state.first = now }
            state.last = now
            state.summary.messages += delivery.count
            state.summary.bytes += bytes
            state.summary.batches += 1
            if born > 0 { state.summary.latencies.add(microseconds: time - min(time, born)) }
            guard let waiting = state.waiting, state.summary.messages >= waiting.count else {
                return (state.summary.messages, nil)
            }
            state.waiting = nil
            return (state.summary.messages, waiting.continuation)
        }
        waiting?.resume()
        return total
    }

    private func finish(_ consuming: [Task<Void, Never>]) async throws(SluiceClientError) -> BenchSummary {
        for consumer in consumers { await consumer.close() }
        for task in consuming { await task.value }
        return try state.withLock { state throws(SluiceClientError) in
            if let error = state.error { throw error }
            var summary = state.summary
            if let first = state.first, let last = state.last { summary.elapsed = last - first }
            return summary
        }
    }
}
