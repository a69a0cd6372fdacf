import NIOCore

/// Writes frames that are not on the hot path straight into the output: the size is set when the content is known.
struct FrameWriter {
    /// Writes one frame with what `content` writes between.
    static func write(
        _ type: FrameType,
        channel: UInt16,
        into output: inout ByteBuffer,
        _ content: (inout ByteBuffer) -> Void
    ) {
        output.writeInteger(type.rawValue)
        output.writeInteger(channel)
        let sizeIndex = output.writerIndex
        output.writeInteger(UInt32(0))
        let start = output.writerIndex
        content(&output)
        output.setInteger(UInt32(truncatingIfNeeded: output.writerIndex - start), at: sizeIndex)
        output.writeInteger(Frame.end)
    }

    static func writeHeartbeat(into output: inout ByteBuffer) {
        write(.heartbeat, channel: 0, into: &output) { _ in }
    }
}

extension ByteBuffer {
    mutating func write(_ string: ShortString) {
        // The bytes of a short string can be changed after it was made: never write more than the length says.
        let bytes = string.bytes.prefix(ShortString.maximumLength)
        writeInteger(UInt8(truncatingIfNeeded: bytes.count))
        writeBytes(bytes)
    }

    mutating func writeShort(_ text: String) { write(ShortString(text)) }

    mutating func writeLong(_ bytes: some Collection<UInt8>) {
        writeInteger(UInt32(truncatingIfNeeded: bytes.count))
        writeBytes(bytes)
    }

    mutating func write(_ table: FieldTable) { writeLong(table.bytes) }

    /// Packs bits as the specification does, the first in the lowest place.
    mutating func writeBits(_ bits: Bool...) {
        var octet: UInt8 = 0
        for (index, bit) in bits.enumerated() where bit { octet |= 1 << UInt8(index) }
        writeInteger(octet)
    }
}

/// Writes into memory whose size was computed before; never beyond it.
struct OutputCursor {
    private let output: UnsafeMutableRawBufferPointer
    private(set) var position = 0

    init(_ output: UnsafeMutableRawBufferPointer) { self.output = output }

    @inline(__always)
    mutating func write(_ value: some FixedWidthInteger) {
        let size = value.bitWidth / 8
        guard output.count &- position >= size else { return }
        output.storeBytes(of: value.bigEndian, toByteOffset: position, as: type(of: value))
        position &+= size
    }

    @inline(__always)
    mutating func write(_ bytes: UnsafeRawBufferPointer) {
        guard let source = bytes.baseAddress, let target = output.baseAddress,
            output.count &- position >= bytes.count
        else { return }
        (target + position).copyMemory(from: source, byteCount: bytes.count)
        position &+= bytes.count
    }

    /// A short string; the caller has checked its length.
    @inline(__always)
    mutating func writeShort(_ bytes: UnsafeRawBufferPointer) {
        write(UInt8(truncatingIfNeeded: bytes.count))
        write(bytes)
    }

    @inline(__always)
    mutating func beginFrame(_ type: FrameType, channel: UInt16, payloadLength: Int) {
        write(type.rawValue)
        write(channel)
        write(UInt32(truncatingIfNeeded: payloadLength))
    }

    @inline(__always)
    mutating func endFrame() { write(Frame.end) }
}
