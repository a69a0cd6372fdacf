/// A stretch of the commit log in memory: within one segment, filled from its beginning.
final class LogBlock {
    /// Position of the first byte.
    var base: UInt64
    var segment: UInt64
    /// Where in the segment the first byte stands.
    var segmentOffset: Int
    let memory: UnsafeMutableRawBufferPointer
    /// Bytes that are filled, and those of them that have been handed to the device.
    var count = 0
    var written = 0

    init(capacity: Int) {
        memory = .allocate(byteCount: capacity, alignment: 4_096)
        base = 0
        segment = 0
        segmentOffset = 0
    }

    deinit { memory.deallocate() }

    var end: UInt64 { base + UInt64(count) }
    var room: Int { memory.count - count }

    func reuse(base: UInt64, segment: UInt64, segmentOffset: Int) {
        self.base = base
        self.segment = segment
        self.segmentOffset = segmentOffset
        count = 0
        written = 0
    }

    /// The bytes from a position that this block holds, to its end.
    func bytes(from position: UInt64) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: memory[Int(position - base)..<count])
    }
}
