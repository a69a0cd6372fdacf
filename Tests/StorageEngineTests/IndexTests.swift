import MessageModel
import Simulator
import StorageService
import Testing

@testable import StorageEngine

@Suite("Index files and snapshots")
struct IndexTests {
    private func entries(_ count: Int, from offset: UInt64, random: inout SeededGenerator) -> [IndexEntry] {
        var entries: [IndexEntry] = []
        var next = offset
        var position = offset * 1_000 + 64
        var time: UInt64 = 5_000
        for _ in 0..<count {
            let messages = UInt16.random(in: 1...9, using: &random)
            time += .random(in: 0...3, using: &random)
            entries.append(
                IndexEntry(baseOffset: next, position: position, appendTime: time, recordBytes: 128, count: messages)
            )
            next += UInt64(messages)
            position += 128
        }
        return entries
    }

    @Test("an index file gives back the entries of each partition, and its name tells the epoch")
    func roundTrip() {
        var random = SeededGenerator(seed: 1)
        let parts = (0..<5).map { index in
            IndexFile.Partition(
                id: .partition(PartitionID(topic: TopicID(rawValue: UInt32(index)), index: UInt16(index * 3))),
                entries: entries(1 + index * 50, from: UInt64(index * 7), random: &random)[...]
            )
        }
        let (bytes, runs) = IndexFile.encode(segment: 9, epoch: 3, partitions: parts)
        #expect(runs.count == parts.count)
        for (part, run) in zip(parts, runs) {
            let start = Int(run.fileOffset)
            let stored = Array(bytes[start..<start + Int(run.count) * IndexEntry.bytes])
            #expect(IndexFile.entries(in: stored) == Array(part.entries))
            #expect(run.segment == 9 && run.epoch == 3)
            #expect(
                run.firstOffset == part.entries.first?.baseOffset && run.nextOffset == part.entries.last?.nextOffset
            )
            #expect(run.firstTime == part.entries.first?.appendTime && run.lastTime == part.entries.last?.appendTime)
        }
        #expect(IndexFile.name(segment: 9, epoch: 3) != IndexFile.name(segment: 9, epoch: 4))
    }

    private static var options: ShardOptions {
        var options = ShardOptions()
        options.logIdentity = 3
        options.producersRemembered = 10
        return options
    }

    private func state() -> ShardState {
        var random = SeededGenerator(seed: 2)
        var state = ShardState(options: Self.options)
        let topic = state.applyTopicCreated(
            TopicDefinition(
                id: TopicID(rawValue: 4),
                tenant: TenantID(rawValue: 2),
                createdAt: Timestamp(rawValue: 77),
                specification: TopicSpecification(name: "orders", partitions: 2, captures: ["x/#", "y"])
            )
        )
        let partition = topic.partitions[1]
        let all = entries(30, from: 0, random: &random)
        for (place, entry) in all.enumerated() { state.append(entry, to: partition, segment: place < 10 ? 0 : 1) }
        let part = IndexFile.Partition(id: partition.id, entries: all[..<10])
        let run = IndexFile.encode(segment: 0, epoch: 5, partitions: [part]).runs[0]
        partition.index.spill(upTo: run.nextOffset, as: run)
        state.applySubscriptionCreated(
            SubscriptionDefinition(
                id: SubscriptionID(rawValue: 8),
                tenant: TenantID(rawValue: 2),
                createdAt: Timestamp(rawValue: 78),
                name: "s",
                source: .cursor(TopicID(rawValue: 4), [0, 17]),
                policy: SubscriptionPolicy()
            )
        )
        delivery(&state, random: &random)
        for sequence in 0..<3 as Range<UInt32> {
            state.producers.stored(
                producer: ProducerID(rawValue: 6),
                epoch: 1,
                baseSequence: sequence,
                count: 1,
                baseOffset: UInt64(sequence),
                partition: partition.partition
            )
        }
        let key = IndexFile.Key(segment: 0, epoch: 5)
        state.files.insert(key, segments: [0, 1])
        state.files.added(key)
        let copy = IndexFileTable.Copy(position: 512, segment: 0, recordBytes: 88, fileOffset: 32, length: 32)
        state.files.noteCopy(key, copy, isLast: true)
        for position in [64, 8_192, 640] as [UInt64] {
            let home = Relocations.Home(position: position + 100_000, recordBytes: 96, segment: position / 4_096 + 7)
            state.relocations.insert(position, origin: position / 4_096, base: position / 4_096 * 4_096, home: home)
        }
        state.epoch = 5
        state.lastTime = Timestamp(rawValue: 9_000)
        state.nextTopic = 40
        state.nextSubscription = 41
        return state
    }

    /// An inbox with messages in all states, a scheduled message and an open transaction.
    private func delivery(_ state: inout ShardState, random: inout SeededGenerator) {
        var policy = SubscriptionPolicy()
        policy.backoff = try? Backoff("exponential 10ms x2.5 max 1s")
        policy.deadLetterTopic = "dead"
        policy.maxBytes = 1 << 20
        policy.maxPriority = 3
        policy.selector = "a > 1"
        let inbox = state.applySubscriptionCreated(
            SubscriptionDefinition(
                id: SubscriptionID(rawValue: 9),
                tenant: TenantID(rawValue: 2),
                createdAt: Timestamp(rawValue: 79),
                name: "inbox",
                source: .inbox([
                    Binding(filter: "x/#"), Binding(kind: .direct, topic: "orders", pattern: Array("k".utf8)),
                ]),
                policy: policy,
                isPaused: true
            )
        )
        let key = LaneKey(subscription: inbox.id, lane: 2)
        for index in 0..<40 as Range<UInt16> {
            let entry = IndexEntry(
                baseOffset: 0,
                position: 64 * UInt64(index),
                appendTime: 6_000,
                recordBytes: 64,
                count: 1
            )
            _ = state.apply(InboxRoute(lane: key, first: index, count: 3, bytes: 30), entry, segment: 1)
        }
        let lane = inbox.makeLane(2, epoch: 3)
        let changes: [DeliveryChange] = [
            .leased(0..<50), .done(0..<10), .done(20..<25),
            .released(30..<33, until: Timestamp(rawValue: 9_999), countsAttempt: true),
            .leasedUntil(60..<61, Timestamp(rawValue: 8_888)),
        ]
        for change in changes { lane.delivery.apply(change, epoch: 4) }
        lane.advanced(inbox, IndexFileTable())
        let transaction = TransactionID(rawValue: 5)
        let specification = TransactionSpecification(owner: "o", checkAfterMicroseconds: 7, checks: 3)
        state.apply(
            .begun(tenant: TenantID(rawValue: 2), specification, at: Timestamp(rawValue: 80)),
            to: transaction
        )
        let receipt = Receipt(subscription: inbox.id, lane: 2, sequence: 40, generation: 1)
        state.apply(.settles([receipt]), to: transaction)
        state.apply(.checked(at: Timestamp(rawValue: 90)), to: transaction)
        state.held.withdraw(ScheduledID(position: LogPosition(rawValue: 640), record: 2))
    }

    @Test("a snapshot gives back the whole state")
    func snapshot() throws {
        let state = state()
        let bytes = Snapshot.encode(state, position: 4_000, isClean: true, identity: 3)
        let reading = Snapshot.decode(bytes, options: Self.options)
        guard case .read(let read, position: 4_000, isClean: true) = reading else {
            Issue.record("the snapshot was not read")
            return
        }
        // Byte for byte the same once more: nothing was lost on the way.
        #expect(Snapshot.encode(read, position: 4_000, isClean: true, identity: 3) == bytes)
        #expect(read.directory.topic(named: "orders", tenant: TenantID(rawValue: 2))?.captures == ["x/#", "y"])
        #expect(read.indexFiles == [IndexFile.name(segment: 0, epoch: 5)])
        #expect(
            read.touched[1]?.map(\.id) == [
                .partition(PartitionID(topic: TopicID(rawValue: 4), index: 1)),
                .inbox(LaneKey(subscription: SubscriptionID(rawValue: 9), lane: 2)),
            ]
        )
        #expect(Snapshot.position(inName: Snapshot.name(position: 4_000)) == 4_000)
    }

    @Test("a snapshot with any bit flipped is not used, nor is another log's")
    func damagedSnapshot() {
        let bytes = Snapshot.encode(state(), position: 4_000, isClean: false, identity: 3)
        for index in bytes.indices {
            var damaged = bytes
            damaged[index] ^= 0x04
            let reading = Snapshot.decode(damaged, options: Self.options)
            guard case .unusable = reading else {
                Issue.record("byte \(index)")
                return
            }
        }
        var others = Self.options
        others.logIdentity = 4
        guard case .unusable = Snapshot.decode(bytes, options: others),
            case .unusable = Snapshot.decode(Array(bytes.dropLast(5)), options: Self.options)
        else {
            Issue.record("another log's, or a part, was read")
            return
        }
    }
}

