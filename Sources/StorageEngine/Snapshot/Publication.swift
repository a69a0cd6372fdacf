internal import MessageModel
internal import StorageService

/// Messages that are in a batch and go to a lane of an inbox.
struct InboxRoute: Equatable {
    var lane: LaneKey
    /// Places in the batch.
    var first: UInt16
    var count: UInt16
    /// Of their bodies and properties, for the limits of inboxes.
    var bytes: UInt32 = 0
    /// Its inbox may have limits to be looked at. Not in the log.
    var isLimited = true
}

/// Held messages become messages of their partition, and other things happen together with that: one record, so that all
/// of it happens or nothing.
///
/// Time u64, transaction u64 (zero for none), why u8 (`Reason`), count of items u32; for each item topic u32, partition
/// u16, first u16, count u16, record bytes u32, position u64, due u64, count of routes u32, and the routes: subscription
/// u32, lane u16, first u16, count u16, bytes u32; then the offset of the first u64, count of traces u32, and the traces as
/// `MessageTrace` writes them. Then changes of delivery states as a `DeliveryJournal` writes them.
struct Publication: Equatable {
    enum Reason: UInt8 {
        /// The time of the messages has come: they are those that were due first.
        case due = 1
        case committed = 2
        /// Dead letters, and those that are sent back.
        case moved = 3
    }

    struct Item: Equatable {
        var partition: PartitionID
        /// The record that holds them.
        var position: UInt64
        var recordBytes: UInt32
        var first: UInt16
        var count: UInt16
        var routes: [InboxRoute]
        /// For those that were scheduled: when they were due.
        var due = Timestamp.zero
        /// The offset of the first; given when the record is written.
        var baseOffset: UInt64 = 0
        var traces: [MessageTrace] = []

        var encodedBytes: Int { traces.reduce(48 + routes.count * 16) { $0 + $1.encodedBytes } }
    }

    var time: Timestamp
    var reason: Reason
    var transaction: UInt64 = 0
    var items: [Item]
    /// Of a `DeliveryJournal`.
    var changes: [UInt8] = []

    func encode(to writer: inout ByteWriter) {
        writer.write64(time.rawValue)
        writer.write64(transaction)
        writer.write8(reason.rawValue)
        writer.write32(UInt32(items.count))
        for item in items {
            writer.write32(item.partition.topic.rawValue)
            writer.write16(item.partition.index)
            writer.write16(item.first)
            writer.write16(item.count)
            writer.write32(item.recordBytes)
            writer.write64(item.position)
            writer.write64(item.due.rawValue)
            writer.write32(UInt32(item.routes.count))
            for route in item.routes {
                writer.write32(route.lane.subscription.rawValue)
                writer.write16(route.lane.lane)
                writer.write16(route.first)
                writer.write16(route.count)
                writer.write32(route.bytes)
            }
            writer.write64(item.baseOffset)
            writer.write32(UInt32(item.traces.count))
            for trace in item.traces { trace.encode(to: &writer) }
        }
        writer.writeRest(changes)
    }

    /// How long its record is at most.
    var encodedBytes: Int { items.reduce(Self.headBytes + changes.count) { $0 + $1.encodedBytes } }

    static let headBytes = 32

    init(time: Timestamp, reason: Reason, transaction: UInt64 = 0, items: [Item], changes: [UInt8] = []) {
        self.time = time
        self.reason = reason
        self.transaction = transaction
        self.items = items
        self.changes = changes
    }

    init?(from reader: inout ByteReader) {
        guard let time = reader.read64(), let transaction = reader.read64(),
            let reason = reader.read8().flatMap(Reason.init), let count = reader.read32()
        else { return nil }
        var items: [Item] = []
        for _ in 0..<count {
            guard let item = Self.readItem(&reader) else { return nil }
            items.append(item)
        }
        self.init(
            time: Timestamp(rawValue: time),
            reason: reason,
            transaction: transaction,
            items: items,
            changes: Array(reader.readRest())
        )
    }

