import MessageModel
import StorageService
import Testing

@testable import StorageEngine

@Suite("Messages for more inboxes than a record of the log names")
struct ManyRoutesTests {
    private static let inboxes = 700

    private func bench() throws -> (DeliveryBench, TopicID) {
        let bench = try DeliveryBench {
            $0.segmentBytes = 8 << 10
            $0.blockBytes = 4 << 10
        }
        let topic = try bench.topic("t")
        for number in 0..<Self.inboxes { try bench.inbox("i\(number)", ["t/#"]) }
        return (bench, topic)
    }

    private func backlogs(_ bench: DeliveryBench) throws -> Set<UInt64> {
        Set(try (0..<Self.inboxes).map { try bench.backlog("i\($0)") })
    }

    @Test("a scheduled message reaches them all, once, and holds up nobody")
    func scheduled() throws {
        let (bench, topic) = try bench()
        let other = try bench.topic("other")
        try bench.cursor("s", other)
        bench.publish(topic, [.init("many", deliverAt: bench.now.advanced(byMicroseconds: 20_000))])
        bench.publish(other, [.init("few", deliverAt: bench.now.advanced(byMicroseconds: 30_000))])
        bench.pass(milliseconds: 3_000)
        #expect(try bench.backlog("s") == 1)
        #expect(try backlogs(bench) == [1])
        try bench.restart { _ in true }
        bench.pass(milliseconds: 100)
        #expect(try backlogs(bench) == [1])
        #expect(try bench.backlog("s") == 1)
        bench.consume("i5")
        #expect(bench.take().map(\.body) == ["many"])
    }

    @Test("so does a dead letter")
    func dead() throws {
        let (bench, _) = try bench()
        let work = try bench.topic("work")
        try bench.cursor("w", work) { $0.deadLetterTopic = "t" }
        bench.publish(work, "bad")
        bench.consume("w")
        bench.settle(bench.take()[0], .reject(reason: "bad"))
        bench.pass(milliseconds: 3_000)
        #expect(try bench.backlog("w") == 0)
        #expect(try backlogs(bench) == [1])
        try bench.crash()
        #expect(try bench.backlog("w") == 0)
        #expect(try backlogs(bench) == [1])
    }
}
