internal import MessageModel
internal import NativeProtocol

/// How a producer gathers and sends.
public struct ProducerOptions: Sendable {
    /// What has happened to a message when it is reported as stored.
    public enum Acknowledgement: Sendable {
        /// It is fsynced.
        case durable
        /// The server's operating system has it: it survives the server process, not a power cut.
        case received
    }

    /// Which partition a message goes to.
    public enum Partitioning: Sendable, Equatable {
        /// By its ordering key where it has one, by its name otherwise, as every other client and protocol does it:
        /// what has an order to keep stays together.
        case byKeyOrName
        /// Batches take turns over the partitions; no order is kept between messages.
        case roundRobin
        case fixed(Int)
    }

    public var acknowledgement = Acknowledgement.durable
    public var partitioning = Partitioning.byKeyOrName
    /// How long a message may wait for others to share its batch. With zero it goes at once; messages still share
    /// batches while earlier ones are on their way.
    public var linger: Duration = .zero
    /// A batch is sent when it has so many bytes or records.
    public var maxBatchBytes = 256 << 10
    public var maxBatchRecords = 8_192
    /// Batches of one partition that wait for their acknowledgement at a time, at most 64: that many the server
    /// remembers to recognise one that comes again.
    public var maxInFlight = 32
    /// Bytes that may wait in this producer in all; beyond it, sending waits.
    public var bufferBytes = 32 << 20
    /// What has not been stored after this time is given up, and the producer with it.
    public var deliveryTimeout: Duration = .seconds(120)

    public init() {}

    var wireAcknowledgement: MessageModel.Acknowledgement {
        switch acknowledgement {
        case .durable: .durable
        case .received: .received
        }
    }
}

/// Where a message was stored.
public struct Receipt: Sendable, Hashable {
    public var partition: Int
    /// Its place in the partition. `UInt64.max` where it has none yet, because it waits for its time or for its
    /// transaction.
    public var offset: UInt64
    /// By which a message that waits for its time can be withdrawn, see `SluiceClient.cancelScheduled`.
    public var scheduledID: ScheduledMessageID?

    /// It has no offset yet.
    public var isWaiting: Bool { offset == ProduceAck.Run.waits }

    init(partition: Int, baseOffset: UInt64, index: UInt32, scheduled: WireScheduledID?) {
        self.partition = partition
        let waits = baseOffset == ProduceAck.Run.waits
        offset = waits ? baseOffset : baseOffset &+ UInt64(index)
        scheduledID = scheduled.map { ScheduledMessageID(position: $0.position, record: $0.record &+ index) }
    }
}

/// Names a message that waits for its time. Its text can be stored.
public struct ScheduledMessageID: Sendable, Hashable, LosslessStringConvertible {
    let position: UInt64
    let record: UInt32

    init(position: UInt64, record: UInt32) {
        self.position = position
        self.record = record
    }

    public init?(_ description: String) {
        let parts = description.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let position = UInt64(parts[0], radix: 16), let record = UInt32(parts[1], radix: 16)
        else { return nil }
        self.init(position: position, record: record)
    }

    public var description: String { String(position, radix: 16) + "-" + String(record, radix: 16) }
}
