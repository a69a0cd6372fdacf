import Foundation
import MessageModel
import Simulator
import StorageService
import Testing

@testable import StorageEngine

/// A month in small: segments of 256 KiB instead of 256 MiB, one message an hour that nobody acknowledges, beside a stream
/// that fills a segment in seven hours. `SLUICE_RETENTION_SCALE=3` has three times as much of both.
@Suite("The disk over thirty days")
struct ThirtyDaysTests {
    /// How the constant stream ends.
    enum Stream: CaseIterable {
        case acknowledged, expires, isKept
    }

    private static let scale = ProcessInfo.processInfo.environment["SLUICE_RETENTION_SCALE"].flatMap(Int.init) ?? 1
    private static let stepMilliseconds = UInt64(3_600_000 / scale)
    private static let stepsOfDay = 24 * scale
    /// What the stream brings in a step.
    private static let streamBytes = 36_500

    @Test(
        "what one tenant never acknowledges does not keep what another is done with",
        arguments: Stream.allCases
    )
    func pinned(stream: Stream) throws {
        let bench = try DeliveryBench { options in
            options.segmentBytes = 256 << 10
            options.tailCacheBytes = 1 << 20
        }
        try bench.reopen(SimulatedDisk(seed: 1, order: .fifo, keepsHistory: false))
        let slow = try bench.topic("slow") { $0.retention = .subscriptions }
        try bench.inbox("never", ["slow/#"])
        let fast = try bench.topic("fast") { policy in
            if stream == .isKept {
                policy.maxAgeMicroseconds = Self.stepMilliseconds * 18_000
            } else {
                policy.retention = .subscriptions
            }
        }
        switch stream {
        case .acknowledged:
            try bench.inbox("busy", ["fast/#"])
            bench.consume("busy", as: 1, credit: 1 << 40)
        case .expires:
            try bench.inbox("short", ["fast/#"]) { $0.messageTTLMicroseconds = Self.stepMilliseconds * 1_500 }
        case .isKept: break
        }
        let text = String(repeating: "y", count: 4_000)
        // What the stream keeps alive: nothing, a step and a half, or 18 steps and the time of a segment.
        let streamLive =
            switch stream {
            case .acknowledged: 0
            case .expires: 2 * Self.streamBytes
            case .isKept: 18 * Self.streamBytes + bench.options.segmentBytes
            }
        let recordBytes = 2_130
        var figures = Figures(segmentBytes: bench.options.segmentBytes)
        let steps = 30 * Self.stepsOfDay
        for step in 0..<steps {
            bench.publish(slow, DeliveryBench.body(step, bytes: 2_000))
            bench.publish(fast, (0..<9).map { .init("\($0)\(text)") })
            for message in bench.take() where message.consumer == 1 { bench.accept(message) }
            bench.pass(milliseconds: Self.stepMilliseconds)
            figures.note(disk: try bench.diskBytes(), live: (step + 1) * recordBytes + streamLive)
        }
        #expect(figures.mostSegments <= 2, "\(figures.description(of: bench))")
        // The messages are there, where they were moved.
        #expect(try bench.backlog("never") == UInt64(steps))
        bench.consume("never", as: 2, credit: 100)
        #expect(bench.take().filter { $0.consumer == 2 }.map { DeliveryBench.number($0.body) } == Array(0..<100))
    }

    /// What the disk held beyond one and a half times what was live, in segments.
    private struct Figures {
        let segmentBytes: Int
        var mostSegments = -Double.infinity
        var at = (disk: 0, live: 0)
        var last = (disk: 0, live: 0)

        init(segmentBytes: Int) { self.segmentBytes = segmentBytes }

        mutating func note(disk: Int, live: Int) {
            last = (disk, live)
            let segments = (Double(disk) - 1.5 * Double(live)) / Double(segmentBytes)
            guard segments > mostSegments else { return }
            mostSegments = segments
            at = last
        }

        func description(of bench: DeliveryBench) -> String {
            """
            disk \(last.disk) for \(last.live) live; most beyond 1.5 × live: \(mostSegments) segments (\(at.disk) for \
            \(at.live)); log \(bench.shard.log.end), moved \(bench.shard.compaction.movedBytes), checkpoint \
            \(bench.shard.reclaiming.checkpointBytes), index files \(bench.shard.state.files.files.count), segments \
            \(bench.segments.count)
            """
        }
    }
}
