package import MessageModel
package import NIOCore

/// A topic in a request: u8 form, then u32 id (form 0) or text, its address (form 1).
package enum WireTopic: Equatable, Sendable {
    case id(UInt32)
    case address(String)

    package init?(_ reader: inout WireReader) {
        switch reader.u8() {
        case 0:
            guard let id = reader.u32() else { return nil }
            self = .id(id)
        case 1:
            guard let address = reader.text() else { return nil }
            self = .address(address)
        default: return nil
        }
    }

    package func write(to buffer: inout ByteBuffer) {
        switch self {
        case .id(let id):
            buffer.writeU8(0)
            buffer.writeU32(id)
        case .address(let address):
            buffer.writeU8(1)
            buffer.writeText(address)
        }
    }
}

/// FETCH: stored batches from an offset on.
package struct FetchBody: Equatable, Sendable {
    package var partition: UInt16
    package var waitMs: UInt32
    package var maxBytes: UInt32
    package var offset: UInt64
    package var topic: WireTopic

    package init(partition: UInt16, waitMs: UInt32, maxBytes: UInt32, offset: UInt64, topic: WireTopic) {
        self.partition = partition
        self.waitMs = waitMs
        self.maxBytes = maxBytes
        self.offset = offset
        self.topic = topic
    }

    package init?(_ reader: inout WireReader) {
        guard let partition = reader.u16(), let waitMs = reader.u32(), let maxBytes = reader.u32(),
            let offset = reader.u64(), let topic = WireTopic(&reader)
        else { return nil }
        self.init(partition: partition, waitMs: waitMs, maxBytes: maxBytes, offset: offset, topic: topic)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(partition, waitMs, maxBytes, offset, endianness: .little)
        topic.write(to: &buffer)
    }
}

/// The answer to FETCH: the bounds of the partition, and whole batches one behind the other.
package struct FetchResult {
    package var topic: UInt32
    package var firstOffset: UInt64
    package var nextOffset: UInt64
    package var batches: UnsafeRawBufferPointer

    package init?(_ reader: inout WireReader) {
        guard let topic = reader.u32(), let firstOffset = reader.u64(), let nextOffset = reader.u64(),
            let count = reader.u32(), let batches = reader.raw(Int(count))
        else { return nil }
        self.topic = topic
        self.firstOffset = firstOffset
        self.nextOffset = nextOffset
        self.batches = batches
    }

    package static func write(
        topic: UInt32,
        firstOffset: UInt64,
        nextOffset: UInt64,
        batches: [UInt8],
        to buffer: inout ByteBuffer
    ) {
        buffer.writeMultipleIntegers(
            topic,
            firstOffset,
            nextOffset,
            UInt32(truncatingIfNeeded: batches.count),
            endianness: .little
        )
        buffer.writeBytes(batches)
    }
}

/// FIND_OFFSET: a place in a partition in other words than an offset.
package struct FindOffsetBody: Equatable, Sendable {
    package var partition: UInt16
    /// An offset is not a query and refused.
    package var query: WireStart
    package var topic: WireTopic

    package init(partition: UInt16, query: WireStart, topic: WireTopic) {
        self.partition = partition
        self.query = query
        self.topic = topic
    }

    package init?(_ reader: inout WireReader) {
        guard let partition = reader.u16(), let query = WireStart(&reader), let topic = WireTopic(&reader) else {
            return nil
        }
        self.init(partition: partition, query: query, topic: topic)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeU16(partition)
        query.write(to: &buffer)
        topic.write(to: &buffer)
    }
}

package struct FoundOffset: Equatable, Sendable {
    package var offset: UInt64
    /// When that message was stored; 0 where there is none yet.
    package var time: Timestamp

    package init(offset: UInt64, time: Timestamp) {
        self.offset = offset
        self.time = time
    }

    package init?(_ reader: inout WireReader) {
        guard let offset = reader.u64(), let time = reader.u64() else { return nil }
        self.init(offset: offset, time: Timestamp(rawValue: time))
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(offset, time.rawValue, endianness: .little)
    }
}
