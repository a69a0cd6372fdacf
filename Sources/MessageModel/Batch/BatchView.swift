/// Why the bytes of a batch were refused.
package enum BatchError: Error, Equatable, Sendable {
    /// Fewer bytes than the header or than the length field says, or more.
    case length
    case format(UInt16)
    /// Attributes that this version does not support: the bits in question.
    case attributes(UInt16)
    case checksum
    case stampChecksum
    case recordCount(UInt32)
    /// The record with this index is malformed.
    case record(Int)
}

/// The bytes of one batch, read in place. Valid only as long as the memory below it.
package struct BatchView {
    package let bytes: UnsafeRawBufferPointer

    /// The batch at the beginning of `bytes`, which may go on behind it; nil where the whole batch is not there or its
    /// length is not that of a batch. Nothing else is checked.
    package init?(prefixOf bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= BatchLayout.headerBytes else { return nil }
        let length = Int(bytes.load32(BatchLayout.lengthOffset)) + 4
        guard length >= BatchLayout.headerBytes, length <= bytes.count, length <= Limits.batchBytes else { return nil }
        self.bytes = bytes.slice(0..<length)
    }

    package var byteCount: Int { bytes.count }
    package var format: UInt16 { bytes.load16(BatchLayout.formatOffset) }
    package var attributes: BatchAttributes { BatchAttributes(rawValue: bytes.load16(BatchLayout.attributesOffset)) }
    package var baseOffset: UInt64 { bytes.load64(BatchLayout.baseOffsetOffset) }
    package var appendTime: Timestamp { Timestamp(rawValue: bytes.load64(BatchLayout.appendTimeOffset)) }
    package var epoch: UInt32 { bytes.load32(BatchLayout.epochOffset) }
    package var recordCount: Int { Int(bytes.load32(BatchLayout.recordCountOffset)) }
    package var producer: ProducerID { ProducerID(rawValue: bytes.load64(BatchLayout.producerIDOffset)) }
    package var producerEpoch: UInt16 { bytes.load16(BatchLayout.producerEpochOffset) }
    package var baseSequence: UInt32 { bytes.load32(BatchLayout.baseSequenceOffset) }
    package var baseTimestamp: Timestamp { Timestamp(rawValue: bytes.load64(BatchLayout.baseTimestampOffset)) }
    /// The offset behind the last record's.
    package var nextOffset: UInt64 { baseOffset &+ UInt64(recordCount) }

    /// Checks what a producer sent: header, checksum and the structure of every record, so that no reader behind this
    /// point meets a malformed one.
    /// - Returns: what its records have, gathered on the way.
    @discardableResult
    package func verify() throws(BatchError) -> BatchTraits {
        guard format == BatchLayout.format else { throw .format(format) }
        let unsupported = attributes.subtracting(.supported)
        guard unsupported.isEmpty else { throw .attributes(unsupported.rawValue) }
        let count = recordCount
        guard count > 0, count <= Limits.recordsPerBatch else { throw .recordCount(UInt32(count)) }
        guard Int(bytes.load32(BatchLayout.rawLengthOffset)) == byteCount - BatchLayout.headerBytes else {
            throw .length
        }
        guard hasValidDataChecksum else { throw .checksum }
        var cursor = records
        for index in 0..<count {
            guard cursor.next() != nil else { throw .record(index) }
        }
        guard cursor.isAtEnd else { throw .length }
        return cursor.traits
    }

    package var hasValidDataChecksum: Bool {
        Checksum.crc32c(bytes.slice(36..<bytes.count)) == bytes.load32(BatchLayout.dataChecksumOffset)
    }

    /// Whether the fields that the server stamped are as it stamped them.
    package var hasValidStamp: Bool {
        Checksum.crc32c(bytes.slice(0..<BatchLayout.stampChecksumOffset))
            == bytes.load32(BatchLayout.stampChecksumOffset)
    }

    /// The records from the first on.
    package var records: RecordCursor { RecordCursor(batch: self) }

    /// Writes the server's fields into a copy of a verified batch.
    package static func stamp(
        _ bytes: UnsafeMutableRawBufferPointer,
        baseOffset: UInt64,
        appendTime: Timestamp,
        epoch: UInt32
    ) {
        let readable = UnsafeRawBufferPointer(bytes)
        bytes.store16(BatchLayout.format, at: BatchLayout.formatOffset)
        bytes.store16(readable.load16(BatchLayout.attributesOffset), at: BatchLayout.stampedAttributesOffset)
        bytes.store64(baseOffset, at: BatchLayout.baseOffsetOffset)
        bytes.store64(appendTime.rawValue, at: BatchLayout.appendTimeOffset)
        bytes.store32(epoch, at: BatchLayout.epochOffset)
        let checksum = Checksum.crc32c(readable.slice(0..<BatchLayout.stampChecksumOffset))
        bytes.store32(checksum, at: BatchLayout.stampChecksumOffset)
    }
}
