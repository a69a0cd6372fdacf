internal import AMQPProtocol
package import MessageModel

/// Finds exchange, routing key and properties of stored messages for AMQP readers. Its buffers are used again.
package struct PropertyDecoder: ~Copyable {
    private var exchange: [UInt8] = []
    private var routingKey: [UInt8] = []
    private var properties: [UInt8] = []
    private var name: [UInt8] = []

    package init() {}

    /// What a delivery says of a message.
    package struct Content {
        package var exchange: UnsafeRawBufferPointer
        package var routingKey: UnsafeRawBufferPointer
        /// From the property flags on; empty where there are none.
        package var properties: UnsafeRawBufferPointer
        /// The headers on deaths are the server's.
        package var hasDeaths: Bool
    }

    /// Calls `body` with what a delivery of `record` says; the pieces are valid for the call. Exchange and key are never
    /// longer than short strings: a name that is, of another protocol, is cut.
    ///
    /// - Parameters:
    ///   - topic: the name of the topic that the record is in, or was when it was stored.
    ///   - now: for how long a message of another protocol may still wait.
    package mutating func decode<Result>(
        _ record: RecordView,
        topic: UnsafeRawBufferPointer,
        address: TopicAddress,
        now: Timestamp,
        _ body: (Content) -> Result
    ) -> Result {
        let kept =
            record.properties.isEmpty
            ? nil : PropertyCursor.first(.amqp, in: record.properties).flatMap { KeptSection($0) }
        if kept == nil, !record.properties.isEmpty { writeProperties(record, now: now) }
        if kept?.exchange == nil || kept?.routingKey == nil {
            findAddress(record.routingKey, isAbsolute: record.hasAbsoluteName, topic, address)
        }
        return show(kept, record, body)
    }

    /// The same for a letter in the dead letter topic, as it was before it died: storage wrote its whole name below that
    /// topic, and the story of its death beside its properties.
    mutating func decodeDeadLetter<Result>(
        _ record: RecordView,
        _ story: DeathStory,
        address: TopicAddress,
        now: Timestamp,
        _ body: (Content) -> Result
    ) -> Result {
        let kept = PropertyCursor.first(.amqp, in: record.properties).flatMap { KeptSection($0) }
        if kept == nil { writeProperties(record, now: now, omitsStory: true) }
        if kept?.exchange == nil || kept?.routingKey == nil {
            let whole = record.routingKey ?? UnsafeRawBufferPointer(start: nil, count: 0)
            var topic = story.topic
            topic.withUTF8 { topic in
                let topic = UnsafeRawBufferPointer(topic)
                let place = NamePlacement(name: whole, topic: topic)
                findAddress(place.routingKey.map { whole.slice($0) }, isAbsolute: place.isAbsolute, topic, address)
            }
        }
        return show(kept, record, body)
    }

    private func show<Result>(_ kept: KeptSection?, _ record: RecordView, _ body: (Content) -> Result) -> Result {
        exchange.withUnsafeBytes { exchange in
            routingKey.withUnsafeBytes { routingKey in
                properties.withUnsafeBytes { properties in
                    let own = record.properties.isEmpty ? UnsafeRawBufferPointer(start: nil, count: 0) : properties
                    return body(
                        Content(
                            exchange: Self.short(kept?.exchange ?? exchange),
                            routingKey: Self.short(kept?.routingKey ?? routingKey),
                            properties: kept?.properties ?? own,
                            hasDeaths: kept?.flags.contains(.deaths) ?? false
                        )
                    )
                }
            }
        }
    }

    private static func short(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        bytes.count <= ShortString.maximumLength ? bytes : bytes.slice(0..<ShortString.maximumLength)
    }

    /// Exchange and key as topic and name say them.
    private mutating func findAddress(
        _ key: UnsafeRawBufferPointer?,
        isAbsolute: Bool,
        _ topic: UnsafeRawBufferPointer,
        _ address: TopicAddress
    ) {
        exchange.removeAll(keepingCapacity: true)
        routingKey.removeAll(keepingCapacity: true)
        switch address.kind {
        case .exchange where !isAbsolute:
            exchange.append(contentsOf: address.name)
            if let key { RoutingKeyCoding.decode(key, into: &routingKey) }
        case .stream where key == nil:
            routingKey.append(contentsOf: address.name)
        case .exchange, .stream, .wholeTree:
            exchange.append(contentsOf: NameMapping.wholeTreeExchange.utf8)
            name.removeAll(keepingCapacity: true)
            if !isAbsolute {
                name.append(contentsOf: topic)
                if key != nil { name.append(NameRules.separator) }
            }
            if let key { name.append(contentsOf: key) }
            name.withUnsafeBytes { RoutingKeyCoding.decodeWholeName($0, into: &routingKey) }
        }
    }

    // MARK: Messages of other protocols

    /// Properties for a message that no AMQP client published.
    private mutating func writeProperties(_ record: RecordView, now: Timestamp, omitsStory: Bool = false) {
        properties.removeAll(keepingCapacity: true)
        var fields = ForeignFields(record.properties, omitsStory: omitsStory)
        var flags: UInt16 = 0
        properties.append(contentsOf: [0, 0])
        appendString(.contentType, fields.contentType, &flags)
        appendString(.contentEncoding, fields.contentEncoding, &flags)
        if fields.hasHeaders {
            flags |= BasicProperty.headers.flag
            fields.appendHeaders(of: record.properties, to: &properties)
        }
        if fields.isOfOtherFront {
            flags |= BasicProperty.deliveryMode.flag
            properties.append(record.deliveryClass == .atMostOnce ? 1 : 2)
        }
        if let priority = fields.priority {
            flags |= BasicProperty.priority.flag
            properties.append(priority)
        }
        appendString(.correlationID, fields.correlationID, &flags)
        appendString(.replyTo, fields.replyTo, &flags)
        if let expiry = fields.expiry {
            flags |= BasicProperty.expiration.flag
            let left = expiry > now.rawValue ? (expiry - now.rawValue) / 1_000 : 0
            let start = properties.count
            properties.append(0)
            HeaderText.append(left, isNegative: false, to: &properties)
            properties[start] = UInt8(truncatingIfNeeded: properties.count - start - 1)
        }
        appendString(.messageID, fields.messageID, &flags)
        properties[0] = UInt8(truncatingIfNeeded: flags >> 8)
        properties[1] = UInt8(truncatingIfNeeded: flags)
    }

    /// What does not fit into a short string is left out.
    private mutating func appendString(
        _ property: BasicProperty,
        _ value: UnsafeRawBufferPointer?,
        _ flags: inout UInt16
    ) {
        guard let value, value.count <= ShortString.maximumLength else { return }
        flags |= property.flag
        properties.append(UInt8(truncatingIfNeeded: value.count))
        properties.append(contentsOf: value)
    }
}

