package import MessageModel
package import NIOCore

/// OPEN_PRODUCER: asks for a handle to produce to an address with.
package struct OpenProducerRequest: Equatable, Sendable {
    package struct Flags: OptionSet, Sendable {
        package var rawValue: UInt16
        package init(rawValue: UInt16) { self.rawValue = rawValue }
        /// No identity: batches carry the producer id 0 and are not deduplicated.
        package static let anonymous = Flags(rawValue: 1 << 0)
        package static let known: Flags = [.anonymous]
    }

    package var flags: Flags
    /// The identity to go on with after a reconnect; 0 for a new one.
    package var resume: UInt64
    /// A topic's name, or any name that a topic holds.
    package var address: String

    package init(flags: Flags = [], resume: UInt64 = 0, address: String) {
        self.flags = flags
        self.resume = resume
        self.address = address
    }

    package init?(_ reader: inout WireReader) {
        guard let flags = reader.u16(), let resume = reader.u64(), let address = reader.text() else { return nil }
        self.init(flags: Flags(rawValue: flags), resume: resume, address: address)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(flags.rawValue, resume, endianness: .little)
        buffer.writeText(address)
    }
}

package struct OpenProducerResponse: Equatable, Sendable {
    package var handle: UInt32
    package var topic: UInt32
    package var producer: UInt64
    package var epoch: UInt16
    package var partitions: UInt16
    /// The sequence that partition 0 expects next of this producer.
    package var nextSequence: UInt32
    package var topicName: String
    /// Whether records carry `routingKey` as their routing key field; where not, they have none.
    package var hasRoutingKey: Bool
    /// The routing key is the whole name: records set the flag `absoluteName`.
    package var isAbsolute: Bool
    package var routingKey: [UInt8]

    package init(
        handle: UInt32,
        topic: UInt32,
        producer: UInt64,
        epoch: UInt16,
        partitions: UInt16,
        nextSequence: UInt32,
        topicName: String,
        hasRoutingKey: Bool,
        isAbsolute: Bool,
        routingKey: [UInt8]
    ) {
        self.handle = handle
        self.topic = topic
        self.producer = producer
        self.epoch = epoch
        self.partitions = partitions
        self.nextSequence = nextSequence
        self.topicName = topicName
        self.hasRoutingKey = hasRoutingKey
        self.isAbsolute = isAbsolute
        self.routingKey = routingKey
    }

    package init?(_ reader: inout WireReader) {
        guard let handle = reader.u32(), let topic = reader.u32(), let producer = reader.u64(),
            let epoch = reader.u16(), let partitions = reader.u16(), let nextSequence = reader.u32(),
            let topicName = reader.text(), let placement = reader.u8(), let routingKey = reader.bytes16()
        else { return nil }
        self.init(
            handle: handle,
            topic: topic,
            producer: producer,
            epoch: epoch,
            partitions: partitions,
            nextSequence: nextSequence,
            topicName: topicName,
            hasRoutingKey: placement & 1 != 0,
            isAbsolute: placement & 2 != 0,
            routingKey: Array(routingKey)
        )
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(handle, topic, producer, epoch, partitions, nextSequence, endianness: .little)
        buffer.writeText(topicName)
        buffer.writeU8((hasRoutingKey ? 1 : 0) | (isAbsolute ? 2 : 0))
        buffer.writeBytes16(routingKey)
    }
}

/// PRODUCE: four bytes before a batch. The handle stands in the frame header.
package struct ProduceHead: Equatable, Sendable {
    package static let byteCount = 4

    package var partition: UInt16
    /// The raw value of an `Acknowledgement`.
    package var acknowledgement: UInt8

    package init(partition: UInt16, acknowledgement: Acknowledgement) {
        self.partition = partition
        self.acknowledgement = acknowledgement.rawValue
    }

    /// Reads the head of a body and the batch behind it, which is the whole rest of it: on the path of every batch, so
    /// without a `WireReader`.
    /// - Returns: nil where the body is not just a head and one batch (a tail may follow where `flags` says so).
    @inline(__always)
    package static func read(
        _ body: UnsafeRawBufferPointer,
        flags: FrameFlags
    ) -> (head: ProduceHead, batch: BatchView)? {
        guard body.count > byteCount, body[3] == 0,
            let batch = BatchView(prefixOf: body.slice(byteCount..<body.count)),
            batch.byteCount == body.count - byteCount || flags.contains(.tail),
            let acknowledgement = Acknowledgement(rawValue: body[2])
        else { return nil }
        return (ProduceHead(partition: body.load16(0), acknowledgement: acknowledgement), batch)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(partition, acknowledgement, UInt8(0), endianness: .little)
    }
}

/// PRODUCE_ACK: which sequences are stored where, or why a batch is not.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | status |
/// | 8 | u16, u16 | partition; reserved, 0 |
/// | 12 | u32 | number of runs |
/// | 16 | u64 | the place in the commit log behind the last of them |
/// | 24 | 16 each | runs: u32 first sequence, u32 records, u64 offset of the first |
package struct ProduceAck: Equatable, Sendable {
    /// Sequences without a gap that have offsets without a gap.
    package struct Run: Equatable, Sendable {
        package static let byteCount = 16
        package var firstSequence: UInt32
        /// 0 in a refusal.
        package var count: UInt32
        package var baseOffset: UInt64
        package init(firstSequence: UInt32, count: UInt32, baseOffset: UInt64) {
            self.firstSequence = firstSequence
            self.count = count
            self.baseOffset = baseOffset
        }
    }

    package var status: ResponseStatus
    package var partition: UInt16
    package var position: UInt64
    package var runs: [Run]

    package init(status: ResponseStatus, partition: UInt16, position: UInt64, runs: [Run]) {
        self.status = status
        self.partition = partition
        self.position = position
        self.runs = runs
    }

    package init?(_ reader: inout WireReader) {
        guard let status = ResponseStatus(&reader), let partition = reader.u16(), reader.u16() != nil,
            let count = reader.u32(), let position = reader.u64(), Int(count) <= reader.remaining / Run.byteCount
        else { return nil }
        var runs: [Run] = []
        runs.reserveCapacity(Int(count))
        for _ in 0..<count {
            guard let first = reader.u32(), let records = reader.u32(), let offset = reader.u64() else { return nil }
            runs.append(Run(firstSequence: first, count: records, baseOffset: offset))
        }
        self.init(status: status, partition: partition, position: position, runs: runs)
    }

    package func write(to buffer: inout ByteBuffer) {
        status.write(to: &buffer)
        buffer.writeMultipleIntegers(
            partition,
            UInt16(0),
            UInt32(truncatingIfNeeded: runs.count),
            position,
            endianness: .little
        )
        for run in runs {
            buffer.writeMultipleIntegers(run.firstSequence, run.count, run.baseOffset, endianness: .little)
        }
    }
}
