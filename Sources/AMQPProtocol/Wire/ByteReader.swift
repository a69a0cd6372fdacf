/// A cursor over bytes that never reads outside them: every length is checked before use.
///
/// Positions count from the first of the bytes it was given, so that ranges taken here stay meaningful to whoever holds
/// them.
struct ByteReader {
    let bytes: UnsafeRawBufferPointer
    private(set) var position: Int
    /// One past the last byte that may be read.
    let end: Int

    /// - Parameter range: the part to read; clamped to what is there.
    init(_ bytes: UnsafeRawBufferPointer, in range: Range<Int>) {
        self.bytes = bytes
        let end = min(max(range.upperBound, 0), bytes.count)
        self.end = end
        self.position = min(max(range.lowerBound, 0), end)
    }

    init(_ bytes: UnsafeRawBufferPointer) {
        self.init(bytes, in: 0..<bytes.count)
    }

    var remaining: Int { end &- position }
    var isAtEnd: Bool { position == end }

    @inline(__always)
    mutating func readUInt8() throws(WireError) -> UInt8 {
        guard remaining >= 1 else { throw .truncated }
        let value = bytes[position]
        position &+= 1
        return value
    }

    @inline(__always)
    mutating func readUInt16() throws(WireError) -> UInt16 {
        guard remaining >= 2 else { throw .truncated }
        let value = UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt16.self))
        position &+= 2
        return value
    }

    @inline(__always)
    mutating func readUInt32() throws(WireError) -> UInt32 {
        guard remaining >= 4 else { throw .truncated }
        let value = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt32.self))
        position &+= 4
        return value
    }

    @inline(__always)
    mutating func readUInt64() throws(WireError) -> UInt64 {
        guard remaining >= 8 else { throw .truncated }
        let value = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self))
        position &+= 8
        return value
    }

    /// Takes the next `count` bytes as a range of positions.
    @inline(__always)
    mutating func take(_ count: Int) throws(WireError) -> Range<Int> {
        guard count >= 0, remaining >= count else { throw .truncated }
        let start = position
        position &+= count
        return Range(uncheckedBounds: (start, position))
    }

    /// The bytes of a short string.
    @inline(__always)
    mutating func takeShortString() throws(WireError) -> Range<Int> {
        let count = try readUInt8()
        return try take(Int(count))
    }

    /// The bytes of a long string, or of a table or array without its length.
    @inline(__always)
    mutating func takeLongString() throws(WireError) -> Range<Int> {
        let count = try readUInt32()
        return try take(Int(count))
    }

    mutating func takeRest() -> Range<Int> {
        let start = position
        position = end
        return start..<end
    }

    /// The bytes of a range that one of the `take` methods returned.
    @inline(__always)
    func slice(_ range: Range<Int>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[range])
    }

    mutating func readShortString() throws(WireError) -> ShortString {
        let range = try takeShortString()
        return ShortString(slice(range))
    }

    mutating func readLongString() throws(WireError) -> [UInt8] {
        let range = try takeLongString()
        return Array(slice(range))
    }

    /// Reads a field table and checks it from beginning to end.
    mutating func readTable(depth: Int) throws(WireError) -> FieldTable {
        let range = try takeLongString()
        let content = slice(range)
        try FieldWalk.validate(table: content, depth: depth)
        return FieldTable(validated: Array(content))
    }

    /// The bits of an octet; the specification packs consecutive bits into one, the first in the lowest place.
    mutating func readBits() throws(WireError) -> Bits {
        Bits(rawValue: try readUInt8())
    }

    struct Bits {
        var rawValue: UInt8
        subscript(index: Int) -> Bool { rawValue >> UInt8(index) & 1 == 1 }
    }
}
