/// What a frame carries (AMQP 0-9-1 §4.2.3).
package enum FrameType: UInt8, Sendable, Hashable {
    case method = 1
    case header = 2
    case body = 3
    case heartbeat = 8
}

/// A frame in the received bytes. Its type is not checked: what an unknown one means depends on where it stands.
package struct Frame: Sendable, Hashable {
    package var type: UInt8
    package var channel: UInt16
    /// Bytes between the frame's header and its end.
    package var payloadLength: Int

    /// Bytes before the payload: type, channel and size.
    package static let headerLength = 7
    /// Bytes of a frame besides its payload.
    package static let overhead = 8
    /// The last byte of every frame.
    package static let end: UInt8 = 206

    package init(type: UInt8, channel: UInt16, payloadLength: Int) {
        self.type = type
        self.channel = channel
        self.payloadLength = payloadLength
    }

    package var totalLength: Int { payloadLength &+ Self.overhead }
    /// Where the payload lies when the frame begins at `start`.
    package func payload(at start: Int = 0) -> Range<Int> {
        start &+ Self.headerLength..<start &+ Self.headerLength &+ payloadLength
    }
}

/// Cuts frames out of a stream of bytes. It holds no bytes: the caller shows it what is readable, takes a frame's
/// `totalLength` off the front, and asks again.
package struct FrameFramer: Sendable, Hashable {
    /// The greatest frame that was agreed upon, framing included.
    package var frameMaximum: UInt32

    package init(frameMaximum: UInt32) { self.frameMaximum = frameMaximum }

    package enum Result: Sendable, Hashable {
        /// A whole frame begins where it was looked for.
        case frame(Frame)
        /// So many bytes from there on are needed at least before asking again makes sense.
        case needMore(total: Int)
        /// The stream cannot be followed any more.
        case invalid(AMQPError)
    }

    /// Looks for the frame that begins at `start`.
    @inline(__always)
    package func next(_ bytes: UnsafeRawBufferPointer, at start: Int = 0) -> Result {
        guard bytes.count &- start >= Frame.headerLength else { return .needMore(total: Frame.headerLength) }
        let type = bytes[start]
        let channel = UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: start &+ 1, as: UInt16.self))
        let size = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: start &+ 3, as: UInt32.self))
        // RabbitMQ tolerates eight bytes too many, because so many clients forget the framing.
        guard size <= frameMaximum else { return .invalid(tooLarge(type, size)) }
        let frame = Frame(type: type, channel: channel, payloadLength: Int(size))
        guard bytes.count &- start >= frame.totalLength else { return .needMore(total: frame.totalLength) }
        let end = bytes[start &+ frame.totalLength &- 1]
        guard end == Frame.end else {
            let payload = UnsafeRawBufferPointer(rebasing: bytes[frame.payload(at: start)])
            return .invalid(.frame(type, payload, "{invalid_frame_end_marker,\(end)}"))
        }
        return .frame(frame)
    }

    private func tooLarge(_ type: UInt8, _ size: UInt32) -> AMQPError {
        .frame(
            type,
            UnsafeRawBufferPointer(start: nil, count: 0),
            "{frame_too_large,\(size),\(Int(frameMaximum) - Frame.overhead)}"
        )
    }
}

extension AMQPError {
    /// 501, in RabbitMQ's words.
    static func frame(_ type: UInt8, _ payload: UnsafeRawBufferPointer, _ reason: String) -> AMQPError {
        AMQPError(.frameError, describe(type, payload) + ": " + reason)
    }

    /// 505, in RabbitMQ's words.
    static func unexpected(_ type: UInt8, _ payload: UnsafeRawBufferPointer) -> AMQPError {
        AMQPError(.unexpectedFrame, describe(type, payload))
    }

    private static func describe(_ type: UInt8, _ payload: UnsafeRawBufferPointer) -> String {
        let shown = UnsafeRawBufferPointer(rebasing: payload.prefix(16))
        let extent = payload.count <= 16 ? "all" : "first 16"
        return "type \(type), \(extent) octets = \(ErlangTerm.binary(shown))"
    }
}
