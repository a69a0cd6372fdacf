import SluiceClient
import Synchronization

/// Commits the positions of a subscription as they advance, one commit at a time: what advances meanwhile shares the
/// next one.
final class PositionCommitter: Sendable {
    private struct State {
        var wanted: [Int: UInt64] = [:]
        var running: Task<Void, Never>?
        /// Of the latest commit; nil where it was done.
        var error: SluiceClientError?
    }

    private let consumer: Consumer
    private let state = Mutex(State())

    init(_ consumer: Consumer) {
        self.consumer = consumer
    }

    /// Everything of the partition before `offset` is done.
    func isDone(partition: Int, before offset: UInt64) {
        state.withLock { state in
            state.wanted[partition] = max(offset, state.wanted[partition] ?? 0)
            guard state.running == nil else { return }
            state.running = Task { await self.run() }
        }
    }

    private func run() async {
        while true {
            let next = state.withLock { state -> [Int: UInt64]? in
                guard !state.wanted.isEmpty else {
                    state.running = nil
                    return nil
                }
                defer { state.wanted.removeAll() }
                return state.wanted
            }
            guard let next else { return }
            let error = await commit(next)
            let isBehind = state.withLock { state in
                state.error = error
                guard error != nil else { return false }
                // With what advances next, or at the end, these are tried again.
                state.wanted.merge(next) { max($0, $1) }
                state.running = nil
                return true
            }
            if isBehind { return }
        }
    }

    private func commit(_ positions: [Int: UInt64]) async -> SluiceClientError? {
        for (partition, offset) in positions {
            do throws(SluiceClientError) {
                try await consumer.commit(partition: partition, nextOffset: offset)
            } catch {
                return error
            }
        }
        return nil
    }

    /// Waits for what is under way and commits what is left.
    /// - Returns: why that was not possible.
    func finish() async -> SluiceClientError? {
        while let running = state.withLock({ $0.running }) { await running.value }
        let left = state.withLock { $0.wanted }
        guard !left.isEmpty else { return nil }
        return await commit(left)
    }
}
