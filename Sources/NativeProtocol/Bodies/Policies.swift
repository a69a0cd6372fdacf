internal import MessageModel
package import NIOCore

/// Fields by number: a list of u16 id and bytes16 value. What is left out has its default.
struct WireFields {
    private let count: Int
    private var read = 0

    init?(_ reader: inout WireReader) {
        guard let count = reader.count16(each: 4) else { return nil }
        self.count = count
    }

    /// The next field; nil at the end and where it is malformed, which `isComplete` tells apart.
    mutating func next(_ reader: inout WireReader) -> (id: UInt16, value: WireReader)? {
        guard read < count, let id = reader.u16(), let value = reader.bytes16() else { return nil }
        read += 1
        return (id, WireReader(value))
    }

    var isComplete: Bool { read == count }
}

/// Writes what `WireFields` reads.
struct WireFieldWriter {
    private var bytes = ByteBuffer()
    private var count: UInt16 = 0

    mutating func field(_ id: UInt16, _ write: (inout ByteBuffer) -> Void) {
        var value = ByteBuffer()
        write(&value)
        bytes.writeU16(id)
        bytes.writeBytes16(value.readableBytesView)
        count += 1
    }

    mutating func u8(_ id: UInt16, _ value: UInt8?) { if let value { field(id) { $0.writeU8(value) } } }
    mutating func flag(_ id: UInt16, _ value: Bool?) { u8(id, value.map { $0 ? 1 : 0 }) }
    mutating func u32(_ id: UInt16, _ value: UInt32?) { if let value { field(id) { $0.writeU32(value) } } }
    mutating func u64(_ id: UInt16, _ value: UInt64?) { if let value { field(id) { $0.writeU64(value) } } }
    mutating func text(_ id: UInt16, _ value: String?) { if let value { field(id) { $0.writeString(value) } } }

    func write(to buffer: inout ByteBuffer) {
        buffer.writeU16(count)
        buffer.writeImmutableBuffer(bytes)
    }
}

extension WireReader {
    fileprivate mutating func flag() -> Bool? { u8().map { $0 != 0 } }

    /// All that is left as text.
    fileprivate mutating func restText() -> String? { String(validating: rest(), as: UTF8.self) }
}

/// A subscription's policy as fields; nil for what was not said.
package struct WireSubscriptionPolicy: Equatable, Sendable {
    package var consumers: UInt8?
    package var leaseMicroseconds: UInt64?
    package var maxAttempts: UInt32?
    /// As text: `1s,5s,30s`, `exponential 1s x2 max 10m`; empty for none.
    package var backoff: String?
    package var deadLetterTopic: String?
    package var selector: String?
    package var tags: String?
    package var nameFilter: [UInt8]?
    package var window: UInt32?
    package var isDurable: Bool?
    package var expiresUnusedMicroseconds: UInt64?
    package var maxMessages: UInt64?
    package var maxBytes: UInt64?
    package var messageTTLMicroseconds: UInt64?
    package var overflow: UInt8?
    package var maxPriority: UInt8?
    package var takesAtMostOnce: Bool?
    /// The first field that is not known.
    package private(set) var unknownField: UInt16?

    package init() {}

    package init?(_ reader: inout WireReader) {
        guard var fields = WireFields(&reader) else { return nil }
        while let (id, value) = fields.next(&reader) {
            var value = value
            guard set(id, &value), value.isAtEnd else { return nil }
        }
        guard fields.isComplete else { return nil }
    }

    /// - Returns: false where the value does not have the field's form.
    private mutating func set(_ id: UInt16, _ value: inout WireReader) -> Bool {
        func take<Value>(_ field: WritableKeyPath<Self, Value?>, _ read: Value?) -> Bool {
            self[keyPath: field] = read
            return read != nil
        }
        switch id {
        case 1: return take(\.consumers, value.u8())
        case 2: return take(\.leaseMicroseconds, value.u64())
        case 3: return take(\.maxAttempts, value.u32())
        case 4: return take(\.backoff, value.restText())
        case 5: return take(\.deadLetterTopic, value.restText())
        case 6: return take(\.selector, value.restText())
        case 7: return take(\.tags, value.restText())
        case 8: nameFilter = Array(value.rest())
        case 9: return take(\.window, value.u32())
        case 10: return take(\.isDurable, value.flag())
        case 11: return take(\.expiresUnusedMicroseconds, value.u64())
        case 12: return take(\.maxMessages, value.u64())
        case 13: return take(\.maxBytes, value.u64())
        case 14: return take(\.messageTTLMicroseconds, value.u64())
        case 15: return take(\.overflow, value.u8())
        case 16: return take(\.maxPriority, value.u8())
        case 17: return take(\.takesAtMostOnce, value.flag())
        default:
            unknownField = unknownField ?? id
            _ = value.rest()
        }
        return true
    }

    package func write(to buffer: inout ByteBuffer) {
        var fields = WireFieldWriter()
        fields.u8(1, consumers)
        fields.u64(2, leaseMicroseconds)
        fields.u32(3, maxAttempts)
        fields.text(4, backoff)
        fields.text(5, deadLetterTopic)
        fields.text(6, selector)
        fields.text(7, tags)
        if let nameFilter { fields.field(8) { $0.writeBytes(nameFilter) } }
        fields.u32(9, window)
        fields.flag(10, isDurable)
        fields.u64(11, expiresUnusedMicroseconds)
        fields.u64(12, maxMessages)
        fields.u64(13, maxBytes)
        fields.u64(14, messageTTLMicroseconds)
        fields.u8(15, overflow)
        fields.u8(16, maxPriority)
        fields.flag(17, takesAtMostOnce)
        fields.write(to: &buffer)
    }
}

/// A topic's policy as fields; nil for what was not said.
package struct WireTopicPolicy: Equatable, Sendable {
    package var retention: UInt8?
    package var maxAgeMicroseconds: UInt64?
    package var maxBytes: UInt64?
    package var deduplicationMicroseconds: UInt64?
    package var maxDelayMicroseconds: UInt64?
    /// The first field that is not known.
    package private(set) var unknownField: UInt16?

    package init() {}

    package init?(_ reader: inout WireReader) {
        guard var fields = WireFields(&reader) else { return nil }
        while let (id, value) = fields.next(&reader) {
            var value = value
            switch id {
            case 1: retention = value.u8()
            case 2: maxAgeMicroseconds = value.u64()
            case 3: maxBytes = value.u64()
            case 4: deduplicationMicroseconds = value.u64()
            case 5: maxDelayMicroseconds = value.u64()
            default:
                unknownField = unknownField ?? id
                _ = value.rest()
            }
            guard value.isAtEnd, value.position > 0 || unknownField != nil else { return nil }
        }
        guard fields.isComplete else { return nil }
    }

    package func write(to buffer: inout ByteBuffer) {
        var fields = WireFieldWriter()
        fields.u8(1, retention)
        fields.u64(2, maxAgeMicroseconds)
        fields.u64(3, maxBytes)
        fields.u64(4, deduplicationMicroseconds)
        fields.u64(5, maxDelayMicroseconds)
        fields.write(to: &buffer)
    }
}
