import MessageModel
import StorageService
import Testing

@testable import StorageEngine

@Suite("Messages that come again")
struct DeduplicationTests {
    private static let minute: UInt64 = 60_000_000

    private func bench() throws -> (DeliveryBench, TopicID) {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t") { $0.deduplicationMicroseconds = Self.minute }
        try bench.cursor("s", topic)
        return (bench, topic)
    }

    @Test("a message with a known id is answered with the offset of the first one, and not stored")
    func known() throws {
        let (bench, topic) = try bench()
        bench.publish(topic, "other")
        #expect(bench.publish(topic, [.init("a", id: "1")])?.baseOffset == 1)
        let again = bench.publish(topic, [.init("b", id: "1")])
        #expect(again?.isDuplicate == true && again?.baseOffset == 1)
        bench.consume("s")
        #expect(bench.take().map(\.body) == ["other", "a"])
    }

    @Test("of a batch only what is new is stored, and of two messages with one id the first")
    func partly() throws {
        let (bench, topic) = try bench()
        bench.publish(topic, [.init("a", id: "1")])
        let result = bench.publish(
            topic,
            [.init("a2", id: "1"), .init("b", id: "2"), .init("none"), .init("b2", id: "2"), .init("c", id: "3")]
        )
        #expect(result?.isDuplicate == false && result?.baseOffset == 1 && result?.recordCount == 3)
        bench.consume("s")
        #expect(bench.take().map(\.body) == ["a", "b", "none", "c"])
    }

    @Test("ids are forgotten after the window, and not before")
    func window() throws {
        let (bench, topic) = try bench()
        bench.publish(topic, [.init("a", id: "1")])
        bench.pass(milliseconds: 59_000)
        #expect(bench.publish(topic, [.init("b", id: "1")])?.isDuplicate == true)
        bench.pass(milliseconds: 2_000)
        #expect(bench.publish(topic, [.init("c", id: "1")])?.isDuplicate == false)
    }

    @Test("ids are known after a crash, and after a snapshot")
    func crash() throws {
        let (bench, topic) = try bench()
        bench.publish(topic, [.init("a", id: "1")])
        try bench.crash()
        #expect(bench.publish(topic, [.init("b", id: "1")])?.isDuplicate == true)
        for index in 0..<1_500 { bench.publish(topic, "m\(index)") }
        try bench.crash()
        #expect(bench.publish(topic, [.init("b", id: "1")])?.baseOffset == 0)
        bench.publish(topic, [.init("c", id: "2")])
        try bench.crash()
        #expect(bench.publish(topic, [.init("d", id: "2")])?.isDuplicate == true)
    }

    @Test("a producer with sequences goes on behind what was not stored, also after a crash")
    func sequences() throws {
        let (bench, topic) = try bench()
        let producer = ProducerID(rawValue: 77)
        func send(_ messages: [DeliveryBench.Message], _ sequence: UInt32) -> AppendResult? {
            bench.publish(topic, messages, producer: producer, sequence: sequence)
        }
        #expect(send([.init("a", id: "1"), .init("b", id: "2")], 0)?.baseOffset == 0)
        // All are known.
        let known = send([.init("a", id: "1"), .init("b", id: "2")], 2)
        #expect(known?.isDuplicate == true && known?.baseOffset == 0)
        // One is known.
        #expect(send([.init("b", id: "2"), .init("c", id: "3")], 4)?.baseOffset == 2)
        try bench.crash()
        #expect(send([.init("b", id: "2"), .init("c", id: "3")], 4)?.isDuplicate == true)
        #expect(send([.init("d", id: "4")], 7)?.error == .sequenceGap)
        #expect(send([.init("d", id: "4")], 6)?.baseOffset == 3)
        bench.consume("s")
        #expect(bench.take().map(\.body) == ["a", "b", "c", "d"])
    }

    @Test("a message that waits for its time is known already")
    func scheduled() throws {
        let (bench, topic) = try bench()
        let due = bench.now.advanced(byMicroseconds: 1_000_000)
        bench.publish(topic, [.init("a", deliverAt: due, id: "1")])
        let again = bench.publish(topic, [.init("a", deliverAt: due, id: "1")])
        #expect(again?.isDuplicate == true && again?.baseOffset == .max)
        try bench.crash()
        #expect(bench.publish(topic, [.init("b", id: "1")])?.isDuplicate == true)
        bench.pass(milliseconds: 1_100)
        #expect(bench.publish(topic, [.init("b", id: "1")])?.baseOffset == 0)
        bench.consume("s")
        #expect(bench.take().map(\.body) == ["a"])
    }

    @Test("a transaction publishes only what nobody else has by its commit")
    func transactions() throws {
        let (bench, topic) = try bench()
        func begin() throws -> TransactionID {
            guard case .success(.transaction(let id)) = bench.ask(.beginTransaction(.init())) else {
                throw SluiceError(.internal, "no transaction")
            }
            return id
        }
        let first = try begin()
        let second = try begin()
        bench.publish(topic, [.init("a", id: "1"), .init("b", id: "2"), .init("c", id: "3")], transaction: first)
        bench.publish(topic, [.init("x", id: "2"), .init("y", id: "4")], transaction: second)
        bench.publish(topic, [.init("z", id: "4"), .init("w", id: "5")], transaction: second)
        bench.ask(.commitTransaction(second))
        bench.ask(.commitTransaction(first))
        // One that is rolled back leaves nothing behind.
        let third = try begin()
        bench.publish(topic, [.init("r", id: "6")], transaction: third)
        bench.ask(.rollBackTransaction(third))
        #expect(bench.publish(topic, [.init("s", id: "6")])?.isDuplicate == false)
        bench.consume("s")
        let bodies = ["x", "y", "w", "a", "c", "s"]
        #expect(bench.take().map(\.body) == bodies)
        try bench.crash()
        #expect(bench.publish(topic, [.init("t", id: "3")])?.baseOffset == 4)
        bench.consume("s")
        #expect(bench.take().map(\.body) == bodies)
    }

    @Test("a topic without a window stores what comes, and one may not remember for too long")
    func policies() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        bench.publish(topic, [.init("a", id: "1")])
        #expect(bench.publish(topic, [.init("a", id: "1")])?.isDuplicate == false)
        #expect(throws: SluiceError.self) {
            try bench.topic("u") { $0.deduplicationMicroseconds = 31 * 86_400 * 1_000_000 }
        }
    }
}
