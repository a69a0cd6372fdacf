import MessageModel
import Simulator
import StorageService
import Testing

@testable import StorageEngine

@Suite("Session state")
struct SessionStateTests {
    private func state(_ bench: DeliveryBench, _ name: String = "s") throws -> [UInt64: [UInt8]] {
        guard case .success(.state(_, let entries)) = bench.ask(.getState(name: name)) else {
            throw SluiceError(.internal, "no state")
        }
        return Dictionary(uniqueKeysWithValues: entries.map { ($0.key, $0.value) })
    }

    private func changes(_ bench: DeliveryBench, _ change: (inout StateChanges) -> Void) throws -> StateChanges {
        var changes = StateChanges(subscription: try bench.describe("s").id)
        change(&changes)
        return changes
    }

    private func put(_ bench: DeliveryBench, token: UInt64? = 9_000, _ change: (inout StateChanges) -> Void) throws {
        bench.shard.putState(session: bench.session, try changes(bench, change), token: token, now: bench.now)
    }

    @Test("what was answered survives a crash, a restart, and the loss of the snapshot")
    func survives() throws {
        let bench = try DeliveryBench()
        try bench.inbox("s", ["a/#"])
        try put(bench) {
            $0.put(1, [1, 2])
            $0.put(2)
            $0.put(3, [3])
            $0.remove(2)
        }
        #expect(bench.replies[9_000] == nil)
        bench.settle()
        guard case .success(.done) = bench.replies[9_000] else { throw SluiceError(.internal, "not answered") }
        #expect(try state(bench) == [1: [1, 2], 3: [3]])
        try bench.crash()
        #expect(try state(bench) == [1: [1, 2], 3: [3]])
        try bench.restart()
        #expect(try state(bench) == [1: [1, 2], 3: [3]])
        try bench.restart { $0.hasPrefix("snapshot-") }
        #expect(try state(bench) == [1: [1, 2], 3: [3]])
    }

    @Test("what nobody waits for is on the disk soon")
    func lazily() throws {
        let bench = try DeliveryBench()
        try bench.inbox("s", ["a/#"])
        try put(bench, token: nil) { $0.put(1, [1]) }
        bench.pass(milliseconds: 100)
        try bench.crash()
        #expect(try state(bench) == [1: [1]])
    }

