/// The fields of a record to be written; the memory is the caller's and is copied.
package struct RecordFields {
    /// The part of the name below the topic, or the whole name where `hasAbsoluteName`; nil for the topic's own name.
    package var routingKey: UnsafeRawBufferPointer?
    package var hasAbsoluteName = false
    package var orderingKey: UnsafeRawBufferPointer?
    /// Encoded properties, as a `PropertyWriter` makes them.
    package var properties = UnsafeRawBufferPointer(start: nil, count: 0)
    package var body = UnsafeRawBufferPointer(start: nil, count: 0)
    package var deliveryClass = DeliveryClass.atLeastOnce
    package var isRetained = false
    package var born = Timestamp.zero

    package init() {}
}

/// Writes batches into one reused buffer.
///
/// `begin`, then `append` for each record, then `finish`, which returns the bytes to send or store. The same builder
/// can then begin the next batch; the buffer stays.
package struct BatchBuilder: ~Copyable {
    private var buffer: GrowingBuffer
    package private(set) var recordCount = 0
    private var baseTimestamp = Timestamp.zero
    private var largestDelta: UInt64 = 0

    package init(capacity: Int = 4_096) {
        buffer = GrowingBuffer(capacity: max(capacity, BatchLayout.headerBytes))
        buffer.count = BatchLayout.headerBytes
    }

    /// The size that `finish` would return now.
    package var byteCount: Int { buffer.count }
    package var isEmpty: Bool { recordCount == 0 }

    /// Forgets what was appended.
    package mutating func begin() {
        buffer.count = BatchLayout.headerBytes
        recordCount = 0
        largestDelta = 0
        baseTimestamp = .zero
    }

    /// The most that a record with these fields adds.
    package static func sizeBound(_ record: RecordFields) -> Int {
        64 + (record.routingKey?.count ?? 0) + (record.orderingKey?.count ?? 0) + record.properties.count
            + record.body.count
    }

    package mutating func append(_ record: RecordFields) {
        buffer.reserve(Self.sizeBound(record))
        if recordCount == 0 { baseTimestamp = record.born }
        var flags = RecordFlags(rawValue: record.deliveryClass.rawValue << RecordFlags.deliveryClassShift)
        if record.isRetained { flags.insert(.retain) }
        var length = 1 + record.body.count
        // A clock that steps back gives the base time: the order of the log is not the clock's.
        let delta = record.born > baseTimestamp ? record.born.rawValue - baseTimestamp.rawValue : 0
        if delta > 0 {
            flags.insert(.timestampDelta)
            length += Varint.size(delta)
            largestDelta = max(largestDelta, delta)
        }
        if let key = record.routingKey {
            flags.insert(.routingKey)
            if record.hasAbsoluteName { flags.insert(.absoluteName) }
            length += Varint.size(UInt64(key.count)) + key.count
        }
        if let key = record.orderingKey {
            flags.insert(.orderingKey)
            length += Varint.size(UInt64(key.count)) + key.count
        }
        if !record.properties.isEmpty {
            flags.insert(.properties)
            length += Varint.size(UInt64(record.properties.count)) + record.properties.count
        }
        buffer.append(varint: UInt64(length))
        buffer.append(byte: flags.rawValue)
        if delta > 0 { buffer.append(varint: delta) }
        if let key = record.routingKey { field(key) }
        if let key = record.orderingKey { field(key) }
        if !record.properties.isEmpty { field(record.properties) }
        buffer.append(record.body)
        recordCount += 1
    }

    /// Completes the header and the checksum, and lends the batch to `body`.
    package mutating func finish<Result>(
        producer: ProducerID = .anonymous,
        producerEpoch: UInt16 = 0,
        baseSequence: UInt32 = 0,
        attributes: BatchAttributes = [],
        _ body: (UnsafeRawBufferPointer) throws -> Result
    ) rethrows -> Result {
        let header = buffer.memory
        let count = buffer.count
        header.store32(UInt32(count - 4), at: BatchLayout.lengthOffset)
        header.store16(BatchLayout.format, at: BatchLayout.formatOffset)
        header.store16(0, at: BatchLayout.stampedAttributesOffset)
        header.store64(0, at: BatchLayout.baseOffsetOffset)
        header.store64(0, at: BatchLayout.appendTimeOffset)
        header.store32(0, at: BatchLayout.epochOffset)
        header.store32(0, at: BatchLayout.stampChecksumOffset)
        header.store32(UInt32(recordCount), at: BatchLayout.recordCountOffset)
        header.store64(producer.rawValue, at: BatchLayout.producerIDOffset)
        header.store64(baseTimestamp.rawValue, at: BatchLayout.baseTimestampOffset)
        header.store32(baseSequence, at: BatchLayout.baseSequenceOffset)
        header.store16(producerEpoch, at: BatchLayout.producerEpochOffset)
        header.store16(attributes.rawValue, at: BatchLayout.attributesOffset)
        let deltaMs = min((largestDelta + 999) / 1_000, UInt64(UInt32.max))
        header.store32(UInt32(deltaMs), at: BatchLayout.maxTimestampDeltaOffset)
        header.store32(UInt32(count - BatchLayout.headerBytes), at: BatchLayout.rawLengthOffset)
        header.store32(0, at: BatchLayout.schemaIDOffset)
        header.store32(0, at: BatchLayout.keyIDOffset)
        let readable = buffer.bytes
        header.store32(Checksum.crc32c(readable.slice(36..<count)), at: BatchLayout.dataChecksumOffset)
        return try body(readable)
    }

    /// Gives the buffer back where a single large batch made it larger than `limit`.
    package mutating func shrink(to limit: Int) {
        guard recordCount == 0 else { return }
        buffer.shrink(to: max(limit, BatchLayout.headerBytes))
        buffer.count = BatchLayout.headerBytes
    }

    private mutating func field(_ value: UnsafeRawBufferPointer) {
        buffer.append(varint: UInt64(value.count))
        buffer.append(value)
    }
}
