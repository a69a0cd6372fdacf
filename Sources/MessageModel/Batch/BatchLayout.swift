/// The byte layout of a batch: the same on the native wire, in the commit log and in a fetch. Little-endian.
///
/// | offset | size | field | checksum |
/// |---|---|---|---|
/// | 0 | u32 | length: bytes after this field | stamp |
/// | 4 | u16 | format, 1 | stamp |
/// | 6 | u16 | attributes: the server's copy of those at 62 | stamp |
/// | 8 | u64 | base offset, stamped by the server | stamp |
/// | 16 | u64 | append time in µs, stamped by the server | stamp |
/// | 24 | u32 | epoch of the shard, stamped by the server | stamp |
/// | 28 | u32 | stamp checksum: CRC32C over bytes 0..<28 | - |
/// | 32 | u32 | data checksum: CRC32C over bytes 36..<end, made by the producer, never recomputed | - |
/// | 36 | u32 | record count | data |
/// | 40 | u64 | producer id, 0 for none | data |
/// | 48 | u64 | base time of birth in µs | data |
/// | 56 | u32 | sequence of the first record | data |
/// | 60 | u16 | producer epoch | data |
/// | 62 | u16 | attributes | data |
/// | 64 | u32 | largest time delta in ms, rounded up | data |
/// | 68 | u32 | bytes of the records before compression | data |
/// | 72 | u32 | schema id, 0 for none | data |
/// | 76 | u32 | key id of the tenant's data key, 0 for none | data |
/// | 80 | … | records | data |
///
/// A record: varint length of what follows, u8 flags, then as the flags say: varint time delta in µs; varint length and
/// routing key; varint length and ordering key; varint length and properties; the rest is the body.
package enum BatchLayout {
    package static let format: UInt16 = 1
    package static let headerBytes = 80
    /// The part that only the server writes, and its checksum.
    package static let stampBytes = 32

    package static let lengthOffset = 0
    package static let formatOffset = 4
    package static let stampedAttributesOffset = 6
    package static let baseOffsetOffset = 8
    package static let appendTimeOffset = 16
    package static let epochOffset = 24
    package static let stampChecksumOffset = 28
    package static let dataChecksumOffset = 32
    package static let recordCountOffset = 36
    package static let producerIDOffset = 40
    package static let baseTimestampOffset = 48
    package static let baseSequenceOffset = 56
    package static let producerEpochOffset = 60
    package static let attributesOffset = 62
    package static let maxTimestampDeltaOffset = 64
    package static let rawLengthOffset = 68
    package static let schemaIDOffset = 72
    package static let keyIDOffset = 76
}

/// What a batch says of all its records.
package struct BatchAttributes: OptionSet, Sendable {
    package var rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }
    /// The three bits that name the compression; zero is none, and so far the only one supported.
    package static let codecMask: UInt16 = 0b111
    package static let transactional = BatchAttributes(rawValue: 1 << 3)
    package static let control = BatchAttributes(rawValue: 1 << 4)
    package static let sparseOffsets = BatchAttributes(rawValue: 1 << 5)
    package static let encrypted = BatchAttributes(rawValue: 1 << 6)
    package static let recordTable = BatchAttributes(rawValue: 1 << 7)
    /// Every record has the delivery class `atMostOnce`: a reader that is attached may have it before it is durable.
    package static let atMostOnce = BatchAttributes(rawValue: 1 << 8)
    /// What this version reads and writes.
    package static let supported: BatchAttributes = [.atMostOnce]
}

/// What a record's flags byte says.
package struct RecordFlags: OptionSet, Sendable {
    package var rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static let timestampDelta = RecordFlags(rawValue: 1 << 0)
    package static let routingKey = RecordFlags(rawValue: 1 << 1)
    package static let orderingKey = RecordFlags(rawValue: 1 << 2)
    package static let properties = RecordFlags(rawValue: 1 << 3)
    /// Two bits: the raw value of the `DeliveryClass`.
    package static let deliveryClassMask: UInt8 = 0b0011_0000
    package static let deliveryClassShift: UInt8 = 4
    /// The publisher asked that it be kept as the name's last value.
    package static let retain = RecordFlags(rawValue: 1 << 6)
    /// The routing key field holds the message's full name instead of the part below the topic.
    package static let absoluteName = RecordFlags(rawValue: 1 << 7)
}
