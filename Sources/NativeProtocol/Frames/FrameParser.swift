internal import MessageModel

/// Cuts what a connection brings into frames.
///
/// Frames are handed out where they lie in the read; only one that is split between reads is copied, and only into a
/// buffer of its own, which is topped up with just what it lacks.
package struct FrameParser: ~Copyable {
    package enum Step {
        /// The first eight bytes of the connection.
        case preamble(UnsafeRawBufferPointer)
        /// A whole frame with its header. Valid until the next call and as long as the read it came from.
        case frame(UnsafeRawBufferPointer)
        /// The read is used up.
        case needsMore
        /// A length that no frame may have; the boundaries of what follows are unknown.
        case invalidLength(UInt32)
    }

    private var expectsPreamble: Bool
    private var carried: UnsafeMutableRawBufferPointer
    private var carriedCount = 0
    /// `carried` was handed out as a frame and is free.
    private var isCarriedDone = false
    /// A buffer that grew beyond this for one frame is given back.
    private static let keptBytes = 64 << 10

    package init(expectsPreamble: Bool = true) {
        self.expectsPreamble = expectsPreamble
        carried = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    }

    deinit { carried.deallocate() }

    /// Bytes of a frame that has not arrived in full.
    package var carriedBytes: Int { isCarriedDone ? 0 : carriedCount }

    /// The next frame of `read`, from `position` on, which moves past it.
    /// - Parameter limit: the largest value that a length field may have.
    package mutating func next(_ read: UnsafeRawBufferPointer, _ position: inout Int, limit: Int) -> Step {
        if isCarriedDone { release() }
        if carriedCount > 0 { return completeCarried(read, &position, limit: limit) }
        let available = read.count - position
        if expectsPreamble {
            guard available >= Preamble.byteCount else { return carry(read, &position, atLeast: Preamble.byteCount) }
            expectsPreamble = false
            defer { position += Preamble.byteCount }
            return .preamble(read.slice(position..<position + Preamble.byteCount))
        }
        guard available >= 4 else { return carry(read, &position, atLeast: FrameHeader.byteCount) }
        let length = read.load32(position)
        guard length >= FrameHeader.smallestLength, length <= limit else { return .invalidLength(length) }
        let size = Int(length) + 4
        guard available >= size else { return carry(read, &position, atLeast: available) }
        defer { position += size }
        return .frame(read.slice(position..<position + size))
    }

    private mutating func completeCarried(
        _ read: UnsafeRawBufferPointer,
        _ position: inout Int,
        limit: Int
    ) -> Step {
        if expectsPreamble {
            guard take(read, &position, upTo: Preamble.byteCount) else { return .needsMore }
            expectsPreamble = false
            isCarriedDone = true
            return .preamble(UnsafeRawBufferPointer(rebasing: carried[0..<Preamble.byteCount]))
        }
        guard take(read, &position, upTo: 4) else { return .needsMore }
        let length = UnsafeRawBufferPointer(carried).load32(0)
        guard length >= FrameHeader.smallestLength, length <= limit else { return .invalidLength(length) }
        guard take(read, &position, upTo: Int(length) + 4) else { return .needsMore }
        isCarriedDone = true
        return .frame(UnsafeRawBufferPointer(rebasing: carried[0..<carriedCount]))
    }

    /// Tops up the carried bytes to `size`; false where the read ends first.
    private mutating func take(_ read: UnsafeRawBufferPointer, _ position: inout Int, upTo size: Int) -> Bool {
        let wanted = size - carriedCount
        guard wanted > 0 else { return true }
        let count = min(wanted, read.count - position)
        append(read, &position, count)
        return carriedCount == size
    }

    private mutating func carry(_ read: UnsafeRawBufferPointer, _ position: inout Int, atLeast: Int) -> Step {
        let count = read.count - position
        if count > 0 {
            reserve(max(count, atLeast))
            append(read, &position, count)
        }
        return .needsMore
    }

    private mutating func append(_ read: UnsafeRawBufferPointer, _ position: inout Int, _ count: Int) {
        guard count > 0 else { return }
        reserve(carriedCount + count)
        UnsafeMutableRawBufferPointer(rebasing: carried[carriedCount..<carriedCount + count])
            .copyMemory(from: read.slice(position..<position + count))
        carriedCount += count
        position += count
    }

    /// Grows by what has arrived, never by what a length field promises.
    private mutating func reserve(_ count: Int) {
        guard count > carried.count else { return }
        let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: max(count, carried.count * 2), alignment: 8)
        if carriedCount > 0 { larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: carried[0..<carriedCount])) }
        carried.deallocate()
        carried = larger
    }

    private mutating func release() {
        isCarriedDone = false
        carriedCount = 0
        guard carried.count > Self.keptBytes else { return }
        carried.deallocate()
        carried = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    }
}
