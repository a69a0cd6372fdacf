import AMQPModel
import AMQPProtocol
import MessageModel
import TestSupport
import Testing

/// What a reader of a stored record is told.
struct Read: Equatable {
    var exchange: String
    var routingKey: String
    var properties: [UInt8]
    var hasDeaths = false
}

/// Stores one record and reads it as the AMQP front would.
func read(
    topic: String,
    key: [UInt8]?,
    isAbsolute: Bool = false,
    properties: [UInt8],
    address: TopicAddress,
    deliveryClass: DeliveryClass = .atLeastOnce,
    now: UInt64 = 0
) -> Read? {
    var decoder = PropertyDecoder()
    return withRecord(key: key, isAbsolute: isAbsolute, properties: properties, deliveryClass: deliveryClass) {
        record in
        Array(topic.utf8).withUnsafeBytes { topic in
            decoder.decode(record, topic: topic, address: address, now: Timestamp(rawValue: now)) { content in
                Read(
                    exchange: String(decoding: content.exchange, as: UTF8.self),
                    routingKey: String(decoding: content.routingKey, as: UTF8.self),
                    properties: Array(content.properties),
                    hasDeaths: content.hasDeaths
                )
            }
        }
    }
}

func withRecord<Result>(
    key: [UInt8]?,
    isAbsolute: Bool = false,
    properties: [UInt8],
    deliveryClass: DeliveryClass = .atLeastOnce,
    _ body: (RecordView) -> Result
) -> Result? {
    var builder = BatchBuilder(capacity: 1_024)
    builder.begin()
    properties.withUnsafeBytes { properties in
        (key ?? []).withUnsafeBytes { key in
            var fields = RecordFields()
            fields.properties = properties
            fields.deliveryClass = deliveryClass
            if key.count > 0 { fields.routingKey = key }
            fields.hasAbsoluteName = isAbsolute
            builder.append(fields)
        }
    }
    return builder.finish { bytes in
        guard let batch = BatchView(prefixOf: bytes) else { return nil }
        var cursor = batch.records
        return cursor.next().map(body)
    }
}

/// The fields that a published message gets.
func fields(
    _ properties: BasicProperties,
    origin: (exchange: String, routingKey: String)? = nil,
    isDelayed: Bool = false,
    hasDeaths: Bool = false,
    now: UInt64 = 0
) throws -> [UInt8] {
    try fields(properties.encoded(), origin: origin, isDelayed: isDelayed, hasDeaths: hasDeaths, now: now)
}

func fields(
    _ properties: [UInt8],
    origin: (exchange: String, routingKey: String)? = nil,
    isDelayed: Bool = false,
    hasDeaths: Bool = false,
    now: UInt64 = 0
) throws -> [UInt8] {
    var encoder = PropertyEncoder()
    var writer = PropertyWriter()
    let exchange = Array((origin?.exchange ?? "").utf8)
    let routingKey = Array((origin?.routingKey ?? "").utf8)
    try properties.withUnsafeBytes { properties in
        try exchange.withUnsafeBytes { exchange in
            try routingKey.withUnsafeBytes { routingKey in
                try encoder.encode(
                    PropertiesView(validated: properties),
                    origin: origin == nil ? nil : .init(exchange: exchange, routingKey: routingKey),
                    isDelayed: isDelayed,
                    hasDeaths: hasDeaths,
                    now: Timestamp(rawValue: now),
                    into: &writer
                )
            }
        }
    }
    return writer.withBytes { Array($0) }
}

/// Fields by their ids, user properties as "name=value".
func listed(_ encoded: [UInt8]) -> [PropertyID: [String]] {
    encoded.withUnsafeBytes { bytes in
        var found: [PropertyID: [String]] = [:]
        var cursor = PropertyCursor(bytes)
        while let (id, value) = cursor.next() {
            guard let id = PropertyID(rawValue: id) else { continue }
            if id == .user, let (name, text) = PropertyCursor.splitUser(value) {
                found[id, default: []].append(
                    String(decoding: name, as: UTF8.self) + "=" + String(decoding: text, as: UTF8.self)
                )
            } else if id == .expiry || id == .deliverAt {
                found[id, default: []].append(String(value.load64(0)))
            } else if id == .priority || id == .origin {
                found[id, default: []].append(String(value[0]))
            } else {
                found[id, default: []].append(String(decoding: value, as: UTF8.self))
            }
        }
        return found
    }
}

