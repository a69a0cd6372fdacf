internal import HTTPTypes
internal import MessageModel

/// One message in the plain form: the request's body is the message's, header fields are its properties.
extension NewMessage {
    private static let prefix = "sluice-"
    private static let userPrefix = "sluice-header-"

    /// - Throws: `Problem` where a field with the prefix `sluice-` is not known, or its value cannot be used.
    init(body: [UInt8], fields: HTTPFields, trace: TraceContext) throws(Problem) {
        self.body = body
        contentType = fields[.contentType]
        contentEncoding = fields[.contentEncoding]
        traceparent = trace.traceparent
        tracestate = trace.tracestate
        for field in fields {
            let fieldName = field.name.canonicalName
            guard fieldName.hasPrefix(Self.prefix) else { continue }
            let value = field.withUnsafeBytesOfValue { Array($0) }
            if fieldName.hasPrefix(Self.userPrefix) {
                headers.append((String(fieldName.dropFirst(Self.userPrefix.count)), value))
                continue
            }
            switch fieldName.dropFirst(Self.prefix.count) {
            case "name": name = try Self.text(value, fieldName)
            case "routing-key": routingKey = try Self.text(value, fieldName)
            case "ordering-key": orderingKey = value
            case "key": keys.append(value)
            case "tag": tag = value
            case "message-id": messageID = value
            case "correlation-id": correlationID = value
            case "reply-to": replyTo = value
            case "ttl":
                guard let value = DurationText.parse(try Self.text(value, fieldName)) else {
                    throw Problem(.invalidArgument, "\(fieldName) is a whole number with ms, s, m, h or d, as 30s")
                }
                timeToLive = value
            case "priority":
                guard let value = UInt8(try Self.text(value, fieldName)) else {
                    throw Problem(.invalidArgument, "\(fieldName) is 0 to 255")
                }
                priority = value
            default:
                throw Problem(
                    .invalidArgument,
                    "the header field \(fieldName) is not known",
                    hint:
                        "known are sluice-name, -routing-key, -ordering-key, -key, -tag, -ttl, -priority, -message-id, "
                        + "-correlation-id, -reply-to and -header-NAME"
                )
            }
        }
        if name != nil, routingKey != nil {
            throw Problem(.invalidArgument, "a message has sluice-name or sluice-routing-key, not both")
        }
    }

    private static func text(_ value: [UInt8], _ field: String) throws(Problem) -> String {
        guard let text = String(validating: value, as: UTF8.self) else {
            throw Problem(.invalidArgument, "the value of \(field) is not UTF-8 text")
        }
        return text
    }
}

extension TraceContext {
    /// What of it a message can carry on; a malformed one is dropped, as the specification asks for (§2.2).
    init(fields: HTTPFields) {
        func usable(_ name: String) -> String? {
            guard let name = HTTPField.Name(name), let value = fields[name], Self.isUsable(value) else { return nil }
            return value
        }
        traceparent = usable("traceparent")
        tracestate = traceparent == nil ? nil : usable("tracestate")
    }

    static func isUsable(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= HTTPLimits.traceBytes && text.utf8.allSatisfy { (0x20..<0x7F).contains($0) }
    }
}
