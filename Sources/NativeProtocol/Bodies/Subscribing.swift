package import MessageModel
package import NIOCore

/// Where a reader begins: u8 kind, u64 value.
package enum WireStart: Equatable, Sendable {
    case first
    case next
    case offset(UInt64)
    case time(Timestamp)

    package init?(_ reader: inout WireReader) {
        guard let kind = reader.u8(), let value = reader.u64() else { return nil }
        switch kind {
        case 0: self = .first
        case 1: self = .next
        case 2: self = .offset(value)
        case 3: self = .time(Timestamp(rawValue: value))
        default: return nil
        }
    }

    package func write(to buffer: inout ByteBuffer) {
        switch self {
        case .first: buffer.writeMultipleIntegers(UInt8(0), UInt64(0), endianness: .little)
        case .next: buffer.writeMultipleIntegers(UInt8(1), UInt64(0), endianness: .little)
        case .offset(let offset): buffer.writeMultipleIntegers(UInt8(2), offset, endianness: .little)
        case .time(let time): buffer.writeMultipleIntegers(UInt8(3), time.rawValue, endianness: .little)
        }
    }
}

/// SUBSCRIBE: attaches a reader to an address or to a subscription.
package struct SubscribeRequest: Equatable, Sendable {
    package struct Flags: OptionSet, Sendable {
        package var rawValue: UInt16
        package init(rawValue: UInt16) { self.rawValue = rawValue }
        /// The subscription is made where there is none, on the topic that `address` names, from `start` on.
        package static let create = Flags(rawValue: 1 << 0)
        /// Version 2: messages are leased to this consumer and settled one by one or in ranges.
        package static let consumer = Flags(rawValue: 1 << 1)
        /// Version 2, with `consumer`: the leases do not end with the connection; whoever has the receipt settles.
        package static let receipts = Flags(rawValue: 1 << 2)

        package static func known(version: UInt16) -> Flags {
            version > 1 ? [.create, .consumer, .receipts] : [.create]
        }
    }

    /// Stands for all partitions.
    package static let allPartitions: UInt16 = 0xFFFF

    package var flags: Flags
    package var partition: UInt16
    package var start: WireStart
    package var creditMessages: UInt64
    package var creditBytes: UInt64
    /// A topic's name, a name, or a filter; may be empty where `subscription` is there already.
    package var address: String
    /// The name of a subscription; empty to read without one.
    package var subscription: String
    package var consumer: String

    package init(
        flags: Flags = [],
        partition: UInt16 = SubscribeRequest.allPartitions,
        start: WireStart = .next,
        creditMessages: UInt64,
        creditBytes: UInt64,
        address: String,
        subscription: String = "",
        consumer: String = ""
    ) {
        self.flags = flags
        self.partition = partition
        self.start = start
        self.creditMessages = creditMessages
        self.creditBytes = creditBytes
        self.address = address
        self.subscription = subscription
        self.consumer = consumer
    }

    package init?(_ reader: inout WireReader) {
        guard let flags = reader.u16(), let partition = reader.u16(), let start = WireStart(&reader),
            let creditMessages = reader.u64(), let creditBytes = reader.u64(), let address = reader.text(),
            let subscription = reader.text(limit: Limits.subscriptionNameBytes),
            let consumer = reader.text(limit: NativeLimits.labelBytes)
        else { return nil }
        self.init(
            flags: Flags(rawValue: flags),
            partition: partition,
            start: start,
            creditMessages: creditMessages,
            creditBytes: creditBytes,
            address: address,
            subscription: subscription,
            consumer: consumer
        )
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(flags.rawValue, partition, endianness: .little)
        start.write(to: &buffer)
        buffer.writeMultipleIntegers(creditMessages, creditBytes, endianness: .little)
        buffer.writeText(address)
        buffer.writeText(subscription)
        buffer.writeText(consumer)
    }
}

package struct SubscribeResponse: Equatable, Sendable {
    package var handle: UInt32
    package var topic: UInt32
    package var partitions: UInt16
    package var topicName: String

    package init(handle: UInt32, topic: UInt32, partitions: UInt16, topicName: String) {
        self.handle = handle
        self.topic = topic
        self.partitions = partitions
        self.topicName = topicName
    }

    package init?(_ reader: inout WireReader) {
        guard let handle = reader.u32(), let topic = reader.u32(), let partitions = reader.u16(),
            let topicName = reader.text()
        else { return nil }
        self.init(handle: handle, topic: topic, partitions: partitions, topicName: topicName)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(handle, topic, partitions, endianness: .little)
        buffer.writeText(topicName)
    }
}

/// CREDIT: allows so much more. The handle stands in the frame header.
package struct Credit: Equatable, Sendable {
    package var messages: UInt64
    package var bytes: UInt64

    package init(messages: UInt64, bytes: UInt64) {
        self.messages = messages
        self.bytes = bytes
    }

    package init?(_ reader: inout WireReader) {
        guard let messages = reader.u64(), let bytes = reader.u64() else { return nil }
        self.init(messages: messages, bytes: bytes)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(messages, bytes, endianness: .little)
    }
}

