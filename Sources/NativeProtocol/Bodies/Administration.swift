package import MessageModel
package import NIOCore

/// CREATE_TOPIC: a topic is to be there and be like this. Version 1 ends with the captures.
package struct CreateTopicBody: Equatable, Sendable {
    package var partitions: UInt16
    package var name: String
    package var captures: [String]
    package var policy: WireTopicPolicy

    package init(
        partitions: UInt16,
        name: String,
        captures: [String],
        policy: WireTopicPolicy = WireTopicPolicy()
    ) {
        self.partitions = partitions
        self.name = name
        self.captures = captures
        self.policy = policy
    }

    package init?(_ reader: inout WireReader, version: UInt16) {
        guard let partitions = reader.u16(), let name = reader.text(), let captures = reader.texts() else { return nil }
        self.init(partitions: partitions, name: name, captures: captures)
        guard version > 1 else { return }
        guard let policy = WireTopicPolicy(&reader) else { return nil }
        self.policy = policy
    }

    package func write(to buffer: inout ByteBuffer, version: UInt16) {
        buffer.writeU16(partitions)
        buffer.writeText(name)
        buffer.writeTexts(captures)
        if version > 1 { policy.write(to: &buffer) }
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

/// A topic in an answer. Version 1 ends with the partitions.
package struct WireTopicDescription: Equatable, Sendable {
    package var id: UInt32
    package var createdAt: Timestamp
    package var name: String
    package var captures: [String]
    package var partitions: [WireBounds]
    package var policy: WireTopicPolicy

    package init(
        id: UInt32,
        createdAt: Timestamp,
        name: String,
        captures: [String],
        partitions: [WireBounds],
        policy: WireTopicPolicy = WireTopicPolicy()
    ) {
        self.id = id
        self.createdAt = createdAt
        self.name = name
        self.captures = captures
        self.partitions = partitions
        self.policy = policy
    }

    package init?(_ reader: inout WireReader, version: UInt16) {
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
        guard version > 1 else { return }
        guard let policy = WireTopicPolicy(&reader) else { return nil }
        self.policy = policy
    }

    package func write(to buffer: inout ByteBuffer, version: UInt16) {
        buffer.writeMultipleIntegers(id, createdAt.rawValue, endianness: .little)
        buffer.writeText(name)
        buffer.writeTexts(captures)
        WireBounds.write(partitions, to: &buffer)
        if version > 1 { policy.write(to: &buffer) }
    }
}

/// A partition of a cursor subscription, or a level of priority of an inbox, in an answer.
package struct WireLane: Equatable, Sendable {
    static let byteCount = 48

    package var acknowledged: UInt64
    package var next: UInt64
    package var backlog: UInt64
    package var leased: UInt64
    package var retrying: UInt64
    /// When the oldest of the backlog was stored; 0 where that is not known.
    package var oldest: UInt64

    package init(
        acknowledged: UInt64,
        next: UInt64,
        backlog: UInt64 = 0,
        leased: UInt64 = 0,
        retrying: UInt64 = 0,
        oldest: UInt64 = 0
    ) {
        self.acknowledged = acknowledged
        self.next = next
        self.backlog = backlog
        self.leased = leased
        self.retrying = retrying
        self.oldest = oldest
    }

    init?(_ reader: inout WireReader) {
        guard let acknowledged = reader.u64(), let next = reader.u64(), let backlog = reader.u64(),
            let leased = reader.u64(), let retrying = reader.u64(), let oldest = reader.u64()
        else { return nil }
        self.init(
            acknowledged: acknowledged,
            next: next,
            backlog: backlog,
            leased: leased,
            retrying: retrying,
            oldest: oldest
        )
    }

    func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(acknowledged, next, backlog, leased, retrying, oldest, endianness: .little)
    }
}

/// A subscription in an answer. Version 1 has the acknowledged and the next position of each lane only.
package struct WireSubscriptionDescription: Equatable, Sendable {
    package struct Flags: OptionSet, Sendable {
        package var rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        package static let inbox = Flags(rawValue: 1 << 0)
        package static let paused = Flags(rawValue: 1 << 1)
    }

    package var topic: UInt32
    package var createdAt: Timestamp
    package var isAttached: Bool
    package var name: String
    package var topicName: String
    package var lanes: [WireLane]
    package var id: UInt32
    package var flags: Flags
    package var consumers: UInt32
    package var policy: WireSubscriptionPolicy

    package init(
        topic: UInt32,
        createdAt: Timestamp,
        isAttached: Bool,
        name: String,
        topicName: String,
        lanes: [WireLane],
        id: UInt32 = 0,
        flags: Flags = [],
        consumers: UInt32 = 0,
        policy: WireSubscriptionPolicy = WireSubscriptionPolicy()
    ) {
        self.topic = topic
        self.createdAt = createdAt
        self.isAttached = isAttached
        self.name = name
        self.topicName = topicName
        self.lanes = lanes
        self.id = id
        self.flags = flags
        self.consumers = consumers
        self.policy = policy
    }

    package init?(_ reader: inout WireReader, version: UInt16) {
        guard let topic = reader.u32(), let createdAt = reader.u64(), let isAttached = reader.u8(),
            let name = reader.text(), let topicName = reader.text()
        else { return nil }
        self.init(
            topic: topic,
            createdAt: Timestamp(rawValue: createdAt),
            isAttached: isAttached != 0,
            name: name,
            topicName: topicName,
            lanes: []
        )
        guard version > 1 else {
            guard let bounds = WireBounds.read(&reader) else { return nil }
            lanes = bounds.map { WireLane(acknowledged: $0.from, next: $0.next) }
            return
        }
        guard let id = reader.u32(), let flags = reader.u8(), let consumers = reader.u32(),
            let policy = WireSubscriptionPolicy(&reader), let count = reader.count16(each: WireLane.byteCount)
        else { return nil }
        self.id = id
        self.flags = Flags(rawValue: flags)
        self.consumers = consumers
        self.policy = policy
        lanes.reserveCapacity(count)
        for _ in 0..<count {
            guard let lane = WireLane(&reader) else { return nil }
            lanes.append(lane)
        }
    }

    package func write(to buffer: inout ByteBuffer, version: UInt16) {
        buffer.writeMultipleIntegers(topic, createdAt.rawValue, UInt8(isAttached ? 1 : 0), endianness: .little)
        buffer.writeText(name)
        buffer.writeText(topicName)
        guard version > 1 else {
            WireBounds.write(lanes.map { WireBounds(from: $0.acknowledged, next: $0.next) }, to: &buffer)
            return
        }
        buffer.writeMultipleIntegers(id, flags.rawValue, consumers, endianness: .little)
        policy.write(to: &buffer)
        buffer.writeU16(UInt16(truncatingIfNeeded: lanes.count))
        for lane in lanes { lane.write(to: &buffer) }
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
