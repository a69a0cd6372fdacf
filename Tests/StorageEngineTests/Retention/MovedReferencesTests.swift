import MessageModel
import Simulator
import StorageService
import Testing

@testable import StorageEngine

@Suite("What is found where its segment was emptied")
struct MovedReferencesTests {
    private func bench() throws -> DeliveryBench {
        let bench = try DeliveryBench { options in
            options.segmentBytes = 16 << 10
            options.trimPauseMicroseconds = 10_000
            options.surveyPauseMicroseconds = 1_000
            options.compactionTail = 10
        }
        try bench.reopen(SimulatedDisk(seed: 1, order: .fifo, keepsHistory: false))
        return bench
    }

    private func body(_ batch: [UInt8]) -> Int {
        batch.withUnsafeBytes { bytes in
            var cursor = BatchView(prefixOf: bytes)?.records
            return DeliveryBench.number(cursor?.next().map { String(decoding: $0.body, as: UTF8.self) } ?? "?")
        }
    }

    private func find(_ bench: DeliveryBench, _ criterion: LookUpQuery.Criterion) throws -> [Int] {
        guard case .success(.found(let found)) = bench.ask(.lookUp(LookUpQuery(criterion, limit: 1_000))) else {
            throw SluiceError(.internal, "no answer")
        }
        return found.map { body($0.batch) }
    }

    private func values(_ bench: DeliveryBench, _ filter: String) throws -> [String: Int] {
        let request = StorageRequest.scanRetained(filter: Array(filter.utf8), after: nil, limit: 1_000)
        guard case .success(.retained(let found, _)) = bench.ask(request) else {
            throw SluiceError(.internal, "no answer")
        }
        return Dictionary(
            uniqueKeysWithValues: found.map { (String(decoding: $0.name, as: UTF8.self), body($0.message.batch)) }
        )
    }

    /// A stream that fills the segments, and beside it single messages of all kinds.
    private struct Mixture {
        let ring: TopicID
        let kept: TopicID
        let latest: TopicID
        var byKey: [String: [Int]] = [:]
        var values: [String: Int] = [:]
        var last: [String: Int] = [:]

        init(_ bench: DeliveryBench) throws {
            ring = try bench.topic("ring") { $0.maxBytes = 20_000 }
            kept = try bench.topic("kept")
            latest = try bench.topic("latest") { $0.retention = .compacted }
        }

        mutating func step(_ number: Int, _ bench: DeliveryBench) {
            let body = DeliveryBench.body(number)
            bench.publish(ring, [.init(body, keys: ["stream"])])
            if number % 20 == 3 {
                let key = "k\(number % 7)"
                bench.publish(kept, [.init(DeliveryBench.body(number, bytes: 50), id: "id\(number)", keys: [key])])
                byKey[key, default: []].insert(number, at: 0)
            }
            // Each name's value is the newest one; some names are not used any more soon.
            if number % 10 == 5 {
                let name = number < 200 ? "early\(number)" : "often\(number % 4)"
                bench.publish(ring, [.init(body, key: name, isRetained: true)])
                values["ring/\(name)"] = number
            }
            if number == 105 {
                let expiry = bench.now.advanced(byMicroseconds: 1_000)
                bench.publish(ring, [.init(body, key: "short", expiry: expiry, isRetained: true)])
            }
            let key = number < 100 ? "once\(number)" : "again\(number % 3)"
            if number % 2 == 0 {
                bench.publish(latest, [.init(DeliveryBench.body(number, bytes: 80), orderingKey: key)])
                last[key] = number
            }
            bench.pass(milliseconds: 15)
        }
    }

    private func check(_ mixture: Mixture, _ bench: DeliveryBench, _ text: String) throws {
        #expect(bench.shard.damaged == [], "\(text)")
        for (key, numbers) in mixture.byKey {
            #expect(try find(bench, .key(Array(key.utf8))) == numbers, "\(key), \(text)")
            for number in numbers {
                #expect(try find(bench, .messageID(Array("id\(number)".utf8))) == [number], "\(text)")
            }
        }
        #expect(try find(bench, .key(Array("stream".utf8))).count < 100, "\(text)")
        #expect(try values(bench, "ring/#") == mixture.values, "\(text)")
        let latest = try bench.stored(mixture.latest)
        #expect(Set(mixture.last.values).isSubset(of: latest) && latest.count < 200, "\(text)")
        #expect(latest == latest.sorted(), "\(text)")
    }

    @Test("keys, last values and the last messages of compacted topics, with the derived files and without them")
    func references() throws {
        let bench = try bench()
        var mixture = try Mixture(bench)
        for number in 0..<1_200 { mixture.step(number, bench) }
        bench.pass(milliseconds: 1_000)
        #expect(bench.shard.compaction.movedBytes > 10_000)
        #expect(bench.segments.count < 14, "\(bench.segments), the log has \(bench.shard.log.end / 16_384)")
        try check(mixture, bench, "before")
        for round in 0..<4 {
            try bench.reopen(bench.disk.crashed(seed: UInt64(round)), withoutFiles: round % 2 == 0)
            try check(mixture, bench, "after crash \(round)")
            for number in 0..<100 { mixture.step(1_200 + round * 100 + number, bench) }
            bench.pass(milliseconds: 200)
            try check(mixture, bench, "going on after crash \(round)")
        }
    }

    /// A stream that fills the segments, and messages beside it that are stored long before they are published.
    private struct Late {
        let ring: TopicID
        let kept: TopicID
        var open: [(TransactionID, step: Int, numbers: [Int])] = []
        /// Scheduled messages, with when they are due.
        var waiting: [(number: Int, due: Timestamp)] = []
        var published = Set<Int>()
        var number = 0

