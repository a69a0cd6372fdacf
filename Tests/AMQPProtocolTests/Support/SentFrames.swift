import NIOCore

@testable import AMQPProtocol

/// A frame that the server wrote.
struct SentFrame: Equatable {
    var type: UInt8
    var channel: UInt16
    var payload: [UInt8]

    var id: MethodID? {
        guard type == 1, payload.count >= 4 else { return nil }
        return MethodID(rawValue: payload[0..<4].reduce(0) { $0 << 8 | UInt32($1) })
    }

    /// One line to be compared with, such as `1 basicAck 7 multiple`.
    var line: String {
        guard type == 1 else { return ["", "", "header", "body", "", "", "", "", "heartbeat"][Int(type)] }
        guard let id else { return "unknown method" }
        let arguments = Array(payload[4...])
        var words = "\(channel) \(id)"
        switch id {
        case .connectionClose, .channelClose:
            let code = UInt16(arguments[0]) << 8 | UInt16(arguments[1])
            let length = Int(arguments[2])
            words += " \(code) " + String(decoding: arguments[3..<3 + length], as: UTF8.self)
            let at = arguments[(3 + length)...].map { $0 }
            words += " [\(UInt16(at[0]) << 8 | UInt16(at[1])),\(UInt16(at[2]) << 8 | UInt16(at[3]))]"
        case .basicAck, .basicNack:
            words += " \(arguments[0..<8].reduce(0) { $0 << 8 | UInt64($1) })"
            if arguments[8] & 1 == 1 { words += " multiple" }
        case .basicConsumeOk, .basicCancelOk, .basicCancel, .queueDeclareOk, .connectionBlocked, .basicDeliver:
            words += " " + String(decoding: arguments[1..<1 + Int(arguments[0])], as: UTF8.self)
        default: break
        }
        return words
    }
}

/// The frames in what the server wrote; anything that is no frame fails the expectation by its absence.
func frames(_ bytes: [UInt8], maximum: UInt32 = 1 << 24) -> [SentFrame] {
    var rest = bytes
    var found: [SentFrame] = []
    while !rest.isEmpty {
        let result = rest.withUnsafeBytes { FrameFramer(frameMaximum: maximum).next($0) }
        guard case .frame(let frame) = result else { break }
        found.append(SentFrame(type: frame.type, channel: frame.channel, payload: Array(rest[frame.payload()])))
        rest.removeFirst(frame.totalLength)
    }
    return found
}
