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
        package static let known: Flags = [.create]
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

/// DELIVER: eight bytes and the ranges before a stored batch. The handle stands in the frame header.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | u16, u16 | partition; reserved, 0 |
/// | 4 | u32 | number of ranges; 0 where every record is meant |
/// | 8 | 8 each | ranges: u32 first index, u32 last index, both included |
/// | … | … | the batch |
package struct DeliverHead {
    package static let byteCount = 8
    package static let rangeBytes = 8

    package var partition: UInt16
    /// The ranges as they are on the wire.
    package var ranges: UnsafeRawBufferPointer
    package var batch: BatchView

    /// Reads a delivery from a body; nil where it is malformed. The batch itself is not verified.
    package init?(_ body: UnsafeRawBufferPointer) {
        guard body.count > Self.byteCount else { return nil }
        let count = Int(body.load32(4))
        guard count <= (body.count - Self.byteCount) / Self.rangeBytes else { return nil }
        let batchAt = Self.byteCount + count * Self.rangeBytes
        guard let batch = BatchView(prefixOf: body.slice(batchAt..<body.count)) else { return nil }
        partition = body.load16(0)
        ranges = body.slice(Self.byteCount..<batchAt)
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