@Suite struct PropertyTests {
    private let address = VirtualHostModel(name: "/").address(ofTopic: "amq.direct")

    @Test("a message without properties has no fields, and comes back without properties")
    func nothing() throws {
        let encoded = try fields(BasicProperties())
        #expect(encoded == [])
        let found = read(topic: "amq.direct", key: Array("eu/created".utf8), properties: encoded, address: address)
        #expect(found == Read(exchange: "amq.direct", routingKey: "eu.created", properties: []))
    }

    @Test("all properties become fields where there are some, and come back byte for byte")
    func everything() throws {
        var properties = BasicProperties()
        properties.contentType = "text/plain"
        properties.contentEncoding = "gzip"
        properties.headers = [
            "text": .string("a"), "number": .int16(-5), "flag": .boolean(false), "time": .timestamp(7),
            "ratio": .double(1.5), "nothing": .void, "traceparent": .string("00-1"), "tracestate": .string("v"),
            "table": .table(["a": .int8(1)]), "binary": .bytes([1]), "bad": .longString([0xFF]),
            "CC": .array(FieldArray([.string("k")])),
        ]
        properties.deliveryMode = 2
        properties.priority = 3
        properties.correlationID = "c"
        properties.replyTo = "r"
        properties.expiration = "60000"
        properties.messageID = "m"
        properties.timestamp = 99
        properties.type = "t"
        properties.userID = "u"
        properties.appID = "app"
        let encoded = try fields(properties, now: 1_000_000)
        let found = listed(encoded)
        #expect(found[.contentType] == ["text/plain"])
        #expect(found[.contentEncoding] == ["gzip"])
        #expect(found[.correlationID] == ["c"])
        #expect(found[.replyTo] == ["r"])
        #expect(found[.messageID] == ["m"])
        #expect(found[.priority] == ["3"])
        #expect(found[.expiry] == ["61000000"])
        #expect(found[.origin] == ["3"])
        #expect(found[.traceparent] == ["00-1"] && found[.tracestate] == ["v"])
        #expect(found[.user] == ["text=a", "number=-5", "flag=false", "time=7", "ratio=1.5", "nothing="])
        let back = read(topic: "amq.direct", key: nil, properties: encoded, address: address)
        #expect(back?.properties == properties.encoded())
    }

