/// The eight bytes with which a client opens a connection, and with which a server says what it speaks instead
/// (AMQP 0-9-1 §4.2.2).
package enum ProtocolHeader {
    package static let bytes: [UInt8] = [0x41, 0x4D, 0x51, 0x50, 0, 0, 9, 1]

    package enum Verdict: Sendable, Hashable {
        case accepted
        case needMore
        /// Another protocol or version: answer with `bytes` and hang up.
        case refused
    }

    /// Judges the beginning of what a client sends as soon as it can be told.
    package static func judge(_ received: UnsafeRawBufferPointer) -> Verdict {
        if matches(received, bytes) || matches(received, Self.version09) {
            return received.count >= bytes.count ? .accepted : .needMore
        }
        return .refused
    }

    /// 0-9 differs from 0-9-1 in nothing that matters here; RabbitMQ takes it too.
    private static let version09: [UInt8] = [0x41, 0x4D, 0x51, 0x50, 1, 1, 0, 9]

    private static func matches(_ received: UnsafeRawBufferPointer, _ header: [UInt8]) -> Bool {
        received.prefix(header.count).elementsEqual(header.prefix(received.count))
    }
}
