internal import MessageModel

/// A part of a checkpoint: a snapshot that stands in the log itself, so that older parts of the log can go.
///
/// Position that the snapshot is of u64, length of the whole u64, place of this part in it u64, then the bytes. The parts
/// of one follow each other, perhaps with other records between them; one that has not all its parts is none.
struct CheckpointPart {
    static let prefixBytes = 24
    var snapshotPosition: UInt64
    var totalBytes: UInt64
    var offset: UInt64
    var bytes: UnsafeRawBufferPointer

    func write(_ payload: UnsafeMutableRawBufferPointer) {
        payload.store64(snapshotPosition, at: 0)
        payload.store64(totalBytes, at: 8)
        payload.store64(offset, at: 16)
        UnsafeMutableRawBufferPointer(rebasing: payload[Self.prefixBytes...]).copyMemory(from: bytes)
    }

    init(snapshotPosition: UInt64, totalBytes: UInt64, offset: UInt64, bytes: UnsafeRawBufferPointer) {
        self.snapshotPosition = snapshotPosition
        self.totalBytes = totalBytes
        self.offset = offset
        self.bytes = bytes
    }

    init?(_ payload: UnsafeRawBufferPointer) {
        guard payload.count > Self.prefixBytes else { return nil }
        snapshotPosition = payload.load64(0)
        totalBytes = payload.load64(8)
        offset = payload.load64(16)
        bytes = payload.slice(Self.prefixBytes..<payload.count)
    }
}

/// A record that holds a batch, moved to the end of the log so that its segment can go.
///
/// Position that it was stored at first u64, number of the segment it stood in then u64, that segment's position u64, the
/// kind it had u8, seven zero bytes; then the payload that it had. Whoever names it goes on doing so by its first
/// position. A record that is moved again keeps what stands here.
struct MovedRecord {
    static let prefixBytes = 32
    var position: UInt64
    var originSegment: UInt64
    var originBase: UInt64
    var kind: LogRecord.Kind
    var payload: UnsafeRawBufferPointer

    /// That of its batch: records that hold one begin with it. Nil for a publication.
    var topic: TopicID? {
        kind != .published && payload.count >= 4 ? TopicID(rawValue: payload.load32(0)) : nil
    }

    func write(_ target: UnsafeMutableRawBufferPointer) {
        target.store64(position, at: 0)
        target.store64(originSegment, at: 8)
        target.store64(originBase, at: 16)
        target.store64(UInt64(kind.rawValue), at: 24)
        UnsafeMutableRawBufferPointer(rebasing: target[Self.prefixBytes...]).copyMemory(from: payload)
    }

    init(
        position: UInt64,
        originSegment: UInt64,
        originBase: UInt64,
        kind: LogRecord.Kind,
        payload: UnsafeRawBufferPointer
    ) {
        self.position = position
        self.originSegment = originSegment
        self.originBase = originBase
        self.kind = kind
        self.payload = payload
    }

    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > Self.prefixBytes, let kind = LogRecord.Kind(rawValue: bytes[24]),
            kind == .batch || kind == .held || kind == .published
        else { return nil }
        self.init(
            position: bytes.load64(0),
            originSegment: bytes.load64(8),
            originBase: bytes.load64(16),
            kind: kind,
            payload: bytes.slice(Self.prefixBytes..<bytes.count)
        )
    }
}
