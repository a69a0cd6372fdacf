import MessageModel
import StorageService
import Testing

@testable import StorageEngine

@Suite("Last values")
struct RetainedTests {
    /// The last values that match, as `name=body@offset`.
    private func scan(
        _ bench: DeliveryBench,
        _ filter: String,
        after: String? = nil,
        limit: Int = 1_000
    ) throws -> (values: [String], next: String?) {
        let request = StorageRequest.scanRetained(
            filter: Array(filter.utf8),
            after: after.map { Array($0.utf8) },
            limit: limit
        )
        switch bench.ask(request) {
        case .success(.retained(let found, let next)):
            let values = found.map { value in
                value.message.batch.withUnsafeBytes { bytes in
                    var cursor = BatchView(prefixOf: bytes)?.records
                    let body = cursor?.next().map { String(decoding: $0.body, as: UTF8.self) } ?? "?"
                    return "\(String(decoding: value.name, as: UTF8.self))=\(body)@\(value.message.offset)"
                }
            }
            return (values, next.map { String(decoding: $0, as: UTF8.self) })
        case .failure(let error): throw error
        default: throw SluiceError(.internal, "no answer")
        }
    }

    private func retained(_ body: String, _ key: String?, expiry: Timestamp? = nil) -> DeliveryBench.Message {
        DeliveryBench.Message(body, key: key, expiry: expiry, isRetained: true)
    }

