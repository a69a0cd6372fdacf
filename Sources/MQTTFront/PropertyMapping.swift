internal import Glibc
internal import MQTTProtocol
internal import MessageModel
internal import NIOCore

/// The properties of MQTT 5.0 messages and those of the message model, in both directions.
enum PropertyMapping {
    private static let traceparent = Array("traceparent".utf8)
    private static let tracestate = Array("tracestate".utf8)

    // MARK: From MQTT

    /// Reads the validated properties of a PUBLISH.
    static func read(
        _ view: PublishView,
        _ packet: UnsafeRawBufferPointer,
        into writer: inout MessageModel.PropertyWriter
    ) {
        writer.removeAll()
        var section = PropertyReader(validated: view.propertiesRange, of: packet)
        while let property = (try? section.next()) ?? nil {
            let value = section.bytes(property.first)
            switch property.identifier {
            case .payloadFormatIndicator: if property.integer == 1 { writer.append(.payloadIsText, byte: 1) }
            case .messageExpiryInterval: appendExpiry(UInt64(property.integer), &writer)
            case .contentType: writer.append(.contentType, value)
            case .responseTopic: writer.append(.replyTo, value)
            case .correlationData: writer.append(.correlationID, value)
            case .userProperty: appendUser(name: value, value: section.bytes(property.second), &writer)
            default: break
            }
        }
        writer.append(.origin, byte: OriginFront.mqtt.rawValue)
    }

    /// Reads the properties of a will.
    /// - Parameter delaySeconds: it is published so much later, and its time counts from then on (MQTT 5.0 §3.1.3.2.4).
    static func read(
        _ properties: PublishProperties,
        delaySeconds: UInt32,
        into writer: inout MessageModel.PropertyWriter
    ) {
        writer.removeAll()
        if properties.isPayloadText == true { writer.append(.payloadIsText, byte: 1) }
        if let seconds = properties.messageExpirySeconds {
            appendExpiry(UInt64(seconds) + UInt64(delaySeconds), &writer)
        }
        properties.contentType?.bytes.withUnsafeBytes { writer.append(.contentType, $0) }
        properties.responseTopic?.bytes.withUnsafeBytes { writer.append(.replyTo, $0) }
        properties.correlationData?.withUnsafeBytes { writer.append(.correlationID, $0) }
        for user in properties.userProperties {
            user.name.bytes.withUnsafeBytes { name in
                user.value.bytes.withUnsafeBytes { appendUser(name: name, value: $0, &writer) }
            }
        }
        writer.append(.origin, byte: OriginFront.mqtt.rawValue)
    }

    private static func appendExpiry(_ seconds: UInt64, _ writer: inout MessageModel.PropertyWriter) {
        writer.append(.expiry, number: Timestamp.wallClock() + seconds * 1_000_000)
    }

    private static func appendUser(
        name: UnsafeRawBufferPointer,
        value: UnsafeRawBufferPointer,
        _ writer: inout MessageModel.PropertyWriter
    ) {
        // The W3C's draft for MQTT carries the trace context in user properties of these names.
        if name.elementsEqual(traceparent) {
            writer.append(.traceparent, value)
        } else if name.elementsEqual(tracestate) {
            writer.append(.tracestate, value)
        } else {
            writer.appendUser(name: name, value: value)
        }
    }

    // MARK: To MQTT

    /// Appends the property section of a PUBLISH, without its length and without the expiry, which goes out as what is
    /// left of it.
    static func write(_ properties: UnsafeRawBufferPointer, into buffer: inout ByteBuffer) {
        guard !properties.isEmpty else { return }
        var cursor = PropertyCursor(properties)
        while let (id, value) = cursor.next() {
            switch PropertyID(rawValue: id) {
            case .contentType: writeField(.contentType, value, &buffer)
            case .correlationID: writeField(.correlationData, value, &buffer)
            case .replyTo: writeField(.responseTopic, value, &buffer)
            case .payloadIsText:
                buffer.writeInteger(PropertyIdentifier.payloadFormatIndicator.rawValue, as: UInt8.self)
                buffer.writeInteger(1, as: UInt8.self)
            case .traceparent: writeUser(name: traceparent, value, &buffer)
            case .tracestate: writeUser(name: tracestate, value, &buffer)
            case .user:
                guard let (name, value) = PropertyCursor.splitUser(value), name.count <= Int(UInt16.max) else {
                    continue
                }
                writeUser(name: name, value, &buffer)
            case .expiry, .deliverAt, .priority, .messageID, .tag, .key, .origin, .contentEncoding, .tombstone,
                .publisher, .amqp, nil:
                break
            }
        }
    }

    private static func writeField(
        _ identifier: PropertyIdentifier,
        _ value: UnsafeRawBufferPointer,
        _ buffer: inout ByteBuffer
    ) {
        guard value.count <= Int(UInt16.max) else { return }
        buffer.writeInteger(identifier.rawValue)
        buffer.writeInteger(UInt16(value.count))
        buffer.writeBytes(value)
    }

    private static func writeUser(
        name: some Collection<UInt8>,
        _ value: UnsafeRawBufferPointer,
        _ buffer: inout ByteBuffer
    ) {
        guard value.count <= Int(UInt16.max) else { return }
        buffer.writeInteger(PropertyIdentifier.userProperty.rawValue)
        buffer.writeInteger(UInt16(name.count))
        buffer.writeBytes(name)
        buffer.writeInteger(UInt16(value.count))
        buffer.writeBytes(value)
    }
}

extension Timestamp {
    /// Microseconds since 1970 by the system's clock.
    static func wallClock() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(time.tv_sec) * 1_000_000 + UInt64(time.tv_nsec) / 1_000
    }
}
