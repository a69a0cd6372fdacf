package import MessageModel
package import NIOCore

/// A stored message in an answer.
///
/// | | |
/// |---|---|
/// | u32, text | id and name of its topic |
/// | u16, u64 | partition, offset |
/// | u32 | its index in the batch |
/// | u64, u32 | in a subscription: sequence, deliveries so far |
/// | u32, bytes | size, the batch |
package struct WireFound {
    package var topic: UInt32
    package var topicName: String
    package var partition: UInt16
    package var offset: UInt64
    package var record: UInt32
    package var sequence: UInt64
    package var attempts: UInt32
    package var batch: UnsafeRawBufferPointer

    package init?(_ reader: inout WireReader) {
        guard let topic = reader.u32(), let topicName = reader.text(), let partition = reader.u16(),
            let offset = reader.u64(), let record = reader.u32(), let sequence = reader.u64(),
            let attempts = reader.u32(), let size = reader.u32(), let batch = reader.raw(Int(size))
        else { return nil }
        self.topic = topic
        self.topicName = topicName
        self.partition = partition
        self.offset = offset
        self.record = record
        self.sequence = sequence
        self.attempts = attempts
        self.batch = batch
    }

    package static func write(
        topic: UInt32,
        topicName: String,
        partition: UInt16,
        offset: UInt64,
        record: UInt32,
        sequence: UInt64,
        attempts: UInt32,
        batch: [UInt8],
        to buffer: inout ByteBuffer
    ) {
        buffer.writeU32(topic)
        buffer.writeText(topicName)
        buffer.writeMultipleIntegers(
            partition,
            offset,
            record,
            sequence,
            attempts,
            UInt32(truncatingIfNeeded: batch.count),
            endianness: .little
        )
        buffer.writeBytes(batch)
    }
}

/// BROWSE: text name, u16 lane, u64 sequence to begin with, u16 messages.
package struct BrowseBody: Equatable, Sendable {
    package var name: String
    package var lane: UInt16
    package var from: UInt64
    package var limit: UInt16

    package init(name: String, lane: UInt16, from: UInt64, limit: UInt16) {
        self.name = name
        self.lane = lane
        self.from = from
        self.limit = limit
    }

    package init?(_ reader: inout WireReader) {
        guard let name = reader.text(), let lane = reader.u16(), let from = reader.u64(), let limit = reader.u16()
        else { return nil }
        self.init(name: name, lane: lane, from: from, limit: limit)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeText(name)
        buffer.writeMultipleIntegers(lane, from, limit, endianness: .little)
    }
}

/// SCAN_RETAINED: bytes16 filter, u16 limit, bytes16 name behind which to begin, empty for the beginning.
package struct ScanRetainedBody: Equatable, Sendable {
    package var filter: [UInt8]
    package var limit: UInt16
    package var after: [UInt8]

    package init(filter: [UInt8], limit: UInt16, after: [UInt8]) {
        self.filter = filter
        self.limit = limit
        self.after = after
    }

    package init?(_ reader: inout WireReader) {
        guard let filter = reader.bytes16(), let limit = reader.u16(), let after = reader.bytes16() else { return nil }
        self.init(filter: Array(filter), limit: limit, after: Array(after))
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeBytes16(filter)
        buffer.writeU16(limit)
        buffer.writeBytes16(after)
    }
}

/// LOOK_UP: u8 0 message id or 1 key, bytes16, text topic (empty for all), u64 from, u64 to, u16 limit.
package struct LookUpBody: Equatable, Sendable {
    package var isKey: Bool
    package var value: [UInt8]
    package var topic: String
    package var from: Timestamp
    package var to: Timestamp
    package var limit: UInt16

    package init(isKey: Bool, value: [UInt8], topic: String, from: Timestamp, to: Timestamp, limit: UInt16) {
        self.isKey = isKey
        self.value = value
        self.topic = topic
        self.from = from
        self.to = to
        self.limit = limit
    }

    package init?(_ reader: inout WireReader) {
        guard let kind = reader.u8(), kind <= 1, let value = reader.bytes16(), let topic = reader.text(),
            let from = reader.u64(), let to = reader.u64(), let limit = reader.u16()
        else { return nil }
        self.init(
            isKey: kind == 1,
            value: Array(value),
            topic: topic,
            from: Timestamp(rawValue: from),
            to: Timestamp(rawValue: to),
            limit: limit
        )
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeU8(isKey ? 1 : 0)
        buffer.writeBytes16(value)
        buffer.writeText(topic)
        buffer.writeMultipleIntegers(from.rawValue, to.rawValue, limit, endianness: .little)
    }
}

/// REDRIVE: text dead-letter topic, text selector, u32 messages a second, u64 limit; zeros for no limit.
package struct RedriveBody: Equatable, Sendable {
    package var topic: String
    package var selector: String
    package var rate: UInt32
    package var limit: UInt64

    package init(topic: String, selector: String, rate: UInt32, limit: UInt64) {
        self.topic = topic
        self.selector = selector
        self.rate = rate
        self.limit = limit
    }

    package init?(_ reader: inout WireReader) {
        guard let topic = reader.text(), let selector = reader.text(), let rate = reader.u32(),
            let limit = reader.u64()
        else { return nil }
        self.init(topic: topic, selector: selector, rate: rate, limit: limit)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeText(topic)
        buffer.writeText(selector)
        buffer.writeMultipleIntegers(rate, limit, endianness: .little)
    }
}
