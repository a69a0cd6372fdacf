internal import MessageModel

/// The bytes of a delivered batch, kept for as long as one of its messages is. They do not change after `init`, which
/// is why it can be shared.
final class BatchStorage: @unchecked Sendable {
    let topic: String
    let topicBytes: [UInt8]
    private let memory: UnsafeMutableRawBufferPointer

    init(copying batch: UnsafeRawBufferPointer, topic: String, topicBytes: [UInt8]) {
        self.topic = topic
        self.topicBytes = topicBytes
        memory = .allocate(byteCount: max(1, batch.count), alignment: 8)
        memory.copyMemory(from: batch)
        count = batch.count
    }

    private let count: Int

    deinit { memory.deallocate() }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[0..<count]) }
}

/// How often a message may reach a reader, as its publisher asked.
public enum MessageDelivery: Sendable {
    case atLeastOnce
    case atMostOnce
    case exactlyOnce
}

/// A message as it was stored. Small to copy: it refers to the batch that it came in.
public struct Message: @unchecked Sendable {
    private let storage: BatchStorage
    private let record: RecordView
    public let partition: Int
    public private(set) var offset: UInt64
    private let baseTime: UInt64
    private let appendTime: UInt64

    init(
        storage: BatchStorage,
        record: RecordView,
        partition: Int,
        offset: UInt64,
        baseTime: UInt64,
        appendTime: UInt64
    ) {
        self.storage = storage
        self.record = record
        self.partition = partition
        self.offset = offset
        self.baseTime = baseTime
        self.appendTime = appendTime
    }

    /// The same message, where its place is known otherwise than by its batch.
    func at(offset: UInt64) -> Message {
        var message = self
        message.offset = offset
        return message
    }

    public var topic: String { storage.topic }

    /// The full name that the message was published to.
    public var name: String {
        var bytes: [UInt8] = []
        storage.topicBytes.withUnsafeBytes { record.appendName(topic: $0, to: &bytes) }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The part of the name below the topic; nil for the topic's own name. The whole name where the topic holds it by
    /// another capture than its own subtree.
    public var routingKey: String? { record.routingKey.map { String(decoding: $0, as: UTF8.self) } }

    public var orderingKey: [UInt8]? { record.orderingKey.map { Array($0) } }

    /// A copy of the body.
    public var body: [UInt8] { Array(record.body) }

    public var bodyByteCount: Int { record.body.count }

    /// The body as text; what is not UTF-8 is replaced.
    public var text: String { String(decoding: record.body, as: UTF8.self) }

    /// Lends the body without copying it.
    public func withBody<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try withExtendedLifetime(storage) { try body(record.body) }
    }

    public var properties: MessageProperties {
        record.properties.isEmpty ? MessageProperties() : MessageProperties(encoded: record.properties)
    }

    /// When its publisher made it; 0 where that is not known.
    public var bornAt: Microseconds { baseTime == 0 ? 0 : baseTime &+ record.timestampDelta }

    /// When the server stored it.
    public var storedAt: Microseconds { appendTime }

    /// The publisher asked that it be kept as the name's last value.
    public var isRetained: Bool { record.isRetained }

    public var delivery: MessageDelivery {
        switch record.deliveryClass {
        case .atLeastOnce: .atLeastOnce
        case .atMostOnce: .atMostOnce
        case .exactlyOnce: .exactlyOnce
        }
    }
}
