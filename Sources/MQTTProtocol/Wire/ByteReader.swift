/// A cursor over one packet's bytes that never reads outside them: every length is checked before use.
///
/// Positions count from the beginning of the packet, so that ranges taken here stay meaningful to whoever holds
/// the packet's bytes.
struct ByteReader {
    let bytes: UnsafeRawBufferPointer
    private(set) var position: Int
    /// One past the last byte that may be read.
    let end: Int

    /// - Parameters:
    ///   - bytes: the packet, fixed header included.
    ///   - range: the part to read; clamped to what is there.
    init(_ bytes: UnsafeRawBufferPointer, in range: Range<Int>) {
        self.bytes = bytes
        let end = min(max(range.upperBound, 0), bytes.count)
        self.end = end
        self.position = min(max(range.lowerBound, 0), end)
    }

    /// Reads the body of the packet that `header` describes and that begins at the first of `bytes`.
    init(body header: PacketHeader, of bytes: UnsafeRawBufferPointer) throws(MQTTProtocolError) {
        guard header.totalLength <= bytes.count else { throw .truncatedPacket }
        self.init(bytes, in: header.headerLength..<header.totalLength)
    }

    var remaining: Int { end &- position }
    var isAtEnd: Bool { position == end }

    @inline(__always)
    mutating func readUInt8() throws(MQTTProtocolError) -> UInt8 {
        guard remaining >= 1 else { throw .truncatedPacket }
        let value = bytes[position]
        position &+= 1
        return value
    }

    @inline(__always)
    mutating func readUInt16() throws(MQTTProtocolError) -> UInt16 {
        guard remaining >= 2 else { throw .truncatedPacket }
        let value = UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt16.self))
        position &+= 2
        return value
    }

    @inline(__always)
    mutating func readUInt32() throws(MQTTProtocolError) -> UInt32 {
        guard remaining >= 4 else { throw .truncatedPacket }
        let value = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt32.self))
        position &+= 4
        return value
    }

    /// Reads a variable byte integer; more than four bytes and encodings longer than needed are malformed.
    @inline(__always)
    mutating func readVariableByteInteger() throws(MQTTProtocolError) -> UInt32 {
        var value: UInt32 = 0
        var shift: UInt32 = 0
        while true {
            let byte = try readUInt8()
            value |= UInt32(byte & 0x7F) << shift
            if byte & 0x80 == 0 {
                guard byte != 0 || shift == 0 else { throw .malformedVariableByteInteger }
                return value
            }
            shift += 7
            guard shift < 28 else { throw .malformedVariableByteInteger }
        }
    }

    @inline(__always)
    mutating func readPacketIdentifier() throws(MQTTProtocolError) -> UInt16 {
        let identifier = try readUInt16()
        guard identifier != 0 else { throw .packetIdentifierZero }
        return identifier
    }

    /// Takes the next `count` bytes as a range of positions.
    @inline(__always)
    mutating func take(_ count: Int) throws(MQTTProtocolError) -> Range<Int> {
        guard count >= 0, remaining >= count else { throw .truncatedPacket }
        let start = position
        position &+= count
        return Range(uncheckedBounds: (start, position))
    }

    /// Takes bytes that are preceded by their two-byte length: binary data, or a string not yet validated.
    @inline(__always)
    mutating func takeLengthPrefixed() throws(MQTTProtocolError) -> Range<Int> {
        let count = try readUInt16()
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

    mutating func readBinary() throws(MQTTProtocolError) -> [UInt8] {
        let range = try takeLengthPrefixed()
        return Array(slice(range))
    }

    /// Reads and validates a string.
    mutating func readString(_ content: TextContent) throws(MQTTProtocolError) -> MQTTString {
        let range = try takeLengthPrefixed()
        let text = slice(range)
        guard UTF8Text.isValid(text, content) else { throw .malformedString }
        return MQTTString(text)
    }

    func expectEnd() throws(MQTTProtocolError) {
        guard isAtEnd else { throw .trailingBytes }
    }
}
