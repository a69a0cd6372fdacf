import SluiceClient
import Synchronization

/// Gives a producer as many messages as it takes, and times one of each batch from then until it is acknowledged.
final class ProduceLoad: Sendable {
    private let producer: Producer
    private let body: [UInt8]
    private let batch: Int
    private let window: Int
    private let isStopped = Atomic<Bool>(false)
    private let acknowledgedCount = Atomic<Int>(0)
    private let histogram = Mutex(LatencyHistogram())

    init(producer: Producer, size: Int, batch: Int, window: Int) {
        self.producer = producer
        self.batch = batch
        self.window = window
        body = [UInt8](repeating: UInt8(ascii: "x"), count: size)
    }

    /// By whole batches: those whose timed message is acknowledged.
    var acknowledged: Int { acknowledgedCount.load(ordering: .relaxed) }
    var latencies: LatencyHistogram { histogram.withLock { $0 } }

    func beginMeasuring() { histogram.withLock { $0.reset() } }
    func stop() { isStopped.store(true, ordering: .relaxed) }

    func run() async throws {
        if batch == 1 { try await runSingly() } else { try await runInBatches() }
        try await producer.flush()
        await producer.close()
    }

    /// As many senders as messages may be on their way, each waiting for its own.
    private func runSingly() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<window { group.addTask { try await self.sendOneByOne() } }
            try await group.waitForAll()
        }
    }

    private func sendOneByOne() async throws {
        while !isStopped.load(ordering: .relaxed) { try await sendTimed() }
    }

    private func sendTimed() async throws {
        let start = MonotonicClock.nanoseconds()
        _ = try await producer.send(body)
        let took = MonotonicClock.nanoseconds() - start
        histogram.withLock { $0.add(nanoseconds: took) }
        acknowledgedCount.wrappingAdd(batch, ordering: .relaxed)
    }

    private func runInBatches() async throws {
        while !isStopped.load(ordering: .relaxed) {
            await producer.waitForRoom()
            Task { try await sendTimed() }
            var left = batch - 1
            while left > 0 {
                if try body.withUnsafeBytes({ try producer.tryEnqueue(bytes: $0) }) {
                    left -= 1
                } else {
                    await producer.waitForRoom()
                }
            }
        }
    }
}
