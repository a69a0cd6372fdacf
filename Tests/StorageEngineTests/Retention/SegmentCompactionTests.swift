import MessageModel
import Simulator
import StorageService
import Testing

@testable import StorageEngine

@Suite("Moving what is live, and giving segments back")
struct SegmentCompactionTests {
    private func bench(keepsHistory: Bool = true) throws -> DeliveryBench {
        let bench = try DeliveryBench { options in
            options.segmentBytes = 16 << 10
            options.trimPauseMicroseconds = 10_000
            options.surveyPauseMicroseconds = 1_000
        }
        if !keepsHistory { try bench.reopen(SimulatedDisk(seed: 1, order: .fifo, keepsHistory: false)) }
        return bench
    }

    /// What is to be found, whatever happens: a topic with a limit, and everything that keeps single messages of it or of
    /// others.
    private struct Mixture {
        let ring: TopicID
        let kept: TopicID
        var scheduled: [Int] = []
        var ids: [ScheduledID] = []
        var transaction: TransactionID?
        var inbox: [Int] = []

        init(_ bench: DeliveryBench) throws {
            ring = try bench.topic("ring") { $0.maxBytes = 20_000 }
            kept = try bench.topic("kept") { $0.retention = .subscriptions }
            try bench.inbox("q", ["kept/#", "ring/keep"]) { $0.leaseMicroseconds = 0 }
            try bench.inbox("twin", ["kept/#"])
            bench.consume("twin", as: 7, credit: 1 << 30)
            if case .success(.transaction(let id)) = bench.ask(
                .beginTransaction(TransactionSpecification(owner: "o", checkAfterMicroseconds: 1 << 50, checks: 3))
            ) {
                transaction = id
            }
        }

        mutating func step(_ number: Int, _ bench: DeliveryBench, end: Timestamp) {
            if number % 10 == 0 {
                bench.publish(kept, [.init(DeliveryBench.body(number, bytes: 60))])
                inbox.append(number)
            }
            if number % 25 == 3 {
                bench.publish(ring, [.init(DeliveryBench.body(number, bytes: 60), key: "keep")])
                inbox.append(number)
            } else {
                bench.publish(ring, [.init(DeliveryBench.body(number))])
            }
            if number % 40 == 5 {
                let due = end.advanced(byMicroseconds: UInt64(number) * 1_000)
                let result = bench.publish(kept, [.init(DeliveryBench.body(number, bytes: 50), deliverAt: due)])
                if let id = result?.scheduled {
                    scheduled.append(number)
                    ids.append(id)
                }
            }
            if number % 60 == 7 {
                bench.publish(kept, [.init(DeliveryBench.body(number, bytes: 40))], transaction: transaction)
            }
            for message in bench.take() where message.consumer == 7 { bench.accept(message) }
            bench.pass(milliseconds: 15)
        }
    }

    private func check(_ mixture: Mixture, _ bench: DeliveryBench, _ text: String) throws {
        #expect(bench.shard.damaged == [], "\(text)")
        let ring = try bench.stored(mixture.ring)
        #expect(ring == ring.sorted() && !ring.isEmpty, "\(text)")
        #expect(try bench.backlog("q") == UInt64(mixture.inbox.count), "\(text)")
        bench.consume("q", as: 3, credit: 1 << 20)
        let found = bench.take().filter { $0.consumer == 3 }.map { DeliveryBench.number($0.body) }
        #expect(found == mixture.inbox, "\(text)")
        bench.shard.detach(session: bench.session, attachment: 3)
        bench.settle()
    }

    @Test("what is live comes together, and everything is found where it was moved")
    func moves() throws {
        let bench = try bench()
        var mixture = try Mixture(bench)
        let end = bench.now.advanced(byMicroseconds: 100_000_000)
        for number in 0..<1_500 { mixture.step(number, bench, end: end) }
        bench.pass(milliseconds: 1_000)
        #expect(bench.shard.compaction.movedBytes > 10_000)
        #expect(bench.shard.state.relocations.count > 50)
        let log = bench.shard.log
        #expect(bench.segments.count < 20, "\(bench.segments), the log has \(log.end / 16_384)")
        try check(mixture, bench, "before")
        for round in 0..<4 {
            try bench.reopen(bench.disk.crashed(seed: UInt64(round)), withoutFiles: round % 2 == 1)
            try check(mixture, bench, "after crash \(round)")
        }
        // What was withdrawn stays so, and what comes late comes from where it was moved.
        let first = try #require(mixture.ids.first)
        guard case .success(.done) = bench.ask(.cancelScheduled(first)) else {
            Issue.record("not cancelled")
            return
        }
        let transaction = try #require(mixture.transaction)
        guard case .success(.done) = bench.ask(.commitTransaction(transaction)) else {
            Issue.record("not committed")
            return
        }
        bench.consume("q", as: 3, credit: 1 << 20)
        bench.now = end
        bench.pass(milliseconds: 3_000)
        let found = bench.take().filter { $0.consumer == 3 }
        let numbers = found.map { DeliveryBench.number($0.body) }
        let committed = stride(from: 7, to: 1_500, by: 60)
        #expect(numbers == mixture.inbox + committed + mixture.scheduled.dropFirst())
        bench.accept(contentsOf: found)
        bench.pass(milliseconds: 1_000)
        #expect(try bench.backlog("q") == 0)
    }

    @Test("nothing is lost at any crash while segments are emptied and let go", arguments: 0..<4 as Range<UInt64>)
    func crashes(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let bench = try bench()
        var mixture = try Mixture(bench)
        let end = bench.now.advanced(byMicroseconds: 100_000_000)
        for number in 0..<600 { mixture.step(number, bench, end: end) }
        // From here on nothing is published; every point of the history behind it has the same messages.
        bench.pass(milliseconds: 20)
        let start = bench.disk.history.count
        bench.now = bench.now.advanced(byMicroseconds: 1_000_000)
        for _ in 0..<40 {
            bench.publish(mixture.ring, [.init(DeliveryBench.body(9_999, bytes: 700))])
            bench.pass(milliseconds: 50)
        }
        let history = bench.disk
        #expect(history.history.contains { if case .removedSegment = $0 { true } else { false } })
        for _ in 0..<60 {
            let prefix = Int.random(in: start...history.history.count, using: &random)
            var disk = history.diskAfter(prefix: prefix, seed: random.next())
            let isBare = random.percent(40)
            try bench.reopen(disk, withoutFiles: isBare)
            try check(mixture, bench, "seed \(seed): crash behind operation \(prefix), without files: \(isBare)")
            // Once more, in the middle of what the opening itself did.
            let again = Int.random(in: 0...bench.disk.history.count, using: &random)
            disk = bench.disk.diskAfter(prefix: again, seed: random.next())
            try bench.reopen(disk, withoutFiles: random.percent(30))
            try check(mixture, bench, "seed \(seed): crash behind operation \(prefix), then \(again)")
        }
    }
}

extension DeliveryBench {
    func accept(contentsOf messages: [Got]) { for message in messages { settle(message, .accept) } }
}
