package import NIOCore

/// Little-endian writing of what `WireReader` reads.
extension ByteBuffer {
    package mutating func writeU8(_ value: UInt8) { writeInteger(value) }
    package mutating func writeU16(_ value: UInt16) { writeInteger(value, endianness: .little) }
    package mutating func writeU32(_ value: UInt32) { writeInteger(value, endianness: .little) }
    package mutating func writeU64(_ value: UInt64) { writeInteger(value, endianness: .little) }

    /// A u16 length and the bytes; what does not fit into the length is cut.
    package mutating func writeBytes16(_ bytes: some Collection<UInt8>) {
        let kept = bytes.prefix(Int(UInt16.max))
        writeU16(UInt16(kept.count))
        writeBytes(kept)
    }

    /// A u16 length and UTF-8; a text that does not fit is cut between characters.
    package mutating func writeText(_ text: String) {
        guard text.utf8.count > Int(UInt16.max) else {
            writeU16(UInt16(text.utf8.count))
            writeString(text)
            return
        }
        var kept = text
        while kept.utf8.count > Int(UInt16.max) { kept.removeLast(max(1, (kept.utf8.count - Int(UInt16.max)) / 4)) }
        writeText(kept)
    }
}
