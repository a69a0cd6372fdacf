/// Little-endian loads and stores at any alignment. The caller has checked the bounds.
extension UnsafeRawBufferPointer {
    @inlinable @inline(__always)
    package func load16(_ offset: Int) -> UInt16 {
        UInt16(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }

    @inlinable @inline(__always)
    package func load32(_ offset: Int) -> UInt32 {
        UInt32(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    @inlinable @inline(__always)
    package func load64(_ offset: Int) -> UInt64 {
        UInt64(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    /// The bytes of a range, without copying. The caller has checked the bounds.
    @inlinable @inline(__always)
    package func slice(_ range: Range<Int>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: self[range])
    }
}

extension UnsafeMutableRawBufferPointer {
    @inlinable @inline(__always)
    package func store16(_ value: UInt16, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt16.self)
    }

    @inlinable @inline(__always)
    package func store32(_ value: UInt32, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt32.self)
    }

    @inlinable @inline(__always)
    package func store64(_ value: UInt64, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt64.self)
    }
}

/// Whether two byte sequences are equal.
@inlinable
package func bytesEqual(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
    let count = left.count
    guard count == right.count else { return false }
    guard count >= 8 else { return left.elementsEqual(right) }
    // Eight at a time; the last eight overlap those before them.
    var offset = 0
    while offset < count &- 8 {
        if left.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            != right.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        {
            return false
        }
        offset &+= 8
    }
    return left.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
        == right.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
}

/// Unsigned LEB128, at most ten bytes.
package enum Varint {
    /// Encoded size of `value`, 1 to 10 bytes.
    @inlinable @inline(__always)
    package static func size(_ value: UInt64) -> Int {
        let bits = UInt64.bitWidth - (value | 1).leadingZeroBitCount
        return (bits + 6) / 7
    }

    /// Reads a value at `position` and moves past it; nil where the bytes end first, it has more than ten bytes, or it
    /// does not fit.
    @inlinable @inline(__always)
    package static func read(_ bytes: UnsafeRawBufferPointer, _ position: inout Int) -> UInt64? {
        guard position < bytes.count else { return nil }
        let first = bytes[position]
        if first < 0x80 {
            position += 1
            return UInt64(first)
        }
        var value = UInt64(first & 0x7F)
        var shift: UInt64 = 7
        var next = position + 1
        while next < bytes.count {
            let byte = bytes[next]
            next += 1
            if shift == 63 && byte > 1 { return nil }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 {
                position = next
                return value
            }
            shift += 7
            if shift > 63 { return nil }
        }
        return nil
    }

    /// Reads a length that must fit into what is left of `bytes`; nil otherwise.
    @inlinable @inline(__always)
    package static func readLength(_ bytes: UnsafeRawBufferPointer, _ position: inout Int) -> Int? {
        guard let value = read(bytes, &position), value <= UInt64(bytes.count - position) else { return nil }
        return Int(value)
    }

    /// Writes `value` at `position` and moves past it. The caller has checked the room.
    @inlinable @inline(__always)
    package static func write(_ value: UInt64, _ bytes: UnsafeMutableRawBufferPointer, _ position: inout Int) {
        var rest = value
        while rest >= 0x80 {
            bytes[position] = UInt8(truncatingIfNeeded: rest) | 0x80
            rest >>= 7
            position += 1
        }
        bytes[position] = UInt8(truncatingIfNeeded: rest)
        position += 1
    }
}
