import MessageModel
import StorageService
import Testing

@testable import StorageEngine

@Suite("The memory of indexes")
struct IndexMemoryTests {
    private static let inboxes = 8
    private static let messages = 200

    private func entriesInMemory(_ bench: DeliveryBench) -> Int {
        var count = 0
        bench.shard.state.forEachSequence { count += $0.index.entries.count }
        return count
    }

    /// Many messages for inboxes that nobody reads, in one segment.
    private func filled() throws -> DeliveryBench {
        let bench = try DeliveryBench {
            $0.segmentBytes = 1 << 20
            $0.indexMemoryBytes = 4 << 10
        }
        let topic = try bench.topic("news")
        for index in 0..<Self.inboxes { try bench.inbox("inbox-\(index)", ["news"]) }
        var most = 0
        for index in 0..<Self.messages {
            bench.publish(topic, "message \(index)")
            most = max(most, entriesInMemory(bench))
        }
        // 32 bytes each, and for sequences with few entries.
        #expect(most <= (4 << 10) / IndexEntry.bytes + (Self.inboxes + 1) * bench.options.entriesPerRun)
        return bench
    }

    private func checkAll(_ bench: DeliveryBench) throws {
        for index in 0..<Self.inboxes {
            bench.consume("inbox-\(index)", as: UInt32(index + 1))
            let got = bench.take()
            #expect(got.map(\.body) == (0..<Self.messages).map { "message \($0)" })
            for message in got { bench.accept(message) }
            #expect(try bench.backlog("inbox-\(index)") == 0)
        }
    }

    @Test("is bounded before a segment is full, and everything is delivered from files")
    func bounded() throws {
        let bench = try filled()
        #expect(!bench.shard.indexIsInMemory)
        try checkAll(bench)
    }

    @Test("is made again after a crash")
    func crash() throws {
        let bench = try filled()
        try bench.crash()
        try checkAll(bench)
    }

    @Test("is found again after a stop, and made again where the files are lost", arguments: [false, true])
    func restart(isLost: Bool) throws {
        let bench = try filled()
        try bench.restart { isLost && $0.hasPrefix("index") }
        try checkAll(bench)
    }

    @Test("files are told apart by their part")
    func names() {
        #expect(IndexFile.name(segment: 5, epoch: 3) == "index-00000000000000000005-3")
        let number = IndexFile.number(segment: 5, part: 2)
        #expect(IndexFile.name(segment: number, epoch: 3) == "index-00000000000000000005-3.2")
    }
}
