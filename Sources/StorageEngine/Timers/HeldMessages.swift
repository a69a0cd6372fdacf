internal import DequeModule
internal import MessageModel
internal import StorageService

/// A batch that waits for its transaction.
struct HeldBatch: Equatable {
    var partition: PartitionID
    var position: UInt64
    var recordBytes: UInt32
    var count: UInt16
}

/// A transaction that is neither committed nor rolled back.
struct OpenTransaction: Equatable {
    var tenant: TenantID
    var specification: TransactionSpecification
    var begunAt: Timestamp
    var held: [HeldBatch] = []
    var receipts: [Receipt] = []
    var checks: UInt32 = 0
    var lastCheck: Timestamp?

    /// When its owner is asked, or asked again.
    var nextCheck: Timestamp {
        (lastCheck ?? begunAt).advanced(byMicroseconds: specification.checkAfterMicroseconds)
    }
}

/// Messages that wait for their times.
///
/// They are published in the order of their times, positions and places, and a new one is never due before what has been
/// published: so one mark tells what is left.
struct HeldMessages {
    /// By the time they are due, position and place: `payload` is the position, `detail` the place in the batch.
    let timers = TimerHeap()
    private(set) var published = Mark(due: .zero, position: 0, record: 0)
    /// The last that was withdrawn and whose time has come since.
    private(set) var passed = Mark(due: .zero, position: 0, record: 0)
    /// Withdrawn, and still among the timers.
    private(set) var withdrawn = Set<ScheduledID>()
    /// Due, and on their way to be published.
    private(set) var leaving: Deque<TimerEntry> = []

    struct Mark: Comparable {
        var due: Timestamp
        var position: UInt64
        var record: UInt32

        static func < (left: Mark, right: Mark) -> Bool {
            (left.due, left.position, left.record) < (right.due, right.position, right.record)
        }
    }

    var count: Int { timers.count - withdrawn.count }

    mutating func schedule(_ batch: BatchView, position: UInt64, time: Timestamp) {
        var cursor = batch.records
        while let record = cursor.next() {
            let due = max(PropertyCursor.number(.deliverAt, in: record.properties) ?? 0, time.rawValue)
            timers.insert(TimerEntry(due: due, payload: position, detail: UInt32(cursor.index - 1)))
        }
    }

    mutating func published(_ item: Publication.Item) {
        published(Mark(due: item.due, position: item.position, record: UInt32(item.first)))
    }

    mutating func published(_ mark: Mark) {
        published = max(published, mark)
        if let first = leaving.first, first.payload == mark.position, first.detail == mark.record {
            leaving.removeFirst()
        }
    }

    mutating func withdraw(_ id: ScheduledID) { withdrawn.insert(id) }

    /// What was published is not due again.
    mutating func beginLife() {
        let mark = published
        timers.removeAll { entry in
            Mark(due: Timestamp(rawValue: entry.due), position: entry.payload, record: entry.detail) <= mark
        }
        let withdrawn = withdrawn
        guard !withdrawn.isEmpty else { return }
        var left = Set<ScheduledID>()
        timers.forEach { entry in
            let id = ScheduledID(position: LogPosition(rawValue: entry.payload), record: entry.detail)
            if withdrawn.contains(id) { left.insert(id) }
        }
        self.withdrawn = left
    }

    /// The next that is due, with those withdrawn left out.
    mutating func popDue(now: Timestamp) -> TimerEntry? {
        while let entry = timers.popFirst(dueBy: now.rawValue) {
            let id = ScheduledID(position: LogPosition(rawValue: entry.payload), record: entry.detail)
            if withdrawn.remove(id) == nil {
                leaving.append(entry)
                return entry
            }
            passed = Mark(due: Timestamp(rawValue: entry.due), position: entry.payload, record: entry.detail)
        }
        return nil
    }
}

extension HeldMessages {
    func encode(to writer: inout ByteWriter) {
        writer.write64(published.due.rawValue)
        writer.write64(published.position)
        writer.write32(published.record)
        writer.write32(UInt32(withdrawn.count))
        for id in withdrawn.sorted(by: { ($0.position, $0.record) < ($1.position, $1.record) }) {
            writer.write64(id.position.rawValue)
            writer.write32(id.record)
        }
        writer.write64(UInt64(timers.count + leaving.count))
        func write(_ entry: TimerEntry) {
            writer.write64(entry.due)
            writer.write64(entry.payload)
            writer.write32(entry.detail)
        }
        leaving.forEach(write)
        timers.forEach(write)
    }

    /// - Returns: false where the bytes end early.
    mutating func restore(from reader: inout ByteReader) -> Bool {
        guard let due = reader.read64(), let position = reader.read64(), let record = reader.read32(),
            let withdrawnCount = reader.read32()
        else { return false }
        published = Mark(due: Timestamp(rawValue: due), position: position, record: record)
        for _ in 0..<withdrawnCount {
            guard let position = reader.read64(), let record = reader.read32() else { return false }
            withdrawn.insert(ScheduledID(position: LogPosition(rawValue: position), record: record))
        }
        guard let count = reader.read64() else { return false }
        for _ in 0..<count {
            guard let due = reader.read64(), let position = reader.read64(), let record = reader.read32() else {
                return false
            }
            timers.insert(TimerEntry(due: due, payload: position, detail: record))
        }
        return true
    }
}
