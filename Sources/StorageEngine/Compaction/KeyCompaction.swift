internal import MessageModel
internal import StorageService

/// Which message is the last one of each key in a partition of a compacted topic.
///
/// All of it follows from the order of the log. What is let go is decided by a record, `PartitionCompaction`, which says
/// only up to where: what stands before that and is not the last message of its key.
struct KeyCompaction {
    /// A key's keyed hash: different keys with the same one are not met with.
    struct Key: Hashable {
        var low: UInt64
        var high: UInt64
    }

    private struct Last {
        var offset: UInt64
        var isTombstone: Bool
    }

    /// Messages before this one are not known here, and stay.
    let start: UInt64
    /// The first message whose key was not taken in because there are too many. It and what follows stays.
    private(set) var end = UInt64.max
    private var last: [Key: Last] = [:]
    /// Messages that were replaced by others since the last compaction.
    private(set) var replaced: UInt64 = 0

    init(start: UInt64) { self.start = start }

    var keyCount: Int { last.count }

    /// A message was published.
    mutating func published(_ key: Key, offset: UInt64, isTombstone: Bool, limit: Int) {
        guard offset >= start else { return }
        let message = Last(offset: offset, isTombstone: isTombstone)
        if let place = last.index(forKey: key) {
            last.values[place] = message
            replaced += 1
            return
        }
        guard end == .max, last.count < limit else {
            end = min(end, offset)
            return
        }
        last[key] = message
        // It has done its work once it is behind the horizon.
        if isTombstone { replaced += 1 }
    }

    /// Lets go what stands before the horizon and is not the last of its key, and the tombstones there.
    /// - Returns: all that is let go up to there, with what was before.
    mutating func compact(before horizon: UInt64) -> RangeSet {
        let horizon = min(horizon, end)
        last = last.filter { !($0.value.isTombstone && $0.value.offset < horizon) }
        replaced = 0
        let kept = last.values.lazy.map(\.offset).filter { $0 < horizon }.sorted()
        var dropped = RangeSet()
        var next = start
        for offset in kept {
            if offset > next { dropped.insert(next..<offset) }
            next = offset + 1
        }
        if next < horizon { dropped.insert(next..<horizon) }
        return dropped
    }
}

extension KeyCompaction {
    func encode(to writer: inout ByteWriter) {
        writer.write64(start)
        writer.write64(end)
        writer.write64(replaced)
        writer.write32(UInt32(last.count))
        for (key, message) in last.sorted(by: { $0.value.offset < $1.value.offset }) {
            writer.write64(key.low)
            writer.write64(key.high)
            writer.write64(message.offset)
            writer.write(message.isTombstone)
        }
    }

    /// Nil where the bytes end early.
    init?(from reader: inout ByteReader) {
        guard let start = reader.read64(), let end = reader.read64(), let replaced = reader.read64(),
            let count = reader.read32()
        else { return nil }
        self.init(start: start)
        self.end = end
        self.replaced = replaced
        for _ in 0..<count {
            guard let low = reader.read64(), let high = reader.read64(), let offset = reader.read64(),
                let isTombstone = reader.readBool()
            else { return nil }
            last[Key(low: low, high: high)] = Last(offset: offset, isTombstone: isTombstone)
        }
    }
}

/// A partition lets go what is not the last message of its key: topic u32, partition u16, zero u16, and the offset u64 of
/// the first message that stays in any case.
struct PartitionCompaction: Equatable {
    var partition: PartitionID
    var horizon: UInt64

    func encode(to writer: inout ByteWriter) {
        writer.write32(partition.topic.rawValue)
        writer.write16(partition.index)
        writer.write16(0)
        writer.write64(horizon)
    }

    init(partition: PartitionID, horizon: UInt64) {
        self.partition = partition
        self.horizon = horizon
    }

    init?(from reader: inout ByteReader) {
        guard let topic = reader.read32(), let index = reader.read16(), reader.read16() != nil,
            let horizon = reader.read64()
        else { return nil }
        self.init(partition: PartitionID(topic: TopicID(rawValue: topic), index: index), horizon: horizon)
    }
}

extension ShardState {
    /// What a message of a compacted topic counts for: its ordering key, or its name where it has none.
    func compactionKey(_ record: RecordView, topic: TopicState) -> KeyCompaction.Key {
        if let key = record.orderingKey {
            let (low, high) = hash.hash(key, domain: 1)
            return KeyCompaction.Key(low: low, high: high)
        }
        var name: [UInt8] = []
        topic.info.nameBytes.withUnsafeBytes { record.appendName(topic: $0, to: &name) }
        let (low, high) = name.withUnsafeBytes { hash.hash($0, domain: 2) }
        return KeyCompaction.Key(low: low, high: high)
    }

    /// A message of a compacted topic was published.
    mutating func noteLast(_ key: KeyCompaction.Key, isTombstone: Bool, of partition: PartitionID, offset: UInt64) {
        compactions[partition, default: KeyCompaction(start: offset)].published(
            key,
            offset: offset,
            isTombstone: isTombstone,
            limit: compactedKeys
        )
        let replaced = compactions[partition]?.replaced ?? 0
        guard replaced >= compactionTail, let (_, sequence) = self.partition(partition) else { return }
        let there = sequence.nextOffset - min(sequence.nextOffset, sequence.firstOffset + sequence.dropped.count)
        if replaced > there / 2 { compactable.insert(partition) }
    }

    mutating func apply(_ compaction: PartitionCompaction) {
        compactable.remove(compaction.partition)
        guard let (_, sequence) = partition(compaction.partition),
            let dropped = compactions[compaction.partition]?.compact(before: compaction.horizon)
        else { return }
        sequence.dropped = dropped
    }

    func encodeCompactions(to writer: inout ByteWriter) {
        let all = compactions.compactMap { id, compaction in
            partition(id).map { (id, compaction, $0.partition.dropped) }
        }
        writer.write32(UInt32(all.count))
        for (id, compaction, dropped) in all.sorted(by: { ($0.0.topic, $0.0.index) < ($1.0.topic, $1.0.index) }) {
            writer.write32(id.topic.rawValue)
            writer.write16(id.index)
            compaction.encode(to: &writer)
            writer.write32(UInt32(dropped.ranges.count))
            for range in dropped.ranges { writer.write(range) }
        }
    }

    /// Nil where the bytes end early or make no sense.
    mutating func decodeCompactions(from reader: inout ByteReader) -> Void? {
        guard let count = reader.read32() else { return nil }
        for _ in 0..<count {
            guard let topic = reader.read32(), let index = reader.read16(),
                let compaction = KeyCompaction(from: &reader), let rangeCount = reader.read32()
            else { return nil }
            let id = PartitionID(topic: TopicID(rawValue: topic), index: index)
            guard let (_, sequence) = partition(id) else { return nil }
            compactions[id] = compaction
            for _ in 0..<rangeCount {
                guard let range = reader.readRange() else { return nil }
                sequence.dropped.insert(range)
            }
        }
        return ()
    }
}