/// How to settle what a delivery brings: 64 bytes of it.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | u32 | subscription id |
/// | 4 | u32 | topic id |
/// | 8 | u16, u16 | lane; reserved, 0 |
/// | 12 | u32 | attempt, from 1 on |
/// | 16 | u64 | sequence of the first record that is meant |
/// | 24 | u64 | when the lease ends, µs since 1970; the largest number where that is with the attachment |
/// | 32 | u32, u32 | bytes of credit that it takes; reserved, 0 |
/// | 40 | u64 | generation of the lease, for receipts |
/// | 48 | u64 | sequence of the last record that is meant |
/// | 56 | u64 | signature, for receipts |
package struct WireLease: Equatable, Sendable {
    package static let byteCount = 64

    package var subscription: UInt32
    package var topic: UInt32
    package var lane: UInt16
    package var attempt: UInt32
    package var firstSequence: UInt64
    package var deadline: UInt64
    package var creditBytes: UInt32
    package var generation: UInt64
    package var lastSequence: UInt64
    package var signature: UInt64

    package init(
        subscription: UInt32,
        topic: UInt32,
        lane: UInt16,
        attempt: UInt32,
        firstSequence: UInt64,
        deadline: UInt64,
        creditBytes: UInt32,
        generation: UInt64,
        lastSequence: UInt64,
        signature: UInt64
    ) {
        self.subscription = subscription
        self.topic = topic
        self.lane = lane
        self.attempt = attempt
        self.firstSequence = firstSequence
        self.deadline = deadline
        self.creditBytes = creditBytes
        self.generation = generation
        self.lastSequence = lastSequence
        self.signature = signature
    }

    /// Reads from exactly `byteCount` bytes.
    init(_ bytes: UnsafeRawBufferPointer) {
        subscription = bytes.load32(0)
        topic = bytes.load32(4)
        lane = bytes.load16(8)
        attempt = bytes.load32(12)
        firstSequence = bytes.load64(16)
        deadline = bytes.load64(24)
        creditBytes = bytes.load32(32)
        generation = bytes.load64(40)
        lastSequence = bytes.load64(48)
        signature = bytes.load64(56)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.byteCount) { bytes in
            store(UnsafeMutableRawBufferPointer(rebasing: bytes[..<Self.byteCount]))
            return Self.byteCount
        }
    }

    /// Stores it into exactly `byteCount` bytes.
    package func store(_ bytes: UnsafeMutableRawBufferPointer) {
        bytes.store32(subscription, at: 0)
        bytes.store32(topic, at: 4)
        bytes.store16(lane, at: 8)
        bytes.store16(0, at: 10)
        bytes.store32(attempt, at: 12)
        bytes.store64(firstSequence, at: 16)
        bytes.store64(deadline, at: 24)
        bytes.store32(creditBytes, at: 32)
        bytes.store32(0, at: 36)
        bytes.store64(generation, at: 40)
        bytes.store64(lastSequence, at: 48)
        bytes.store64(signature, at: 56)
    }
}

/// DELIVER: eight bytes, the lease and the ranges before a stored batch. The handle stands in the frame header.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | u16 | partition |
/// | 2 | u16 | flags: 1 = a lease follows |
/// | 4 | u32 | number of ranges; 0 where every record is meant |
/// | 8 | 64 | the lease, where the flag says so |
/// | … | 8 each | ranges: u32 first index, u32 last index, both included |
/// | … | … | the batch |
package struct DeliverHead {
    package static let byteCount = 8
    package static let rangeBytes = 8
    package static let hasLease: UInt16 = 1

    package var partition: UInt16
    /// Nil for a reader by position.
    package var lease: WireLease?
    /// The ranges as they are on the wire.
    package var ranges: UnsafeRawBufferPointer
    package var batch: BatchView

    /// Reads a delivery from a body; nil where it is malformed. The batch itself is not verified.
    package init?(_ body: UnsafeRawBufferPointer) {
        guard body.count > Self.byteCount else { return nil }
        let flags = body.load16(2)
        var start = Self.byteCount
        if flags & Self.hasLease != 0 {
            guard body.count > start + WireLease.byteCount else { return nil }
            lease = WireLease(body.slice(start..<start + WireLease.byteCount))
            start += WireLease.byteCount
        }
        let count = Int(body.load32(4))
        guard flags & ~Self.hasLease == 0, count <= (body.count - start) / Self.rangeBytes else { return nil }
        let batchAt = start + count * Self.rangeBytes
        guard let batch = BatchView(prefixOf: body.slice(batchAt..<body.count)) else { return nil }
        partition = body.load16(0)
        ranges = body.slice(start..<batchAt)
        self.batch = batch
    }

    package var rangeCount: Int { ranges.count / Self.rangeBytes }

    /// The range with this index, which is below `rangeCount`.
    package func range(_ index: Int) -> (first: UInt32, last: UInt32) {
        (ranges.load32(index * Self.rangeBytes), ranges.load32(index * Self.rangeBytes + 4))
    }

    /// Whether the ranges are ascending and within the batch.
    package var hasValidRanges: Bool {
        var from: UInt64 = 0
        for index in 0..<rangeCount {
            let (first, last) = range(index)
            guard UInt64(first) >= from, first <= last, Int(last) < batch.recordCount else { return false }
            from = UInt64(last) + 1
        }
        return true
    }
}

/// TOPIC_NAMED: u32 topic id, text its name. Comes before the first delivery of a consumer that has messages of it.
package struct TopicNamedBody: Equatable, Sendable {
    package var topic: UInt32
    package var name: String

    package init(topic: UInt32, name: String) {
        self.topic = topic
        self.name = name
    }

    package init?(_ reader: inout WireReader) {
        guard let topic = reader.u32(), let name = reader.text() else { return nil }
        self.init(topic: topic, name: name)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeU32(topic)
        buffer.writeText(name)
    }
}

/// COMMIT: everything of a partition before `offset` is done. The subscription's handle stands in the frame header.
package struct CommitRequest: Equatable, Sendable {
    package var partition: UInt16
    package var offset: UInt64

    package init(partition: UInt16, offset: UInt64) {
        self.partition = partition
        self.offset = offset
    }

    package init?(_ reader: inout WireReader) {
        guard let partition = reader.u16(), let offset = reader.u64() else { return nil }
        self.init(partition: partition, offset: offset)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(partition, offset, endianness: .little)
    }
}
