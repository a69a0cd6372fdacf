import SluiceClient
import Synchronization

/// One measured run of a consumer: from the first message that comes.
final class ConsumeRun: Sendable {
    private let consumer: Consumer
    /// From when a message was made to when it is here, by the wall clocks of both machines.
    private let measuresLatency: Bool
    private let taken = Atomic<Int>(0)

    init(consumer: Consumer, measuresLatency: Bool) {
        self.consumer = consumer
        self.measuresLatency = measuresLatency
    }

    func measure(duration: Duration, count: Int) async throws(SluiceClientError) -> BenchSummary {
        let progress = BenchProgress { self.taken.load(ordering: .relaxed) }
        defer { progress.stop() }
        let clock = ContinuousClock()
        let stop = Task { [consumer] in
            guard (try? await Task.sleep(for: duration)) != nil else { return }
            await consumer.close()
        }
        defer { stop.cancel() }
        var summary = BenchSummary()
        var start: ContinuousClock.Instant?
        var last = clock.now
        while summary.messages < count, let batch = try await consumer.next() {
            last = clock.now
            if start == nil { start = last }
            summary.batches += 1
            summary.messages += batch.count
            var isFirst = true
            for message in batch {
                summary.bytes += message.bodyByteCount
                if isFirst, measuresLatency, message.bornAt != 0 {
                    let now = WallClock.microseconds()
                    summary.latencies.add(microseconds: now - min(now, message.bornAt))
                }
                isFirst = false
            }
            taken.store(summary.messages, ordering: .relaxed)
        }
        // The time until the last message, not that of waiting for more.
        summary.elapsed = start.map { last - $0 } ?? .zero
        await consumer.close()
        return summary
    }
}
