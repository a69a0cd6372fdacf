import MessageModel
import Simulator
import StorageService
import TestSupport
import Testing

@testable import StorageEngine

@Suite("Compacted topics")
struct CompactionTests {
    private func bench(tail: UInt64 = 10, keys: Int = 1_000) throws -> (DeliveryBench, TopicID) {
        let bench = try DeliveryBench {
            $0.compactionTail = tail
            $0.compactedKeys = keys
        }
        return (bench, try bench.topic("t") { $0.retention = .compacted })
    }

    /// What a reader from the beginning on sees, as `body@offset`.
    private func read(_ bench: DeliveryBench, _ topic: TopicID) throws -> [String] {
        let partition = PartitionID(topic: topic, index: 0)
        var seen: [String] = []
        var offset: UInt64 = 0
        while true {
            let request = FetchRequest(partition: partition, offset: offset, maxBytes: 1 << 20)
            guard case .success(.fetched(let reply)) = bench.ask(.fetch(request)) else {
                throw SluiceError(.internal, "no answer")
            }
            if reply.batches.isEmpty { return seen }
            reply.batches.withUnsafeBytes { bytes in
                var place = 0
                while place < bytes.count,
                    let batch = BatchView(prefixOf: UnsafeRawBufferPointer(rebasing: bytes[place...]))
                {
                    place += batch.byteCount
                    var cursor = batch.records
                    while let record = cursor.next() {
                        let number = batch.baseOffset + UInt64(cursor.index - 1)
                        if number >= offset { seen.append("\(String(decoding: record.body, as: UTF8.self))@\(number)") }
                    }
                    offset = max(offset, batch.nextOffset)
                }
            }
        }
    }

    @Test("behind the newest messages only the last one of each key is left, by ordering key or name")
    func lastOnly() throws {
        let (bench, topic) = try bench()
        for index in 0..<30 {
            bench.publish(
                topic,
                [.init("k\(index)", key: "n\(index)", orderingKey: "k"), .init("x\(index)", key: "x")]
            )
        }
        bench.publish(topic, [.init("other", key: "y")])
        let seen = try read(bench, topic)
        #expect(seen.count < 40 && seen.suffix(3) == ["k29@58", "x29@59", "other@60"])
        #expect(bench.shard.state.partition(PartitionID(topic: topic, index: 0))?.partition.dropped.isEmpty == false)
        try bench.crash()
        #expect(try read(bench, topic) == seen)
        try bench.cursor("s", topic)
        bench.consume("s")
        #expect(bench.take().map { "\($0.body)@\($0.sequence)" } == seen)
        for message in bench.take() { bench.accept(message) }
    }

    @Test("a tombstone takes its key away, and in the end itself")
    func tombstones() throws {
        let (bench, topic) = try bench(tail: 4)
        bench.publish(
            topic,
            [.init("a", orderingKey: "a"), .init("b", orderingKey: "b"), .init("c", orderingKey: "c")]
        )
        bench.publish(topic, [.init("", orderingKey: "b")])
        for index in 0..<20 { bench.publish(topic, [.init("m\(index)", orderingKey: "m")]) }
        let seen = try read(bench, topic)
        #expect(Array(seen.prefix(2)) == ["a@0", "c@2"] && !seen.contains("@3") && seen.last == "m19@23")
        #expect(seen.count <= 2 + 4 + 10)
    }

    @Test("random histories: the last message of each key is always there, the newest too, and nothing comes back")
    func random() throws {
        for seed in 1...6 as ClosedRange<UInt64> {
            var random = SeededRandom(seed: seed)
            let (bench, topic) = try bench(tail: 8)
            try bench.cursor("s", topic)
            var last: [String: (body: String, offset: UInt64)] = [:]
            var all: [String] = []
            var gone = Set<String>()
            for step in 0..<400 {
                let messages = (0..<Int.random(in: 1...5, using: &random)).map { place in
                    let key = "k\(Int.random(in: 0..<12, using: &random))"
                    let isTombstone = Int.random(in: 0..<10, using: &random) == 0
                    return DeliveryBench.Message(isTombstone ? "" : "m\(step).\(place)", orderingKey: key)
                }
                let offset = UInt64(all.count)
                if Int.random(in: 0..<6, using: &random) == 0,
                    case .success(.transaction(let id)) = bench.ask(.beginTransaction(.init()))
                {
                    bench.publish(topic, messages, transaction: id)
                    bench.ask(.commitTransaction(id))
                } else {
                    bench.publish(topic, messages)
                }
                for (place, message) in messages.enumerated() {
                    last[message.orderingKey ?? ""] = (message.body, offset + UInt64(place))
                    all.append("\(message.body)@\(offset + UInt64(place))")
                }
                switch Int.random(in: 0..<40, using: &random) {
                case 0: try bench.crash()
                case 1: try bench.restart()
                default: break
                }
                guard step % 20 == 19 else { continue }
                let seen = try read(bench, topic)
                let there = Set(seen)
                #expect(seen == all.filter { there.contains($0) }, "seed \(seed): order")
                #expect(Array(seen.suffix(8)) == Array(all.suffix(8)), "seed \(seed): the newest")
                for (_, message) in last where !message.body.isEmpty {
                    #expect(there.contains("\(message.body)@\(message.offset)"), "seed \(seed): the last of its key")
                }
                #expect(there.isDisjoint(with: gone), "seed \(seed): what is gone is gone")
                gone.formUnion(all.filter { !there.contains($0) })
                if step > 100 { #expect(seen.count < 120, "seed \(seed): it is compacted") }
            }
            bench.consume("s", credit: 10_000)
            let seen = try read(bench, topic)
            #expect(bench.take().map { "\($0.body)@\($0.sequence)" } == seen, "seed \(seed): a subscription")
        }
    }

    @Test("with too many keys nothing more is let go, and nothing is lost")
    func tooManyKeys() throws {
        let (bench, topic) = try bench(keys: 5)
        for round in 0..<20 {
            for key in 0..<8 { bench.publish(topic, [.init("m\(round).\(key)", orderingKey: "k\(key)")]) }
        }
        let seen = try read(bench, topic)
        #expect(seen.count == 155)
        #expect(seen.first == "m0.5@5")
    }

    @Test("scheduled messages count when they are published")
    func scheduled() throws {
        let (bench, topic) = try bench(tail: 2)
        let due = bench.now.advanced(byMicroseconds: 1_000_000)
        bench.publish(topic, [.init("late", orderingKey: "a", deliverAt: due)])
        bench.publish(topic, [.init("early", orderingKey: "a")])
        bench.pass(milliseconds: 1_100)
        for index in 0..<10 { bench.publish(topic, [.init("m\(index)", orderingKey: "m")]) }
        try bench.crash()
        let seen = try read(bench, topic)
        #expect(seen.first == "late@1" && seen.last == "m9@11")
    }
}
