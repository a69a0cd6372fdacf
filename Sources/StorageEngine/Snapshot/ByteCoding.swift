internal import MessageModel

/// Writes the small records of the log and the snapshot: little-endian numbers, and strings behind a u32 length.
struct ByteWriter {
    private(set) var bytes: [UInt8] = []

    mutating func write8(_ value: UInt8) { bytes.append(value) }
    mutating func write16(_ value: UInt16) { withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) } }
    mutating func write32(_ value: UInt32) { withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) } }
    mutating func write64(_ value: UInt64) { withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) } }

    mutating func writeVarint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    mutating func write(_ value: Bool) { write8(value ? 1 : 0) }

    mutating func write(_ value: [UInt8]) {
        write32(UInt32(value.count))
        bytes.append(contentsOf: value)
    }

    /// Bytes whose end is that of the record.
    mutating func writeRest(_ value: [UInt8]) { bytes.append(contentsOf: value) }

    mutating func write(_ text: String) {
        write32(UInt32(text.utf8.count))
        bytes.append(contentsOf: text.utf8)
    }
}

/// Reads what a `ByteWriter` wrote; every read is nil where the bytes end first.
struct ByteReader {
    private let bytes: UnsafeRawBufferPointer
    private var position = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var remaining: Int { bytes.count - position }

    private mutating func take(_ count: Int) -> Int? {
        guard remaining >= count else { return nil }
        defer { position += count }
        return position
    }

    mutating func read8() -> UInt8? { take(1).map { bytes[$0] } }
    mutating func read16() -> UInt16? { take(2).map { bytes.load16($0) } }
    mutating func read32() -> UInt32? { take(4).map { bytes.load32($0) } }
    mutating func read64() -> UInt64? { take(8).map { bytes.load64($0) } }

    mutating func readVarint() -> UInt64? { Varint.read(bytes, &position) }

    mutating func readVarint32() -> UInt32? { readVarint().flatMap { UInt32(exactly: $0) } }

    /// False for zero, true for one; nil for others.
    mutating func readBool() -> Bool? {
        guard let value = read8(), value <= 1 else { return nil }
        return value == 1
    }

    mutating func readBytes() -> [UInt8]? {
        guard let count = read32(), let start = take(Int(count)) else { return nil }
        return Array(bytes.slice(start..<start + Int(count)))
    }

    /// What is left.
    mutating func readRest() -> UnsafeRawBufferPointer {
        defer { position = bytes.count }
        return bytes.slice(position..<bytes.count)
    }

    mutating func readString() -> String? {
        guard let count = read32(), let start = take(Int(count)) else { return nil }
        return String(decoding: bytes.slice(start..<start + Int(count)), as: UTF8.self)
    }
}