/// A partition whose entries stand in an index file, and readers of it.
private final class ColdPartition {
    let log: CommitLog
    let partition = IndexedSequence(.partition(PartitionID(topic: TopicID(rawValue: 1), index: 0)))
    let file: [UInt8]
    let entries: [IndexEntry]
    private(set) var reads = 0

    /// - Parameter gapAt: so many offsets are missing in front of this entry, as damage leaves them.
    init(count: Int, seed: UInt64, gapAt: Int? = nil) {
        log = CommitLog(device: MemoryDevice(), options: ShardOptions(), segments: [.beforeFirst], end: 0, epoch: 1)
        var random = SeededGenerator(seed: seed)
        var all: [IndexEntry] = []
        var next: UInt64 = 0
        var time: UInt64 = 1_000
        for index in 0..<count {
            if index == gapAt { next += 50 }
            let messages = UInt16.random(in: 1...4, using: &random)
            if random.percent(70) { time += .random(in: 1...5, using: &random) }
            all.append(
                IndexEntry(
                    baseOffset: next,
                    position: UInt64(64 + index * 64),
                    appendTime: time,
                    recordBytes: 64,
                    count: messages
                )
            )
            next += UInt64(messages)
        }
        entries = all
        let part = IndexFile.Partition(id: partition.id, entries: all[...])
        let (bytes, runs) = IndexFile.encode(segment: 0, epoch: 1, partitions: [part])
        file = bytes
        for entry in all { partition.index.append(entry, segment: 0) }
        partition.index.spill(upTo: next, as: runs[0])
        partition.nextOffset = next
        partition.visibleOffset = next
    }

