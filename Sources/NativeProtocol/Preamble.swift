package import NIOCore

/// What a client sends first and the server sends back: eight bytes that no other protocol begins with.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | `4E 31 50 0A`, "N1P" and a line feed |
/// | 4 | u16 | major version, 1 |
/// | 6 | u16 | flags, 0; a receiver ignores those that it does not know |
package struct Preamble: Equatable, Sendable {
    package static let magic: [UInt8] = [0x4E, 0x31, 0x50, 0x0A]
    package static let byteCount = 8
    package static let majorVersion: UInt16 = 1

    package var major: UInt16
    package var flags: UInt16

    package init(major: UInt16 = Preamble.majorVersion, flags: UInt16 = 0) {
        self.major = major
        self.flags = flags
    }

    /// Reads a preamble from exactly its eight bytes; nil where it is none.
    package init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count == Self.byteCount, bytes.prefix(4).elementsEqual(Self.magic) else { return nil }
        var reader = WireReader(UnsafeRawBufferPointer(rebasing: bytes[4...]))
        guard let major = reader.u16(), let flags = reader.u16() else { return nil }
        self.major = major
        self.flags = flags
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeBytes(Self.magic)
        buffer.writeMultipleIntegers(major, flags, endianness: .little)
    }
}
