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
        var walk = BatchWalk()
        return write(
            batch,
            first: first,
            count: count,
            baseOffset: baseOffset,
            appendTime: appendTime,
            after: &walk,
            into: &buffer
        )
    }

    /// As above, for several excerpts of one batch.
    /// - Parameter walk: how far its records were walked for the excerpt before. One whose records stand behind those does
    ///   not begin at the first again.
    package static func write(
        _ batch: BatchView,
        first: Int,
        count: Int,
        baseOffset: UInt64,
        appendTime: Timestamp,
        after walk: inout BatchWalk,
        into buffer: inout [UInt8]
    ) -> Bool {
        guard first >= 0, count > 0, first + count <= batch.recordCount else { return false }
        buffer.removeAll(keepingCapacity: true)
        if first == 0, count == batch.recordCount {
            buffer.append(contentsOf: batch.bytes)
        } else {
            guard let records = batch.bytes(ofRecords: first, count: count, after: &walk) else { return false }
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

    /// Writes a batch without some of its records.
    ///
    /// The sequences of those that stay end where those of all did, so that their producer goes on behind them.
    /// - Parameters:
    ///   - isLeftOut: asked for each record by its index, in order.
    ///   - buffer: its content is replaced.
    /// - Returns: how many records are left; where none is, there is no batch in `buffer`.
    package static func write(
        _ batch: BatchView,
        leavingOut isLeftOut: (Int) -> Bool,
        into buffer: inout [UInt8]
    ) -> Int {
        buffer.removeAll(keepingCapacity: true)
        buffer.append(contentsOf: batch.bytes.slice(0..<BatchLayout.headerBytes))
        var kept = 0
        var position = BatchLayout.headerBytes
        for index in 0..<batch.recordCount {
            let start = position
            guard let length = Varint.readLength(batch.bytes, &position) else { return 0 }
            position += length
            if isLeftOut(index) { continue }
            buffer.append(contentsOf: batch.bytes.slice(start..<position))
            kept += 1
        }
        let sequence = batch.baseSequence &+ UInt32(batch.recordCount - kept)
        buffer.withUnsafeMutableBytes { bytes in
            bytes.store32(UInt32(bytes.count - 4), at: BatchLayout.lengthOffset)
            bytes.store32(UInt32(kept), at: BatchLayout.recordCountOffset)
            bytes.store32(sequence, at: BatchLayout.baseSequenceOffset)
            bytes.store32(UInt32(bytes.count - BatchLayout.headerBytes), at: BatchLayout.rawLengthOffset)
            bytes.store32(
                Checksum.crc32c(UnsafeRawBufferPointer(bytes).slice(36..<bytes.count)),
                at: BatchLayout.dataChecksumOffset
            )
        }
        return kept
    }
}

extension BatchView {
    /// The bytes of some records that follow each other; nil where there are not so many.
    fileprivate func bytes(
        ofRecords first: Int,
        count: Int,
        after walk: inout BatchWalk
    ) -> UnsafeRawBufferPointer? {
        if first < walk.index { walk = BatchWalk() }
        var position = walk.position
        for _ in walk.index..<first {
            guard let length = Varint.readLength(bytes, &position) else { return nil }
            position += length
        }
        let start = position
        for _ in 0..<count {
            guard let length = Varint.readLength(bytes, &position) else { return nil }
            position += length
        }
        walk = BatchWalk(index: first + count, position: position)
        return bytes.slice(start..<position)
    }
}

/// A place between the records of one batch.
package struct BatchWalk: Sendable {
    /// Of the record behind it.
    fileprivate var index = 0
    fileprivate var position = BatchLayout.headerBytes

    /// The place before the first record of a batch.
    package init() {}

    fileprivate init(index: Int, position: Int) {
        self.index = index
        self.position = position
    }
}