    /// What a reader finds for a key, with the device's answers given at once.
    func entry(_ key: IndexKey, _ reader: SequenceReader) -> IndexEntry? {
        var requests = ColdRequests()
        reads = 0
        while reads < 50 {
            let entry = reader.entry(for: key, log: log, requests: &requests)
            let asked = requests.take()
            guard let request = asked.first else { return entry }
            reads += 1
            let bytes = Array(file.dropFirst(request.offset).prefix(request.length))
            reader.received(.success(bytes), requests: &requests)
            while let next = requests.take().first {
                reads += 1
                let bytes = Array(file.dropFirst(next.offset).prefix(next.length))
                reader.received(.success(bytes), requests: &requests)
            }
        }
        return nil
    }
}

@Suite("Partition reader")
struct SequenceReaderTests {
    @Test(
        "finds each offset in a long index file with few reads",
        arguments: [1, 2_047, 2_048, 2_049, 4_097, 10_000, 30_001]
    )
    func offsets(count: Int) {
        let cold = ColdPartition(count: count, seed: UInt64(count))
        let end = cold.partition.nextOffset
        for offset in stride(from: 0, to: end, by: max(1, Int(end) / 301)) {
            let reader = SequenceReader(cold.partition, offset: offset, owner: nil)
            let found = cold.entry(.offset(offset), reader)
            #expect(found == cold.entries.first { $0.nextOffset > offset }, "offset \(offset)")
            #expect(cold.reads <= 8, "offset \(offset) took \(cold.reads) reads")
        }
    }

    @Test("finds each time in a long index file", arguments: [1, 2_048, 5_000])
    func times(count: Int) {
        let cold = ColdPartition(count: count, seed: UInt64(count))
        for entry in cold.entries.enumerated().filter({ $0.offset % 7 == 0 || $0.offset % 2_048 < 3 }).map(\.element) {
            let reader = SequenceReader(cold.partition, offset: 0, owner: nil)
            let found = cold.entry(.time(entry.appendTime), reader)
            #expect(found == cold.entries.first { $0.appendTime >= entry.appendTime }, "time \(entry.appendTime)")
            if found == nil { return }
        }
    }

    @Test("a reader goes through a whole index file in order, over gaps too")
    func walks() {
        for gap in [nil, 1, 2_048, 2_500, 4_096] as [Int?] {
            let cold = ColdPartition(count: 5_000, seed: 3, gapAt: gap)
            let reader = SequenceReader(cold.partition, offset: 0, owner: nil)
            var seen: [IndexEntry] = []
            while reader.offset < cold.partition.nextOffset, let entry = cold.entry(.offset(reader.offset), reader) {
                seen.append(entry)
                reader.seek(entry.nextOffset)
            }
            #expect(seen == cold.entries, "gap at \(gap ?? -1)")
        }
    }

    @Test("a read that fails is told, once, with what it was to lead to")
    func failedRead() {
        let cold = ColdPartition(count: 100, seed: 4)
        let reader = SequenceReader(cold.partition, offset: 0, owner: nil)
        var requests = ColdRequests()
        #expect(reader.entry(for: .offset(0), log: cold.log, requests: &requests) == nil)
        reader.received(.failure(DeviceError(.failed, "EIO")), requests: &requests)
        guard case .failed(let passed) = reader.next(log: cold.log, requests: &requests) else {
            Issue.record("the run was not reported")
            return
        }
        #expect(passed == 0..<cold.partition.nextOffset)
        #expect(cold.entry(.offset(0), reader) == cold.entries[0])
    }
}
