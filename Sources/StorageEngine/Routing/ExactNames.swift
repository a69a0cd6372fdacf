internal import MessageModel

/// Values found by one hash of a name. What belongs to a name stands in one block, so that a look-up reaches for memory
/// twice: its place in the index, and the block.
struct ExactNames<Value: BitwiseCopyable> {
    /// Hash to position of the block, in units of eight bytes.
    private var index = HashIndex()
    /// Blocks: the value, the length of the name in two bytes, the name.
    private var blocks = BlockArena()

    private static var headerBytes: Int { MemoryLayout<Value>.size + 2 }

    var count: Int { index.count }
    var isEmpty: Bool { index.count == 0 }
    var byteCount: Int { index.byteCount + blocks.byteCount }

    @inline(__always)
    private static func hash(_ name: UnsafeRawBufferPointer) -> UInt32 {
        UInt32(truncatingIfNeeded: RoutingHash.of(name) >> 32)
    }

    @inline(__always)
    func find(_ name: UnsafeRawBufferPointer) -> Int? {
        index.find(Self.hash(name)) { entry in
            let position = entry &* 8
            return length(of: entry) == name.count && blocks.isEqual(position &+ Self.headerBytes, name)
        }
    }

    @inline(__always)
    private func length(of entry: Int) -> Int {
        Int(blocks.load(entry &* 8 &+ MemoryLayout<Value>.size, as: UInt16.self))
    }

    /// The value of an entry that `find` or `make` returned.
    subscript(_ entry: Int) -> Value {
        @inline(__always) get { blocks.load(entry &* 8, as: Value.self) }
        set { blocks.store(newValue, at: entry &* 8) }
    }

    @inline(__always)
    func withName<Result>(of entry: Int, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        blocks.with(entry &* 8 &+ Self.headerBytes, length(of: entry), body)
    }

    /// A new entry for a name of at most 65,535 bytes that is not there yet.
    mutating func make(_ name: UnsafeRawBufferPointer, _ value: Value) -> Int {
        let length = min(name.count, Limits.nameBytes)
        let position = blocks.add(Self.headerBytes + length) { block in
            block.storeBytes(of: value, as: Value.self)
            block.storeBytes(of: UInt16(length), toByteOffset: MemoryLayout<Value>.size, as: UInt16.self)
            UnsafeMutableRawBufferPointer(rebasing: block[Self.headerBytes...])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: name[0..<length]))
        }
        index.insert(Self.hash(name), position / 8)
        return position / 8
    }

    mutating func remove(_ entry: Int) {
        index.remove(withName(of: entry) { Self.hash($0) }, entry)
        blocks.remove(entry * 8, Self.headerBytes + length(of: entry))
    }

    /// Whether three quarters of the memory are unused: then `compact` should be called.
    var isSparse: Bool { blocks.isSparse }

    /// Moves everything to less memory; entries have other numbers then.
    /// - Parameter renumber: is called once, with a function from each old number to the new one.
    mutating func compact(_ renumber: ((Int) -> Int) -> Void = { _ in }) {
        var old = blocks
        var moved = BlockArena()
        index.renumber { entry in
            let length = Int(old.load(entry * 8 + MemoryLayout<Value>.size, as: UInt16.self))
            let new = old.with(entry * 8, Self.headerBytes + length) { block in
                moved.add(block.count) { $0.copyMemory(from: block) } / 8
            }
            // A block has at least eight bytes.
            old.store(UInt64(new), at: entry * 8)
            return new
        }
        blocks = moved
        renumber { Int(old.load($0 * 8, as: UInt64.self)) }
    }
}
