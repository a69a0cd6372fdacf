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

    init(number: UInt64, size: Int, file: SystemFile, frontier: Int) {
        self.number = number
        self.size = size
        self.file = file
        self.frontier = Atomic(frontier)
    }

    /// What the shard's thread should have done after a write.
    enum Advice { case nothing, warmCache(from: Int) }

    /// Writes, and fills the last block up with zeros where nothing of worth follows: changing a part of a block that is
    /// not in the page cache would make the kernel read it from the disk first, on the caller's thread.
    /// - Precondition: `offset` and the length of `bytes` lie inside the segment.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(SystemError) -> Advice {
        let end = offset + bytes.count
        let reached = frontier.load(ordering: .relaxed)
        if end >= reached {
            let block = Self.blockBytes
            let padding = min((end + block - 1) / block * block, size) - end
            try file.write(bytes, zeros: padding, at: offset)
            frontier.store(end, ordering: .relaxed)
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
