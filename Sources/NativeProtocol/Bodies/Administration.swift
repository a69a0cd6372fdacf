package import MessageModel
package import NIOCore

/// CREATE_TOPIC: a topic is to be there and be like this.
package struct CreateTopicBody: Equatable, Sendable {
    package var partitions: UInt16
    package var name: String
    package var captures: [String]

    package init(partitions: UInt16, name: String, captures: [String]) {
        self.partitions = partitions
        self.name = name
        self.captures = captures
    }

    package init?(_ reader: inout WireReader) {
        guard let partitions = reader.u16(), let name = reader.text(), let captures = reader.texts() else { return nil }
        self.init(partitions: partitions, name: name, captures: captures)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeU16(partitions)
        buffer.writeText(name)
        buffer.writeTexts(captures)
    }
}

/// DESCRIBE_TOPIC.
package struct DescribeTopicBody: Equatable, Sendable {
    /// `name` is any address: the topic that holds it is meant.
    package var resolvesAddress: Bool
    package var name: String

    package init(resolvesAddress: Bool, name: String) {
        self.resolvesAddress = resolvesAddress
        self.name = name
    }

    package init?(_ reader: inout WireReader) {
        guard let form = reader.u8(), form <= 1, let name = reader.text() else { return nil }
        self.init(resolvesAddress: form == 1, name: name)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeU8(resolvesAddress ? 1 : 0)
        buffer.writeText(name)
    }
}

/// DELETE_TOPIC, DELETE_SUBSCRIPTION, DESCRIBE_SUBSCRIPTION: just a name.
package struct NameBody: Equatable, Sendable {
    package var name: String

    package init(name: String) { self.name = name }

    package init?(_ reader: inout WireReader) {
        guard let name = reader.text() else { return nil }
        self.name = name
    }

    package func write(to buffer: inout ByteBuffer) { buffer.writeText(name) }
}

/// LIST_TOPICS, LIST_SUBSCRIPTIONS: names behind `after`, in order.
package struct ListBody: Equatable, Sendable {
    package var limit: UInt16
    /// Empty for the beginning.
    package var after: String

    package init(limit: UInt16, after: String) {
        self.limit = limit
        self.after = after
    }

    package init?(_ reader: inout WireReader) {
        guard let limit = reader.u16(), let after = reader.text() else { return nil }
        self.init(limit: limit, after: after)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeU16(limit)
        buffer.writeText(after)
    }
}

/// A partition's bounds: for a topic the oldest offset and the next one, for a subscription the acknowledged position
/// and the partition's next offset.
package struct WireBounds: Equatable, Sendable {
    package var from: UInt64
    package var next: UInt64
    package init(from: UInt64, next: UInt64) {
        self.from = from
        self.next = next
    }

    static func read(_ reader: inout WireReader) -> [WireBounds]? {
        guard let count = reader.count16(each: 16) else { return nil }
        var result: [WireBounds] = []
        result.reserveCapacity(count)
        for _ in 0..<count {
            guard let from = reader.u64(), let next = reader.u64() else { return nil }
            result.append(WireBounds(from: from, next: next))
        }
        return result
    }

    static func write(_ bounds: [WireBounds], to buffer: inout ByteBuffer) {
        buffer.writeU16(UInt16(truncatingIfNeeded: bounds.count))
        for entry in bounds { buffer.writeMultipleIntegers(entry.from, entry.next, endianness: .little) }
    }
}

