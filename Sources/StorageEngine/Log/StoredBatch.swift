internal import MessageModel

/// A batch as it stands in the log, in one of the kinds of record that hold one.
///
/// All begin with: topic u32, partition u16, traits u16. A batch that was published when it was stored follows at once; one
/// that is held back has, before it, why (u8, seven zero bytes) and the transaction u64.
struct StoredBatch {
    /// Why a batch is not published when it is stored.
    enum Hold: UInt8 {
        /// Its messages wait for their times.
        case scheduled = 1
        /// It waits for its transaction.
        case prepared = 2
        /// It is published by the next record that names it, or never.
        case internalCopy = 3
    }

    let partition: PartitionID
    let traits: UInt16
    let batch: BatchView
    /// Nil where it was published when it was stored.
    let hold: Hold?
    let transaction: UInt64

    var isPublished: Bool { hold == nil }

    /// What a held batch has before the batch.
    static let heldPrefixBytes = LogRecord.batchPrefixBytes + 16

    init?(_ record: LogRecord.View) {
        let payload = record.payload
        switch record.kind {
        case .batch:
            guard payload.count > LogRecord.batchPrefixBytes,
                let batch = BatchView(prefixOf: payload.slice(LogRecord.batchPrefixBytes..<payload.count))
            else { return nil }
            self.batch = batch
            hold = nil
            transaction = 0
        case .held:
            guard payload.count > Self.heldPrefixBytes, let hold = Hold(rawValue: payload[8]),
                let batch = BatchView(prefixOf: payload.slice(Self.heldPrefixBytes..<payload.count))
            else { return nil }
            self.batch = batch
            self.hold = hold
            transaction = payload.load64(16)
        default:
            return nil
        }
        partition = PartitionID(topic: TopicID(rawValue: payload.load32(0)), index: payload.load16(4))
        traits = payload.load16(6)
    }
}
