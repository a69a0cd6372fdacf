/// The properties of class basic as values, for messages that other protocols published and for whoever is in no hurry.
package struct BasicProperties: Sendable, Hashable {
    package var contentType: ShortString?
    package var contentEncoding: ShortString?
    package var headers: FieldTable?
    package var deliveryMode: UInt8?
    package var priority: UInt8?
    package var correlationID: ShortString?
    package var replyTo: ShortString?
    package var expiration: ShortString?
    package var messageID: ShortString?
    package var timestamp: UInt64?
    package var type: ShortString?
    package var userID: ShortString?
    package var appID: ShortString?
    package var clusterID: ShortString?

    package init() {}

    package init(_ view: PropertiesView) {
        func string(_ property: BasicProperty) -> ShortString? { view.value(property).map { ShortString($0) } }
        contentType = string(.contentType)
        contentEncoding = string(.contentEncoding)
        headers = view.value(.headers).map { FieldTable(validated: Array($0)) }
        deliveryMode = view.deliveryMode
        priority = view.priority
        correlationID = string(.correlationID)
        replyTo = string(.replyTo)
        expiration = string(.expiration)
        messageID = string(.messageID)
        timestamp = view.timestamp
        type = string(.type)
        userID = string(.userID)
        appID = string(.appID)
        clusterID = string(.clusterID)
    }

    /// Flags and values, as `OutboundContent.properties` takes them.
    package func encoded() -> [UInt8] {
        var changes = PropertyChanges()
        changes.set(.contentType, contentType)
        changes.set(.contentEncoding, contentEncoding)
        if let headers { changes.setHeaders(headers) }
        changes.set(.deliveryMode, deliveryMode)
        changes.set(.priority, priority)
        changes.set(.correlationID, correlationID)
        changes.set(.replyTo, replyTo)
        changes.set(.expiration, expiration)
        changes.set(.messageID, messageID)
        if let timestamp { changes.setTimestamp(timestamp) }
        changes.set(.type, type)
        changes.set(.userID, userID)
        changes.set(.appID, appID)
        changes.set(.clusterID, clusterID)
        return changes.applied(to: PropertiesView(validated: UnsafeRawBufferPointer(start: nil, count: 0)))
    }
}

/// Properties to be taken away, replaced or added, while all others keep their bytes.
package struct PropertyChanges: Sendable, Hashable {
    private var removed: UInt16 = 0
    /// New values in their encoding; small enough to be searched.
    private var replaced: [(property: BasicProperty, encoded: [UInt8])] = []

    package init() {}

    package var isEmpty: Bool { removed == 0 && replaced.isEmpty }

    package mutating func remove(_ property: BasicProperty) {
        removed |= property.flag
        replaced.removeAll { $0.property == property }
    }

    package mutating func setHeaders(_ headers: FieldTable) {
        var encoded: [UInt8] = []
        encoded.appendLong(headers.bytes)
        put(.headers, encoded)
    }

    package mutating func setTimestamp(_ seconds: UInt64) {
        var encoded: [UInt8] = []
        encoded.appendBigEndian(seconds)
        put(.timestamp, encoded)
    }

    /// Sets a string property; nil leaves it as it is.
    package mutating func set(_ property: BasicProperty, _ value: ShortString?) {
        guard let value, property.kind == .shortString else { return }
        var encoded: [UInt8] = []
        encoded.appendShort(value.bytes)
        put(property, encoded)
    }

    /// Sets delivery mode or priority; nil leaves it as it is.
    package mutating func set(_ property: BasicProperty, _ value: UInt8?) {
        guard let value, property.kind == .octet else { return }
        put(property, [value])
    }

    private mutating func put(_ property: BasicProperty, _ encoded: [UInt8]) {
        remove(property)
        replaced.append((property, encoded))
    }

    /// Flags and values of the changed properties.
    package func applied(to original: PropertiesView) -> [UInt8] {
        var flags = original.flags & ~removed
        for change in replaced { flags |= change.property.flag }
        var encoded: [UInt8] = []
        encoded.reserveCapacity(original.bytes.count + replaced.reduce(2) { $0 + $1.encoded.count })
        encoded.appendBigEndian(flags)
        // Both lists are walked in the order of the wire: what is kept of the original, and what is new between it.
        var added = replaced.sorted { $0.property.rawValue > $1.property.rawValue }[...]
        try? original.walk { property, range, _ in
            while let next = added.first, next.property.rawValue >= property.rawValue {
                encoded.append(contentsOf: next.encoded)
                added = added.dropFirst()
            }
            if removed & property.flag == 0 {
                encoded.append(contentsOf: UnsafeRawBufferPointer(rebasing: original.bytes[range]))
            }
            return true
        }
        for change in added { encoded.append(contentsOf: change.encoded) }
        return encoded
    }

    package static func == (left: PropertyChanges, right: PropertyChanges) -> Bool {
        left.removed == right.removed
            && left.replaced.elementsEqual(right.replaced) { $0.property == $1.property && $0.encoded == $1.encoded }
    }

    package func hash(into hasher: inout Hasher) { hasher.combine(removed) }
}
