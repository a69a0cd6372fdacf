internal import MessageModel

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
    public var offset: UInt64
}
