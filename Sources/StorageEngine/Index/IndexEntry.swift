internal import MessageModel

/// Where one batch of a partition stands in the commit log. 32 bytes, in memory and in index files alike.
struct IndexEntry: Equatable {
    var baseOffset: UInt64
    /// Position of the log record.
    var position: UInt64
    /// When it was stored, µs since 1970; never less than that of the entry before.
    var appendTime: UInt64
    /// Length of the log record, header and padding included.
    var recordBytes: UInt32
    /// Messages in the batch.
    var count: UInt32

    static let bytes = 32
    var nextOffset: UInt64 { baseOffset &+ UInt64(count) }
}

/// A partition's entries for one sealed segment: where they stand in the segment's index file.
struct IndexRun: Equatable {
    var segment: UInt64
    /// The epoch in which the file was written: a part of its name.
    var epoch: UInt32
    var firstOffset: UInt64
    var nextOffset: UInt64
    var firstTime: UInt64
    var lastTime: UInt64
    /// Where in the file the first entry stands.
    var fileOffset: UInt64
    var count: UInt32

    /// Whether entries can be those of this run from one on: in order, inside, and at its ends where they are its ends.
    /// An index file has no checksum over its entries, because it is read in parts.
    func isPlausible(_ entries: [IndexEntry], from first: Int) -> Bool {
        guard let head = entries.first, let tail = entries.last, first + entries.count <= Int(count) else {
            return false
        }
        if first == 0, head.baseOffset != firstOffset || head.appendTime != firstTime { return false }
        if first + entries.count == Int(count), tail.nextOffset != nextOffset || tail.appendTime != lastTime {
            return false
        }
        var before = head
        guard before.count > 0, before.baseOffset >= firstOffset, tail.baseOffset < nextOffset else { return false }
        for entry in entries.dropFirst() {
            guard entry.count > 0, entry.baseOffset >= before.nextOffset, entry.appendTime >= before.appendTime,
                entry.position >= before.position &+ UInt64(before.recordBytes)
            else { return false }
            before = entry
        }
        return true
    }
}

/// What is searched for in an index: the last entry that begins at or before an offset, or the first that was stored at
/// a time or later.
enum IndexKey: Equatable {
    case offset(UInt64)
    case time(UInt64)

    /// Whether an entry ends before what is searched for.
    func isBehind(_ entry: IndexEntry) -> Bool {
        switch self {
        case .offset(let offset): entry.nextOffset <= offset
        case .time(let time): entry.appendTime < time
        }
    }

    func isBehind(_ run: IndexRun) -> Bool {
        switch self {
        case .offset(let offset): run.nextOffset <= offset
        case .time(let time): run.lastTime < time
        }
    }
}

/// The index of one partition: entries of the newest segments in memory, older ones in index files.
///
/// Entries are ascending in offset, position and time. Offsets may have gaps where the log was damaged.
struct PartitionIndex {
    /// Oldest first; each is before all of `entries`.
    private(set) var runs: [IndexRun] = []
    private(set) var entries: [IndexEntry] = []

    var firstOffset: UInt64? { runs.first?.firstOffset ?? entries.first?.baseOffset }

    mutating func append(_ entry: IndexEntry) { entries.append(entry) }

    mutating func append(_ run: IndexRun) { runs.append(run) }

    /// The place of the first entry in memory that is not behind `key`; `entries.count` where all are.
    func firstEntry(notBehind key: IndexKey) -> Int {
        Self.firstIndex(in: 0..<entries.count) { !key.isBehind(entries[$0]) }
    }

    /// The place of the first run that is not behind `key`; nil where what is searched for is in memory.
    func firstRun(notBehind key: IndexKey) -> Int? {
        let index = Self.firstIndex(in: 0..<runs.count) { !key.isBehind(runs[$0]) }
        return index < runs.count ? index : nil
    }

    /// The number of entries that belong to segments up to the one that ends at `end`.
    func entryCount(before end: UInt64) -> Int {
        Self.firstIndex(in: 0..<entries.count) { entries[$0].position >= end }
    }

    /// The entries were written to a file: only the run stays in memory.
    mutating func spill(_ count: Int, as run: IndexRun) {
        runs.append(run)
        entries.removeFirst(count)
    }

    /// The first index for which `isReached`, which is false and then true along the range; its end where it never is.
    static func firstIndex(in range: Range<Int>, where isReached: (Int) -> Bool) -> Int {
        var low = range.lowerBound
        var high = range.upperBound
        while low < high {
            let middle = (low + high) / 2
            if isReached(middle) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
