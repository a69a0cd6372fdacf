internal import HTTPTypes
internal import MessageModel
internal import NIOCore

/// One stored message, to be written into an answer. Valid only as long as the memory below its record.
struct StoredMessage {
    let topic: String
    let partition: Int
    let offset: UInt64
    /// The full name.
    let name: [UInt8]
    let storedAt: Timestamp
    let bornAt: Timestamp
    let record: RecordView

    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("topic", topic)
            writer.member("partition", partition)
            writer.member("offset", offset)
            name.withUnsafeBytes { writer.member("name", bytes: $0) }
            // The part below the topic; a name that the topic holds by another capture has none.
            if let key = record.routingKey, !record.hasAbsoluteName { writer.member("routing_key", bytes: key) }
            if let key = record.orderingKey { writer.member("ordering_key", bytes: key) }
            writer.member("stored_at", TimeText.format(storedAt))
            if bornAt != .zero { writer.member("born_at", TimeText.format(bornAt)) }
            switch record.deliveryClass {
            case .atLeastOnce: break
            case .atMostOnce: writer.member("delivery", "at_most_once")
            case .exactlyOnce: writer.member("delivery", "exactly_once")
            }
            if record.isRetained { writer.member("retained", true) }
            writeProperties(to: &writer)
            writeBody(to: &writer)
        }
    }

    private func writeProperties(to writer: inout JSONWriter) {
        var cursor = PropertyCursor(record.properties)
        var keys: [UnsafeRawBufferPointer] = []
        var headers: [(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer)] = []
        // A member of an object has one value: of what a writer repeated against the rules, the first counts.
        var seen: Set<UInt64> = []
        while let (id, value) = cursor.next() {
            guard let known = PropertyID(rawValue: id) else { continue }
            if known != .key, known != .user {
                guard seen.insert(id).inserted else { continue }
            }
            switch known {
            case .contentType: writer.member("content_type", bytes: value)
            case .contentEncoding: writer.member("content_encoding", bytes: value)
            case .correlationID: writer.member("correlation_id", bytes: value)
            case .replyTo: writer.member("reply_to", bytes: value)
            case .messageID: writer.member("message_id", bytes: value)
            case .traceparent: writer.member("traceparent", bytes: value)
            case .tracestate: writer.member("tracestate", bytes: value)
            case .tag: writer.member("tag", bytes: value)
            case .expiry where value.count == 8:
                writer.member("expires_at", TimeText.format(Timestamp(rawValue: value.load64(0))))
            case .deliverAt where value.count == 8:
                writer.member("deliver_at", TimeText.format(Timestamp(rawValue: value.load64(0))))
            case .priority where value.count == 1: writer.member("priority", value[0])
            case .origin where value.count == 1:
                if let origin = OriginFront(rawValue: value[0]) { writer.member("origin", origin.text) }
            case .payloadIsText where value.count == 1: writer.member("payload_is_text", value[0] != 0)
            case .tombstone: writer.member("tombstone", true)
            case .key: keys.append(value)
            case .user:
                if let header = PropertyCursor.splitUser(value) { headers.append(header) }
            case .expiry, .deliverAt, .priority, .origin, .payloadIsText, .publisher, .amqp: break
            }
        }
        if !keys.isEmpty {
            writer.array("keys") { writer in
                for key in keys { writer.value(bytes: key) }
            }
        }
        if !headers.isEmpty { Self.write(headers, to: &writer) }
    }

    /// Headers as an object, in the order in which their names come first; a name that comes again has an array.
    private static func write(
        _ headers: [(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer)],
        to writer: inout JSONWriter
    ) {
        var order: [String] = []
        var values: [String: [UnsafeRawBufferPointer]] = [:]
        for (name, value) in headers {
            let name = String(decoding: name, as: UTF8.self)
            if values[name] == nil { order.append(name) }
            values[name, default: []].append(value)
        }
        writer.object("headers") { writer in
            for name in order {
                let found = values[name] ?? []
                writer.key(text: name)
                if found.count == 1 {
                    writer.value(bytes: found[0])
                } else {
                    writer.array { writer in
                        for value in found { writer.value(bytes: value) }
                    }
                }
            }
        }
    }

    private func writeBody(to writer: inout JSONWriter) {
        let body = record.body
        if isJSON, JSONReader.isValid(body) {
            writer.member("encoding", "json")
            writer.member("body", json: body)
        } else if let text = String(validating: body, as: UTF8.self) {
            writer.member("encoding", "utf8")
            writer.member("body", text)
        } else {
            writer.member("encoding", "base64")
            writer.member("body", Base64.encode(body))
        }
    }

    /// Whether the content type is JSON, or a kind of it (`application/cloudevents+json`).
    private var isJSON: Bool {
        guard let type = PropertyCursor.first(.contentType, in: record.properties) else { return false }
        let plain = String(decoding: type.prefix { $0 != UInt8(ascii: ";") && $0 != 0x20 }, as: UTF8.self).lowercased()
        return plain == "application/json" || plain.hasSuffix("+json")
    }
}

extension OriginFront {
    var text: String {
        switch self {
        case .native: "native"
        case .mqtt: "mqtt"
        case .amqp: "amqp"
        case .http: "http"
        }
    }
}

/// A message whose body is the answer, with what fits into header fields.
struct PlainMessage: Sendable {
    private var headers = HTTPFields()
    private var body: ByteBuffer

    init(_ message: StoredMessage) {
        let record = message.record
        body = ByteBuffer(bytes: record.body)
        set("sluice-offset", String(message.offset))
        set("sluice-partition", String(message.partition))
        set("sluice-stored-at", TimeText.format(message.storedAt))
        message.name.withUnsafeBytes { set("sluice-name", $0) }
        if let key = record.orderingKey { set("sluice-ordering-key", key) }
        var cursor = PropertyCursor(record.properties)
        while let (id, value) = cursor.next() {
            switch PropertyID(rawValue: id) {
            case .contentType: set("content-type", value)
            case .contentEncoding: set("content-encoding", value)
            case .tag: set("sluice-tag", value)
            case .key: set("sluice-key", value)
            case .messageID: set("sluice-message-id", value)
            case .correlationID: set("sluice-correlation-id", value)
            case .replyTo: set("sluice-reply-to", value)
            case .priority where value.count == 1: set("sluice-priority", String(value[0]))
            case .traceparent: set("traceparent", value)
            case .tracestate: set("tracestate", value)
            case .user:
                guard let (name, value) = PropertyCursor.splitUser(value) else { break }
                set("sluice-header-" + String(decoding: name, as: UTF8.self), value)
            default: break
            }
        }
        if headers[.contentType] == nil { headers[.contentType] = "application/octet-stream" }
        // What anybody may have published is not for a browser to guess at.
        set("x-content-type-options", "nosniff")
    }

    var reply: Reply {
        var reply = Reply(status: 200, body: body)
        reply.headers = headers
        return reply
    }

    private mutating func set(_ name: String, _ value: String) {
        var value = value
        value.withUTF8 { set(name, UnsafeRawBufferPointer($0)) }
    }

    /// Leaves out what a header field cannot say: the JSON form has it.
    private mutating func set(_ name: String, _ value: UnsafeRawBufferPointer) {
        guard let name = HTTPField.Name(name), String(validating: value, as: UTF8.self) != nil,
            !value.contains(where: { $0 < 0x20 || $0 == 0x7F })
        else { return }
        headers.append(HTTPField(name: name, value: value))
    }
}