        init(_ bench: DeliveryBench) throws {
            ring = try bench.topic("ring") { $0.maxBytes = 20_000 }
            kept = try bench.topic("kept")
        }

        private func message(_ number: Int, due: Timestamp? = nil) -> DeliveryBench.Message {
            .init(
                DeliveryBench.body(number, bytes: 50),
                deliverAt: due,
                id: "id\(number)",
                keys: ["k\(number % 3)", "all"]
            )
        }

        mutating func step(_ bench: DeliveryBench) {
            number += 1
            bench.publish(ring, [.init(DeliveryBench.body(number), keys: ["stream"])])
            if number % 20 == 3 {
                let due = bench.now.advanced(byMicroseconds: 2_000_000)
                bench.publish(kept, [message(number, due: due), message(-number, due: due)])
                waiting += [(number, due), (-number, due)]
            }
            if number % 20 == 13, case .success(.transaction(let id)) = bench.ask(.beginTransaction(.init())) {
                bench.publish(kept, [message(number), message(-number)], transaction: id)
                open.append((id, number, [number, -number]))
            }
            for late in open where late.step + 150 < number {
                if case .success? = bench.ask(.commitTransaction(late.0)) { published.formUnion(late.numbers) }
            }
            open.removeAll { $0.step + 150 < number }
            bench.pass(milliseconds: 15)
            let now = bench.now
            published.formUnion(waiting.filter { $0.due.advanced(byMicroseconds: 100_000) < now }.map(\.number))
            waiting.removeAll { $0.due.advanced(byMicroseconds: 100_000) < now }
        }
    }

    /// Keys that lead to records which published messages, and which stand elsewhere by now.
    private func movedPublications(_ bench: DeliveryBench) throws -> Int {
        var positions = Set<UInt64>()
        for file in bench.shard.state.keys.files {
            let bytes = try bench.disk.readFileNow(file.name) ?? []
            var search = KeySearch(segment: file.segment, epoch: file.epoch, hash: nil, times: 0 ... .max)
            reading: while true {
                switch search.next() {
                case .read(let offset, let length): search.received(Array(bytes.dropFirst(offset).prefix(length)))
                case .found(let found): positions.formUnion(found.map(\.position))
                case .refused(let problem): throw problem
                case .done: break reading
                }
            }
        }
        return positions.count { bench.shard.state.relocations.home(of: $0) != nil }
    }

    private func check(_ late: Late, _ bench: DeliveryBench, _ text: String) throws {
        #expect(bench.shard.damaged == [], "\(text)")
        let unsure = Set(late.waiting.map(\.number))
        #expect(
            Set(try find(bench, .key(Array("all".utf8)))).subtracting(unsure) == late.published,
            "\(text)"
        )
        for number in late.published.sorted() {
            #expect(try find(bench, .messageID(Array("id\(number)".utf8))) == [number], "\(text)")
        }
        #expect(try find(bench, .key(Array("stream".utf8))).count < 200, "\(text)")
    }

    @Test("messages that were stored long before they were published, with the derived files and without them")
    func late() throws {
        let bench = try bench()
        var late = try Late(bench)
        for _ in 0..<1_200 { late.step(bench) }
        bench.pass(milliseconds: 1_000)
        #expect(late.published.count > 150)
        #expect(try movedPublications(bench) > 20)
        #expect(bench.segments.count < 14, "\(bench.segments), the log has \(bench.shard.log.end / 16_384)")
        try check(late, bench, "before")
        for round in 0..<8 {
            try bench.reopen(bench.disk.crashed(seed: UInt64(round)), withoutFiles: round % 2 == 0)
            try check(late, bench, "after crash \(round)")
            for _ in 0..<40 + round * 7 { late.step(bench) }
            try check(late, bench, "going on after crash \(round)")
        }
        // Once nothing of them is there, nothing is kept for them.
        bench.ask(.deleteTopic(name: "kept"))
        for _ in 0..<300 {
            bench.publish(late.ring, [.init(DeliveryBench.body(1))])
            bench.pass(milliseconds: 15)
        }
        bench.pass(milliseconds: 5_000)
        #expect(bench.segments.count <= 5, "\(bench.segments)")
    }

    @Test("a value that has expired, and one whose topic is deleted, keep nothing")
    func expired() throws {
        let bench = try bench()
        let topic = try bench.topic("t") { $0.maxBytes = 20_000 }
        let gone = try bench.topic("gone") { $0.maxBytes = 20_000 }
        for number in 0..<200 {
            let expiry = bench.now.advanced(byMicroseconds: 5_000_000)
            bench.publish(
                topic,
                [.init(DeliveryBench.body(number), key: "n\(number)", expiry: expiry, isRetained: true)]
            )
            bench.publish(gone, [.init(DeliveryBench.body(number), key: "n\(number)", isRetained: true)])
            bench.pass(milliseconds: 10)
        }
        // All values are there, and with them the segments.
        #expect(try values(bench, "#").count == 400)
        #expect(bench.segments.count > 5)
        _ = bench.ask(.deleteTopic(name: "gone"))
        bench.pass(milliseconds: 6_000)
        for number in 0..<100 {
            bench.publish(topic, DeliveryBench.body(number))
            bench.pass(milliseconds: 100)
        }
        #expect(try values(bench, "#").isEmpty)
        #expect(bench.segments.count <= 4, "\(bench.segments)")
    }
}
