/// A message as the console shows it, whatever client brought it.
package struct ShownMessage: Sendable {
    package struct Header: Sendable {
        package var name: String
        package var value: String

        package init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    package var topic: String
    /// The full name.
    package var name: String
    package var partition: Int
    package var offset: UInt64
    package var orderingKey: [UInt8]?
    /// µs since 1970.
    package var storedAt: UInt64
    /// µs since 1970; 0 where it is not known.
    package var bornAt: UInt64 = 0
    package var body: [UInt8]
    package var contentType: String?
    package var correlationID: [UInt8]?
    package var replyTo: String?
    package var messageID: String?
    package var tag: String?
    package var keys: [String] = []
    package var headers: [Header] = []

    package init(topic: String, name: String, partition: Int, offset: UInt64, storedAt: UInt64, body: [UInt8]) {
        self.topic = topic
        self.name = name
        self.partition = partition
        self.offset = offset
        self.storedAt = storedAt
        self.body = body
    }

    /// The members of `GET /v1/topics/…/messages`, except that a body is always a string.
    package var record: Record {
        var fields: [Record.Field] = [
            .init("topic", .text(topic)), .init("partition", .integer(partition)),
            .init("offset", .integer(Int64(clamping: offset))), .init("name", .text(name)),
        ]
        func add(_ key: String, _ text: String?) { if let text { fields.append(.init(key, .text(text))) } }
        func add(_ key: String, bytes: [UInt8]?) { add(key, bytes.map { String(decoding: $0, as: UTF8.self) }) }
        add("ordering_key", bytes: orderingKey)
        add("stored_at", TimeText.format(microseconds: storedAt))
        if bornAt != 0 { add("born_at", TimeText.format(microseconds: bornAt)) }
        add("content_type", contentType)
        add("correlation_id", bytes: correlationID)
        add("reply_to", replyTo)
        add("message_id", messageID)
        add("tag", tag)
        if !keys.isEmpty { fields.append(.init("keys", .list(keys))) }
        if !headers.isEmpty { fields.append(.init("headers", .record(headerRecord))) }
        if let text = String(validating: body, as: UTF8.self) {
            add("encoding", "utf8")
            add("body", text)
        } else {
            add("encoding", "base64")
            add("body", base64(body))
        }
        return Record(fields)
    }

    /// In the order in which the names come first; a name that comes again has a list.
    private var headerRecord: Record {
        var order: [String] = []
        var values: [String: [String]] = [:]
        for header in headers {
            if values[header.name] == nil { order.append(header.name) }
            values[header.name, default: []].append(header.value)
        }
        return Record(
            order.map { name in
                let found = values[name] ?? []
                return .init(name, found.count == 1 ? .text(found[0]) : .list(found))
            }
        )
    }
}

/// RFC 4648 §4, with padding.
func base64(_ bytes: [UInt8]) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var text: [UInt8] = []
    text.reserveCapacity((bytes.count + 2) / 3 * 4)
    for start in stride(from: 0, to: bytes.count, by: 3) {
        let group = bytes[start..<min(start + 3, bytes.count)]
        var bits: UInt32 = 0
        for byte in group { bits = bits << 8 | UInt32(byte) }
        bits <<= UInt32(8 * (3 - group.count))
        for index in 0..<4 {
            text.append(index <= group.count ? alphabet[Int(bits >> UInt32(18 - 6 * index)) & 63] : UInt8(ascii: "="))
        }
    }
    return String(decoding: text, as: UTF8.self)
}
