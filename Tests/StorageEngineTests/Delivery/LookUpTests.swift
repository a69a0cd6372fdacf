import MessageModel
import Simulator
import StorageService
import Testing

@testable import StorageEngine

@Suite("Look-up by what messages carry")
struct LookUpTests {
    /// What is found, as `body@offset`.
    private func find(_ bench: DeliveryBench, _ query: LookUpQuery) throws -> [String] {
        switch bench.ask(.lookUp(query)) {
        case .success(.found(let found)):
            return found.map { message in
                message.batch.withUnsafeBytes { bytes in
                    var cursor = BatchView(prefixOf: bytes)?.records
                    let body = cursor?.next().map { String(decoding: $0.body, as: UTF8.self) } ?? "?"
                    return "\(body)@\(message.offset)"
                }
            }
        case .failure(let error): throw error
        default: throw SluiceError(.internal, "no answer")
        }
    }

    private func key(_ key: String, topic: TopicID? = nil, limit: Int = 64) -> LookUpQuery {
        LookUpQuery(.key(Array(key.utf8)), topic: topic, limit: limit)
    }

    private func id(_ id: String) -> LookUpQuery { LookUpQuery(.messageID(Array(id.utf8))) }

    @Test("messages are found by key and id, the newest first")
    func find() throws {
        let bench = try DeliveryBench()
        let first = try bench.topic("t")
        let second = try bench.topic("u")
        bench.publish(first, [.init("a", id: "1", keys: ["k", "l"]), .init("b", id: "k"), .init("c", keys: ["k"])])
        bench.publish(second, [.init("d", keys: ["k"])])
        #expect(try find(bench, key("k")) == ["d@0", "c@2", "a@0"])
        #expect(try find(bench, key("k", topic: first)) == ["c@2", "a@0"])
        #expect(try find(bench, key("k", limit: 1)) == ["d@0"])
        #expect(try find(bench, key("l")) == ["a@0"])
        #expect(try find(bench, id("k")) == ["b@1"])
        #expect(try find(bench, key("m")) == [])
    }

    @Test("they are found in files of sealed segments, in memory, and after a crash")
    func segments() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        for index in 0..<2_000 {
            bench.publish(topic, [.init("m\(index)", keys: ["k\(index % 100)", "x\(index)"])])
        }
        let all = (0..<20).reversed().map { "m\($0 * 100 + 7)@\($0 * 100 + 7)" }
        for round in 0..<3 {
            #expect(bench.shard.state.keys.files.count > 2 && !bench.shard.state.keys.open.isEmpty)
            #expect(try find(bench, key("k7")) == all)
            for place in stride(from: 0, to: 2_000, by: 137) {
                #expect(try find(bench, key("x\(place)")) == ["m\(place)@\(place)"])
            }
            #expect(try find(bench, key("k7", limit: 3)) == Array(all.prefix(3)))
            if round == 0 { try bench.crash() }
            if round == 1 { try bench.restart() }
        }
    }

    @Test("of one message only so many keys count")
    func manyKeys() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        bench.publish(topic, [.init("a", keys: (0..<100).map { "k\($0)" })])
        #expect(try find(bench, key("k63")) == ["a@0"])
        #expect(try find(bench, key("k64")) == [])
    }

    @Test("only the time asked for counts")
    func times() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        let start = bench.now
        for index in 0..<5 {
            bench.publish(topic, [.init("m\(index)", keys: ["k"])])
            bench.pass(milliseconds: 1_000)
        }
        var query = key("k")
        query.from = start.advanced(byMicroseconds: 900_000)
        query.to = start.advanced(byMicroseconds: 3_500_000)
        #expect(try find(bench, query) == ["m3@3", "m2@2", "m1@1"])
        query.to = start
        #expect(try find(bench, query) == [])
    }

    @Test("messages that are published later than they are stored are found from then on")
    func held() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        guard case .success(.transaction(let transaction)) = bench.ask(.beginTransaction(.init())) else {
            Issue.record("no transaction")
            return
        }
        let due = bench.now.advanced(byMicroseconds: 1_000_000)
        bench.publish(topic, [.init("late", deliverAt: due, keys: ["k"]), .init("other", deliverAt: due)])
        bench.publish(topic, [.init("x"), .init("y", keys: ["k"]), .init("z", keys: ["k"])], transaction: transaction)
        bench.publish(topic, [.init("now", keys: ["k"])])
        #expect(try find(bench, key("k")) == ["now@0"])
        bench.ask(.commitTransaction(transaction))
        #expect(try find(bench, key("k")) == ["z@3", "y@2", "now@0"])
        bench.pass(milliseconds: 1_100)
        let all = ["late@4", "z@3", "y@2", "now@0"]
        #expect(try find(bench, key("k")) == all)
        try bench.crash()
        #expect(try find(bench, key("k")) == all)
        for index in 0..<1_500 { bench.publish(topic, [.init("m\(index)", keys: ["\(index)"])]) }
        try bench.crash()
        #expect(bench.shard.state.keys.files.count > 0)
        #expect(try find(bench, key("k")) == all)
    }

    @Test("what other tenants and deleted topics have is not found")
    func others() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        bench.publish(topic, [.init("a", keys: ["k"])])
        let session = bench.session
        bench.session = bench.shard.openSession(tenant: TenantID(rawValue: 9))
        #expect(try find(bench, key("k")) == [])
        bench.session = session
        #expect(try find(bench, key("k")) == ["a@0"])
        bench.ask(.deleteTopic(name: "t"))
        #expect(try find(bench, key("k")) == [])
    }

    @Test("key files that were removed are made again from the log")
    func rebuilt() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        for index in 0..<1_000 { bench.publish(topic, [.init("m\(index)", keys: ["k\(index)"])]) }
        let files = Set(bench.shard.state.keys.files.map(\.name))
        #expect(files.count > 1)
        try bench.restart { files.contains($0) }
        #expect(Set(bench.shard.state.keys.files.map(\.name)).isDisjoint(with: files))
        #expect(try find(bench, key("k3")) == ["m3@3"])
    }
}
