import SluiceClient
import Synchronization

/// One measured run of a producer. Of each batch one message is timed, from when it is given to the producer (with a
/// rate: from when it was due) until it is acknowledged.
final class ProduceRun: Sendable {
    private let producer: Producer
    private let body: [UInt8]
    private let batch: Int
    private let sent = Atomic<Int>(0)
    private let samples = Mutex(LatencySamples())

    init(producer: Producer, size: Int, batch: Int) {
        self.producer = producer
        body = (0..<size).map { UInt8(ascii: "a") + UInt8($0 % 26) }
        self.batch = batch
    }

    func measure(duration: Duration, count: Int, rate: Double?) async throws(SluiceClientError) -> BenchSummary {
        let progress = BenchProgress { self.sent.load(ordering: .relaxed) }
        defer { progress.stop() }
        let clock = ContinuousClock()
        let start = clock.now
        let end = start + duration
        var number = 0
        var timing: [Task<Void, Never>] = []
        while number < count {
            var due = start
            if let rate {
                due = start + .seconds(Double(number) / rate)
                if due >= end { break }
                if due > clock.now { try? await clock.sleep(until: due) }
            } else if number % 64 == 0, clock.now >= end {
                break
            }
            if number % batch == 0 {
                timing.append(await timed(from: rate == nil ? nil : due))
                if timing.count == 1_024 {
                    for task in timing.prefix(512) { await task.value }
                    timing.removeFirst(512)
                }
            } else {
                try await enqueue()
            }
            number += 1
            sent.store(number, ordering: .relaxed)
        }
        for task in timing { await task.value }
        try await producer.flush()
        var summary = BenchSummary()
        summary.elapsed = clock.now - start
        summary.messages = number
        summary.bytes = number * body.count
        summary.batches = (number + batch - 1) / batch
        await producer.close()
        summary.latencies = samples.withLock { $0 }
        return summary
    }

    private func enqueue() async throws(SluiceClientError) {
        while true {
            let result: Result<Bool, SluiceClientError> = body.withUnsafeBytes { bytes in
                Result { () throws(SluiceClientError) in try producer.tryEnqueue(bytes: bytes) }
            }
            if try result.get() { return }
            await producer.waitForRoom()
        }
    }

    private func timed(from due: ContinuousClock.Instant?) async -> Task<Void, Never> {
        // Only the time behind the room in the buffer counts: waiting for it is what closes the loop.
        if due == nil { await producer.waitForRoom() }
        let start = due ?? ContinuousClock().now
        let (producer, body) = (producer, body)
        return Task {
            guard (try? await producer.send(body)) != nil else { return }
            let took = ContinuousClock().now - start
            self.samples.withLock { $0.add(microseconds: took.microseconds) }
        }
    }
}

extension Duration {
    fileprivate var microseconds: UInt64 {
        UInt64(max(0, components.seconds * 1_000_000 + components.attoseconds / 1_000_000_000_000))
    }
}
