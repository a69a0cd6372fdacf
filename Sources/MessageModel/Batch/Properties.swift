/// The typed fields of a message that are not on the path of every message. Encoded as varint id, varint length, bytes.
package enum PropertyID: UInt64, Sendable {
    case contentType = 1
    case correlationID = 2
    case replyTo = 3
    /// u64: the time after which it is no longer wanted, µs since 1970.
    case expiry = 4
    /// u64: the time before which it is not delivered, µs since 1970.
    case deliverAt = 5
    /// u8, 0 to 255.
    case priority = 6
    case messageID = 7
    case traceparent = 8
    case tracestate = 9
    case tag = 10
    /// A key for look-up; may be repeated.
    case key = 11
    /// u8: the raw value of an `OriginFront`.
    case origin = 12
    case contentEncoding = 13
    /// u8, 1: the body is UTF-8 text (MQTT 5.0 §3.3.2.3.2).
    case payloadIsText = 14
    /// Empty: deletes the last value of the name or key.
    case tombstone = 15
    /// The client that published it, where it asked not to get its own messages (MQTT 5.0 §3.8.3.1, no-local).
    case publisher = 16
    /// What only AMQP readers understand, kept as it came: see `AMQPModel`'s kept section.
    case amqp = 17
    /// Varint length and name, then the value; may be repeated, also with one name; order counts.
    case user = 64
}

/// The protocol that a message came in by.
package enum OriginFront: UInt8, Sendable {
    case native = 1
    case mqtt = 2
    case amqp = 3
    case http = 4
}

/// Walks encoded properties in their order.
package struct PropertyCursor {
    private let bytes: UnsafeRawBufferPointer
    private var position = 0

    package init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// The next property; nil at the end, and where the bytes are malformed. An id that this version does not know is
    /// passed on with its number.
    package mutating func next() -> (id: UInt64, value: UnsafeRawBufferPointer)? {
        guard let id = Varint.read(bytes, &position),
            let length = Varint.readLength(bytes, &position)
        else { return nil }
        defer { position += length }
        return (id, bytes.slice(position..<position + length))
    }

    package var isAtEnd: Bool { position == bytes.count }

    /// Whether `bytes` are properties from beginning to end, with user properties and numbers of the right shape. What
    /// they are is added to `traits`.
    static func isWellFormed(_ bytes: UnsafeRawBufferPointer, traits: inout BatchTraits) -> Bool {
        var cursor = PropertyCursor(bytes)
        while !cursor.isAtEnd {
            guard let (id, value) = cursor.next() else { return false }
            switch PropertyID(rawValue: id) {
            case .user: if splitUser(value) == nil { return false }
            case .expiry:
                if value.count != 8 { return false }
                traits.insert(.hasExpiry)
            case .deliverAt:
                if value.count != 8 { return false }
                traits.insert(.hasDeliverAt)
            case .priority:
                if value.count != 1 { return false }
                traits.insert(.hasPriority)
            case .origin, .payloadIsText: if value.count != 1 { return false }
            case .messageID: traits.insert(.hasMessageIDs)
            case .key: traits.insert(.hasKeys)
            case .tag: traits.insert(.hasTags)
            case .tombstone: traits.insert(.hasTombstones)
            case .contentType, .correlationID, .replyTo, .traceparent, .tracestate, .contentEncoding, .publisher, .amqp,
                nil:
                break
            }
        }
        return true
    }

    /// The name and the value of a user property; nil where it is malformed.
    package static func splitUser(
        _ value: UnsafeRawBufferPointer
    ) -> (name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer)? {
        var position = 0
        guard let length = Varint.readLength(value, &position) else { return nil }
        return (value.slice(position..<position + length), value.slice(position + length..<value.count))
    }

    /// The first property with this id; nil where there is none.
    package static func first(_ id: PropertyID, in bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        var cursor = PropertyCursor(bytes)
        while let (found, value) = cursor.next() {
            if found == id.rawValue { return value }
        }
        return nil
    }

    /// The number in an eight-byte property; nil where there is none.
    package static func number(_ id: PropertyID, in bytes: UnsafeRawBufferPointer) -> UInt64? {
        guard let value = first(id, in: bytes), value.count == 8 else { return nil }
        return value.load64(0)
    }
}
