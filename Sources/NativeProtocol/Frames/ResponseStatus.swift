package import MessageModel
package import NIOCore

/// What every response, DETACHED, PRODUCE_ACK and GOAWAY begins with: u16 status, u16 detail, u32 milliseconds to wait.
package struct ResponseStatus: Equatable, Sendable {
    package static let byteCount = 8

    /// 0 is ok, everything else an `ErrorCode`; a number that this version does not know still has its class.
    package var status: UInt16
    /// More about it where the opcode says so; 0 otherwise.
    package var detail: UInt16
    /// Wait at least so long before trying again.
    package var retryAfterMs: UInt32

    package init(status: UInt16 = 0, detail: UInt16 = 0, retryAfterMs: UInt32 = 0) {
        self.status = status
        self.detail = detail
        self.retryAfterMs = retryAfterMs
    }

    package init(_ code: ErrorCode) {
        self.init(status: code.rawValue, retryAfterMs: code.statusClass == .backOff ? Self.backOffMs : 0)
    }

    /// What the server asks those to wait that come too fast.
    package static let backOffMs: UInt32 = 100

    package static let ok = ResponseStatus()

    package var isOK: Bool { status == 0 }

    package init?(_ reader: inout WireReader) {
        guard let status = reader.u16(), let detail = reader.u16(), let retryAfterMs = reader.u32() else { return nil }
        self.init(status: status, detail: detail, retryAfterMs: retryAfterMs)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(status, detail, retryAfterMs, endianness: .little)
    }

    /// The code; for a number that this version does not know, the one that stands for its class.
    package var code: ErrorCode? {
        guard status != 0 else { return nil }
        if let code = ErrorCode(rawValue: status) { return code }
        switch StatusClass(rawValue: UInt8(status >> 12)) {
        case .retryElsewhere: return .shuttingDown
        case .backOff: return .busy
        case .fenced: return .producerFenced
        case .clientError: return .invalidArgument
        case .authentication: return .denied
        case .notFound: return .notFound
        case .conflict: return .alreadyExists
        case .quota: return .quotaExceeded
        case .indeterminate: return .indeterminate
        case .ok, .fatal, nil: return .internal
        }
    }
}

extension ByteBuffer {
    /// Writes a frame that says an error: the response to `header`, or with another kind a push or the end of the
    /// connection.
    package mutating func writeError(_ error: SluiceError, _ header: FrameHeader) {
        var header = header
        header.flags = .tail
        writeFrame(header) { buffer in
            ResponseStatus(error.code).write(to: &buffer)
            Tail.write(Tail.message, error.message, to: &buffer)
            if !error.hint.isEmpty { Tail.write(Tail.hint, error.hint, to: &buffer) }
        }
    }
}

extension Frame {
    /// Reads the status, and where it is an error its texts; the reader then stands at the answer's body.
    package func readStatus(_ reader: inout WireReader) -> (status: ResponseStatus, error: SluiceError?)? {
        guard let status = ResponseStatus(&reader) else { return nil }
        guard let code = status.code else { return (status, nil) }
        var error = SluiceError(code, code.rendering.title)
        if header.flags.contains(.tail) {
            while let (id, value) = Tail.next(&reader) {
                if id == Tail.message { error.message = String(decoding: value, as: UTF8.self) }
                if id == Tail.hint { error.hint = String(decoding: value, as: UTF8.self) }
            }
        }
        return (status, error)
    }
}
