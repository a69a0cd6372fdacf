internal import NIOCore
internal import Synchronization

/// The open connections of a listener, over all event loops: for the limit on their number, and to tell them that the
/// server stops. Touched once when a connection comes and once when it goes.
final class ConnectionRegistry: Sendable {
    private struct State {
        var channels: [ObjectIdentifier: any Channel] = [:]
        var isStopping = false
    }

    private let state = Mutex(State())
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    enum Entry {
        case accepted
        /// It is kept track of, but beyond the limit.
        case full
        case stopping
    }

    func insert(_ channel: any Channel) -> Entry {
        state.withLock { state in
            guard !state.isStopping else { return .stopping }
            state.channels[ObjectIdentifier(channel)] = channel
            return state.channels.count > limit ? .full : .accepted
        }
    }

    func remove(_ channel: any Channel) {
        _ = state.withLock { $0.channels.removeValue(forKey: ObjectIdentifier(channel)) }
    }

    var count: Int { state.withLock { $0.channels.count } }

    /// The connections that are open; none is accepted afterwards.
    func stop() -> [any Channel] {
        state.withLock { state in
            state.isStopping = true
            return Array(state.channels.values)
        }
    }
}
