internal import MessageModel

/// Records of messages that nobody needs after a restart: laid out as in the log, and only in memory.
///
/// Their positions are those from `firstPosition` on, which no log reaches, and are never used again. Who keeps one for
/// later says so (`retain`), and says when that has ended: blocks in which nothing is kept any more are given back.
final class MemoryRecords {
    static let firstPosition: UInt64 = 1 << 63

    private static let blockBytes = 256 << 10
    /// A block's number stands above this many bits of a position, the place in it below. The largest record fits.
    private static let placeBits: UInt64 = 26

    private final class Block {
        let memory: UnsafeMutableRawBufferPointer
        var count = 0
        var references = 0

        init(capacity: Int) { memory = .allocate(byteCount: capacity, alignment: 8) }
        deinit { memory.deallocate() }
    }

    /// By number, from `first` on; nil for those that are given back. The last is the one that is filled.
    private var blocks: [Block?] = []
    private var first: UInt64 = 0
    /// Given back in this round: somebody may still be looking at them.
    private var retired: [Block] = []
    private var spare: Block?
    private let epoch: UInt32
    private let identity: UInt32

    /// The memory that the blocks take.
    private(set) var byteCount = 0

    init(epoch: UInt32, identity: UInt32) {
        self.epoch = epoch
        self.identity = identity
    }

    static func holds(_ position: UInt64) -> Bool { position >= firstPosition }

    // MARK: Records

    /// Makes a record; `fill` writes the payload. It is there until the end of the round, and as long as it is kept.
    func append(
        _ kind: LogRecord.Kind,
        payloadBytes: Int,
        _ fill: (UnsafeMutableRawBufferPointer) -> Void
    ) -> (position: UInt64, recordBytes: Int) {
        let length = LogRecord.roundUp(LogRecord.headerBytes + payloadBytes)
        let block = room(for: length)
        let number = first + UInt64(blocks.count - 1)
        let position = Self.firstPosition | number << Self.placeBits | UInt64(block.count)
        let record = UnsafeMutableRawBufferPointer(rebasing: block.memory[block.count..<block.count + length])
        fill(
            UnsafeMutableRawBufferPointer(
                rebasing: record[LogRecord.headerBytes..<LogRecord.headerBytes + payloadBytes]
            )
        )
        LogRecord.seal(
            record,
            kind: kind,
            payloadBytes: payloadBytes,
            position: position,
            epoch: epoch,
            durable: 0,
            identity: identity
        )
        block.count += length
        return (position, length)
    }

    /// From a record on; nil where there is none at this position.
    func bytes(at position: UInt64) -> UnsafeRawBufferPointer? {
        guard let (block, place) = find(position), place < block.count else { return nil }
        return UnsafeRawBufferPointer(rebasing: block.memory[place..<block.count])
    }

    func retain(_ position: UInt64) { find(position)?.block.references += 1 }

    func release(_ position: UInt64) {
        guard let (block, _) = find(position) else { return }
        block.references -= 1
        let place = Int(number(of: position) - first)
        if block.references == 0, place < blocks.count - 1 { giveBack(place) }
    }

    /// The round has ended: nobody looks any more at what was given back.
    func endRound() {
        guard !retired.isEmpty else { return }
        if spare == nil { spare = retired.first { $0.memory.count == Self.blockBytes } }
        retired.removeAll(keepingCapacity: true)
    }

    // MARK: Blocks

    private func number(of position: UInt64) -> UInt64 { (position & ~Self.firstPosition) >> Self.placeBits }

    private func find(_ position: UInt64) -> (block: Block, place: Int)? {
        let number = number(of: position)
        guard number >= first, number - first < UInt64(blocks.count), let block = blocks[Int(number - first)] else {
            return nil
        }
        return (block, Int(position & (1 << Self.placeBits - 1)))
    }

    private func room(for length: Int) -> Block {
        if let last = blocks.last, let last, last.memory.count - last.count >= length { return last }
        if let last = blocks.last, let last, last.references == 0 { giveBack(blocks.count - 1) }
        let block: Block
        if length <= Self.blockBytes, let kept = spare {
            spare = nil
            kept.count = 0
            block = kept
        } else {
            block = Block(capacity: max(length, Self.blockBytes))
        }
        byteCount += block.memory.count
        blocks.append(block)
        return block
    }

    private func giveBack(_ place: Int) {
        guard let block = blocks[place] else { return }
        blocks[place] = nil
        byteCount -= block.memory.count
        retired.append(block)
        // The numbers of those at the front are not needed any more, once they are many.
        guard place == 0 || blocks.count > 64 else { return }
        let gone = blocks.prefix { $0 == nil }.count
        guard gone == blocks.count || gone >= 32 && gone * 2 >= blocks.count else { return }
        blocks.removeFirst(gone)
        first += UInt64(gone)
    }
}
