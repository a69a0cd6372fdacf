import MessageModel
import StorageService
import Testing

@testable import StorageEngine

@Suite("What a session takes in")
struct SessionFlowTests {
    /// Takes what comes with room for about so many bytes at a time, until nothing comes.
    private func drain(_ bench: DeliveryBench, room: Int, _ each: ([DeliveryBench.Got]) -> Void) {
        while true {
            bench.shard.takeUp(session: bench.session, bytes: room)
            bench.settle()
            let got = bench.take()
            if got.isEmpty { return }
            each(got)
        }
    }

    @Test("no more is delivered than the session takes in, all its consumers together, and nobody starves")
    func room() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        for number in 0..<20 { try bench.inbox("q\(number)", ["t"]) }
        let body = String(repeating: "x", count: 1_000)
        for _ in 0..<10 { bench.publish(topic, .init(body)) }
        bench.shard.takeUp(session: bench.session, bytes: 3_000)
        for number in 0..<20 { bench.consume("q\(number)", as: UInt32(number + 1)) }
        #expect(bench.take().count == 3)
        // More settlements and more credit bring nothing.
        bench.settle()
        #expect(bench.take() == [])
        var rounds = 0
        var early = Set<UInt32>()
        var total = 3
        drain(bench, room: 4_000) { got in
            #expect(got.count <= 5)
            rounds += 1
            if rounds <= 25 { early.formUnion(got.map(\.consumer)) }
            total += got.count
        }
        #expect(total == 200)
        // Half of all turns: everybody has had one.
        #expect(early.count == 20)
    }

    @Test("readers by position are held back too, and go on")
    func positions() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        for number in 0..<10 { bench.publish(topic, "m\(number)") }
        bench.shard.takeUp(session: bench.session, bytes: 1)
        let request = AttachRequest(source: .topic(topic, .first), creditMessages: 100, creditBytes: 1 << 20)
        bench.shard.attach(session: bench.session, request, attachment: 7, now: bench.now)
        bench.settle()
        #expect(bench.read == ["m0"])
        for _ in 0..<9 {
            bench.shard.takeUp(session: bench.session, bytes: 1)
            bench.settle()
        }
        #expect(bench.read == (0..<10).map { "m\($0)" })
    }

    @Test("one that ended while it waited is passed over")
    func ended() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("a", ["t"])
        try bench.inbox("b", ["t"])
        bench.shard.takeUp(session: bench.session, bytes: 0)
        bench.consume("a", as: 1)
        bench.consume("b", as: 2)
        bench.publish(topic, "x")
        #expect(bench.take() == [])
        bench.shard.detach(session: bench.session, attachment: 1)
        bench.shard.takeUp(session: bench.session, bytes: 1_000)
        bench.settle()
        #expect(bench.take().map(\.consumer) == [2])
    }
}
