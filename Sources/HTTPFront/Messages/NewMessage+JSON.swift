internal import MessageModel

/// Messages in the JSON form: `{"messages":[{…}]}`.
extension NewMessage {
    /// Reads the messages of a request's body.
    /// - Throws: `Problem` with the place of what is not right; nothing is published then.
    static func list(json body: [UInt8], trace: TraceContext) throws(Problem) -> [NewMessage] {
        let result: Result<[NewMessage], Problem> = body.withUnsafeBytes { bytes in
            do throws(JSONError) {
                return .success(try list(bytes, trace))
            } catch {
                return .failure(Problem(error, in: bytes))
            }
        }
        return try result.get()
    }

    private static func list(_ bytes: UnsafeRawBufferPointer, _ trace: TraceContext) throws(JSONError) -> [NewMessage] {
        var reader = JSONReader(bytes)
        var messages: [NewMessage] = []
        var isThere = false
        try reader.readObject("the body") { reader, name throws(JSONError) in
            guard name == "messages" else { throw reader.invalid("'\(name)' is not known; known is messages") }
            guard !isThere else { throw reader.invalid("'messages' is there twice") }
            isThere = true
            try reader.readArray("'messages'") { reader, index throws(JSONError) in
                guard index < HTTPLimits.messagesPerPublish else {
                    throw reader.invalid("a request has at most \(HTTPLimits.messagesPerPublish) messages")
                }
                messages.append(try message(&reader, bytes, trace))
            }
        }
        try reader.end()
        guard !messages.isEmpty else {
            throw JSONError(message: "'messages' has at least one message", offset: 0, isValue: true)
        }
        return messages
    }

    private static func message(
        _ reader: inout JSONReader,
        _ bytes: UnsafeRawBufferPointer,
        _ trace: TraceContext
    ) throws(JSONError) -> NewMessage {
        var message = NewMessage()
        message.traceparent = trace.traceparent
        message.tracestate = trace.tracestate
        var body: JSONReader?
        var encoding: String?
        var seen: Set<String> = []
        try reader.readObject("a message") { reader, name throws(JSONError) in
            guard seen.insert(name).inserted else { throw reader.invalid("'\(name)' is there twice") }
            if name == "body" {
                // What it means depends on the encoding, which may stand behind it.
                _ = try reader.peek()
                body = reader
                _ = try reader.skip()
            } else if name == "encoding" {
                let value = try reader.readString("'encoding'")
                guard ["utf8", "base64", "json"].contains(value) else {
                    throw reader.invalid("'encoding' is utf8, base64 or json")
                }
                encoding = value
            } else {
                try message.readMember(name, &reader)
            }
        }
        if message.name != nil, message.routingKey != nil {
            throw reader.invalid("a message has a 'name' or a 'routing_key', not both")
        }
        if var body { try message.readBody(&body, bytes, encoding: encoding) }
        return message
    }

    private mutating func readBody(
        _ reader: inout JSONReader,
        _ bytes: UnsafeRawBufferPointer,
        encoding: String?
    ) throws(JSONError) {
        let isString = try reader.peek() == .string
        switch encoding ?? (isString ? "utf8" : "json") {
        case "json":
            let range = try reader.skip()
            body = Array(bytes[range])
            if contentType == nil { contentType = "application/json" }
        case "base64":
            guard isString else { throw reader.invalid("a body in base64 is a string") }
            let place = reader
            guard let decoded = Base64.decode(try reader.stringBytes()) else {
                throw place.invalid("the body is not base64 with its padding")
            }
            body = decoded
        default:
            guard isString else {
                throw reader.invalid("a body in utf8 is a string; other values have the encoding json")
            }
            body = try reader.stringBytes()
        }
    }

    private mutating func readMember(_ member: String, _ reader: inout JSONReader) throws(JSONError) {
        switch member {
        case "name": name = try reader.readString("'name'")
        case "routing_key": routingKey = try reader.readString("'routing_key'")
        case "ordering_key": orderingKey = try Self.bytes(&reader, "'ordering_key'")
        case "tag": tag = try Self.bytes(&reader, "'tag'")
        case "key": keys.append(try Self.bytes(&reader, "'key'"))
        case "keys":
            try reader.readArray("'keys'") { reader, index throws(JSONError) in
                guard index < HTTPLimits.keysPerMessage else {
                    throw reader.invalid("a message has at most \(HTTPLimits.keysPerMessage) keys")
                }
                keys.append(try Self.bytes(&reader, "a key"))
            }
        case "headers": try readHeaders(&reader)
        case "content_type": contentType = try reader.readString("'content_type'")
        case "content_encoding": contentEncoding = try reader.readString("'content_encoding'")
        case "correlation_id": correlationID = try Self.bytes(&reader, "'correlation_id'")
        case "reply_to": replyTo = try Self.bytes(&reader, "'reply_to'")
        case "message_id": messageID = try Self.bytes(&reader, "'message_id'")
        case "traceparent": traceparent = try Self.trace(&reader, "'traceparent'")
        case "tracestate": tracestate = try Self.trace(&reader, "'tracestate'")
        case "ttl":
            let place = reader
            guard let value = DurationText.parse(try reader.readString("'ttl'")) else {
                throw place.invalid("'ttl' is a whole number with ms, s, m, h or d, as 30s")
            }
            timeToLive = value
        case "priority":
            let place = reader
            guard let value = UInt8(exactly: try reader.readUnsigned("'priority'")) else {
                throw place.invalid("'priority' is 0 to 255")
            }
            priority = value
        default:
            throw reader.invalid(
                "'\(member)' is not known; known are body, encoding, name, routing_key, ordering_key, key, keys, tag, "
                    + "headers, content_type, content_encoding, ttl, priority, message_id, correlation_id, reply_to, "
                    + "traceparent and tracestate"
            )
        }
    }

    private mutating func readHeaders(_ reader: inout JSONReader) throws(JSONError) {
        try reader.readObject("'headers'") { reader, name throws(JSONError) in
            if try reader.peek() == .array {
                try reader.readArray("a header") { reader, _ throws(JSONError) in
                    try readHeader(name, &reader)
                }
            } else {
                try readHeader(name, &reader)
            }
        }
    }

    private mutating func readHeader(_ name: String, _ reader: inout JSONReader) throws(JSONError) {
        guard headers.count < HTTPLimits.headersPerMessage else {
            throw reader.invalid("a message has at most \(HTTPLimits.headersPerMessage) headers")
        }
        headers.append((name, try Self.bytes(&reader, "a header's value")))
    }

    /// A text, or `{"base64": "…"}` for bytes that are none.
    private static func bytes(_ reader: inout JSONReader, _ what: String) throws(JSONError) -> [UInt8] {
        switch try reader.peek() {
        case .string: return try reader.stringBytes()
        case .object:
            var result: [UInt8]?
            let place = reader
            try reader.readObject(what) { reader, name throws(JSONError) in
                guard name == "base64", try reader.peek() == .string,
                    let decoded = Base64.decode(try reader.stringBytes())
                else { throw place.invalid("\(what) is a string, or an object with its bytes as 'base64'") }
                result = decoded
            }
            if let result { return result }
            throw place.invalid("\(what) is a string, or an object with its bytes as 'base64'")
        case .null, .bool, .number, .array: throw reader.invalid("\(what) is a string")
        }
    }

    private static func trace(_ reader: inout JSONReader, _ what: String) throws(JSONError) -> String {
        let place = reader
        let text = try reader.readString(what)
        guard TraceContext.isUsable(text) else { throw place.invalid("\(what) is a header of W3C Trace Context") }
        return text
    }
}
