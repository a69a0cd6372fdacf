internal import MessageModel
internal import NIOCore
internal import StorageService

/// Gathers the messages of one answer from fetched batches.
struct ReadCollector {
    private let topic: TopicInfo
    private let partition: Int
    private let filter: [UInt8]?
    private let limit: Int
    private let isPlain: Bool
    /// The messages as JSON objects with commas between them.
    private var messages = JSONWriter(capacity: 1_024)
    private(set) var count = 0
    /// The one message of the plain form.
    private(set) var plain: PlainMessage?
    private var bodyBytes = 0
    /// Bytes that were looked through.
    private(set) var scanned = 0
    /// Where a reader goes on that has this answer.
    private(set) var next: UInt64
    private var name: [UInt8] = []

    init(topic: TopicInfo, partition: Int, query: ReadQuery, from offset: UInt64) {
        self.topic = topic
        self.partition = partition
        filter = query.filter
        limit = query.limit
        isPlain = query.isPlain
        next = offset
    }

    var isFull: Bool { count >= limit || bodyBytes >= HTTPLimits.bodyBytesPerRead }

    /// Takes what is wanted from whole batches, until the answer is full.
    mutating func add(_ batches: [UInt8]) {
        scanned += batches.count
        batches.withUnsafeBytes { bytes in
            var position = 0
            while position < bytes.count, !isFull, let batch = BatchView(prefixOf: bytes.slice(position..<bytes.count))
            {
                add(batch)
                position += batch.byteCount
            }
        }
    }

    private mutating func add(_ batch: BatchView) {
        var cursor = batch.records
        while !isFull, let record = cursor.next() {
            let offset = batch.baseOffset &+ UInt64(cursor.index - 1)
            guard offset >= next else { continue }
            next = offset &+ 1
            name.removeAll(keepingCapacity: true)
            topic.nameBytes.withUnsafeBytes { record.appendName(topic: $0, to: &name) }
            if let filter {
                let matches = filter.withUnsafeBytes { filter in
                    name.withUnsafeBytes { NameFilter.matches(filter, name: $0) }
                }
                guard matches else { continue }
            }
            count += 1
            bodyBytes += record.body.count
            let message = StoredMessage(
                topic: topic.name,
                partition: partition,
                offset: offset,
                name: name,
                storedAt: batch.appendTime,
                bornAt: batch.baseTimestamp.advanced(byMicroseconds: record.timestampDelta),
                record: record
            )
            if isPlain { plain = PlainMessage(message) } else { message.write(to: &messages) }
        }
    }

    /// The answer in JSON.
    func reply(firstOffset: UInt64, endOffset: UInt64) -> Reply {
        Reply.json { writer in
            writer.member("messages", elements: messages.buffer)
            writer.member("next_offset", next)
            writer.member("first_offset", firstOffset)
            writer.member("end_offset", endOffset)
        }
    }
}
