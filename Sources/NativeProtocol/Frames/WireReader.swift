internal import MessageModel

/// Reads little-endian fields from borrowed bytes. Every read answers nil where the bytes end first.
package struct WireReader {
    private let bytes: UnsafeRawBufferPointer
    package private(set) var position = 0

    package init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    package var remaining: Int { bytes.count - position }
    package var isAtEnd: Bool { position == bytes.count }

    package mutating func u8() -> UInt8? {
        guard remaining >= 1 else { return nil }
        defer { position += 1 }
        return bytes[position]
    }

    package mutating func u16() -> UInt16? {
        guard remaining >= 2 else { return nil }
        defer { position += 2 }
        return bytes.load16(position)
    }

    package mutating func u32() -> UInt32? {
        guard remaining >= 4 else { return nil }
        defer { position += 4 }
        return bytes.load32(position)
    }

    package mutating func u64() -> UInt64? {
        guard remaining >= 8 else { return nil }
        defer { position += 8 }
        return bytes.load64(position)
    }

    package mutating func raw(_ count: Int) -> UnsafeRawBufferPointer? {
        guard count >= 0, remaining >= count else { return nil }
        defer { position += count }
        return bytes.slice(position..<position + count)
    }

    /// Bytes with a u16 length before them, at most `limit`.
    package mutating func bytes16(limit: Int = .max) -> UnsafeRawBufferPointer? {
        guard let length = u16(), length <= limit else { return nil }
        return raw(Int(length))
    }

    /// UTF-8 text with a u16 length before it, at most `limit` bytes.
    package mutating func text(limit: Int = .max) -> String? {
        guard let bytes = bytes16(limit: limit) else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }

    /// A number of entries of at least `each` bytes, which must fit into what is left, so that nothing is reserved for
    /// entries that are not there.
    package mutating func count16(each: Int) -> Int? {
        guard let count = u16(), Int(count) * each <= remaining else { return nil }
        return Int(count)
    }

    package mutating func count32(each: Int) -> Int? {
        guard let count = u32(), Int(count) <= remaining / each else { return nil }
        return Int(count)
    }

    /// What is left.
    package mutating func rest() -> UnsafeRawBufferPointer {
        defer { position = bytes.count }
        return bytes.slice(position..<bytes.count)
    }
}
