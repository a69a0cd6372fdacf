internal import MessageModel

/// A message to be sent.
public struct OutgoingMessage: Sendable {
    public var body: [UInt8]
    /// The part of the name below the topic; nil for the address that the producer was opened with.
    public var routingKey: String?
    /// Messages with the same key go to the same partition and keep their order.
    public var orderingKey: [UInt8]?
    public var properties = MessageProperties()
    /// It is kept as the last value of its name.
    public var isRetained = false

    public init(_ body: [UInt8], routingKey: String? = nil, orderingKey: [UInt8]? = nil) {
        self.body = body
        self.routingKey = routingKey
        self.orderingKey = orderingKey
    }

    public init(_ text: String, routingKey: String? = nil, orderingKey: String? = nil) {
        self.init(Array(text.utf8), routingKey: routingKey, orderingKey: orderingKey.map { Array($0.utf8) })
    }
}

/// The typed fields that a message may have besides its body, the same in every protocol.
public struct MessageProperties: Sendable, Equatable {
    /// A field of the sender's own. The order counts, and names may be repeated.
    public struct User: Sendable, Equatable {
        public var name: String
        public var value: String
        public init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    public var contentType: String?
    public var contentEncoding: String?
    public var correlationID: [UInt8]?
    public var replyTo: String?
    public var messageID: String?
    public var traceparent: String?
    public var tracestate: String?
    public var tag: String?
    /// Keys for look-up.
    public var keys: [String] = []
    /// 0 to 255.
    public var priority: UInt8?
    /// When it is no longer wanted, in µs since 1970.
    public var expiresAtMicroseconds: UInt64?
    /// When it is to be delivered, not before, in µs since 1970; nil for at once.
    public var deliverAtMicroseconds: UInt64?
    /// It deletes the last value of its name or ordering key.
    public var isTombstone = false
    public var user: [User] = []

    public init() {}

    var isEmpty: Bool { self == MessageProperties() }

    func write(to writer: inout PropertyWriter) {
        if let contentType { writer.append(.contentType, contentType) }
        if let correlationID { correlationID.withUnsafeBytes { writer.append(.correlationID, $0) } }
        if let replyTo { writer.append(.replyTo, replyTo) }
        if let expiresAtMicroseconds { writer.append(.expiry, number: expiresAtMicroseconds) }
        if let deliverAtMicroseconds { writer.append(.deliverAt, number: deliverAtMicroseconds) }
        if let priority { writer.append(.priority, byte: priority) }
        if let messageID { writer.append(.messageID, messageID) }
        if let traceparent { writer.append(.traceparent, traceparent) }
        if let tracestate { writer.append(.tracestate, tracestate) }
        if let tag { writer.append(.tag, tag) }
        for key in keys { writer.append(.key, key) }
        if let contentEncoding { writer.append(.contentEncoding, contentEncoding) }
        if isTombstone { writer.append(.tombstone, "") }
        for entry in user { writer.appendUser(name: entry.name, value: entry.value) }
    }

    init(encoded: UnsafeRawBufferPointer) {
        var cursor = PropertyCursor(encoded)
        while let (id, value) = cursor.next() {
            func text() -> String { String(decoding: value, as: UTF8.self) }
            switch PropertyID(rawValue: id) {
            case .contentType: contentType = text()
            case .correlationID: correlationID = Array(value)
            case .replyTo: replyTo = text()
            case .expiry: if value.count == 8 { expiresAtMicroseconds = value.load64(0) }
            case .priority: priority = value.first
            case .deliverAt: if value.count == 8 { deliverAtMicroseconds = value.load64(0) }
            case .tombstone: isTombstone = true
            case .messageID: messageID = text()
            case .traceparent: traceparent = text()
            case .tracestate: tracestate = text()
            case .tag: tag = text()
            case .key: keys.append(text())
            case .contentEncoding: contentEncoding = text()
            case .user:
                guard let (name, content) = PropertyCursor.splitUser(value) else { continue }
                user.append(
                    User(name: String(decoding: name, as: UTF8.self), value: String(decoding: content, as: UTF8.self))
                )
            case .origin, .payloadIsText, .publisher, .amqp, nil: break
            }
        }
    }
}
