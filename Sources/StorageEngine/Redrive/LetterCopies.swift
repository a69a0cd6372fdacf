internal import MessageModel
internal import StorageService

/// Where a dead letter came from, as its properties say.
struct DeadLetterOrigin {
    var topic: String
    var partition: Int?
    var name: [UInt8]

    /// Nil where they do not.
    init?(_ record: RecordView) {
        var topic: String?
        var name: [UInt8]?
        var cursor = PropertyCursor(record.properties)
        while let (id, value) = cursor.next() {
            guard id == PropertyID.user.rawValue, let (key, value) = PropertyCursor.splitUser(value) else { continue }
            if key.elementsEqual(DeadLetterProperty.topic.utf8) {
                topic = String(decoding: value, as: UTF8.self)
            } else if key.elementsEqual(DeadLetterProperty.name.utf8) {
                name = Array(value)
            } else if key.elementsEqual(DeadLetterProperty.partition.utf8) {
                partition = Int(String(decoding: value, as: UTF8.self))
            }
        }
        guard let topic, let name, name.count <= Limits.nameBytes else { return nil }
        self.topic = topic
        self.name = name
    }

    /// The properties without those that say how it died.
    static func copyProperties(of record: RecordView, into properties: inout PropertyWriter) {
        var old = PropertyCursor(record.properties)
        while let (id, value) = old.next() {
            if id == PropertyID.user.rawValue {
                guard let (name, value) = PropertyCursor.splitUser(value),
                    !name.starts(with: DeadLetterProperty.prefix.utf8)
                else { continue }
                properties.appendUser(name: name, value: value)
            } else if let known = PropertyID(rawValue: id) {
                properties.append(known, value)
            }
        }
    }
}

/// Letters as messages of the topics that they came from: those for one partition that follow each other in one batch.
struct LetterCopies: ~Copyable {
    struct Batch {
        var partition: PartitionID
        var bytes: [UInt8]
    }

    private let batchBytes: Int
    private var builder = BatchBuilder()
    private var target: PartitionID?
    private(set) var batches: [Batch] = []
    private(set) var sequences: [UInt64] = []
    private(set) var bytes = 0
    var count: Int { sequences.count }

    init(batchBytes: Int) { self.batchBytes = batchBytes }

    mutating func append(
        _ record: RecordView,
        _ origin: DeadLetterOrigin,
        born: Timestamp,
        to topic: TopicState,
        properties: UnsafeRawBufferPointer,
        sequence: UInt64
    ) {
        origin.name.withUnsafeBytes { name in
            var fields = RecordFields()
            let placement = topic.info.nameBytes.withUnsafeBytes { NamePlacement(name: name, topic: $0) }
            fields.routingKey = placement.routingKey.map { name.slice($0) }
            fields.hasAbsoluteName = placement.isAbsolute
            fields.orderingKey = record.orderingKey
            fields.properties = properties
            fields.body = record.body
            fields.deliveryClass = record.deliveryClass
            fields.born = born
            var id = topic.info.partition(for: record.orderingKey ?? name)
            if let index = origin.partition, index >= 0, index < topic.partitions.count {
                id.index = UInt16(index)
            }
            let size = BatchBuilder.sizeBound(fields)
            if target != id || builder.byteCount + size > batchBytes { close() }
            if target == nil { builder.begin() }
            target = id
            builder.append(fields)
            bytes += size
        }
        sequences.append(sequence)
    }

    /// The last batch is whole.
    mutating func close() {
        guard let target else { return }
        let bytes = builder.finish { Array($0) }
        batches.append(Batch(partition: target, bytes: bytes))
        self.target = nil
    }
}
