internal import MQTTProtocol
internal import MessageModel
internal import NIOCore
internal import StorageService

/// The message that is being sent to several clients, in each form that one of them needed: encoded once, and copied.
struct SharedEncodings {
    struct Form {
        var serial: UInt64 = 0
        var packet = ByteBuffer()
        /// Nil where the message is longer than MQTT can say.
        var encoded: EncodedPublish?
        /// Several messages without properties, known by the serial of the first.
        var run = PublishRun()
        var runSerial: UInt64 = 0
    }

    private var forms = Array(repeating: Form(), count: 18)

    subscript(place: Int) -> Form {
        _read { yield forms[place] }
        _modify { yield &forms[place] }
    }

    /// The place of a form: there is one for each version, quality and retain flag.
    @inline(__always)
    func place(_ version: ProtocolVersion, _ qos: QoS, isRetained: Bool) -> Int {
        let number =
            switch version {
            case .v3_1: 0
            case .v3_1_1: 1
            case .v5: 2
            }
        return (number * 3 + Int(qos.rawValue)) * 2 + (isRetained ? 1 : 0)
    }

    @inline(__always)
    func holds(_ serial: UInt64, at place: Int) -> Bool { forms[place].serial == serial }
}

extension RoutedRun {
    /// Where the messages end that differ only in their payloads; the place itself where its message has properties.
    @inline(__always)
    func endOfPlain(from start: Int) -> Int {
        var end = start
        let first = records[start].flags
        while end < records.count, records[end].properties.isEmpty, records[end].flags == first { end += 1 }
        return end
    }
}

extension MQTTFront {
    /// Sees to it that the run of a form holds a part of a routed one.
    /// - Returns: false where MQTT cannot say it.
    @inline(__always)
    func encodes(
        _ routed: RoutedRun,
        _ range: Range<Int>,
        version: ProtocolVersion,
        qos: QoS,
        isRetained: Bool,
        at place: Int
    ) -> Bool {
        let serial = routed.firstSerial &+ UInt64(range.lowerBound)
        if encodings[place].runSerial == serial { return encodings[place].run.count == range.count }
        return encode(routed, range, serial, version: version, qos: qos, isRetained: isRetained, at: place)
    }

    private func encode(
        _ routed: RoutedRun,
        _ range: Range<Int>,
        _ serial: UInt64,
        version: ProtocolVersion,
        qos: QoS,
        isRetained: Bool,
        at place: Int
    ) -> Bool {
        encodings[place].runSerial = serial
        return withName(of: routed.records[range.lowerBound], routed.topicName) { name in
            encodings[place].run.encode(
                range.count,
                version: version,
                qos: qos,
                isRetained: isRetained,
                topic: name
            ) { routed.records[range.lowerBound &+ $0].body }
        }
    }

    func encode(
        _ message: RoutedMessage,
        version: ProtocolVersion,
        qos: QoS,
        isRetained: Bool,
        expiry: UInt32?,
        at place: Int
    ) {
        propertySection.clear()
        if version.hasProperties { PropertyMapping.write(message.record.properties, into: &propertySection) }
        encodings[place].packet.clear()
        withName(of: message.record, message.topicName) { name in
            propertySection.withUnsafeReadableBytes { properties in
                let packet = OutboundPublish(
                    version: version,
                    qos: qos,
                    isRetained: isRetained,
                    topicRest: name,
                    payload: message.record.body,
                    properties: properties,
                    messageExpirySeconds: expiry
                )
                encodings[place].encoded = packet.encode(into: &encodings[place].packet)
            }
        }
        encodings[place].serial = message.serial
        // One large message is not kept in memory for good.
        if encodings[place].packet.capacity > 64 << 10, encodings[place].packet.readableBytes < 16 << 10 {
            encodings[place].packet = ByteBuffer(buffer: encodings[place].packet.slice())
        }
    }

    /// Calls with the full name of a message.
    func withName<Result>(
        of record: RecordView,
        _ topicName: UnsafeRawBufferPointer,
        _ body: (UnsafeRawBufferPointer) -> Result
    ) -> Result {
        if record.hasAbsoluteName, let name = record.routingKey { return body(name) }
        guard record.routingKey != nil else { return body(topicName) }
        var name = nameScratch
        nameScratch = []
        name.removeAll(keepingCapacity: true)
        record.appendName(topic: topicName, to: &name)
        defer { nameScratch = name }
        return name.withUnsafeBytes(body)
    }
}
