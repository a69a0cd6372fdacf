package import MessageModel

/// A whole frame, read in place: header, body with what follows it, checksum checked and cut off.
package struct Frame {
    package let header: FrameHeader
    package let body: UnsafeRawBufferPointer

    package enum Problem: Error, Equatable, Sendable {
        /// The checksum was announced and is not there or does not fit.
        case checksum
        /// Flags that must be understood and are not.
        case flags(UInt8)

        package var error: SluiceError {
            switch self {
            case .checksum: SluiceError(.checksumMismatch, "the frame's checksum does not fit its bytes")
            case .flags(let flags):
                SluiceError(.notSupported, "frame flags 0x\(String(flags, radix: 16)) are not known")
            }
        }
    }

    /// Reads a frame that a `FrameParser` handed out. The header is there in any case; a problem concerns the rest.
    @inline(__always)
    package static func read(_ bytes: UnsafeRawBufferPointer) -> (frame: Frame, problem: Problem?) {
        let header = FrameHeader(frame: bytes)
        var end = bytes.count
        var problem: Problem?
        if !header.flags.isDisjoint(with: [.checksum, .moreFollows, .mustUnderstand]) {
            let unknown = header.flags.intersection([.moreFollows, .mustUnderstand])
            if !unknown.isEmpty {
                problem = .flags(unknown.rawValue)
            } else if end < FrameHeader.byteCount + 4
                || Checksum.crc32c(bytes.slice(0..<end - 4)) != bytes.load32(end - 4)
            {
                problem = .checksum
            } else {
                end -= 4
            }
        }
        return (Frame(header: header, body: bytes.slice(FrameHeader.byteCount..<end)), problem)
    }

    package init(header: FrameHeader, body: UnsafeRawBufferPointer) {
        self.header = header
        self.body = body
    }

    /// Decodes the body: `decode` reads its fields; what is left must be a well-formed tail, and is refused without one.
    /// - Throws: `malformed` where fields are missing or bytes are left over, `notSupported` for a tagged value that
    ///   must be understood.
    package func decode<Body>(_ decode: (inout WireReader) -> Body?) throws(SluiceError) -> Body {
        var reader = WireReader(body)
        guard let value = decode(&reader) else {
            throw SluiceError(.malformed, "the body of opcode 0x\(String(header.rawOpcode, radix: 16)) is malformed")
        }
        try Tail.check(&reader, flags: header.flags)
        return value
    }
}