    @Test("an expiration that is none is refused; one of zero is as short as a delivery takes")
    func expiration() throws {
        var properties = BasicProperties()
        properties.expiration = "soon"
        #expect(
            refusal { _ = try fields(properties) }
                == "406 PRECONDITION_FAILED - invalid expiration 'soon': no_integer"
        )
        properties.expiration = "0"
        #expect(listed(try fields(properties, now: 10))[.expiry] == ["5010"])
    }

    @Test("blind copies are not stored, copies are")
    func blindCopies() throws {
        var properties = BasicProperties()
        let keys = FieldValue.array(FieldArray([.string("k")]))
        properties.headers = ["a": .int8(1), "BCC": keys, "CC": keys]
        let back = read(topic: "amq.direct", key: nil, properties: try fields(properties), address: address)
        properties.headers = ["a": .int8(1), "CC": keys]
        #expect(back?.properties == properties.encoded())
    }

    @Test("a delay is honoured where the exchange does, and is over when somebody reads it")
    func delay() throws {
        var properties = BasicProperties()
        properties.headers = ["x-delay": .int32(1_500)]
        #expect(listed(try fields(properties, now: 10))[.deliverAt] == nil)
        let delayed = try fields(properties, isDelayed: true, now: 10)
        #expect(listed(delayed)[.deliverAt] == ["1500010"])
        let back = read(topic: "amq.direct", key: nil, properties: delayed, address: address)
        properties.headers = ["x-delay": .int64(-1_500)]
        #expect(back?.properties == properties.encoded())
        properties.headers = ["x-delay": .int64(.min)]
        #expect(listed(try fields(properties, isDelayed: true))[.deliverAt] == nil)
        properties.headers = ["x-delay": .int64(.max)]
        #expect(listed(try fields(properties, isDelayed: true))[.deliverAt] == ["\(UInt64.max)"])
    }

    @Test("exchange and key are kept where topic and name do not say them")
    func origin() throws {
        var properties = BasicProperties()
        let plain = try fields(properties, origin: ("orders", "eu#1"))
        #expect(
            read(topic: "$queue", key: Array("q".utf8), properties: plain, address: address)
                == Read(exchange: "orders", routingKey: "eu#1", properties: [])
        )
        properties.deliveryMode = 2
        let kept = try fields(properties, origin: ("orders", ""), hasDeaths: true)
        #expect(
            read(topic: "$queue", key: Array("q".utf8), properties: kept, address: address)
                == Read(exchange: "orders", routingKey: "", properties: properties.encoded(), hasDeaths: true)
        )
    }

    @Test("what other protocols publish has properties too")
    func foreign() throws {
        var writer = PropertyWriter()
        writer.append(.correlationID, "c")
        writer.append(.contentType, "text/plain")
        writer.append(.origin, byte: OriginFront.mqtt.rawValue)
        writer.append(.priority, byte: 4)
        writer.append(.expiry, number: 5_000_000)
        writer.append(.traceparent, "00-1")
        writer.appendUser(name: "a", value: "1")
        writer.appendUser(name: "twice", value: "x")
        writer.appendUser(name: "b", value: "2")
        writer.appendUser(name: "twice", value: "y")
        let encoded = writer.withBytes { Array($0) }
        var expected = BasicProperties()
        expected.correlationID = "c"
        expected.contentType = "text/plain"
        expected.priority = 4
        expected.deliveryMode = 2
        expected.expiration = "3000"
        expected.headers = [
            "traceparent": .string("00-1"), "a": .string("1"),
            "twice": .array(FieldArray([.string("x"), .string("y")])), "b": .string("2"),
        ]
        let found = read(
            topic: "factory",
            key: Array("line/1".utf8),
            properties: encoded,
            address: .wholeTree,
            now: 2_000_000
        )
        #expect(found == Read(exchange: "amq.topic", routingKey: "factory.line.1", properties: expected.encoded()))
        let atMostOnce = read(
            topic: "factory",
            key: nil,
            properties: encoded,
            address: .wholeTree,
            deliveryClass: .atMostOnce,
            now: 9_000_000
        )
        expected.deliveryMode = 1
        expected.expiration = "0"
        #expect(atMostOnce == Read(exchange: "amq.topic", routingKey: "factory", properties: expected.encoded()))
    }

    @Test("names that a topic captures elsewhere have amq.topic as their exchange")
    func addresses() throws {
        var host = Host()
        try host.exchange("orders", "topic")
        try host.queue("s", durable: true, ["x-queue-type": .string("stream")])
        func found(_ topic: String, _ key: String?, isAbsolute: Bool = false) -> String? {
            let address = host.model.address(ofTopic: topic)
            let read = read(
                topic: topic,
                key: key.map { Array($0.utf8) },
                isAbsolute: isAbsolute,
                properties: [],
                address: address
            )
            return read.map { "\($0.exchange):\($0.routingKey)" }
        }
        #expect(found("orders", "eu/a.b") == "orders:eu.a/b")
        #expect(found("orders", nil) == "orders:")
        #expect(found("orders", "else/where", isAbsolute: true) == "amq.topic:else.where")
        #expect(found("default", "factory/1", isAbsolute: true) == "amq.topic:factory.1")
        #expect(found("default", "%20", isAbsolute: true) == "amq.topic:")
        #expect(found("$queue", "a.b") == ":a/b")
        #expect(found("s", nil) == ":s")
        #expect(found("s", "x") == "amq.topic:s.x")
        #expect(found("native", "x") == "amq.topic:native.x")
    }

    @Test(
        "a kept section that is damaged is not shown",
        arguments: [
            [], [0x01], [0x01, 5, 0x61], [0x02], [0x03, 0], [0x00, 0xFF], [0x00, 0xFF, 0xFF, 1],
            [0x00, 0x20, 0x00, 0, 0, 0, 9],
        ] as [[UInt8]]
    )
    func damaged(section: [UInt8]) {
        var writer = PropertyWriter()
        section.withUnsafeBytes { writer.append(.amqp, $0) }
        let found = read(topic: "amq.direct", key: nil, properties: writer.withBytes { Array($0) }, address: address)
        #expect(found?.exchange == "amq.direct")
        #expect((found?.properties.count ?? 9) <= 2)
    }

    @Test("whatever properties a client sends come back", arguments: [1, 2, 3, 4] as [UInt64])
    func roundTrips(seed: UInt64) throws {
        var generator = SeededRandom(seed: seed)
        for _ in 0..<500 {
            let properties = BasicProperties.random(&generator)
            let encoded = try fields(properties)
            let key = generator.name()
            var name: [UInt8] = []
            Array(key.utf8).withUnsafeBytes { RoutingKeyCoding.encode($0, into: &name) }
            let found = read(topic: "amq.direct", key: name, properties: encoded, address: address)
            let expected = properties.encoded()
            #expect(found?.properties == (expected == [0, 0] ? [] : expected), "seed \(seed)")
            #expect(found?.routingKey == String(key.prefix(while: { _ in true })), "seed \(seed)")
        }
    }

    @Test("a header of the delivery is added to what there is")
    func deliveryHeaders() {
        var properties = BasicProperties()
        #expect(
            [UInt8]().withUnsafeBytes { DeliveryHeaders.adding(DeliveryHeaders.deliveryCount, 1, to: $0) }
                .withUnsafeBytes { PropertiesView(validated: $0).headerTable } == ["x-delivery-count": .int64(1)]
        )
        properties.contentType = "a"
        properties.headers = ["x-delivery-count": .string("mine"), "a": .void]
        let added = properties.encoded().withUnsafeBytes {
            DeliveryHeaders.adding(DeliveryHeaders.deliveryCount, 2, to: $0)
        }
        properties.headers = ["a": .void, "x-delivery-count": .int64(2)]
        #expect(added == properties.encoded())
    }

    @Test("thousands of user properties take their time, and no more", arguments: [5_000])
    func many(count: Int) {
        var writer = PropertyWriter()
        for index in 0..<count { writer.appendUser(name: "n\(index % 10)", value: "v") }
        let found = read(topic: "x", key: nil, properties: writer.withBytes { Array($0) }, address: .wholeTree)
        let table = found?.properties.withUnsafeBytes { PropertiesView(validated: $0).headerTable }
        #expect(table?.fields.count == count)
    }
}