/// The fields of a message that AMQP has properties for, where they lie.
private struct ForeignFields {
    var contentType: UnsafeRawBufferPointer?
    var contentEncoding: UnsafeRawBufferPointer?
    var correlationID: UnsafeRawBufferPointer?
    var replyTo: UnsafeRawBufferPointer?
    var messageID: UnsafeRawBufferPointer?
    var traceparent: UnsafeRawBufferPointer?
    var tracestate: UnsafeRawBufferPointer?
    var priority: UInt8?
    var expiry: UInt64?
    /// It says by which protocol it came, and it was not this one.
    var isOfOtherFront = false
    private var users = 0
    /// Leaves out what storage says about a dead letter.
    private let omitsStory: Bool

    /// Beyond so many, names that come twice are not looked for: that takes time with the square of their number.
    private static let maximumCompared = 128

    init(_ encoded: UnsafeRawBufferPointer, omitsStory: Bool) {
        self.omitsStory = omitsStory
        var cursor = PropertyCursor(encoded)
        while let (id, value) = cursor.next() {
            switch PropertyID(rawValue: id) {
            case .contentType: contentType = value
            case .contentEncoding: contentEncoding = value
            case .correlationID: correlationID = value
            case .replyTo: replyTo = value
            case .messageID: messageID = value
            case .traceparent: traceparent = value
            case .tracestate: tracestate = value
            case .priority: priority = value.first
            case .expiry: if value.count == 8 { expiry = value.load64(0) }
            case .origin: isOfOtherFront = value.first != OriginFront.amqp.rawValue
            case .user: if let (name, _) = PropertyCursor.splitUser(value), isShown(name) { users += 1 }
            case .deliverAt, .tag, .key, .payloadIsText, .tombstone, .publisher, .amqp, nil: break
            }
        }
    }

