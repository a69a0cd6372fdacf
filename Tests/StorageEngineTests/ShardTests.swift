import MessageModel
import Simulator
import StorageService
import Testing

@testable import StorageEngine

/// A shard on a simulated disk, called step by step.
private final class ShardBench: ShardOutput {
    var disk: SimulatedDisk
    var options = ShardOptions()
    var shard: Shard
    var session: UInt64 = 0
    var now = Timestamp(rawValue: 1_000_000)
    var appends: [UInt64: AppendResult] = [:]
    var replies: [UInt64: Result<StorageReply, SluiceError>] = [:]
    var delivered: [UInt64] = []
    var ended: [UInt32] = []
    private var nextToken: UInt64 = 1

    init(tenant: TenantID = .default) throws {
        disk = SimulatedDisk(seed: 1, order: .fifo)
        options.segmentBytes = 16 << 10
        options.blockBytes = 4 << 10
        options.tailCacheBytes = 4 << 10
        options.logIdentity = 5
        shard = try Shard.open(device: disk, options: options)
        settle()
        session = shard.openSession(tenant: tenant)
    }

    func reopen(_ disk: SimulatedDisk) throws {
        self.disk = disk
        shard = try Shard.open(device: disk, options: options)
        settle()
        session = shard.openSession(tenant: .default)
    }

    func appendCompleted(session: UInt64, token: UInt64, result: AppendResult) { appends[token] = result }
    func batchDelivered(session: UInt64, _ delivery: BatchDelivery) { delivered.append(delivery.batch.baseOffset) }
    func messageRouted(session: UInt64, _ message: RoutedMessage) {}
    func consumerChanged(session: UInt64, attachment: UInt32, isActive: Bool) {}
    func transactionNeedsResolution(session: UInt64, _ transaction: TransactionID, owner: String) {}
    func attachmentEnded(session: UInt64, attachment: UInt32, error: SluiceError) { ended.append(attachment) }
    func requestCompleted(session: UInt64, token: UInt64, result: Result<StorageReply, SluiceError>) {
        replies[token] = result
    }
    func warning(_ text: String) {}

    func round() { while shard.runRound(now: now, output: self) {} }

    /// Rounds and answers of the disk until nothing happens.
    func settle() {
        round()
        for _ in 0..<1_000 {
            guard let event = disk.completeNext() else { return }
            shard.deviceCompleted(event)
            round()
        }
    }

    func send(_ request: StorageRequest, from other: UInt64? = nil) -> UInt64 {
        nextToken += 1
        shard.perform(session: other ?? session, request, token: nextToken, now: now)
        return nextToken
    }

    func ask(_ request: StorageRequest, from other: UInt64? = nil) -> Result<StorageReply, SluiceError>? {
        let token = send(request, from: other)
        settle()
        return replies[token]
    }

    func createTopic(_ name: String) throws -> PartitionID {
        guard case .success(.topicCreated(let topic, _)) = ask(.createTopic(TopicSpecification(name: name))) else {
            throw SluiceError(.internal, "no topic")
        }
        return PartitionID(topic: topic.id, index: 0)
    }

    @discardableResult
    func append(
        _ partition: PartitionID,
        bytes: Int = 100,
        _ acknowledgement: Acknowledgement = .durable,
        from other: UInt64? = nil
    ) -> UInt64 {
        nextToken += 1
        let body = [UInt8](repeating: 7, count: bytes)
        var builder = BatchBuilder()
        body.withUnsafeBytes { body in
            var fields = RecordFields()
            fields.body = body
            builder.append(fields)
        }
        builder.finish { bytes in
            guard let view = BatchView(prefixOf: bytes) else { return }
            shard.append(
                session: other ?? session,
                batch: view,
                to: partition,
                options: AppendOptions(acknowledgement: acknowledgement),
                token: nextToken,
                now: now
            )
        }
        return nextToken
    }