extension BasicProperties {
    static func random(_ generator: inout SeededRandom) -> BasicProperties {
        var properties = BasicProperties()
        func string() -> ShortString? {
            Bool.random(using: &generator) ? ShortString(generator.bytes(0...12)) : nil
        }
        properties.contentType = string()
        properties.contentEncoding = string()
        properties.correlationID = string()
        properties.replyTo = string()
        properties.messageID = string()
        properties.type = string()
        properties.appID = string()
        if Bool.random(using: &generator) { properties.deliveryMode = 2 }
        if Bool.random(using: &generator) { properties.priority = UInt8.random(in: 0...255, using: &generator) }
        if Bool.random(using: &generator) { properties.timestamp = UInt64.random(in: 0 ... .max, using: &generator) }
        if Bool.random(using: &generator) {
            var headers = FieldTable()
            for index in 0..<Int.random(in: 0...5, using: &generator) {
                let values: [FieldValue] = [
                    .boolean(true), .int8(-1), .uint8(1), .int16(-2), .uint16(2), .int32(.min), .uint32(.max),
                    .int64(.min), .longInt64(.max), .float(1.25), .double(-0.5), .decimal(scale: 2, unscaled: 314),
                    .timestamp(5), .longString(generator.bytes(0...5)), .bytes([0, 1]),
                    .array(FieldArray([.int8(1), .void])), .table(["x": .void]), .void,
                ]
                headers.append("h\(index)", values.randomElement(using: &generator) ?? .void)
            }
            properties.headers = headers
        }
        return properties
    }
}
