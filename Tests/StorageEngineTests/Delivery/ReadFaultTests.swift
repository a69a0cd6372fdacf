import MessageModel
import Simulator
import StorageService
import Testing

@testable import StorageEngine

@Suite("Delivery from a disk that does not read")
struct ReadFaultTests {
    /// A partition whose first messages are only on the disk, its newest in memory.
    private func bench() throws -> (DeliveryBench, TopicID) {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t", partitions: 2)
        let filler = String(repeating: "x", count: 500)
        for number in 0..<60 { bench.publish(topic, "\(number) \(filler)") }
        return (bench, topic)
    }

    private func numbers(_ messages: [DeliveryBench.Got]) -> [Int] {
        messages.compactMap { $0.body.split(separator: " ").first.flatMap { Int($0) } }
    }

    @Test("a read that fails delays messages, and takes none")
    func transient() throws {
        let (bench, topic) = try bench()
        try bench.cursor("s", topic)
        bench.disk.faults.read = .always
        bench.consume("s", credit: 1_000)
        #expect(bench.take() == [])
        #expect(bench.warnings.count == 1)
        bench.pass(milliseconds: 400)
        #expect(bench.take() == [])
        #expect(bench.warnings.count == 1)
        bench.disk.faults.read = .never
        bench.pass(milliseconds: 500)
        #expect(numbers(bench.take()) == Array(0..<60))
        #expect(try bench.backlog("s") == 60)
    }

    @Test("other partitions and other consumers go on")
    func others() throws {
        let (bench, topic) = try bench()
        try bench.cursor("s", topic)
        bench.publish(topic, [.init("other partition")], partition: 1)
        try bench.inbox("fresh", ["t/#"])
        bench.disk.faults.read = .always
        bench.consume("s", as: 1)
        bench.consume("fresh", as: 2)
        bench.publish(topic, "new")
        let got = bench.take()
        #expect(got.filter { $0.consumer == 1 }.map(\.body) == ["other partition"])
        #expect(got.filter { $0.consumer == 2 }.map(\.body) == ["new"])
    }

    @Test("what is to be delivered again waits for the disk, and so do dead letters")
    func again() throws {
        let (bench, topic) = try bench()
        try bench.cursor("s", topic) { $0.deadLetterTopic = "dead" }
        bench.consume("s", credit: 2)
        let first = bench.take()
        #expect(numbers(first) == [0, 1])
        // What the readers hold is not theirs any more behind a restart.
        try bench.restart()
        bench.consume("s", credit: 2)
        let second = bench.take()
        bench.disk.faults.read = .always
        bench.settle(second[0], .reject(reason: "bad"))
        bench.settle(second[1], .release(delayMicroseconds: 0, countsAttempt: true))
        bench.pass(milliseconds: 60)
        bench.disk.faults.read = .never
        bench.shard.grantCredit(session: bench.session, attachment: 1, messages: 1, bytes: 1_000)
        bench.pass(milliseconds: 6_000)
        #expect(numbers(bench.take()) == [1])
        guard case .success(.topic(let dead)) = bench.ask(.describeTopic(name: "dead")) else {
            Issue.record("no dead-letter topic")
            return
        }
        #expect(dead.partitions[0].nextOffset == 1)
        #expect(try bench.backlog("s") == 59)
    }

    @Test("a record that is damaged on the disk is passed over, and only that")
    func damaged() throws {
        let (bench, topic) = try bench()
        try bench.cursor("s", topic)
        let segment = try #require(try bench.disk.listSegmentsNow().first)
        bench.disk.damage(segment: segment.number) { bytes in
            guard let place = bytes.firstRange(of: Array("5 xxxx".utf8)) else { return }
            bytes[place.lowerBound + 10] ^= 1
        }
        bench.consume("s", credit: 1_000)
        #expect(numbers(bench.take()) == Array(0..<5) + Array(6..<60))
        #expect(bench.warnings.count == 1)
        #expect(try bench.backlog("s") == 59)
    }

    @Test("a scheduled message that cannot be read at its time is published later")
    func scheduled() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        bench.publish(topic, [.init("later", deliverAt: bench.now.advanced(byMicroseconds: 200_000))])
        let filler = String(repeating: "x", count: 500)
        for _ in 0..<60 { bench.publish(topic, filler) }
        bench.disk.faults.read = .always
        bench.pass(milliseconds: 400)
        #expect(try bench.backlog("s") == 60)
        bench.disk.faults.read = .never
        bench.pass(milliseconds: 500)
        #expect(try bench.backlog("s") == 61)
    }

    @Test("a commit whose messages cannot be read is refused, and can be asked for again")
    func commit() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        guard case .success(.transaction(let id)) = bench.ask(.beginTransaction(.init())) else {
            Issue.record("no transaction")
            return
        }
        bench.publish(topic, "prepared", transaction: id)
        let filler = String(repeating: "x", count: 500)
        for _ in 0..<60 { bench.publish(topic, filler) }
        try bench.cursor("s", topic)
        bench.disk.faults.read = .always
        guard case .failure(let error) = bench.ask(.commitTransaction(id)) else {
            Issue.record("it was committed without its messages")
            return
        }
        #expect(error.code == .storageUnavailable)
        bench.disk.faults.read = .never
        bench.ask(.commitTransaction(id))
        #expect(try bench.backlog("s") == 61)
    }
}