    /// Fills more than the memory for the newest part, so that the first messages and their index are on the disk.
    func fill(_ partition: PartitionID, count: Int = 400) {
        for _ in 0..<count {
            append(partition)
            now = now.advanced(byMicroseconds: 10)
            settle()
        }
    }
}

extension Result where Success == StorageReply, Failure == SluiceError {
    fileprivate var code: ErrorCode? {
        if case .failure(let error) = self { return error.code }
        return nil
    }
}

@Suite("Shard")
struct ShardTests {
    @Test("a fetch that is past its time and waits for the disk does not wake anybody")
    func fetchDeadline() throws {
        let bench = try ShardBench()
        let partition = try bench.createTopic("t")
        bench.fill(partition)
        let token = bench.send(.fetch(FetchRequest(partition: partition, offset: 0, maxBytes: 1)))
        bench.round()
        #expect(bench.replies[token] == nil && bench.disk.inFlight > 0)
        #expect(bench.shard.nextDeadline.map { $0 > bench.now } ?? true)
        bench.settle()
        guard case .success(.fetched(let reply))? = bench.replies[token] else {
            Issue.record("the fetch was not answered")
            return
        }
        #expect(!reply.batches.isEmpty)
    }

    @Test("a search for a time that needs the disk is answered")
    func coldSearch() throws {
        let bench = try ShardBench()
        let partition = try bench.createTopic("t")
        let start = bench.now
        bench.fill(partition)
        let time = start.advanced(byMicroseconds: 1_000)
        guard case .success(.offset(let offset, let found))? = bench.ask(.findOffset(partition, .time(time))) else {
            Issue.record("the search was not answered")
            return
        }
        #expect(offset == 100 && found == time)
    }

    @Test("a subscription whose start was searched for is written without anything else happening")
    func searchedSubscription() throws {
        let bench = try ShardBench()
        let partition = try bench.createTopic("t")
        bench.fill(partition)
        let specification = SubscriptionSpecification(name: "s", topic: partition.topic, start: .time(bench.now))
        guard case .success(.subscriptionCreated)? = bench.ask(.createSubscription(specification)) else {
            Issue.record("it was not answered")
            return
        }
    }

    @Test("a subscription is not created on a topic that was deleted during the search")
    func searchedTooLong() throws {
        let bench = try ShardBench()
        let partition = try bench.createTopic("t")
        let time = bench.now
        bench.fill(partition)
        let specification = SubscriptionSpecification(name: "s", topic: partition.topic, start: .time(time))
        let token = bench.send(.createSubscription(specification))
        bench.round()
        _ = bench.send(.deleteTopic(name: "t"))
        bench.settle()
        #expect(bench.replies[token]?.code == .topicNotFound)
        #expect(bench.shard.state.subscriptions.isEmpty)
    }

    @Test("what is read ahead from the disk ends where the log did")
    func readsBehindEnd() throws {
        let bench = try ShardBench()
        let partition = try bench.createTopic("t")
        bench.fill(partition)
        let request = AttachRequest(
            source: .partition(partition, .first),
            creditMessages: 1 << 20,
            creditBytes: 1 << 20
        )
        bench.shard.attach(session: bench.session, request, attachment: 1, now: bench.now)
        bench.settle()
        #expect(bench.delivered.count == 400)
        // It has a part of the disk in memory; the log grows into what stood behind, and out of the shard's memory.
        bench.fill(partition, count: 100)
        #expect(bench.delivered == Array(0..<500) && bench.ended.isEmpty)
    }

    @Test("one tenant's session neither appends to nor fetches from another's topic")
    func tenants() throws {
        let bench = try ShardBench()
        let partition = try bench.createTopic("t")
        bench.append(partition)
        bench.settle()
        let other = bench.shard.openSession(tenant: TenantID(rawValue: 9))
        let append = bench.append(partition, from: other)
        let fetch = bench.ask(.fetch(FetchRequest(partition: partition, offset: 0, maxBytes: 100)), from: other)
        #expect(bench.appends[append]?.error == .topicNotFound)
        #expect(fetch?.code == .topicNotFound)
    }