/// A topic in an answer.
package struct WireTopicDescription: Equatable, Sendable {
    package var id: UInt32
    package var createdAt: Timestamp
    package var name: String
    package var captures: [String]
    package var partitions: [WireBounds]

    package init(id: UInt32, createdAt: Timestamp, name: String, captures: [String], partitions: [WireBounds]) {
        self.id = id
        self.createdAt = createdAt
        self.name = name
        self.captures = captures
        self.partitions = partitions
    }

    package init?(_ reader: inout WireReader) {
        guard let id = reader.u32(), let createdAt = reader.u64(), let name = reader.text(),
            let captures = reader.texts(), let partitions = WireBounds.read(&reader)
        else { return nil }
        self.init(
            id: id,
            createdAt: Timestamp(rawValue: createdAt),
            name: name,
            captures: captures,
            partitions: partitions
        )
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(id, createdAt.rawValue, endianness: .little)
        buffer.writeText(name)
        buffer.writeTexts(captures)
        WireBounds.write(partitions, to: &buffer)
    }
}

/// CREATE_SUBSCRIPTION: a cursor subscription is to be there and be like this.
package struct CreateSubscriptionBody: Equatable, Sendable {
    package var start: WireStart
    package var name: String
    package var address: String

    package init(start: WireStart, name: String, address: String) {
        self.start = start
        self.name = name
        self.address = address
    }

    package init?(_ reader: inout WireReader) {
        guard let start = WireStart(&reader), let name = reader.text(), let address = reader.text() else { return nil }
        self.init(start: start, name: name, address: address)
    }

    package func write(to buffer: inout ByteBuffer) {
        start.write(to: &buffer)
        buffer.writeText(name)
        buffer.writeText(address)
    }
}

/// A subscription in an answer.
package struct WireSubscriptionDescription: Equatable, Sendable {
    package var topic: UInt32
    package var createdAt: Timestamp
    package var isAttached: Bool
    package var name: String
    package var topicName: String
    package var partitions: [WireBounds]

    package init(
        topic: UInt32,
        createdAt: Timestamp,
        isAttached: Bool,
        name: String,
        topicName: String,
        partitions: [WireBounds]
    ) {
        self.topic = topic
        self.createdAt = createdAt
        self.isAttached = isAttached
        self.name = name
        self.topicName = topicName
        self.partitions = partitions
    }

    package init?(_ reader: inout WireReader) {
        guard let topic = reader.u32(), let createdAt = reader.u64(), let isAttached = reader.u8(),
            let name = reader.text(), let topicName = reader.text(), let partitions = WireBounds.read(&reader)
        else { return nil }
        self.init(
            topic: topic,
            createdAt: Timestamp(rawValue: createdAt),
            isAttached: isAttached != 0,
            name: name,
            topicName: topicName,
            partitions: partitions
        )
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(topic, createdAt.rawValue, UInt8(isAttached ? 1 : 0), endianness: .little)
        buffer.writeText(name)
        buffer.writeText(topicName)
        WireBounds.write(partitions, to: &buffer)
    }
}

/// The answer to HEALTH.
package struct WireHealth: Equatable, Sendable {
    package var acceptsWrites: Bool
    package var durable: UInt64
    package var end: UInt64
    package var reason: String

    package init(acceptsWrites: Bool, durable: UInt64, end: UInt64, reason: String) {
        self.acceptsWrites = acceptsWrites
        self.durable = durable
        self.end = end
        self.reason = reason
    }

    package init?(_ reader: inout WireReader) {
        guard let acceptsWrites = reader.u8(), let durable = reader.u64(), let end = reader.u64(),
            let reason = reader.text()
        else { return nil }
        self.init(acceptsWrites: acceptsWrites != 0, durable: durable, end: end, reason: reason)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(UInt8(acceptsWrites ? 1 : 0), durable, end, endianness: .little)
        buffer.writeText(reason)
    }
}

extension WireReader {
    /// A u16 number of texts.
    package mutating func texts() -> [String]? {
        guard let count = count16(each: 2) else { return nil }
        var result: [String] = []
        for _ in 0..<count {
            guard let text = text() else { return nil }
            result.append(text)
        }
        return result
    }
}

extension ByteBuffer {
    package mutating func writeTexts(_ texts: [String]) {
        writeU16(UInt16(truncatingIfNeeded: texts.count))
        for text in texts { writeText(text) }
    }
}
