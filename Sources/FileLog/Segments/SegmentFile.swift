import Glibc
import StorageEngine
import Synchronization

/// One open segment.
final class SegmentFile: Sendable {
    /// The block that file systems read before they change a part of it.
    static let blockBytes = 4_096

    let number: UInt64
    /// In bytes; fixed.
    let size: Int
    let file: SystemFile
    /// Behind this offset nothing has been written since the segment was made, so what is there may be overwritten;
    /// `unknownFrontier` for a segment of an earlier run. Only the shard's thread uses it.
    private let frontier: Atomic<Int>
    /// It was written since the last sync was asked for. Only the shard's thread uses it.
    let isDirty = Atomic(false)

    static let unknownFrontier = Int.max

    /// Its blocks are reserved and were not written: each sync writes metadata, too, when data comes to new ones.
    let isBlank: Bool
    /// Where a segment of such blocks has been filled with zeros, or will be. Only the shard's thread uses it.
    private let filled = Atomic(0)
    /// How far the shard's thread has written or is about to write, of a blank segment.
    private let reach = Atomic(0)
    /// Where the background thread writes zeros into it, a piece; `noPiece` where it does not.
    private let zeroing = Atomic(SegmentFile.noPiece)

    /// How often the log was synced while it was here. Only the shard's thread uses it.
    private let syncs = Atomic(0)

    private static let noPiece = Int.max
    /// While a piece is written the shard's thread may have to wait for the file.
    static let zeroPieceBytes = 256 << 10
    /// Zeros are ordered in so much at a time, so far in front of what is written, once a segment has so much.
    private static let zerosAtOnce = 32 << 20
    private static let zerosAhead = 4 << 20
    private static let zerosFrom = 1 << 20
    /// Where a sync has more, what it costs besides matters less than the zeros.
    private static let bytesOfSync = 256 << 10

    init(number: UInt64, size: Int, file: SystemFile, frontier: Int, isBlank: Bool = false) {
        self.number = number
        self.size = size
        self.file = file
        self.frontier = Atomic(frontier)
        self.isBlank = isBlank
    }

    /// What the shard's thread should have done after a write.
    enum Advice { case nothing, warmCache(from: Int), fill(Range<Int>) }

    /// A sync was asked for.
    func noteSync() {
        isDirty.store(false, ordering: .relaxed)
        if isBlank { syncs.store(syncs.load(ordering: .relaxed) + 1, ordering: .relaxed) }
    }

    /// What of a blank segment is to be filled with zeros before the log comes there; nil where nothing is.
    private func nextFilling(behind end: Int) -> Range<Int>? {
        let filled = filled.load(ordering: .relaxed)
        guard end >= Self.zerosFrom, filled < size, end + Self.zerosAhead + Self.zerosAtOnce / 2 > filled,
            end / Self.bytesOfSync < syncs.load(ordering: .relaxed)
        else { return nil }
        let piece = Self.zeroPieceBytes
        let start = max(filled, (end + Self.zerosAhead + piece - 1) / piece * piece)
        let stop = min(start + Self.zerosAtOnce, size / piece * piece)
        self.filled.store(start < stop ? stop : size, ordering: .relaxed)
        return start < stop ? start..<stop : nil
    }

    /// Fills a piece with zeros, where the log has not come near it. Called by the background thread.
    /// - Returns: false where it has: the rest is not worth it.
    func fillPiece(at start: Int, with zeros: UnsafeRawBufferPointer, through file: SystemFile) throws(SystemError)
        -> Bool
    {
        zeroing.store(start, ordering: .sequentiallyConsistent)
        defer { zeroing.store(Self.noPiece, ordering: .sequentiallyConsistent) }
        // Either this sees that the log is here, or `claim` sees the piece and waits for it.
        guard reach.load(ordering: .sequentiallyConsistent) <= start else { return false }
        try file.write(zeros, at: start)
        return true
    }

    /// Sees to it that no zeros are written over what comes now.
    private func claim(upTo end: Int) {
        reach.store(end, ordering: .sequentiallyConsistent)
        // They are written far in front of the log: hardly ever does it come here before they are done.
        while zeroing.load(ordering: .sequentiallyConsistent) < end { sched_yield() }
    }

    /// Writes, and fills the last block up with zeros where nothing of worth follows: changing a part of a block that is
    /// not in the page cache would make the kernel read it from the disk first, on the caller's thread.
    /// - Precondition: `offset` and the length of `bytes` lie inside the segment.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(SystemError) -> Advice {
        let end = offset + bytes.count
        let reached = frontier.load(ordering: .relaxed)
        if end >= reached {
            let block = Self.blockBytes
            let padding = min((end + block - 1) / block * block, size) - end
            if isBlank { claim(upTo: end + padding) }
            try file.write(bytes, zeros: padding, at: offset)
            frontier.store(end, ordering: .relaxed)
            if isBlank, let range = nextFilling(behind: end) { return .fill(range) }
            return .nothing
        }
        try file.write(bytes, at: offset)
        if reached == Self.unknownFrontier {
            // Still no padding, but no further advice either.
            frontier.store(size, ordering: .relaxed)
            if end < size { return .warmCache(from: end) }
        }
        return .nothing
    }
}