    @Test("a batch and its changes are both there after a crash, or neither", arguments: 0..<40)
    func atomic(seed: UInt64) throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("a")
        try bench.inbox("s", ["a/#"])
        var builder = BatchBuilder()
        for _ in 0...seed % 7 {
            Array("body of some length, so that it is over several sectors of the disk".utf8).withUnsafeBytes { body in
                var fields = RecordFields()
                fields.body = body
                builder.append(fields)
            }
        }
        let changes = try changes(bench) { $0.put(77, Array(repeating: 7, count: Int(seed) * 20)) }
        builder.finish { bytes in
            guard let view = BatchView(prefixOf: bytes) else { return }
            bench.shard.append(
                session: bench.session,
                batch: view,
                to: PartitionID(topic: topic, index: 0),
                options: AppendOptions(state: changes),
                token: 9_001,
                now: bench.now
            )
        }
        _ = bench.shard.runRound(now: bench.now, output: bench)
        // The disk may have been asked, and has not answered.
        bench.disk = bench.disk.crashed(seed: seed)
        bench.shard = try Shard.open(device: bench.disk, options: bench.options)
        bench.settle()
        bench.session = bench.shard.openSession(tenant: .default)
        let isStored = try bench.backlog("s") > 0
        #expect(try (state(bench)[77] != nil) == isStored)
    }

    @Test("a change that comes with a batch stands behind those that were made before it")
    func ordered() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("a")
        try bench.inbox("s", ["a/#"])
        try put(bench, token: nil) { $0.remove(5) }
        let with = try changes(bench) { $0.put(5, [1]) }
        var builder = BatchBuilder()
        builder.append(RecordFields())
        builder.finish { bytes in
            guard let view = BatchView(prefixOf: bytes) else { return }
            bench.shard.append(
                session: bench.session,
                batch: view,
                to: PartitionID(topic: topic, index: 0),
                options: AppendOptions(state: with),
                token: 9_001,
                now: bench.now
            )
        }
        bench.settle()
        #expect(try state(bench) == [5: [1]])
        try bench.crash()
        #expect(try state(bench) == [5: [1]])
        bench.consume("s")
        #expect(bench.take().map(\.sequence) == [0])
    }

    @Test("a subscription that is deleted takes its state along, and changes of it are refused then")
    func deleted() throws {
        let bench = try DeliveryBench()
        try bench.inbox("s", ["a/#"])
        try put(bench) { $0.put(1, [1]) }
        let late = try changes(bench) { $0.put(2, []) }
        bench.ask(.deleteSubscription(name: "s"))
        bench.shard.putState(session: bench.session, late, token: 9_002, now: bench.now)
        bench.settle()
        guard case .failure(let error) = bench.replies[9_002] else { throw SluiceError(.internal, "accepted") }
        #expect(error.code == .subscriptionNotFound)
        try bench.inbox("s", ["a/#"])
        #expect(try state(bench) == [:])
        try bench.crash()
        #expect(try state(bench) == [:])
    }

    @Test("an inbox that nobody uses expires at its time, whatever the restarts in between")
    func expiry() throws {
        let bench = try DeliveryBench()
        try bench.inbox("s", ["a/#"]) { $0.expiresUnusedMicroseconds = 10_000_000 }
        bench.consume("s")
        bench.pass(milliseconds: 20_000)
        #expect(try bench.describe("s").consumers == 1)
        bench.shard.detach(session: bench.session, attachment: 1)
        bench.pass(milliseconds: 6_000)
        try bench.crash()
        bench.pass(milliseconds: 2_000)
        try bench.restart()
        #expect(try bench.describe("s").consumers == 0)
        bench.pass(milliseconds: 2_500)
        #expect(throws: (any Error).self) { try bench.describe("s") }
    }

    @Test("one that was in use at a crash has its whole time from the restart on")
    func expiryAfterUse() throws {
        let bench = try DeliveryBench()
        try bench.inbox("s", ["a/#"]) { $0.expiresUnusedMicroseconds = 10_000_000 }
        bench.pass(milliseconds: 5_000)
        bench.consume("s")
        bench.pass(milliseconds: 60_000)
        try bench.crash()
        bench.pass(milliseconds: 9_000)
        #expect(try bench.describe("s").consumers == 0)
        bench.pass(milliseconds: 2_000)
        #expect(throws: (any Error).self) { try bench.describe("s") }
    }

    @Test("more time that is given while it is unused counts")
    func moreTime() throws {
        let bench = try DeliveryBench()
        try bench.inbox("s", ["a/#"]) { $0.expiresUnusedMicroseconds = 10_000_000 }
        bench.pass(milliseconds: 5_000)
        var policy = SubscriptionPolicy()
        policy.expiresUnusedMicroseconds = 20_000_000
        bench.ask(.updateSubscription(name: "s", policy))
        bench.pass(milliseconds: 14_000)
        #expect(try bench.describe("s").consumers == 0)
        bench.pass(milliseconds: 2_000)
        #expect(throws: (any Error).self) { try bench.describe("s") }
    }

    @Test("values under one number are found in all subscriptions, page by page")
    func scan() throws {
        let bench = try DeliveryBench()
        for name in ["s", "t", "u"] { try bench.inbox(name, []) }
        try put(bench) { $0.put(4, [4]) }
        var other = StateChanges(subscription: try bench.describe("u").id)
        other.put(4, [5])
        bench.shard.putState(session: bench.session, other, token: nil, now: bench.now)
        guard case .success(.states(let first, let next)) = bench.ask(.scanState(key: 4, after: nil, limit: 1)),
            case .success(.states(let second, nil)) = bench.ask(.scanState(key: 4, after: next, limit: 1))
        else { throw SluiceError(.internal, "no pages") }
        #expect(first.map(\.name) == ["s"])
        #expect(second.map(\.value) == [[5]])
    }

    @Test("subscriptions whose names begin alike are counted, with their values, over restarts")
    func families() throws {
        let bench = try DeliveryBench()
        for name in ["$f/a", "$f/b", "$g/c", "other/d", "$h"] {
            try bench.inbox(name, []) { $0.expiresUnusedMicroseconds = name == "$f/b" ? 10_000_000 : 0 }
        }
        func put(_ name: String, _ change: (inout StateChanges) -> Void) throws {
            var changes = StateChanges(subscription: try bench.describe(name).id)
            change(&changes)
            bench.shard.putState(session: bench.session, changes, token: 9_000, now: bench.now)
            bench.settle()
        }
        try put("$f/a") {
            $0.put(2 << 56 | 1)
            $0.put(2 << 56 | 1, [1])
            $0.put(2 << 56 | 2)
            $0.put(3 << 56)
            $0.remove(3 << 56)
            $0.remove(3 << 56)
        }
        try put("$f/b") { $0.put(2 << 56) }
        for life in 0..<4 {
            if life == 1 { try bench.crash() }
            if life == 2 { try bench.restart() }
            if life == 3 { try bench.restart { $0.hasPrefix("snapshot-") } }
            let found = bench.shard.health.families
            #expect(Set(found.keys) == ["$f", "$g"])
            #expect(found["$f"]?.count == 2 && found["$f"]?.values == [2: 3])
            #expect(found["$g"]?.count == 1 && found["$g"]?.expired == 0)
        }
        bench.pass(milliseconds: 20_000)
        let expired = bench.shard.health.families["$f"]
        #expect(expired?.count == 1 && expired?.expired == 1 && expired?.values == [2: 2])
        bench.ask(.deleteSubscription(name: "$f/a"))
        #expect(bench.shard.health.families["$f"]?.values == [:])
    }

    @Test("what was delivered once stays where a policy says so, and expires otherwise", arguments: [true, false])
    func keepsDelivered(keeps: Bool) throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("a")
        try bench.inbox("s", ["a/#"]) {
            $0.leaseMicroseconds = 0
            $0.keepsDelivered = keeps
            $0.maxMessages = 4
        }
        let expiry = bench.now.advanced(byMicroseconds: 2_000_000)
        bench.publish(topic, ["0", "1", "2"].map { DeliveryBench.Message($0, expiry: expiry) })
        bench.consume("s", credit: 2)
        #expect(bench.take().map(\.body) == ["0", "1"])
        bench.shard.detach(session: bench.session, attachment: 1)
        bench.pass(milliseconds: 5_000)
        #expect(try bench.backlog("s") == (keeps ? 2 : 0))
        try bench.crash()
        #expect(try bench.backlog("s") == (keeps ? 2 : 0))
        bench.publish(topic, (3..<9).map { DeliveryBench.Message("\($0)") })
        try bench.restart()
        bench.consume("s")
        #expect(bench.take().map(\.body) == (keeps ? ["0", "1", "7", "8"] : ["5", "6", "7", "8"]))
    }

    @Test("bytes that are cut anywhere are refused and harm nothing")
    func malformed() {
        var changes = StateChanges(subscription: SubscriptionID(rawValue: 300))
        changes.put(1 << 60, [1, 2, 3])
        changes.remove(4)
        let bytes = StateJournal.encode(changes)
        var whole = 0
        for count in 0...bytes.count {
            bytes[..<count].withUnsafeBytes { if StateJournal.read($0, { _, _ in }) { whole += 1 } }
        }
        // Nothing, the first change, and both.
        #expect(whole == 3)
    }
    @Test("last values that are put into an inbox survive a crash, in their places")
    func queued() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("a")
        bench.publish(topic, (0..<5).map { DeliveryBench.Message("\($0)", key: "\($0)", isRetained: true) })
        try bench.inbox("s", ["b"])
        guard
            case .success(.queued(let first, 3, let next)) = bench.ask(
                .queueRetained(name: "s", filter: Array("a/+".utf8), after: nil, limit: 3)
            ),
            case .success(.queued(let second, 2, nil)) = bench.ask(
                .queueRetained(name: "s", filter: Array("a/+".utf8), after: next, limit: 3)
            )
        else { throw SluiceError(.internal, "not queued") }
        #expect((first, second) == (0, 3))
        try bench.crash()
        #expect(try bench.backlog("s") == 5)
        bench.consume("s")
        let got = bench.take()
        #expect(got.map(\.body) == ["0", "1", "2", "3", "4"])
        #expect(got.map(\.sequence) == [0, 1, 2, 3, 4])
        for message in got { bench.accept(message) }
        try bench.restart { $0.hasPrefix("snapshot-") }
        #expect(try bench.backlog("s") == 0)
    }
}