    private func isShown(_ name: UnsafeRawBufferPointer) -> Bool {
        name.count <= ShortString.maximumLength && !(omitsStory && name.starts(with: DeathStory.prefix.utf8))
    }

    var hasHeaders: Bool { users > 0 || traceparent != nil || tracestate != nil }

    /// Appends the table with its length. A name that is there twice becomes an array in its first place.
    mutating func appendHeaders(of encoded: UnsafeRawBufferPointer, to bytes: inout [UInt8]) {
        let start = bytes.count
        bytes.append(contentsOf: [0, 0, 0, 0])
        if let traceparent { Self.append("traceparent".utf8, traceparent, to: &bytes) }
        if let tracestate { Self.append("tracestate".utf8, tracestate, to: &bytes) }
        var cursor = PropertyCursor(encoded)
        var place = 0
        while let (id, value) = cursor.next() {
            guard id == PropertyID.user.rawValue, let (name, text) = PropertyCursor.splitUser(value),
                isShown(name)
            else { continue }
            defer { place += 1 }
            guard users <= Self.maximumCompared else {
                Self.append(name, text, to: &bytes)
                continue
            }
            let same = count(of: name, in: encoded, before: place)
            if same.before > 0 { continue }
            if same.all == 1 {
                Self.append(name, text, to: &bytes)
            } else {
                Self.appendArray(name, of: encoded, to: &bytes)
            }
        }
        Self.setLength(at: start, &bytes)
    }

    private static func append(
        _ name: some Collection<UInt8>,
        _ value: UnsafeRawBufferPointer,
        to bytes: inout [UInt8]
    ) {
        bytes.append(UInt8(truncatingIfNeeded: name.count))
        bytes.append(contentsOf: name)
        appendString(value, to: &bytes)
    }

    private static func appendString(_ value: UnsafeRawBufferPointer, to bytes: inout [UInt8]) {
        bytes.append(FieldType.longString.rawValue)
        withUnsafeBytes(of: UInt32(truncatingIfNeeded: value.count).bigEndian) { bytes.append(contentsOf: $0) }
        bytes.append(contentsOf: value)
    }

    private static func appendArray(
        _ name: UnsafeRawBufferPointer,
        of encoded: UnsafeRawBufferPointer,
        to bytes: inout [UInt8]
    ) {
        bytes.append(UInt8(truncatingIfNeeded: name.count))
        bytes.append(contentsOf: name)
        bytes.append(FieldType.array.rawValue)
        let start = bytes.count
        bytes.append(contentsOf: [0, 0, 0, 0])
        var cursor = PropertyCursor(encoded)
        while let (id, value) = cursor.next() {
            guard id == PropertyID.user.rawValue, let (other, text) = PropertyCursor.splitUser(value),
                bytesEqual(other, name)
            else { continue }
            appendString(text, to: &bytes)
        }
        setLength(at: start, &bytes)
    }

    private static func setLength(at start: Int, _ bytes: inout [UInt8]) {
        let length = UInt32(truncatingIfNeeded: bytes.count - start - 4)
        for place in 0..<4 { bytes[start + place] = UInt8(truncatingIfNeeded: length >> UInt32(24 - 8 * place)) }
    }

    /// How many user properties have this name, and how many of these stand before a place.
    private func count(
        of name: UnsafeRawBufferPointer,
        in encoded: UnsafeRawBufferPointer,
        before place: Int
    ) -> (all: Int, before: Int) {
        var cursor = PropertyCursor(encoded)
        var at = 0
        var found = (all: 0, before: 0)
        while let (id, value) = cursor.next() {
            guard id == PropertyID.user.rawValue, let (other, _) = PropertyCursor.splitUser(value),
                isShown(other)
            else { continue }
            if bytesEqual(other, name) {
                found.all += 1
                if at < place { found.before += 1 }
            }
            at += 1
        }
        return found
    }
}