    @Test("closing while a snapshot is on its way waits for the last sync and the last snapshot")
    func closesLate() throws {
        let bench = try ShardBench()
        let partition = try bench.createTopic("t")
        while bench.shard.snapshotWork.isWriting == false {
            bench.append(partition, bytes: 1_000)
            bench.round()
            if let event = bench.disk.completeNext() { bench.shard.deviceCompleted(event) }
            bench.round()
        }
        bench.append(partition, .received)
        bench.shard.close()
        while !bench.shard.isClosed, let event = bench.disk.completeNext() {
            bench.shard.deviceCompleted(event)
            bench.round()
        }
        let health = bench.shard.health
        #expect(bench.shard.isClosed && health.durable == health.end)
        try bench.reopen(bench.disk.crashed(seed: 1, style: .losesAll))
        #expect(bench.shard.damaged.isEmpty)
    }

    @Test("a shard that never got its first segment closes")
    func closesFull() throws {
        let disk = SimulatedDisk(seed: 1)
        disk.faults.createSegment = .always
        var options = ShardOptions()
        options.segmentBytes = 16 << 10
        let bench = try ShardBench()
        bench.options = options
        bench.disk = disk
        bench.shard = try Shard.open(device: disk, options: options)
        bench.settle()
        #expect(!bench.shard.isReady)
        bench.shard.close()
        bench.settle()
        #expect(bench.shard.isClosed)
    }

    @Test(
        "when the log fails, what was durable is acknowledged, and everything else is answered, also what comes later"
    )
    func failureAnswers() throws {
        let bench = try ShardBench()
        let partition = try bench.createTopic("t")
        let first = bench.append(partition)
        bench.round()
        let second = bench.append(partition)
        // The sync of the first ends well; the write of the second, in the same round, does not.
        bench.disk.faults.write = .once
        bench.settle()
        #expect(bench.appends[first]?.error == nil && bench.appends[first] != nil)
        #expect(bench.appends[second]?.error == .indeterminate)
        #expect(bench.shard.health.acceptsWrites == false)
        // Needs no record of its own, but a sync that will not come.
        #expect(bench.ask(.createTopic(TopicSpecification(name: "t")))?.code == .indeterminate)
        let third = bench.append(partition)
        bench.settle()
        #expect(bench.appends[third]?.error == .storageUnavailable)
    }

    @Test("a segment that could not be made is asked for again, whatever the reason and whoever needs it")
    func segmentRetry() throws {
        let bench = try ShardBench()
        let partition = try bench.createTopic("t")
        bench.disk.faults.createSegment = .always
        var token: UInt64 = 0
        repeat {
            token = bench.append(partition, bytes: 2_000)
            bench.settle()
        } while bench.appends[token]?.error == nil
        #expect(bench.appends[token]?.error == .storageFull)
        let deadline = try #require(bench.shard.nextDeadline)
        bench.disk.faults.createSegment = .never
        bench.now = deadline
        bench.settle()
        token = bench.append(partition, bytes: 2_000)
        bench.settle()
        #expect(bench.appends[token]?.error == nil)
    }

    @Test("a definition that fits into no segment is refused, and the log goes on")
    func hugeDefinition() throws {
        let bench = try ShardBench()
        let captures = (0..<64).map { "c\($0)/" + String(repeating: "x", count: 1_000) }
        let specification = TopicSpecification(name: "big", partitions: 1, captures: captures)
        #expect(bench.ask(.createTopic(specification))?.code == .tooLarge)
        #expect(bench.shard.health.acceptsWrites)
        _ = try bench.createTopic("t")
    }

