package import MessageModel
package import NIOCore

/// The tagged values behind a body: u16 id, u32 length, bytes. Ids from 0x8000 on must be understood.
package enum Tail {
    package static let mustUnderstand: UInt16 = 0x8000
    /// What happened, for a person.
    package static let message: UInt16 = 0x0001
    /// What to do about it.
    package static let hint: UInt16 = 0x0002

    /// Walks the tail behind a body that knows no tagged values itself.
    package static func check(_ reader: inout WireReader, flags: FrameFlags) throws(SluiceError) {
        if !flags.contains(.tail) {
            guard reader.isAtEnd else {
                throw SluiceError(.malformed, "\(reader.remaining) bytes follow the body without the tail flag")
            }
            return
        }
        while !reader.isAtEnd {
            guard let (id, _) = next(&reader) else { throw SluiceError(.malformed, "the tail is malformed") }
            guard id < mustUnderstand else {
                throw SluiceError(.notSupported, "the tagged value 0x\(String(id, radix: 16)) is not known")
            }
        }
    }

    /// The next tagged value; nil at the end and where it is malformed.
    package static func next(_ reader: inout WireReader) -> (id: UInt16, value: UnsafeRawBufferPointer)? {
        guard let id = reader.u16(), let length = reader.u32(), let value = reader.raw(Int(length)) else { return nil }
        return (id, value)
    }

    package static func write(_ id: UInt16, _ text: String, to buffer: inout ByteBuffer) {
        buffer.writeU16(id)
        buffer.writeU32(UInt32(truncatingIfNeeded: text.utf8.count))
        buffer.writeString(text)
    }
}
