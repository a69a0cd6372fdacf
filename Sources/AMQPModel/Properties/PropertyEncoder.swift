package import AMQPProtocol
package import MessageModel

/// Writes the fields of the message model for AMQP's properties, and keeps these themselves. Its buffers are used again,
/// so that a message without anything special costs no memory.
package struct PropertyEncoder: ~Copyable {
    private var section: [UInt8] = []
    private var text: [UInt8] = []

    package init() {}

    /// The exchange and key that a message was published with, where topic and name do not say them.
    package struct Origin {
        package var exchange: UnsafeRawBufferPointer
        package var routingKey: UnsafeRawBufferPointer
        package init(exchange: UnsafeRawBufferPointer, routingKey: UnsafeRawBufferPointer) {
            self.exchange = exchange
            self.routingKey = routingKey
        }
    }

    /// Writes the properties of a message that a client publishes.
    ///
    /// - Parameters:
    ///   - properties: checked by the connection.
    ///   - origin: nil where topic and name say it.
    ///   - isDelayed: the exchange honours `x-delay`.
    ///   - hasDeaths: its headers on deaths were written by the server.
    ///   - now: by the wall clock.
    ///   - writer: is emptied first; stays empty for a message without properties.
    /// - Throws: 406 for an expiration that is none.
    package mutating func encode(
        _ properties: PropertiesView,
        origin: Origin? = nil,
        isDelayed: Bool = false,
        hasDeaths: Bool = false,
        now: Timestamp,
        into writer: inout PropertyWriter
    ) throws(AMQPError) {
        writer.removeAll()
        guard properties.flags != 0 || origin != nil else { return }
        let expiration = try properties.expirationMilliseconds()
        if let headers = properties.value(.headers), !headers.isEmpty {
            let special = writeHeaders(headers, isDelayed: isDelayed, now: now, &writer)
            if special.isEmpty {
                keep(properties.bytes, origin, hasDeaths: hasDeaths)
            } else {
                let changed = Self.changed(properties, special)
                changed.withUnsafeBytes { keep($0, origin, hasDeaths: hasDeaths) }
            }
        } else {
            keep(properties.flags == 0 ? nil : properties.bytes, origin, hasDeaths: hasDeaths)
        }
        section.withUnsafeBytes { writer.append(.amqp, $0) }
        writer.append(.origin, byte: OriginFront.amqp.rawValue)
        // Most have a delivery mode, and nothing else.
        guard properties.flags & ~BasicProperty.deliveryMode.flag & ~BasicProperty.headers.flag != 0 else { return }
        if let value = properties.value(.contentType) { writer.append(.contentType, value) }
        if let value = properties.value(.contentEncoding) { writer.append(.contentEncoding, value) }
        if let value = properties.value(.correlationID) { writer.append(.correlationID, value) }
        if let value = properties.value(.replyTo) { writer.append(.replyTo, value) }
        if let value = properties.value(.messageID) { writer.append(.messageID, value) }
        if let priority = properties.priority { writer.append(.priority, byte: priority) }
        if let expiration {
            let time = now.advanced(byMicroseconds: max(expiration &* 1_000, QueueSettings.shortestMicroseconds))
            writer.append(.expiry, number: time.rawValue)
        }
    }

    private mutating func keep(_ properties: UnsafeRawBufferPointer?, _ origin: Origin?, hasDeaths: Bool) {
        section.removeAll(keepingCapacity: true)
        KeptSection.appendPrefix(
            hasDeaths ? .deaths : [],
            exchange: origin?.exchange,
            routingKey: origin?.routingKey,
            to: &section
        )
        if let properties { section.append(contentsOf: properties) }
    }

    // MARK: Headers

    /// Headers that do not stay as they came.
    private struct Special: OptionSet {
        var rawValue: UInt8
        static let blindCopies = Special(rawValue: 1)
        static let delay = Special(rawValue: 2)
    }

    /// Writes user properties, trace context and the time of delivery.
    private mutating func writeHeaders(
        _ headers: UnsafeRawBufferPointer,
        isDelayed: Bool,
        now: Timestamp,
        _ writer: inout PropertyWriter
    ) -> Special {
        var special: Special = []
        var walk = FieldWalk(table: headers)
        while let field = walk.nextValidated() {
            let name = walk.bytes(field.name)
            let value = walk.bytes(field.value)
            switch field.type {
            case .longString:
                guard Self.isText(name), Self.isText(value) else { continue }
                if name.count == 11, name.elementsEqual("traceparent".utf8) {
                    writer.append(.traceparent, value)
                } else if name.count == 10, name.elementsEqual("tracestate".utf8) {
                    writer.append(.tracestate, value)
                } else {
                    writer.appendUser(name: name, value: value)
                }
            case .array:
                if name.count == 3, name.elementsEqual("BCC".utf8) { special.insert(.blindCopies) }
            case .table, .bytes, .decimal: break
            default:
                guard let decoded = FieldValue(type: field.type, value) else { continue }
                if isDelayed, name.count == 7, name.elementsEqual("x-delay".utf8), let delay = decoded.integer {
                    if delay > 0 {
                        special.insert(.delay)
                        let (time, overflow) = UInt64(delay).multipliedReportingOverflow(by: 1_000)
                        writer.append(
                            .deliverAt,
                            number: overflow ? UInt64.max : now.advanced(byMicroseconds: time).rawValue
                        )
                    }
                }
                guard Self.isText(name) else { continue }
                text.removeAll(keepingCapacity: true)
                HeaderText.append(decoded, to: &text)
                text.withUnsafeBytes { writer.appendUser(name: name, value: $0) }
            }
        }
        return special
    }

    /// What other fronts can show: UTF-8 without NUL.
    @inline(__always)
    private static func isText(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var isPlain = true
        for byte in bytes where byte == 0 || byte >= 0x80 { isPlain = false }
        return isPlain || HeaderText.isText(bytes)
    }

    /// Without blind copies, and with a delay that is over when somebody reads it.
    private static func changed(_ properties: PropertiesView, _ special: Special) -> [UInt8] {
        guard var headers = properties.headerTable else { return Array(properties.bytes) }
        if special.contains(.blindCopies) { headers.remove("BCC") }
        if special.contains(.delay), let delay = headers["x-delay"]?.integer, delay != .min {
            headers.replace("x-delay", .int64(-delay))
        }
        var changes = PropertyChanges()
        changes.setHeaders(headers)
        return changes.applied(to: properties)
    }
}
