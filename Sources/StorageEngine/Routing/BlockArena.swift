internal import MessageModel

/// Small blocks of bytes in one array.
///
/// Room that a block leaves is used again for one of the same size class: multiples of eight bytes up to 128, beyond that
/// four classes for each doubling. Positions are multiples of eight.
struct BlockArena {
    private(set) var bytes: [UInt8] = []
    /// For each size class the position of its first free block plus one, zero for none. A free block begins with the same
    /// for the next one.
    private var free: [UInt64] = []
    /// The sum of the blocks in use.
    private(set) var usedBytes = 0

    private static let granule = 8
    private static let fineClasses = 16
    /// Enough for blocks up to 128 KiB.
    private static let classCount = 60

    var byteCount: Int { bytes.capacity + free.capacity * 8 }
    /// Whether three quarters of a large array are unused: then its blocks should move to another.
    var isSparse: Bool { bytes.count > 65_536 && usedBytes < bytes.count / 4 }

    /// Takes a block of 1 byte to 128 KiB for what `write` puts there.
    mutating func add(_ length: Int, _ write: (UnsafeMutableRawBufferPointer) -> Void) -> Int {
        let (sizeClass, size) = Self.sizeClass(length)
        usedBytes += size
        let position: Int
        if sizeClass < free.count, free[sizeClass] != 0 {
            position = Int(free[sizeClass] - 1)
            free[sizeClass] = bytes.withUnsafeBytes { $0.load64(position) }
        } else {
            position = bytes.count
            bytes.append(contentsOf: repeatElement(0, count: size))
        }
        bytes.withUnsafeMutableBytes {
            write(UnsafeMutableRawBufferPointer(rebasing: $0[position..<position + length]))
        }
        return position
    }

    mutating func remove(_ position: Int, _ length: Int) {
        let (sizeClass, size) = Self.sizeClass(length)
        usedBytes -= size
        if free.isEmpty { free = [UInt64](repeating: 0, count: Self.classCount) }
        let next = free[sizeClass]
        bytes.withUnsafeMutableBytes { $0.store64(next, at: position) }
        free[sizeClass] = UInt64(position + 1)
    }

    @inline(__always)
    func with<Result>(_ position: Int, _ length: Int, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        bytes.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[position..<position &+ length])) }
    }

    @inline(__always)
    func load<Value: BitwiseCopyable>(_ position: Int, as type: Value.Type) -> Value {
        bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: position, as: type) }
    }

    @inline(__always)
    mutating func store<Value: BitwiseCopyable>(_ value: Value, at position: Int) {
        bytes.withUnsafeMutableBytes { $0.storeBytes(of: value, toByteOffset: position, as: Value.self) }
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
