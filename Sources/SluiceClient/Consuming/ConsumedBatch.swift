internal import MessageModel
internal import NativeProtocol

/// Messages of one partition that were stored together, in the order of their offsets.
public struct ConsumedBatch: Sendable, Sequence {
    let storage: BatchStorage
    /// Indexes of the records that are meant, both ends included, ascending; nil for all.
    let ranges: [Range<UInt32>]?
    public let topic: String
    public let partition: Int
    /// The number of messages that iterating gives.
    public let count: Int
    /// The offset behind the batch: where to go on after it.
    public let nextOffset: UInt64
    /// The credit that it used, and the attachment that it came by.
    let creditMessages: UInt64
    var creditBytes: UInt64
    let attachment: Int

    /// - Parameters:
    ///   - batch: its data checksum and attributes have been checked.
    ///   - ranges: within the batch.
    ///   - position: records before this offset are left out.
    init(
        batch: BatchView,
        ranges: [Range<UInt32>]?,
        topic: String,
        topicBytes: [UInt8],
        partition: Int,
        from position: UInt64,
        attachment: Int
    ) {
        let recordCount = UInt32(truncatingIfNeeded: batch.recordCount)
        let sent = ranges ?? [0..<recordCount]
        creditMessages = sent.reduce(0) { $0 + UInt64($1.count) }
        creditBytes = UInt64(batch.byteCount)
        let skipped: UInt32
        if position <= batch.baseOffset {
            skipped = 0
        } else {
            skipped = UInt32(clamping: position - batch.baseOffset)
        }
        var kept = sent
        if skipped > 0 {
            kept = sent.compactMap { $0.upperBound > skipped ? Swift.max($0.lowerBound, skipped)..<$0.upperBound : nil }
        }
        count = kept.reduce(0) { $0 + $1.count }
        self.ranges = count == Int(recordCount) ? nil : kept
        storage = BatchStorage(copying: batch.bytes, topic: topic, topicBytes: topicBytes)
        self.topic = topic
        self.partition = partition
        nextOffset = batch.nextOffset
        self.attachment = attachment
    }

    /// What is wrong with a batch that cannot be read; nil where nothing is.
    static func problem(_ batch: BatchView) -> SluiceClientError? {
        guard batch.format == BatchLayout.format, batch.attributes.isSubset(of: .supported) else {
            return SluiceClientError(.notSupported, "a batch has a format that this client does not read")
        }
        guard batch.hasValidDataChecksum else {
            return SluiceClientError(
                .init(.checksumMismatch),
                "the batch at offset \(batch.baseOffset) is damaged",
                hint: "see the server's log"
            )
        }
        return nil
    }

    public func makeIterator() -> Iterator { Iterator(self) }

    public struct Iterator: IteratorProtocol {
        private let storage: BatchStorage
        private let ranges: [Range<UInt32>]?
        private let partition: Int
        private let baseOffset: UInt64
        private let baseTime: UInt64
        private let appendTime: UInt64
        private var cursor: RecordCursor?
        private var range = 0

        init(_ batch: ConsumedBatch) {
            storage = batch.storage
            ranges = batch.ranges
            partition = batch.partition
            // The storage holds a whole batch, as the initialiser of its owner has seen.
            let view = BatchView(prefixOf: batch.storage.bytes)
            baseOffset = view?.baseOffset ?? 0
            baseTime = view?.baseTimestamp.rawValue ?? 0
            appendTime = view?.appendTime.rawValue ?? 0
            cursor = view?.records
        }

        public mutating func next() -> Message? { nextIndexed()?.message }

        /// The next message and its index in the batch.
        mutating func nextIndexed() -> (message: Message, index: UInt32)? {
            while true {
                guard let place = cursor?.index else { return nil }
                let index = UInt32(truncatingIfNeeded: place)
                if let ranges {
                    while range < ranges.count, ranges[range].upperBound <= index { range += 1 }
                    guard range < ranges.count else { return nil }
                }
                guard let record = cursor?.next() else { return nil }
                if let ranges, index < ranges[range].lowerBound { continue }
                let message = Message(
                    storage: storage,
                    record: record,
                    partition: partition,
                    offset: baseOffset &+ UInt64(index),
                    baseTime: baseTime,
                    appendTime: appendTime
                )
                return (message, index)
            }
        }
    }
}
