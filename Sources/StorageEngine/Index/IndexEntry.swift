internal import MessageModel

/// Where messages of a sequence that follow each other stand in the commit log: in one batch, one behind the other. 32
/// bytes, in memory and in index files alike.
struct IndexEntry: Equatable {
    /// The offset of the first, or its number in an inbox.
    var baseOffset: UInt64
    /// Position of the log record that holds the batch.
    var position: UInt64
    /// When they became messages of this sequence, µs since 1970; never less than that of the entry before.
    var appendTime: UInt64
    /// Length of the log record, header and padding included.
    var recordBytes: UInt32
    /// The first message's place in the batch.
    var first: UInt16 = 0
    var count: UInt16

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
    /// What the records of its entries take in the log.
    var bytes: UInt64 = 0

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
            guard entry.count > 0, entry.baseOffset >= before.nextOffset, entry.appendTime >= before.appendTime
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

/// The index of one sequence: entries of the newest segments in memory, older ones in index files.
///
/// Entries are ascending in offset and time. Offsets may have gaps where the log was damaged.
struct PartitionIndex {
    /// Oldest first; each is before all of `entries`.
    private(set) var runs: [IndexRun] = []
    private(set) var entries: ArraySlice<IndexEntry> = []
    /// The segments during which the entries in memory were made, with the count of entries, those that are no longer
    /// in memory included, before the first of each.
    private(set) var boundaries: [Boundary] = []
    /// What the records of all entries take in the log.
    private(set) var bytes: UInt64 = 0

    struct Boundary: Equatable {
        var segment: UInt64
        var ordinal: Int
    }

    var isEmpty: Bool { runs.isEmpty && entries.isEmpty }
    var firstOffset: UInt64? { runs.first?.firstOffset ?? entries.first?.baseOffset }

    mutating func append(_ entry: IndexEntry, segment: UInt64) {
        if boundaries.last?.segment != segment {
            boundaries.append(Boundary(segment: segment, ordinal: entries.endIndex))
        }
        entries.append(entry)
        bytes += UInt64(entry.recordBytes)
    }

    mutating func append(_ run: IndexRun) {
        runs.append(run)
        bytes += run.bytes
    }

    /// Lets go everything.
    /// - Returns: the runs.
    mutating func removeAll() -> [IndexRun] {
        defer { self = PartitionIndex() }
        return runs
    }

    /// The message behind the last one, where it stands behind that in the same batch, joins its entry.
    mutating func extendLast() { entries[entries.endIndex - 1].count += 1 }

    /// Lets go what stands before an offset.
    /// - Returns: the runs that are not needed any more.
    mutating func drop(before offset: UInt64) -> [IndexRun] {
        var dropped: [IndexRun] = []
        // The search is for indexes with many runs, of which few go at a time.
        let gone =
            runs.first.map { $0.nextOffset <= offset } == true
            ? Self.firstIndex(in: 0..<runs.count) { runs[$0].nextOffset > offset } : 0
        if gone > 0 {
            dropped = Array(runs[..<gone])
            runs.removeFirst(gone)
            for run in dropped { bytes -= min(bytes, run.bytes) }
        }
        guard runs.isEmpty else { return dropped }
        var count = 0
        for entry in entries {
            guard entry.nextOffset <= offset else { break }
            count += 1
        }
        if count > 0 { removeEntries(count) }
        return dropped
    }

    private mutating func removeEntries(_ count: Int) {
        for entry in entries.prefix(count) { bytes -= min(bytes, UInt64(entry.recordBytes)) }
        entries.removeFirst(count)
        while boundaries.count > 1, boundaries[1].ordinal <= entries.startIndex { boundaries.removeFirst() }
        if entries.isEmpty {
            boundaries.removeAll()
            entries = []
        } else if entries.startIndex > 1_024, entries.startIndex > entries.count {
            // The room of those that went is given back.
            let shift = entries.startIndex
            entries = ArraySlice(Array(entries))
            for index in boundaries.indices { boundaries[index].ordinal = max(0, boundaries[index].ordinal - shift) }
        }
    }

    /// The place of the first entry in memory that is not behind `key`; `entries.endIndex` where all are.
    func firstEntry(notBehind key: IndexKey) -> Int {
        Self.firstIndex(in: entries.indices) { !key.isBehind(entries[$0]) }
    }

    /// The first entry in memory that is not behind `key`; nil where all are.
    /// - Parameter hint: the place that was found last, which is often right, or the one before.
    func entry(notBehind key: IndexKey, hint: inout Int) -> IndexEntry? {
        let range = entries.indices
        if range.contains(hint) {
            if !key.isBehind(entries[hint]) {
                if hint == range.lowerBound || key.isBehind(entries[hint - 1]) { return entries[hint] }
            } else if hint + 1 < range.upperBound, !key.isBehind(entries[hint + 1]) {
                hint += 1
                return entries[hint]
            }
        }
        hint = firstEntry(notBehind: key)
        return hint < range.upperBound ? entries[hint] : nil
    }

    /// The place of the first run that is not behind `key`; nil where what is searched for is in memory.
    func firstRun(notBehind key: IndexKey) -> Int? {
        let index = Self.firstIndex(in: 0..<runs.count) { !key.isBehind(runs[$0]) }
        return index < runs.count ? index : nil
    }

    /// The place behind the last entry that was made during this segment or an earlier one.
    func end(of segment: UInt64) -> Int {
        boundaries.first { $0.segment > segment }.map { max($0.ordinal, entries.startIndex) } ?? entries.endIndex
    }

    /// Entries were written to a file: only the run stays in memory. Some may have been let go meanwhile.
    /// - Returns: whether the run is needed.
    @discardableResult
    mutating func spill(upTo nextOffset: UInt64, as run: IndexRun) -> Bool {
        let end = firstEntry(notBehind: .offset(nextOffset))
        guard end > entries.startIndex else { return false }
        append(run)
        removeEntries(end - entries.startIndex)
        return true
    }

    /// Puts back what a snapshot holds.
    mutating func restore(_ entries: [IndexEntry], boundaries: [Boundary]) {
        self.entries = entries[...]
        bytes = entries.reduce(bytes) { $0 + UInt64($1.recordBytes) }
        self.boundaries = boundaries
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