    /// A record of this kind, also where it was moved.
    /// - Parameter name: the position that the record was first stored at.
    init?(_ record: LogRecord.View, named name: UInt64) {
        var reader: ByteReader
        switch record.kind {
        case .published where record.position == name: reader = ByteReader(record.payload)
        case .moved:
            guard let moved = MovedRecord(record.payload), moved.kind == .published, moved.position == name else {
                return nil
            }
            reader = ByteReader(moved.payload)
        default: return nil
        }
        self.init(from: &reader)
    }

    private static func readItem(_ reader: inout ByteReader) -> Item? {
        guard let topic = reader.read32(), let index = reader.read16(), let first = reader.read16(),
            let count = reader.read16(), let recordBytes = reader.read32(), let position = reader.read64(),
            let due = reader.read64(), let routeCount = reader.read32(), count > 0
        else { return nil }
        var item = Item(
            partition: PartitionID(topic: TopicID(rawValue: topic), index: index),
            position: position,
            recordBytes: recordBytes,
            first: first,
            count: count,
            routes: [],
            due: Timestamp(rawValue: due)
        )
        for _ in 0..<routeCount {
            guard let subscription = reader.read32(), let lane = reader.read16(), let first = reader.read16(),
                let count = reader.read16(), let bytes = reader.read32(), count > 0
            else { return nil }
            let key = LaneKey(subscription: SubscriptionID(rawValue: subscription), lane: lane)
            item.routes.append(InboxRoute(lane: key, first: first, count: count, bytes: bytes))
        }
        guard let baseOffset = reader.read64(), let traceCount = reader.read32() else { return nil }
        item.baseOffset = baseOffset
        for _ in 0..<traceCount {
            guard let trace = MessageTrace(from: &reader) else { return nil }
            item.traces.append(trace)
        }
        return item
    }
}

/// What happens to a transaction besides its commit: id u64, a code, and what belongs to it.
enum TransactionChange: Equatable {
    case begun(tenant: TenantID, TransactionSpecification, at: Timestamp)
    case rolledBack
    /// Its owner was asked once more.
    case checked(at: Timestamp)
    /// These are done when it is committed.
    case settles([Receipt])

    func encode(to writer: inout ByteWriter) {
        switch self {
        case .begun(let tenant, let specification, let time):
            writer.write8(1)
            writer.write32(tenant.rawValue)
            writer.write(specification.owner)
            writer.write64(specification.checkAfterMicroseconds)
            writer.write32(specification.checks)
            writer.write64(time.rawValue)
        case .rolledBack:
            writer.write8(2)
        case .checked(let time):
            writer.write8(3)
            writer.write64(time.rawValue)
        case .settles(let receipts):
            writer.write8(4)
            writer.write32(UInt32(receipts.count))
            for receipt in receipts { writer.write(receipt) }
        }
    }

    init?(from reader: inout ByteReader) {
        switch reader.read8() {
        case 1:
            guard let tenant = reader.read32(), let owner = reader.readString(), let after = reader.read64(),
                let checks = reader.read32(), let time = reader.read64()
            else { return nil }
            self = .begun(
                tenant: TenantID(rawValue: tenant),
                TransactionSpecification(owner: owner, checkAfterMicroseconds: after, checks: checks),
                at: Timestamp(rawValue: time)
            )
        case 2:
            self = .rolledBack
        case 3:
            guard let time = reader.read64() else { return nil }
            self = .checked(at: Timestamp(rawValue: time))
        case 4:
            guard let count = reader.read32() else { return nil }
            var receipts: [Receipt] = []
            for _ in 0..<count {
                guard let receipt = reader.readReceipt() else { return nil }
                receipts.append(receipt)
            }
            self = .settles(receipts)
        default:
            return nil
        }
    }
}

extension ByteWriter {
    mutating func write(_ receipt: Receipt) {
        write32(receipt.subscription.rawValue)
        write16(receipt.lane)
        write64(receipt.sequence)
        write64(receipt.generation)
    }
}

extension ByteReader {
    mutating func readReceipt() -> Receipt? {
        guard let subscription = read32(), let lane = read16(), let sequence = read64(), let generation = read64()
        else {
            return nil
        }
        return Receipt(
            subscription: SubscriptionID(rawValue: subscription),
            lane: lane,
            sequence: sequence,
            generation: generation
        )
    }
}
