/// One record of a batch, read in place. Valid only as long as the memory below it.
package struct RecordView {
    package let flags: RecordFlags
    /// Microseconds from the batch's base time to this message's birth.
    package let timestampDelta: UInt64
    /// The part of the name below the topic, or the whole name where `flags` has `absoluteName`. Nil where the message
    /// was published to the topic's own name.
    package let routingKey: UnsafeRawBufferPointer?
    package let orderingKey: UnsafeRawBufferPointer?
    /// The encoded properties, to be read with a `PropertyCursor`; empty where there are none.
    package let properties: UnsafeRawBufferPointer
    package let body: UnsafeRawBufferPointer

    package var deliveryClass: DeliveryClass {
        let raw = (flags.rawValue & RecordFlags.deliveryClassMask) >> RecordFlags.deliveryClassShift
        return DeliveryClass(rawValue: raw) ?? .atLeastOnce
    }

    package var isRetained: Bool { flags.contains(.retain) }
    package var hasAbsoluteName: Bool { flags.contains(.absoluteName) }

    /// Reads the record at `position` and moves past it; nil where it is malformed. What it has is added to `traits`.
    static func read(
        _ bytes: UnsafeRawBufferPointer,
        _ position: inout Int,
        traits: inout BatchTraits
    ) -> RecordView? {
        guard let length = Varint.readLength(bytes, &position), length >= 1 else { return nil }
        let record = bytes.slice(position..<position + length)
        let flags = RecordFlags(rawValue: record[0])
        guard flags.rawValue & RecordFlags.deliveryClassMask != RecordFlags.deliveryClassMask else { return nil }
        var next = 1
        var timestampDelta: UInt64 = 0
        if flags.contains(.timestampDelta) {
            guard let value = Varint.read(record, &next) else { return nil }
            timestampDelta = value
        }
        var routingKey: UnsafeRawBufferPointer?
        if flags.contains(.routingKey) {
            guard let field = Self.field(record, &next, limit: Limits.nameBytes) else { return nil }
            routingKey = field
        } else if flags.contains(.absoluteName) {
            return nil
        }
        var orderingKey: UnsafeRawBufferPointer?
        if flags.contains(.orderingKey) {
            guard let field = Self.field(record, &next, limit: Limits.orderingKeyBytes) else { return nil }
            orderingKey = field
        }
        var properties = UnsafeRawBufferPointer(start: nil, count: 0)
        if flags.contains(.properties) {
            guard let field = Self.field(record, &next, limit: Limits.propertiesBytes) else { return nil }
            guard PropertyCursor.isWellFormed(field, traits: &traits) else { return nil }
            properties = field
        }
        traits.formUnion(BatchTraits(flags))
        position += length
        return RecordView(
            flags: flags,
            timestampDelta: timestampDelta,
            routingKey: routingKey,
            orderingKey: orderingKey,
            properties: properties,
            body: record.slice(next..<record.count)
        )
    }

    @inline(__always)
    private static func field(
        _ record: UnsafeRawBufferPointer,
        _ next: inout Int,
        limit: Int
    ) -> UnsafeRawBufferPointer? {
        guard let length = Varint.readLength(record, &next), length <= limit else { return nil }
        defer { next += length }
        return record.slice(next..<next + length)
    }
}

/// Walks the records of a batch in order.
package struct RecordCursor {
    private let bytes: UnsafeRawBufferPointer
    private var position = BatchLayout.headerBytes
    /// The index of the record that `next` returns next.
    package private(set) var index = 0
    /// What the records that were read so far have.
    package private(set) var traits: BatchTraits = []

    init(batch: BatchView) { bytes = batch.bytes }

    /// The next record; nil at the end, and where the bytes are malformed.
    package mutating func next() -> RecordView? {
        guard let record = RecordView.read(bytes, &position, traits: &traits) else { return nil }
        index += 1
        return record
    }

    package var isAtEnd: Bool { position == bytes.count }
}
