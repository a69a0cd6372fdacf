import MessageModel
import Simulator
import StorageService
import Testing

@testable import StorageEngine

@Suite("What topics let go")
struct TopicRetentionTests {
    private func bench() throws -> DeliveryBench {
        try DeliveryBench { options in
            options.segmentBytes = 16 << 10
            options.trimPauseMicroseconds = 10_000
        }
    }

    @Test("a topic lets go what is older than its age, and the segments go with it")
    func age() throws {
        let bench = try bench()
        let topic = try bench.topic("t") { $0.maxAgeMicroseconds = 10_000_000 }
        for number in 0..<1_000 {
            bench.publish(topic, DeliveryBench.body(number))
            bench.pass(milliseconds: 100)
        }
        let stored = try bench.stored(topic)
        // What is in index files goes a segment at a time, which is about six seconds.
        #expect(stored.count >= 99 && stored.count <= 170)
        #expect(stored == Array((1_000 - stored.count)..<1_000))
        #expect(bench.segments.count <= 5)
        #expect(bench.segments.first ?? 0 > 10)
        bench.pass(milliseconds: 30_000)
        #expect(try bench.stored(topic) == [])
        #expect(try bench.describeTopic("t").partitions[0].firstOffset == 1_000)
        #expect(bench.shard.damaged == [])
    }

    @Test("a topic keeps no more than its bytes")
    func bytes() throws {
        let bench = try bench()
        let topic = try bench.topic("t") { $0.maxBytes = 40_000 }
        for number in 0..<1_000 {
            bench.publish(topic, DeliveryBench.body(number))
            bench.pass(milliseconds: 20)
        }
        let stored = try bench.stored(topic)
        #expect(stored.count > 60 && stored.count < 145)
        #expect(stored == Array((1_000 - stored.count)..<1_000))
        #expect(bench.segments.count <= 5)
        #expect(try bench.describeTopic("t").partitions[0].nextOffset == 1_000)
    }

    @Test("a topic without a limit keeps everything")
    func forever() throws {
        let bench = try bench()
        let topic = try bench.topic("t")
        for number in 0..<300 {
            bench.publish(topic, DeliveryBench.body(number))
            bench.pass(milliseconds: 1_000)
        }
        #expect(try bench.stored(topic) == Array(0..<300))
    }

    @Test("a topic that keeps for its subscriptions keeps what the slowest of them needs")
    func subscriptions() throws {
        let bench = try bench()
        let topic = try bench.topic("t") { $0.retention = .subscriptions }
        try bench.cursor("fast", topic)
        try bench.cursor("slow", topic)
        bench.consume("fast", as: 1)
        bench.consume("slow", as: 2, credit: 100)
        for number in 0..<400 {
            bench.publish(topic, DeliveryBench.body(number))
            for message in bench.take() where message.consumer == 1 || number < 350 { bench.accept(message) }
            bench.pass(milliseconds: 20)
        }
        #expect(try bench.stored(topic) == Array(100..<400))
        bench.shard.grantCredit(session: bench.session, attachment: 2, messages: 1_000, bytes: 1 << 30)
        bench.settle()
        for message in bench.take() { bench.accept(message) }
        bench.pass(milliseconds: 100)
        #expect(try bench.stored(topic) == [])
        #expect(try bench.backlog("slow") == 0)
        _ = bench.ask(.deleteSubscription(name: "fast"))
        _ = bench.ask(.deleteSubscription(name: "slow"))
        bench.publish(topic, "0:nobody")
        bench.pass(milliseconds: 100)
        #expect(try bench.stored(topic) == [])
    }

    @Test("a reader and a subscription behind the trim go on at what is there")
    func behind() throws {
        let bench = try bench()
        let topic = try bench.topic("t") { $0.maxBytes = 20_000 }
        try bench.cursor("s", topic)
        for number in 0..<500 {
            bench.publish(topic, DeliveryBench.body(number))
            bench.pass(milliseconds: 20)
        }
        let stored = try bench.stored(topic)
        let first = try #require(stored.first)
        #expect(try bench.backlog("s") == UInt64(stored.count))
        bench.consume("s", credit: 10_000)
        #expect(bench.take().map { DeliveryBench.number($0.body) } == stored)
        let partition = PartitionID(topic: topic, index: 0)
        let fetch = FetchRequest(partition: partition, offset: 0, maxBytes: 1_000, waitMicroseconds: 0)
        guard case .failure(let error) = bench.ask(.fetch(fetch)), error.code == .offsetOutOfRange else {
            Issue.record("an offset that was let go was fetched")
            return
        }
        guard case .success(.offset(let offset, _)) = bench.ask(.findOffset(partition, .time(.zero))) else {
            Issue.record("no offset")
            return
        }
        #expect(offset == UInt64(first))
    }

