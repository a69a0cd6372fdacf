internal import MessageModel
package import NIOCore

/// What a frame is.
package enum FrameKind: UInt8, Sendable, CaseIterable {
    case request = 0
    case response = 1
    /// Sent without being asked for each time: batches, acknowledgements, the end of a subscription.
    case push = 2
    case credit = 3
    case cancel = 4
    case ping = 5
    case pong = 6
    case goaway = 7
}

/// What a frame's flags byte says.
package struct FrameFlags: OptionSet, Sendable {
    package var rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Reserved for answers in several frames; refused so far.
    package static let moreFollows = FrameFlags(rawValue: 1 << 0)
    /// The request is not answered by a response.
    package static let oneWay = FrameFlags(rawValue: 1 << 1)
    /// Tagged values follow the body.
    package static let tail = FrameFlags(rawValue: 1 << 2)
    /// The last four bytes are the CRC32C of all before them in the frame.
    package static let checksum = FrameFlags(rawValue: 1 << 3)
    /// Bits that a receiver must know; bits 4 and 5 may be ignored.
    package static let mustUnderstand = FrameFlags(rawValue: 0b1100_0000)
}

/// The sixteen bytes before every body. Little-endian.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | u32 | length: bytes after this field |
/// | 4 | u8 | kind |
/// | 5 | u8 | flags |
/// | 6 | u16 | opcode |
/// | 8 | u32 | correlation: chosen by who asks, given back in the response |
/// | 12 | u32 | handle: 0 for the connection, else a producer or a subscription |
package struct FrameHeader: Equatable, Sendable {
    package static let byteCount = 16
    /// The length field of a frame without a body.
    package static let smallestLength = byteCount - 4

    /// Not checked when a header is read: an unknown one is answered, not cut off.
    package var rawKind: UInt8
    package var flags: FrameFlags
    package var rawOpcode: UInt16
    package var correlation: UInt32
    package var handle: UInt32

    package init(
        _ kind: FrameKind,
        _ opcode: Opcode,
        flags: FrameFlags = [],
        correlation: UInt32 = 0,
        handle: UInt32 = 0
    ) {
        rawKind = kind.rawValue
        self.flags = flags
        rawOpcode = opcode.rawValue
        self.correlation = correlation
        self.handle = handle
    }

    /// Reads the header of a whole frame, which `FrameParser` has checked to be at least this long.
    @inline(__always)
    package init(frame: UnsafeRawBufferPointer) {
        rawKind = frame[4]
        flags = FrameFlags(rawValue: frame[5])
        rawOpcode = frame.load16(6)
        correlation = frame.load32(8)
        handle = frame.load32(12)
    }

    package var kind: FrameKind? { FrameKind(rawValue: rawKind) }
    package var opcode: Opcode? { Opcode(rawValue: rawOpcode) }

    /// Stores the header of a frame whose body is known to have `bodyBytes` at the beginning of its place.
    @inline(__always)
    package func store(bodyBytes: Int, _ frame: UnsafeMutableRawBufferPointer) {
        frame.store32(UInt32(truncatingIfNeeded: bodyBytes + Self.smallestLength), at: 0)
        frame[4] = rawKind
        frame[5] = flags.rawValue
        frame.store16(rawOpcode, at: 6)
        frame.store32(correlation, at: 8)
        frame.store32(handle, at: 12)
    }

    /// Writes the header of a frame whose body is known to have `bodyBytes`.
    package func write(bodyBytes: Int, to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(
            UInt32(truncatingIfNeeded: bodyBytes + Self.smallestLength),
            rawKind,
            flags.rawValue,
            rawOpcode,
            correlation,
            handle,
            endianness: .little
        )
    }
}

extension ByteBuffer {
    /// Writes one frame: the header, what `body` writes, and the length of it all.
    package mutating func writeFrame(_ header: FrameHeader, _ body: (inout ByteBuffer) -> Void = { _ in }) {
        let start = writerIndex
        header.write(bodyBytes: 0, to: &self)
        body(&self)
        setInteger(UInt32(truncatingIfNeeded: writerIndex - start - 4), at: start, endianness: .little)
    }
}
