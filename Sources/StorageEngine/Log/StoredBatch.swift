package import MessageModel

/// A batch as it stands in the log, in one of the kinds of record that hold one.
///
/// All begin with: topic u32, partition u16, traits u16. A batch that was published when it was stored follows at once; one
/// that is held back has, before it, why (u8, three zero bytes), the index of a record u32, and the transaction u64. A copy has the
/// position of what it is a copy of instead of the transaction (zero for none), then when that was due u64, and behind the
/// batch changes of delivery states as a `DeliveryJournal` writes them.
struct StoredBatch {
    /// Why a batch is not published when it is stored.
    enum Hold: UInt8 {
        /// Its messages wait for their times.
        case scheduled = 1
        /// It waits for its transaction.
        case prepared = 2
        /// It is published by the next record that names it, or never.
        case internalCopy = 3
        /// It was published when it was stored. A message that was stored before is published by a copy where its routes do
        /// not fit into a record: those of a copy follow from the bindings at its place in the log.
        case publishedCopy = 4
    }

    let partition: PartitionID
    let traits: UInt16
    let batch: BatchView
    /// Nil where it was published when it was stored.
    let hold: Hold?
    let transaction: UInt64
    /// The scheduled message that a copy publishes.
    let scheduled: HeldMessages.Mark?
    /// What happens together with the publication of a copy. Lent.
    let changes: UnsafeRawBufferPointer
    /// What stands behind the batch: changes of session states.
    let rest: UnsafeRawBufferPointer

    var isPublished: Bool { hold == nil || hold == .publishedCopy }

    /// What a held batch has before the batch.
    static let heldPrefixBytes = LogRecord.batchPrefixBytes + 16
    static let copyPrefixBytes = heldPrefixBytes + 8

    /// The batch in a record.
    /// - Parameter name: the position that the record was first stored at.
    init?(_ record: LogRecord.View, named name: UInt64) {
        guard record.kind == .moved else {
            guard record.position == name else { return nil }
            self.init(record)
            return
        }
        guard let moved = MovedRecord(record.payload), moved.position == name else { return nil }
        self.init(moved.kind, moved.payload)
    }

    init?(_ record: LogRecord.View) { self.init(record.kind, record.payload) }

    init?(_ moved: MovedRecord) { self.init(moved.kind, moved.payload) }

    private init?(_ kind: LogRecord.Kind, _ payload: UnsafeRawBufferPointer) {
        switch kind {
        case .batch:
            guard payload.count > LogRecord.batchPrefixBytes,
                let batch = BatchView(prefixOf: payload.slice(LogRecord.batchPrefixBytes..<payload.count))
            else { return nil }
            self.batch = batch
            hold = nil
            transaction = 0
            scheduled = nil
            changes = UnsafeRawBufferPointer(start: nil, count: 0)
            rest = payload.slice(LogRecord.batchPrefixBytes + batch.byteCount..<payload.count)
        case .held:
            guard payload.count > Self.copyPrefixBytes, let hold = Hold(rawValue: payload[8]) else { return nil }
            let prefix = hold == .publishedCopy ? Self.copyPrefixBytes : Self.heldPrefixBytes
            guard let batch = BatchView(prefixOf: payload.slice(prefix..<payload.count)) else { return nil }
            self.batch = batch
            self.hold = hold
            rest = UnsafeRawBufferPointer(start: nil, count: 0)
            if hold == .publishedCopy {
                transaction = 0
                let position = payload.load64(16)
                let due = Timestamp(rawValue: payload.load64(24))
                scheduled = position == 0 ? nil : .init(due: due, position: position, record: payload.load32(12))
                changes = payload.slice(prefix + batch.byteCount..<payload.count)
            } else {
                transaction = payload.load64(16)
                scheduled = nil
                changes = UnsafeRawBufferPointer(start: nil, count: 0)
            }
        default:
            return nil
        }
        partition = PartitionID(topic: TopicID(rawValue: payload.load32(0)), index: payload.load16(4))
        traits = payload.load16(6)
    }
}

extension LogRecord.View {
    /// The batch of messages that it holds, which were published when they were stored, also where it was moved; nil for
    /// records of other kinds. For those who look at a log from outside.
    package var publishedBatch: BatchView? {
        let stored = kind == .moved ? MovedRecord(payload).flatMap { StoredBatch($0) } : StoredBatch(self)
        return stored.flatMap { $0.isPublished ? $0.batch : nil }
    }
}