    @Test("an attachment's number can be used again at once after a detach")
    func detachAndAttach() throws {
        let bench = try ShardBench()
        let partition = try bench.createTopic("t")
        let missing = AttachRequest(source: .subscription(name: "none"))
        bench.shard.attach(session: bench.session, missing, attachment: 3, now: bench.now)
        bench.shard.detach(session: bench.session, attachment: 3)
        let request = AttachRequest(source: .partition(partition, .first), creditMessages: 9, creditBytes: 9_000)
        bench.shard.attach(session: bench.session, request, attachment: 3, now: bench.now)
        bench.append(partition)
        bench.settle()
        #expect(bench.ended.isEmpty && bench.delivered == [0])
    }

    @Test("missing index files are made again, and no snapshot of before leads astray afterwards")
    func lostIndexFiles() throws {
        let bench = try ShardBench()
        let gone = try bench.createTopic("gone")
        let partition = try bench.createTopic("t")
        for _ in 0..<200 {
            bench.append(gone)
            bench.append(partition)
            bench.settle()
        }
        // What is made again has another order: one of the two topics is no more.
        _ = bench.ask(.deleteTopic(name: "gone"))
        bench.fill(partition, count: 100)
        let disk = bench.disk.crashed(seed: 1)
        for file in try disk.listFilesNow() where file.hasPrefix("index") { disk.lose(file: file) }
        try bench.reopen(disk)
        bench.fill(partition, count: 100)
        try bench.reopen(bench.disk.crashed(seed: 2))
        let request = AttachRequest(
            source: .partition(partition, .first),
            creditMessages: 1 << 20,
            creditBytes: 1 << 20
        )
        bench.shard.attach(session: bench.session, request, attachment: 1, now: bench.now)
        bench.settle()
        #expect(bench.delivered == Array(0..<400) && bench.ended.isEmpty)
    }

    @Test("the offsets of a damaged batch are not used again, and those behind it stay")
    func damagedOffsets() throws {
        let bench = try ShardBench()
        let hit = try bench.createTopic("hit")
        let other = try bench.createTopic("other")
        for partition in [hit, other, hit, other] {
            bench.append(partition)
            bench.settle()
        }
        let entry = try #require(bench.shard.state.partition(hit)?.partition.index.entries.last)
        let disk = bench.disk.crashed(seed: 1)
        for file in try disk.listFilesNow() { disk.lose(file: file) }
        disk.flipBit(segment: 0, offset: Int(entry.position) + 50, bit: 3)
        try bench.reopen(disk)
        #expect(bench.shard.damaged.map(\.start) == [entry.position])
        let (first, second) = (bench.append(hit), bench.append(other))
        bench.settle()
        #expect(try #require(bench.appends[first]).baseOffset > 1)
        #expect(bench.appends[second]?.baseOffset == 2)
    }

    @Test("a damaged index file leads to no other partition's messages")
    func damagedIndexFile() throws {
        for seed in 0..<40 as Range<UInt64> {
            let bench = try ShardBench()
            let other = try bench.createTopic("other")
            let partition = try bench.createTopic("t")
            for _ in 0..<150 {
                bench.append(other)
                bench.append(partition)
                bench.settle()
            }
            var random = SeededGenerator(seed: seed)
            for file in try bench.disk.listFilesNow() where file.hasPrefix("index") {
                let count = try bench.disk.readFileNow(file)?.count ?? 0
                guard count > 0 else { continue }
                for _ in 0..<20 {
                    let place = Int.random(in: 0..<count, using: &random)
                    bench.disk.flipBit(file: file, offset: place, bit: Int.random(in: 0..<8, using: &random))
                }
            }
            var offset: UInt64 = 0
            while offset < 150 {
                let reply = bench.ask(.fetch(FetchRequest(partition: partition, offset: offset, maxBytes: 1)))
                switch try #require(reply) {
                case .success(.fetched(let found)):
                    let base = found.batches.withUnsafeBytes { BatchView(prefixOf: $0)?.baseOffset }
                    #expect(base == offset, "seed \(seed), offset \(offset)")
                case .failure(let error): #expect(error.code == .internal, "seed \(seed)")
                default: Issue.record("seed \(seed)")
                }
                offset += 1
            }
        }
    }
}
