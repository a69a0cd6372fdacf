/// A content header frame: how long the body is, and where the properties lie.
package struct ContentHeader: Sendable, Hashable {
    package var classID: UInt16
    package var bodySize: UInt64
    /// Positions of the property flags and what follows them.
    package var properties: Range<Int>

    /// Class, weight and body size.
    static let fixedLength = 12

    /// Reads the header from the payload of its frame; nil when it is too short. The properties are not looked at.
    @inline(__always)
    init?(_ payload: Range<Int>, of bytes: UnsafeRawBufferPointer) {
        guard payload.count >= Self.fixedLength, payload.upperBound <= bytes.count else { return nil }
        let start = payload.lowerBound
        classID = UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: start, as: UInt16.self))
        // Two bytes of weight, which is not used.
        bodySize = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: start &+ 4, as: UInt64.self))
        properties = start &+ Self.fixedLength..<payload.upperBound
    }
}