    @Test("everything is there after a crash, with the files and without them", arguments: [false, true])
    func recovery(withoutFiles: Bool) throws {
        let bench = try bench()
        let topic = try bench.topic("t") { $0.maxBytes = 40_000 }
        let kept = try bench.topic("kept")
        try bench.cursor("s", kept)
        try bench.inbox("q", ["kept/#"]) { $0.maxAttempts = 5 }
        bench.consume("q", as: 9, credit: 30)
        for number in 0..<800 {
            bench.publish(topic, DeliveryBench.body(number))
            if number < 60 { bench.publish(kept, DeliveryBench.body(number, bytes: 20)) }
            bench.pass(milliseconds: 20)
        }
        for message in bench.take().dropFirst(5) { bench.accept(message) }
        bench.pass(milliseconds: 100)
        let stored = try bench.stored(topic)
        #expect(bench.segments.count < 10)
        let segments = bench.segments
        for round in 0..<3 {
            try bench.reopen(bench.disk.crashed(seed: UInt64(round)), withoutFiles: withoutFiles)
            #expect(bench.shard.damaged == [])
            #expect(try bench.stored(topic) == stored)
            #expect(try bench.stored(kept) == Array(0..<60))
            #expect(try bench.backlog("q") == 35)
            #expect(try bench.backlog("s") == 60)
            #expect(bench.segments.count <= segments.count + 2)
        }
        bench.publish(topic, DeliveryBench.body(800))
        #expect(try bench.stored(topic) == stored + [800])
        bench.consume("q", as: 2)
        #expect(bench.take().map { DeliveryBench.number($0.body) } == Array(0..<5) + Array(30..<60))
    }

    @Test("a topic lets go as soon as the disk has room again, though nobody else asks for a segment")
    func roomAgain() throws {
        let bench = try bench()
        let topic = try bench.topic("t") { $0.maxAgeMicroseconds = 5_000_000 }
        bench.disk.faults.createSegment = .always
        var number = 0
        while bench.shard.health.acceptsWrites, number < 1_000 {
            bench.publish(topic, DeliveryBench.body(number, bytes: 0))
            number += 1
        }
        #expect(number > 50 && number < 1_000)
        // What was refused is asked for again, in vain.
        bench.pass(milliseconds: 1_500)
        #expect(try bench.stored(topic).isEmpty == false)
        bench.disk.faults.createSegment = .never
        bench.pass(milliseconds: 20_000)
        #expect(try bench.stored(topic) == [])
    }

    @Test("without side files, a damaged copy of an index in the log takes with it only what it led to")
    func damagedIndexCopy() throws {
        let bench = try bench()
        let ring = try bench.topic("ring") { $0.maxBytes = 20_000 }
        let kept = try bench.topic("kept")
        for number in 0..<800 {
            bench.publish(ring, DeliveryBench.body(number))
            if number % 10 == 0 { bench.publish(kept, DeliveryBench.body(number, bytes: 20)) }
            bench.pass(milliseconds: 20)
        }
        #expect(bench.segments.first ?? 0 > 0)
        let all = try bench.stored(kept)
        #expect(all.count == 80)
        let copies = bench.shard.state.files.files.values.flatMap(\.copies).sorted { $0.position < $1.position }
        #expect(!copies.isEmpty)
        for copy in copies.suffix(3) {
            let disk = bench.disk.crashed(seed: 3)
            let (segment, offset) = try #require(bench.shard.log.locate(copy.position))
            disk.flipBit(segment: segment.number, offset: offset + Int(copy.recordBytes) - 16, bit: 0)
            let other = try self.bench()
            other.options = bench.options
            try other.reopen(disk, withoutFiles: true)
            let left = try other.stored(kept)
            #expect(Set(left).isSubset(of: all) && left == left.sorted())
            #expect(left.count == 80 || other.shard.damaged.contains { $0.start == copy.position })
            #expect(left.last == all.last)
            other.publish(kept, DeliveryBench.body(800))
            #expect(try other.stored(kept) == left + [800])
        }
    }
}
