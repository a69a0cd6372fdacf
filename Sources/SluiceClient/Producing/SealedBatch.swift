internal import MessageModel
internal import NIOCore
internal import NativeProtocol

/// A batch that takes no more messages, in the frame that carries it. Handed from the accumulator to the event loop,
/// never used by both, which is why it can be passed between them.
final class SealedBatch: @unchecked Sendable {
    enum Status: Equatable {
        /// To be sent.
        case waiting
        /// Sent on the present connection.
        case inFlight
        /// The server has said that it is not stored.
        case refused(SluiceClientError)
    }

    typealias Waiter = (index: Int, resume: (Result<Receipt, SluiceClientError>) -> Void)

    private static let batchAt = FrameHeader.byteCount + ProduceHead.byteCount

    private(set) var frame: ByteBuffer
    let partition: Int
    let recordCount: UInt32
    /// Bytes that count against the producer's buffer.
    let byteCount: Int
    /// Counts the batches of a producer.
    let ordinal: UInt64
    /// Who waits for a single message.
    let waiters: [Waiter]
    let deadline: NIODeadline

    var status = Status.waiting
    /// It was sent, and what became of it is not known.
    var mayBeStored = false
    /// Given when it is sent for the first time under an identity.
    private(set) var firstSequence: UInt32?

    /// - Parameter batch: finished with any producer and sequence; both are written when it is sent.
    init(
        _ batch: UnsafeRawBufferPointer,
        partition: Int,
        acknowledgement: Acknowledgement,
        recordCount: Int,
        ordinal: UInt64,
        waiters: [Waiter],
        deadline: NIODeadline
    ) {
        frame = ByteBuffer()
        frame.reserveCapacity(Self.batchAt + batch.count)
        FrameHeader(.request, .produce, flags: .oneWay)
            .write(bodyBytes: ProduceHead.byteCount + batch.count, to: &frame)
        ProduceHead(partition: UInt16(truncatingIfNeeded: partition), acknowledgement: acknowledgement)
            .write(to: &frame)
        frame.writeBytes(batch)
        self.partition = partition
        self.recordCount = UInt32(truncatingIfNeeded: recordCount)
        byteCount = batch.count
        self.ordinal = ordinal
        self.waiters = waiters
        self.deadline = deadline
    }

    /// Writes what changes with each producer identity and each connection into the frame.
    func address(handle: UInt32, producer: UInt64, epoch: UInt16, firstSequence: UInt32) {
        frame.setInteger(handle, at: 12, endianness: .little)
        guard self.firstSequence != firstSequence else { return }
        self.firstSequence = firstSequence
        let at = Self.batchAt
        frame.setInteger(producer, at: at + BatchLayout.producerIDOffset, endianness: .little)
        frame.setInteger(firstSequence, at: at + BatchLayout.baseSequenceOffset, endianness: .little)
        frame.setInteger(epoch, at: at + BatchLayout.producerEpochOffset, endianness: .little)
        let checksum = frame.withUnsafeReadableBytes { bytes in
            Checksum.crc32c(bytes.slice(at + BatchLayout.dataChecksumOffset + 4..<bytes.count))
        }
        frame.setInteger(checksum, at: at + BatchLayout.dataChecksumOffset, endianness: .little)
    }

    /// It belongs to no identity any more.
    func forgetSequence() { firstSequence = nil }
}
