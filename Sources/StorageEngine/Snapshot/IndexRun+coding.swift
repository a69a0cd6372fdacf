internal import MessageModel

/// Runs as a snapshot keeps them: each as its distance from the one before, because there can be many.
extension IndexRun {
    /// Segment, epoch, first offset, count of offsets, first time, last time, place in the file, count of entries, bytes:
    /// varints; segment, first offset and first time as what they are behind the end of the run before.
    func encode(behind last: IndexRun?, to writer: inout ByteWriter) {
        writer.writeVarint(segment &- (last?.segment ?? 0))
        writer.writeVarint(UInt64(epoch))
        writer.writeVarint(firstOffset &- (last?.nextOffset ?? 0))
        writer.writeVarint(nextOffset &- firstOffset)
        writer.writeVarint(firstTime &- (last?.lastTime ?? 0))
        writer.writeVarint(lastTime &- firstTime)
        writer.writeVarint(fileOffset)
        writer.writeVarint(UInt64(count))
        writer.writeVarint(bytes)
    }

    /// Nil where the bytes end early.
    init?(behind last: IndexRun?, from reader: inout ByteReader) {
        guard let segment = reader.readVarint(), let epoch = reader.readVarint32(), let first = reader.readVarint(),
            let length = reader.readVarint(), let firstTime = reader.readVarint(), let duration = reader.readVarint(),
            let place = reader.readVarint(), let count = reader.readVarint32(), let bytes = reader.readVarint()
        else { return nil }
        let firstOffset = (last?.nextOffset ?? 0) &+ first
        let start = (last?.lastTime ?? 0) &+ firstTime
        self.init(
            segment: (last?.segment ?? 0) &+ segment,
            epoch: epoch,
            firstOffset: firstOffset,
            nextOffset: firstOffset &+ length,
            firstTime: start,
            lastTime: start &+ duration,
            fileOffset: place,
            count: count,
            bytes: bytes
        )
    }
}
