internal import MessageModel

/// A message as a publisher gave it, checked as far as that goes without knowing the topics.
struct NewMessage: Sendable {
    /// The full name; nil where the request or the topic gives it.
    var name: String?
    /// The part of the name below the topic.
    var routingKey: String?
    var orderingKey: [UInt8]?
    var tag: [UInt8]?
    var keys: [[UInt8]] = []
    var headers: [(name: String, value: [UInt8])] = []
    var contentType: String?
    var contentEncoding: String?
    var correlationID: [UInt8]?
    var replyTo: [UInt8]?
    var messageID: [UInt8]?
    var priority: UInt8?
    /// How long it is wanted, in µs.
    var timeToLive: UInt64?
    var traceparent: String?
    var tracestate: String?
    var body: [UInt8] = []

    /// The properties as a record keeps them.
    func encodedProperties(now: Timestamp) -> [UInt8] {
        var writer = PropertyWriter()
        func append(_ id: PropertyID, _ value: [UInt8]?) {
            value?.withUnsafeBytes { writer.append(id, $0) }
        }
        func append(_ id: PropertyID, _ value: String?) {
            if let value { writer.append(id, value) }
        }
        append(.contentType, contentType)
        append(.contentEncoding, contentEncoding)
        append(.correlationID, correlationID)
        append(.replyTo, replyTo)
        append(.messageID, messageID)
        append(.traceparent, traceparent)
        append(.tracestate, tracestate)
        append(.tag, tag)
        for key in keys { append(.key, key) }
        if let timeToLive { writer.append(.expiry, number: now.advanced(byMicroseconds: timeToLive).rawValue) }
        if let priority { writer.append(.priority, byte: priority) }
        writer.append(.origin, byte: OriginFront.http.rawValue)
        for (name, value) in headers {
            var name = name
            name.withUTF8 { name in
                value.withUnsafeBytes { writer.appendUser(name: UnsafeRawBufferPointer(name), value: $0) }
            }
        }
        return writer.withBytes { Array($0) }
    }

    /// Why it cannot be stored, whatever its topic; nil where it can.
    func problem(properties: [UInt8]) -> String? {
        if let orderingKey, orderingKey.count > Limits.orderingKeyBytes {
            return "an ordering key has at most \(Limits.orderingKeyBytes) bytes"
        }
        if properties.count > Limits.propertiesBytes {
            return "the properties of a message have at most \(Limits.propertiesBytes) bytes"
        }
        return nil
    }
}

/// The trace context of the request, which its messages carry on (W3C Trace Context).
struct TraceContext: Sendable {
    var traceparent: String?
    var tracestate: String?
}
