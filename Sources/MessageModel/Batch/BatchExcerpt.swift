/// Some records of a stored batch as a batch of their own: with the same bytes for each record, and new stamps.
///
/// For readers of messages that became visible at another time than their batch, and for those that get only a few of
/// its messages.
package enum BatchExcerpt {
    /// Writes the records with indexes `first..<first + count` of `batch` into `buffer` as a batch.
    /// - Parameters:
    ///   - baseOffset: the offset of the first of them.
    ///   - buffer: its content is replaced.
    /// - Returns: false where the batch does not have these records.
    package static func write(
        _ batch: BatchView,
        first: Int,
        count: Int,
        baseOffset: UInt64,
        appendTime: Timestamp,
        into buffer: inout [UInt8]
    ) -> Bool {
        guard first >= 0, count > 0, first + count <= batch.recordCount else { return false }
        buffer.removeAll(keepingCapacity: true)
        if first == 0, count == batch.recordCount {
            buffer.append(contentsOf: batch.bytes)
        } else {
            guard let records = batch.bytes(ofRecords: first, count: count) else { return false }
            buffer.append(contentsOf: batch.bytes.slice(0..<BatchLayout.headerBytes))
            buffer.append(contentsOf: records)
        }
        let epoch = batch.epoch
        let isWhole = count == batch.recordCount
        buffer.withUnsafeMutableBytes { bytes in
            if !isWhole {
                bytes.store32(UInt32(bytes.count - 4), at: BatchLayout.lengthOffset)
                bytes.store32(UInt32(count), at: BatchLayout.recordCountOffset)
                bytes.store32(UInt32(bytes.count - BatchLayout.headerBytes), at: BatchLayout.rawLengthOffset)
                bytes.store32(
                    Checksum.crc32c(UnsafeRawBufferPointer(bytes).slice(36..<bytes.count)),
                    at: BatchLayout.dataChecksumOffset
                )
            }
            BatchView.stamp(bytes, baseOffset: baseOffset, appendTime: appendTime, epoch: epoch)
        }
        return true
    }
}

extension BatchView {
    /// The bytes of some records that follow each other; nil where there are not so many.
    fileprivate func bytes(ofRecords first: Int, count: Int) -> UnsafeRawBufferPointer? {
        var position = BatchLayout.headerBytes
        for _ in 0..<first {
            guard let length = Varint.readLength(bytes, &position) else { return nil }
            position += length
        }
        let start = position
        for _ in 0..<count {
            guard let length = Varint.readLength(bytes, &position) else { return nil }
            position += length
        }
        return bytes.slice(start..<position)
    }
}
