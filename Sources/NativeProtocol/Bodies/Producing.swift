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

/// PRODUCE: what stands before a batch. The handle stands in the frame header.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | u16 | partition |
/// | 2 | u8 | acknowledgement |
/// | 3 | u8 | flags: 1 = a transaction follows |
/// | 4 | u64 | the transaction, where the flag says so |
package struct ProduceHead: Equatable, Sendable {
    /// Without a transaction.
    package static let byteCount = 4
    private static let hasTransaction: UInt8 = 1

    package var partition: UInt16
    /// The raw value of an `Acknowledgement`.
    package var acknowledgement: UInt8
    package var transaction: UInt64?

    package init(partition: UInt16, acknowledgement: Acknowledgement, transaction: UInt64? = nil) {
        self.partition = partition
        self.acknowledgement = acknowledgement.rawValue
        self.transaction = transaction
    }

    /// Reads the head of a body and the batch behind it, which is the whole rest of it: on the path of every batch, so
    /// without a `WireReader`.
    /// - Returns: nil where the body is not just a head and one batch (a tail may follow where `flags` says so).
    @inline(__always)
    package static func read(
        _ body: UnsafeRawBufferPointer,
        flags: FrameFlags
    ) -> (head: ProduceHead, batch: BatchView)? {
        guard body.count > byteCount, let acknowledgement = Acknowledgement(rawValue: body[2]) else { return nil }
        var head = ProduceHead(partition: body.load16(0), acknowledgement: acknowledgement)
        var start = byteCount
        if body[3] != 0 {
            guard body[3] == hasTransaction, body.count > byteCount + 8 else { return nil }
            head.transaction = body.load64(byteCount)
            start += 8
        }
        guard let batch = BatchView(prefixOf: body.slice(start..<body.count)),
            batch.byteCount == body.count - start || flags.contains(.tail)
        else { return nil }
        return (head, batch)
    }

    package func write(to buffer: inout ByteBuffer) {
        let flags = transaction == nil ? 0 : Self.hasTransaction
        buffer.writeMultipleIntegers(partition, acknowledgement, flags, endianness: .little)
        if let transaction { buffer.writeU64(transaction) }
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
/// | … | 12 each | version 2, for each run whose offset is the largest number: u64, u32 of a `WireScheduledID` |
package struct ProduceAck: Equatable, Sendable {
    /// Sequences without a gap that have offsets without a gap.
    package struct Run: Equatable, Sendable {
        package static let byteCount = 16
        /// The offset of what has none yet, because it waits for its time or its transaction. Such a run is one batch.
        package static let waits = UInt64.max

        package var firstSequence: UInt32
        /// 0 in a refusal.
        package var count: UInt32
        package var baseOffset: UInt64
        /// Of the first record, where it waits for its time.
        package var scheduled: WireScheduledID?

        package init(firstSequence: UInt32, count: UInt32, baseOffset: UInt64, scheduled: WireScheduledID? = nil) {
            self.firstSequence = firstSequence
            self.count = count
            self.baseOffset = baseOffset
            self.scheduled = scheduled
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

    package init?(_ reader: inout WireReader, version: UInt16) {
        guard let status = ResponseStatus(&reader), let partition = reader.u16(), reader.u16() != nil,
            let count = reader.u32(), let position = reader.u64(), Int(count) <= reader.remaining / Run.byteCount
        else { return nil }
        var runs: [Run] = []
        runs.reserveCapacity(Int(count))
        for _ in 0..<count {
            guard let first = reader.u32(), let records = reader.u32(), let offset = reader.u64() else { return nil }
            runs.append(Run(firstSequence: first, count: records, baseOffset: offset))
        }
        if version > 1, status.isOK {
            for index in runs.indices where runs[index].baseOffset == Run.waits {
                guard let scheduled = WireScheduledID(&reader) else { return nil }
                if scheduled.position > 0 { runs[index].scheduled = scheduled }
            }
        }
        self.init(status: status, partition: partition, position: position, runs: runs)
    }

    package func write(to buffer: inout ByteBuffer, version: UInt16) {
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
        guard version > 1, status.isOK else { return }
        for run in runs where run.baseOffset == Run.waits {
            (run.scheduled ?? WireScheduledID(position: 0, record: 0)).write(to: &buffer)
        }
    }
}

extension ProduceAck {
    /// Why a batch is not stored, with the texts of the frame that says so; nil where it is.
    package func refusal(_ frame: Frame) -> SluiceError? {
        guard !status.isOK else { return nil }
        let code = status.code ?? .internal
        var error = SluiceError(code, code.rendering.title)
        var reader = WireReader(frame.body)
        guard frame.header.flags.contains(.tail), reader.raw(24 + runs.count * Run.byteCount) != nil else {
            return error
        }
        while let (id, value) = Tail.next(&reader) {
            if id == Tail.message { error.message = String(decoding: value, as: UTF8.self) }
            if id == Tail.hint { error.hint = String(decoding: value, as: UTF8.self) }
        }
        return error
    }
}
