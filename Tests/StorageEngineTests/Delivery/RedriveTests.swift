import MessageModel
import StorageService
import Testing

@testable import StorageEngine

@Suite("Dead letters that are sent back")
struct RedriveTests {
    /// A topic whose messages died in the subscription `work`, and the topic of their letters.
    private func bench(_ messages: [DeliveryBench.Message], partitions: Int = 1) throws
        -> (DeliveryBench, topic: TopicID, letters: TopicID)
    {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t", partitions: partitions)
        let letters = try bench.topic("dead")
        try bench.cursor("work", topic) { $0.deadLetterTopic = "dead" }
        for (index, message) in messages.enumerated() {
            bench.publish(topic, [message], partition: UInt16(index % partitions))
        }
        bench.consume("work")
        for message in bench.take() { bench.settle(message, .reject(reason: "bad")) }
        #expect(bench.take() == [])
        return (bench, topic, letters)
    }

    private func redrive(_ bench: DeliveryBench, _ request: RedriveRequest) throws -> UInt64 {
        switch bench.ask(.redrive(request)) {
        case .success(.redriven(let count)): return count
        case .failure(let error): throw error
        default: throw SluiceError(.internal, "no answer")
        }
    }

    @Test("letters come back to their names as they were, and only once")
    func back() throws {
        let (bench, _, letters) = try bench([
            .init("a", key: "x", user: ["colour": "red"]), .init("b"), .init("c", orderingKey: "k"),
        ])
        try bench.inbox("names", ["t/x"])
        #expect(try redrive(bench, RedriveRequest(topic: letters)) == 3)
        #expect(bench.take().map(\.body) == ["a", "b", "c"])
        #expect(bench.properties["a"] == ["colour": "red"])
        bench.consume("names", as: 2)
        #expect(bench.take().map(\.body) == ["a"])
        #expect(try redrive(bench, RedriveRequest(topic: letters)) == 0)
        try bench.crash()
        #expect(try redrive(bench, RedriveRequest(topic: letters)) == 0)
        #expect(try bench.describe("work").lanes[0].nextOffset == 6)
    }

    @Test("a selector chooses, and the others stay for the next time")
    func selector() throws {
        let (bench, _, letters) = try bench((0..<6).map { .init("m\($0)", user: ["n": "\($0 % 3)"]) })
        #expect(try redrive(bench, RedriveRequest(topic: letters, selector: "n = '1'")) == 2)
        #expect(bench.take().map(\.body) == ["m1", "m4"])
        try bench.crash()
        #expect(try redrive(bench, RedriveRequest(topic: letters, selector: "n = '1'")) == 0)
        #expect(try redrive(bench, RedriveRequest(topic: letters, limit: 3)) == 3)
        bench.consume("work")
        #expect(bench.take().map(\.body) == ["m1", "m4", "m0", "m2", "m3"])
        #expect(try redrive(bench, RedriveRequest(topic: letters)) == 1)
        #expect(throws: SluiceError.self) { try redrive(bench, RedriveRequest(topic: letters, selector: "n = ")) }
    }

    @Test("letters that die again while it runs are not sent again by it")
    func again() throws {
        let (bench, _, letters) = try bench([.init("a")])
        #expect(try redrive(bench, RedriveRequest(topic: letters)) == 1)
        for message in bench.take() { bench.settle(message, .reject(reason: "bad")) }
        #expect(try redrive(bench, RedriveRequest(topic: letters)) == 1)
        #expect(bench.take().map(\.body) == ["a"])
    }

