import MessageModel
import Simulator
import StorageService
import Testing

@testable import StorageEngine

@Suite("A disk that fills up")
struct WatermarkTests {
    private func bench(segments: Int) throws -> DeliveryBench {
        let bench = try DeliveryBench { options in
            options.segmentBytes = 16 << 10
            options.trimPauseMicroseconds = 10_000
            options.surveyPauseMicroseconds = 1_000
            options.diskLookMicroseconds = 10_000
        }
        bench.disk.faults.capacity = segments * (16 << 10)
        return bench
    }

    @Test("topics with limits let their oldest messages go before their time, and nothing is refused")
    func early() throws {
        let bench = try bench(segments: 30)
        let topic = try bench.topic("t") { $0.maxAgeMicroseconds = 1 << 60 }
        let kept = try bench.topic("kept")
        for number in 0..<40 { bench.publish(kept, DeliveryBench.body(number)) }
        for number in 0..<3_000 {
            #expect(bench.publish(topic, DeliveryBench.body(number))?.error == nil)
            bench.pass(milliseconds: 12)
        }
        let stored = try bench.stored(topic)
        #expect(stored.count > 500 && stored.count < 1_500)
        #expect(stored == Array((3_000 - stored.count)..<3_000))
        #expect(try bench.stored(kept) == Array(0..<40))
        #expect(bench.warnings.contains { $0.contains("before their time") })
        #expect(!bench.warnings.contains { $0.contains("no messages are stored") })
    }

    @Test("messages are refused before the disk is full; reading, acknowledging and making room go on")
    func full() throws {
        let bench = try bench(segments: 30)
        let topic = try bench.topic("t") { $0.retention = .subscriptions }
        try bench.inbox("q", ["t/#"]) { $0.leaseMicroseconds = 0 }
        var stored = 0
        while bench.publish(topic, DeliveryBench.body(stored))?.error == nil {
            stored += 1
            bench.pass(milliseconds: 12)
            try #require(stored < 3_000)
        }
        #expect(bench.publish(topic, "x")?.error == .storageFull)
        #expect(stored > 900)
        #expect(bench.shard.health.acceptsWrites == false)
        #expect(bench.warnings.contains { $0.contains("no messages are stored") })
        // What is there is read and acknowledged; most of it, so that what is left has to be moved.
        bench.consume("q", as: 1, credit: 1 << 20)
        let found = bench.take()
        #expect(found.count == stored)
        for message in found where DeliveryBench.number(message.body) % 16 != 0 { bench.accept(message) }
        bench.pass(milliseconds: 2_000)
        #expect(bench.publish(topic, "x")?.error == nil)
        #expect(bench.shard.health.acceptsWrites)
        #expect(try bench.backlog("q") == UInt64((stored + 15) / 16 + 1))
        #expect(bench.segments.count < 12)
        try bench.reopen(bench.disk.crashed(seed: 1), withoutFiles: true)
        #expect(try bench.backlog("q") == UInt64((stored + 15) / 16 + 1))
    }
}
