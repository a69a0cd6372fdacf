/// Small blocks of bytes in chunks, so that what is there never moves when more comes.
///
/// Room that a block leaves is used again for one of the same size class: multiples of eight bytes up to 128, beyond that
/// four classes for each doubling. Positions are multiples of eight.
struct BlockArena {
    /// All but the last have their full length, as far as the next block did not fit.
    private var chunks: [[UInt8]] = []
    /// For each size class the position of its first free block plus one, zero for none. A free block begins with the same
    /// for the next one.
    private var free: [UInt64] = []
    /// The sum of the blocks in use.
    private(set) var usedBytes = 0

    /// Larger than any block; small enough to be made without being noticed.
    private static let chunkBits = 20
    private static let chunkBytes = 1 << chunkBits
    private static let granule = 8
    private static let fineClasses = 16
    /// Enough for blocks up to 128 KiB.
    private static let classCount = 60

    var byteCount: Int {
        chunks.reduce(chunks.capacity * MemoryLayout<[UInt8]>.stride + free.capacity * 8) { $0 + $1.capacity }
    }

    private var extent: Int {
        chunks.isEmpty ? 0 : (chunks.count - 1) << Self.chunkBits + chunks[chunks.count - 1].count
    }

    /// Whether three quarters of much memory are unused: then the blocks should move to another arena.
    var isSparse: Bool { extent > 65_536 && usedBytes < extent / 4 }

    /// Takes a block of 1 byte to 128 KiB for what `write` puts there.
    mutating func add(_ length: Int, _ write: (UnsafeMutableRawBufferPointer) -> Void) -> Int {
        let (sizeClass, size) = Self.sizeClass(length)
        usedBytes += size
        let position: Int
        if sizeClass < free.count, free[sizeClass] != 0 {
            position = Int(free[sizeClass] - 1)
            free[sizeClass] = load(position, as: UInt64.self)
        } else {
            position = extend(by: size)
        }
        let offset = position & (Self.chunkBytes - 1)
        chunks[position >> Self.chunkBits].withUnsafeMutableBytes { bytes in
            write(UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<offset + length]))
        }
        return position
    }

    private mutating func extend(by size: Int) -> Int {
        if chunks.isEmpty || chunks[chunks.count - 1].count + size > Self.chunkBytes {
            var chunk: [UInt8] = []
            // The first one grows as any array does: many arenas are small.
            if !chunks.isEmpty { chunk.reserveCapacity(Self.chunkBytes) }
            chunks.append(chunk)
        }
        let last = chunks.count - 1
        let position = last << Self.chunkBits + chunks[last].count
        chunks[last].append(contentsOf: repeatElement(0, count: size))
        return position
    }

    mutating func remove(_ position: Int, _ length: Int) {
        let (sizeClass, size) = Self.sizeClass(length)
        usedBytes -= size
        if free.isEmpty { free = [UInt64](repeating: 0, count: Self.classCount) }
        store(free[sizeClass], at: position)
        free[sizeClass] = UInt64(position + 1)
    }

    @inline(__always)
    func with<Result>(_ position: Int, _ length: Int, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        let offset = position & (Self.chunkBytes &- 1)
        return chunks[position >> Self.chunkBits].withUnsafeBytes { bytes in
            body(UnsafeRawBufferPointer(rebasing: bytes[offset..<offset &+ length]))
        }
    }

    @inline(__always)
    func load<Value: BitwiseCopyable>(_ position: Int, as type: Value.Type) -> Value {
        chunks[position >> Self.chunkBits].withUnsafeBytes { bytes in
            bytes.loadUnaligned(fromByteOffset: position & (Self.chunkBytes &- 1), as: type)
        }
    }

    @inline(__always)
    mutating func store<Value: BitwiseCopyable>(_ value: Value, at position: Int) {
        chunks[position >> Self.chunkBits].withUnsafeMutableBytes { bytes in
            bytes.storeBytes(of: value, toByteOffset: position & (Self.chunkBytes - 1), as: Value.self)
        }
    }

    /// Whether a text stands at a position.
    @inline(__always)
    func isEqual(_ position: Int, _ text: UnsafeRawBufferPointer) -> Bool {
        with(position, text.count) { own in
            let count = text.count
            guard count >= 8 else {
                for place in 0..<count where own[place] != text[place] { return false }
                return true
            }
            var place = 0
            while place &+ 8 < count {
                guard Self.word(own, place) == Self.word(text, place) else { return false }
                place &+= 8
            }
            // The last eight bytes, of which some may have been compared before.
            return Self.word(own, count &- 8) == Self.word(text, count &- 8)
        }
    }

    @inline(__always)
    private static func word(_ bytes: UnsafeRawBufferPointer, _ place: Int) -> UInt64 {
        bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self)
    }

    private static func sizeClass(_ length: Int) -> (sizeClass: Int, size: Int) {
        let granules = max(1, (length + granule - 1) / granule)
        guard granules > fineClasses else { return (granules - 1, granules * granule) }
        let last = granules - 1
        let exponent = Int.bitWidth - 1 - last.leadingZeroBitCount
        let step = 1 << (exponent - 2)
        let sizeClass = fineClasses + (exponent - 4) * 4 + (last >> (exponent - 2)) & 3
        return (sizeClass, (last / step + 1) * step * granule)
    }
}