    @Test("one that a crash interrupted goes on by itself, at its rate, with its selector and to its limit")
    func resumed() throws {
        let (bench, _, letters) = try bench((0..<60).map { .init("m\($0)", user: ["n": "\($0 % 2)"]) })
        _ = bench.ask(.redrive(RedriveRequest(topic: letters, selector: "n = '1'", rate: 20, limit: 25)))
        bench.pass(milliseconds: 500)
        _ = bench.take()
        for restart in 0..<2 {
            if restart == 0 { try bench.crash() } else { try bench.restart() }
            let before = try bench.describe("work").lanes[0].nextOffset
            bench.pass(milliseconds: 250)
            let sent = try bench.describe("work").lanes[0].nextOffset - before
            #expect((4...8).contains(sent))
        }
        #expect(throws: SluiceError.self) { try redrive(bench, RedriveRequest(topic: letters)) }
        bench.pass(milliseconds: 5_000)
        #expect(try bench.describe("work").lanes[0].nextOffset == 85)
        bench.consume("work")
        #expect(bench.take().map(\.body).suffix(25) == (0..<25).map { "m\(2 * $0 + 1)" })
        // It is over, behind a restart too.
        try bench.restart()
        #expect(try redrive(bench, RedriveRequest(topic: letters, limit: 1)) == 1)
    }

    @Test("a rate is kept, a second one is refused meanwhile, and progress survives a crash")
    func rate() throws {
        let (bench, _, letters) = try bench((0..<50).map { .init("m\($0)") })
        let request = RedriveRequest(topic: letters, rate: 20)
        #expect(bench.ask(.redrive(request)) == nil)
        #expect(throws: SluiceError.self) { try redrive(bench, RedriveRequest(topic: letters)) }
        bench.pass(milliseconds: 1_000)
        let first = bench.take().map(\.body)
        #expect(first.count >= 20 && first.count <= 24)
        try bench.crash()
        #expect(bench.ask(.redrive(request)) == nil)
        bench.pass(milliseconds: 5_000)
        #expect(
            bench.replies.values.contains { if case .success(.redriven(let count)) = $0 { count > 20 } else { false } }
        )
        #expect(try bench.describe("work").lanes[0].nextOffset == 100)
        bench.consume("work")
        #expect(bench.take().map(\.body).suffix(50) == (0..<50).map { "m\($0)" })
    }

    @Test("letters go back to the partitions that they came from")
    func partitions() throws {
        let (bench, _, letters) = try bench((0..<6).map { .init("m\($0)") }, partitions: 3)
        #expect(try redrive(bench, RedriveRequest(topic: letters)) == 6)
        #expect(try bench.describe("work").lanes.map(\.nextOffset) == [4, 4, 4])
        #expect(bench.take().map(\.lane).sorted() == [0, 0, 1, 1, 2, 2])
    }

    @Test("letters of a deleted topic stay, and so do messages that are no letters")
    func strangers() throws {
        let (bench, _, letters) = try bench([.init("a")])
        bench.publish(letters, "no letter")
        bench.ask(.deleteTopic(name: "t"))
        #expect(try redrive(bench, RedriveRequest(topic: letters)) == 0)
        #expect(try bench.describe("$redrive/dead").lanes[0].backlog == 2)
        #expect(throws: SluiceError.self) { try bench.cursor("$redrive/x", letters) }
    }

    @Test("many letters come back from the disk, after a crash at any time each of them once")
    func many() throws {
        let (bench, _, letters) = try bench((0..<600).map { .init("m\($0)") })
        bench.consume("work")
        let request = RedriveRequest(topic: letters, rate: 500)
        for step in 0..<4 {
            #expect(bench.ask(.redrive(request)) == nil)
            bench.pass(milliseconds: UInt64(100 + 50 * step))
            try bench.crash()
        }
        #expect(bench.ask(.redrive(request)) == nil)
        bench.pass(milliseconds: 3_000)
        #expect(
            bench.replies.values.contains { if case .success(.redriven(600)) = $0 { true } else { false } }
        )
        bench.consume("work", credit: 10_000)
        #expect(bench.take().map(\.body).suffix(600) == (0..<600).map { "m\($0)" })
        #expect(try bench.describe("work").lanes[0].nextOffset == 1_200)
    }
}