    @Test("the last retained message of each name is kept, in the order of names")
    func lastValue() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        bench.publish(topic, [retained("1", "b"), retained("2", "a/x"), .init("not", key: "c"), retained("3", nil)])
        bench.publish(topic, [retained("4", "b"), .init("5", key: "b")])
        #expect(try scan(bench, "t/#").values == ["t=3@3", "t/a/x=2@1", "t/b=4@4"])
        #expect(try scan(bench, "t/+").values == ["t/b=4@4"])
        #expect(try scan(bench, "t/b").values == ["t/b=4@4"])
        #expect(try scan(bench, "u/#").values == [])
        #expect(throws: SluiceError.self) { try scan(bench, "t/#/x") }
    }

    @Test("an empty message removes the value, and only that of its name")
    func delete() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        bench.publish(topic, [retained("1", "a"), retained("2", "b")])
        bench.publish(topic, [retained("", "a")])
        #expect(try scan(bench, "#").values == ["t/b=2@1"])
    }

    @Test("an expired value is not returned, and makes room")
    func expiry() throws {
        let bench = try DeliveryBench { $0.retainedValues = 2 }
        let topic = try bench.topic("t")
        bench.publish(topic, [retained("1", "a", expiry: bench.now.advanced(byMicroseconds: 1_000_000))])
        bench.publish(topic, [retained("2", "b")])
        bench.pass(milliseconds: 999)
        #expect(try scan(bench, "#").values.count == 2)
        bench.pass(milliseconds: 2)
        #expect(try scan(bench, "#").values == ["t/b=2@1"])
        bench.publish(topic, [retained("3", "c")])
        #expect(try scan(bench, "#").values == ["t/b=2@1", "t/c=3@2"])
    }

    @Test("beyond the tenant's limits a message is published and not kept, with a warning")
    func limits() throws {
        let bench = try DeliveryBench {
            $0.retainedValues = 2
            $0.retainedBytes = 100
        }
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        bench.publish(topic, [retained("1", "a"), retained("2", "b"), retained("3", "c")])
        #expect(try scan(bench, "#").values == ["t/a=1@0", "t/b=2@1"])
        #expect(bench.warnings.count == 1)
        bench.publish(topic, [retained("4", "b")])
        #expect(try scan(bench, "#").values == ["t/a=1@0", "t/b=4@3"])
        // An old value would be a wrong one.
        bench.publish(topic, [retained(String(repeating: "x", count: 99), "b")])
        #expect(try scan(bench, "#").values == ["t/a=1@0"])
        bench.publish(topic, [retained("5", "c")])
        #expect(try scan(bench, "#").values == ["t/a=1@0", "t/c=5@5"])
        bench.consume("s")
        #expect(bench.take().count == 6)
    }

    @Test("values survive a crash, and are read from the disk")
    func crash() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        bench.publish(topic, [retained("1", "a"), retained("2", "b")])
        for index in 0..<1_500 { bench.publish(topic, "m\(index)") }
        bench.publish(topic, [retained("3", "b")])
        for _ in 0..<2 {
            try bench.crash()
            #expect(try scan(bench, "#").values == ["t/a=1@0", "t/b=3@1502"])
        }
    }

    @Test("pages follow each other")
    func pages() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        for index in 0..<25 { bench.publish(topic, [retained("\(index)", "n\(100 + index)")]) }
        var values: [String] = []
        var after: String?
        repeat {
            let page = try scan(bench, "t/#", after: after, limit: 10)
            values += page.values
            after = page.next
        } while after != nil
        #expect(values == (0..<25).map { "t/n\(100 + $0)=\($0)@\($0)" })
    }

    @Test("scheduled and transactional messages count when they are published")
    func held() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        guard case .success(.transaction(let id)) = bench.ask(.beginTransaction(.init())) else {
            Issue.record("no transaction")
            return
        }
        let due = bench.now.advanced(byMicroseconds: 1_000_000)
        bench.publish(topic, [.init("late", key: "a", deliverAt: due, isRetained: true)])
        bench.publish(topic, [retained("together", "b")], transaction: id)
        bench.publish(topic, [retained("early", "a")])
        #expect(try scan(bench, "#").values == ["t/a=early@0"])
        bench.ask(.commitTransaction(id))
        #expect(try scan(bench, "#").values == ["t/a=early@0", "t/b=together@1"])
        bench.pass(milliseconds: 1_100)
        let values = ["t/a=late@2", "t/b=together@1"]
        #expect(try scan(bench, "#").values == values)
        try bench.crash()
        #expect(try scan(bench, "#").values == values)
    }

    @Test("many with long names that are due at once are published in several steps")
    func longNames() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.cursor("s", topic)
        let due = bench.now.advanced(byMicroseconds: 1_000_000)
        let long = String(repeating: "n", count: 2_000)
        for index in 0..<60 {
            bench.publish(topic, [.init("m\(index)", key: "\(long)\(100 + index)", deliverAt: due, isRetained: true)])
        }
        bench.pass(milliseconds: 2_000)
        #expect(try scan(bench, "#").values.count == 60)
        bench.consume("s")
        #expect(bench.take().map(\.body) == (0..<60).map { "m\($0)" })
    }

    @Test("a deleted topic takes its values with it, and tenants do not see each other's")
    func deletion() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        let other = try bench.topic("u")
        bench.publish(topic, [retained("1", "a")])
        bench.publish(other, [retained("2", "a")])
        bench.ask(.deleteTopic(name: "t"))
        #expect(try scan(bench, "#").values == ["u/a=2@0"])
        bench.session = bench.shard.openSession(tenant: TenantID(rawValue: 9))
        #expect(try scan(bench, "#").values == [])
    }

    @Test("what keeps the log alive is told")
    func live() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        func live() -> Set<UInt64> {
            var positions = Set<UInt64>()
            bench.shard.state.forEachLivePosition { position, recordBytes in
                positions.insert(position)
                #expect(bench.shard.log.cached(position).map { $0.load32(0) } == recordBytes)
            }
            return positions
        }
        bench.publish(topic, [retained("1", "a"), retained("2", "b")])
        bench.publish(topic, [retained("3", "b")])
        #expect(live().count == 2)
        bench.publish(topic, [retained("", "a")])
        #expect(live().count == 1)
        bench.publish(topic, [retained("4", "b", expiry: bench.now.advanced(byMicroseconds: 10))])
        #expect(live().count == 1)
        bench.pass(milliseconds: 1)
        bench.publish(topic, "later")
        #expect(live().isEmpty)
    }
}
