/// Something that is due at a time. 24 bytes in memory.
struct TimerEntry: Equatable, Comparable {
    /// µs since 1970.
    var due: UInt64
    /// What it is about: a log position or an id, as `kind` says.
    var payload: UInt64
    var detail: UInt32
    /// The raw value of the owner's enum of kinds.
    var kind: UInt8

    init(due: UInt64, payload: UInt64, detail: UInt32 = 0, kind: UInt8 = 0) {
        self.due = due
        self.payload = payload
        self.detail = detail
        self.kind = kind
    }

    /// The order in which entries come out. All fields count, so that it depends on nothing but the entries: a heap that
    /// was built again from a snapshot gives them in the same order as the one before.
    @inline(__always)
    static func < (left: TimerEntry, right: TimerEntry) -> Bool {
        if left.due != right.due { return left.due < right.due }
        if left.payload != right.payload { return left.payload < right.payload }
        if left.detail != right.detail { return left.detail < right.detail }
        return left.kind < right.kind
    }
}

/// The timers of a shard by due time; millions of them are meant to be there.
///
/// A heap whose nodes have four children, in chunks of fixed size: growing never copies and never needs twice the
/// memory, and what is no longer needed goes back chunk by chunk. An entry is not removed when what it is about is gone:
/// its owner finds that out when it comes out, or sweeps with `removeAll`.
///
/// A class, because a copy of it is never meant.
final class TimerHeap {
    /// 48 KiB: little enough for a shard with few timers, large enough that chunks cost nothing beside their entries.
    private static let chunkEntries = 2_048
    private static let chunkShift = 11
    /// The root stands at place 3, so that the four children of a node stand side by side and in one chunk: those of
    /// place p begin at 4(p - 2).
    private static let root = 3

    private var chunks: [UnsafeMutablePointer<TimerEntry>] = []
    private(set) var count = 0

    init() {}

    deinit {
        for chunk in chunks { chunk.deallocate() }
    }

    var isEmpty: Bool { count == 0 }

    /// The memory that it holds.
    var byteCount: Int {
        chunks.count * Self.chunkEntries * MemoryLayout<TimerEntry>.stride
            + chunks.capacity * MemoryLayout<UnsafeMutablePointer<TimerEntry>>.stride
    }

    /// The entry that is due first.
    var first: TimerEntry? { count == 0 ? nil : at(Self.root).pointee }

    func insert(_ entry: TimerEntry) {
        let place = Self.root + count
        if place >> Self.chunkShift == chunks.count { chunks.append(.allocate(capacity: Self.chunkEntries)) }
        count += 1
        rise(entry, from: place)
    }

    /// Removes the entry that is due first.
    @discardableResult
    func popFirst() -> TimerEntry? {
        guard count > 0 else { return nil }
        let entry = at(Self.root).pointee
        count -= 1
        if count > 0 { sink(at(Self.root + count).pointee, from: Self.root) }
        giveBackChunks()
        return entry
    }

    /// Removes the entry that is due first where that is at `time` or before.
    func popFirst(dueBy time: UInt64) -> TimerEntry? {
        guard count > 0, at(Self.root).pointee.due <= time else { return nil }
        return popFirst()
    }

    /// Removes all entries that `isObsolete` names. Costs a pass over everything.
    func removeAll(where isObsolete: (TimerEntry) -> Bool) {
        var kept = Self.root
        for place in Self.root..<Self.root + count {
            let entry = at(place).pointee
            if isObsolete(entry) { continue }
            if kept != place { at(kept).initialize(to: entry) }
            kept += 1
        }
        guard kept < Self.root + count else { return }
        count = kept - Self.root
        giveBackChunks()
        guard count > 1 else { return }
        // From the last node that has children to the root (R. W. Floyd's construction: linear in the count).
        for place in stride(from: Self.parent(of: kept - 1), through: Self.root, by: -1) {
            sink(at(place).pointee, from: place)
        }
    }

    func removeAll() {
        count = 0
        giveBackChunks()
    }

    /// Every entry, in no particular order.
    func forEach(_ body: (TimerEntry) throws -> Void) rethrows {
        for place in Self.root..<Self.root + count { try body(at(place).pointee) }
    }

    // MARK: The heap

    @inline(__always)
    private static func parent(of place: Int) -> Int { place >> 2 + 2 }

    @inline(__always)
    private func at(_ place: Int) -> UnsafeMutablePointer<TimerEntry> {
        chunks[place >> Self.chunkShift] + (place & (Self.chunkEntries - 1))
    }

    /// Puts `entry` at `place` or above it, moving larger ones down.
    private func rise(_ entry: TimerEntry, from start: Int) {
        var place = start
        while place > Self.root {
            let above = Self.parent(of: place)
            let parent = at(above).pointee
            guard entry < parent else { break }
            at(place).initialize(to: parent)
            place = above
        }
        at(place).initialize(to: entry)
    }

    /// Puts `entry` at `place` or below it, moving smaller ones up.
    private func sink(_ entry: TimerEntry, from start: Int) {
        var place = start
        let end = Self.root + count
        while true {
            let below = 4 * (place - 2)
            guard below < end else { break }
            let children = at(below)
            var least = 0
            for child in 1..<4 where below + child < end {
                if children[child] < children[least] { least = child }
            }
            guard children[least] < entry else { break }
            at(place).initialize(to: children[least])
            place = below + least
        }
        at(place).initialize(to: entry)
    }

    /// Keeps one chunk more than is needed, so that a count that goes up and down around a border costs nothing; none
    /// where there is no entry.
    private func giveBackChunks() {
        let used = count == 0 ? 0 : (Self.root + count - 1) >> Self.chunkShift + 1
        let kept = count == 0 ? 0 : used + 1
        while chunks.count > kept { chunks.removeLast().deallocate() }
        if count == 0 { chunks = [] }
    }
}
