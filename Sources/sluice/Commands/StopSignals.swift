import Dispatch
import Glibc
import Synchronization

/// The signals that ask the process to stop: SIGINT and SIGTERM. From `init` on they no longer end it by themselves.
struct StopSignals: Sendable {
    private let received: AsyncStream<Int32>
    /// Kept for as long as they are to be heard.
    private let sources: Sources

    private final class Sources: @unchecked Sendable {
        let all: [any DispatchSourceSignal]
        init(_ all: [any DispatchSourceSignal]) { self.all = all }
    }

    init() {
        let (stream, continuation) = AsyncStream.makeStream(of: Int32.self)
        received = stream
        signal(SIGPIPE, SIG_IGN)
        sources = Sources(
            [SIGINT, SIGTERM].map { number in
                signal(number, SIG_IGN)
                let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
                source.setEventHandler { continuation.yield(number) }
                source.resume()
                return source
            }
        )
    }

    func next() async -> Int32 {
        var iterator = received.makeAsyncIterator()
        return await iterator.next() ?? SIGTERM
    }

    /// Runs `body`; the first signal cancels it, so that it can end what it has begun, a second ends the process.
    /// - Returns: the signal that came, if one did.
    func cancelling(_ body: @escaping @Sendable () async throws -> Void) async throws -> Int32? {
        let first = Mutex<Int32?>(nil)
        let work = Task { try await body() }
        let watch = Task { [received] in
            for await number in received {
                let isSecond = first.withLock { first in
                    defer { first = first ?? number }
                    return first != nil
                }
                if isSecond { _exit(128 + number) }
                work.cancel()
            }
        }
        defer { watch.cancel() }
        try await work.value
        return first.withLock { $0 }
    }
}
