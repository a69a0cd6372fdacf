internal import MessageModel
internal import NIOCore
internal import NativeProtocol

/// What has become of each batch of a producer: which to send, which to send again with the same sequence, and which
/// failed for good. A value without a clock or a socket.
///
/// The server stores the batches of a partition only in the order of their sequences. When it refuses one, all behind it
/// are refused as well: nothing is sent any more until every batch on its way is answered ("settling"), then those that
/// can be stored are sent again. Where a batch is given up, the ones behind it need other sequences, and so the producer
/// a new identity, under which nothing of it can be stored twice.
struct ProducerState {
    enum Mode: Equatable {
        /// There is no handle: nothing is sent.
        case unopened
        case running
        /// Something was refused: what is on its way is waited for.
        case settling
        /// The server asked for a pause.
        case paused
        case failed
    }

    enum Settlement: Equatable {
        /// Not all is answered yet, or nothing was refused.
        case none
        /// Go on with `resume` after this time.
        case retry(afterMs: UInt32)
        /// Open a producer with a new identity.
        case reopen
        /// The producer is at its end.
        case failed(SluiceClientError)
    }

    struct Outcome {
        var batch: SealedBatch
        /// The offset of its first message.
        var result: Result<UInt64, SluiceClientError>
        /// Of its first message, where it waits for its time.
        var scheduled: WireScheduledID?
    }

    private struct Partition {
        var nextSequence: UInt32 = 0
        /// In order; the first `sent` are sent on the present connection.
        var queue = CircularBuffer<SealedBatch>()
        var sent = 0
        /// A batch was stored while an earlier one was not: sequences do not fit any more.
        var isBroken = false
    }

    private(set) var mode = Mode.unopened
    private(set) var producer: UInt64 = 0
    private(set) var epoch: UInt16 = 0
    private var handle: UInt32 = 0
    private var partitions: [Partition] = []
    private(set) var inFlight = 0
    private var retryAfterMs: UInt32 = 0
    let maxInFlight: Int

    init(maxInFlight: Int) { self.maxInFlight = min(max(1, maxInFlight), 64) }

    var isEmpty: Bool { partitions.allSatisfy(\.queue.isEmpty) }

    /// Whether a partition takes more now; while it does not, messages gather in larger batches.
    func hasRoom(partition: Int) -> Bool {
        guard mode == .running else { return false }
        return partition >= partitions.count || partitions[partition].queue.count < maxInFlight
    }

    mutating func enqueue(_ batch: SealedBatch) {
        grow(to: batch.partition + 1)
        partitions[batch.partition].queue.append(batch)
    }

    private mutating func grow(to count: Int) {
        while partitions.count < count { partitions.append(Partition()) }
    }

    /// A handle is there. With another identity than before, what may be stored under the old one cannot be sent again.
    mutating func opened(handle: UInt32, producer: UInt64, epoch: UInt16) -> [Outcome] {
        var outcomes: [Outcome] = []
        let isSame = self.producer == producer && self.epoch == epoch
        self.handle = handle
        self.producer = producer
        self.epoch = epoch
        inFlight = 0
        mode = .running
        for index in partitions.indices {
            partitions[index].sent = 0
            if !isSame {
                partitions[index].nextSequence = 0
                partitions[index].isBroken = false
                var kept = CircularBuffer<SealedBatch>()
                for batch in partitions[index].queue {
                    batch.forgetSequence()
                    if batch.mayBeStored {
                        let message = "the server no longer knows this producer: what was on its way may be stored"
                        outcomes.append(Outcome(batch: batch, result: .failure(.init(.indeterminate, message))))
                    } else {
                        kept.append(batch)
                    }
                }
                partitions[index].queue = kept
            }
            for batch in partitions[index].queue { batch.status = .waiting }
        }
        return outcomes
    }

    /// Hands out what can be sent now, in order, addressed and counted as sent.
    mutating func takeSendable(_ send: (SealedBatch) -> Void) {
        guard mode == .running else { return }
        for index in partitions.indices {
            while partitions[index].sent < min(partitions[index].queue.count, maxInFlight) {
                let batch = partitions[index].queue[offset: partitions[index].sent]
                let sequence: UInt32
                if let known = batch.firstSequence {
                    sequence = known
                } else {
                    sequence = partitions[index].nextSequence
                    partitions[index].nextSequence = sequence &+ batch.recordCount
                }
                batch.address(handle: handle, producer: producer, epoch: epoch, firstSequence: sequence)
                batch.status = .inFlight
                partitions[index].sent += 1
                inFlight += 1
                send(batch)
            }
        }
    }

    /// The server has stored a run of sequences.
    mutating func acknowledged(partition: Int, run: ProduceAck.Run) -> [Outcome] {
        guard partition < partitions.count else { return [] }
        var outcomes: [Outcome] = []
        var done: UInt32 = 0
        while done < run.count {
            guard let place = place(partition, sequence: run.firstSequence &+ done) else { break }
            let batch = partitions[partition].queue[offset: place]
            // A run ends with a batch; anything else is not about what was sent.
            guard batch.recordCount <= run.count - done else { break }
            if place > 0 { partitions[partition].isBroken = true }
            remove(partition, place)
            let waits = run.baseOffset == ProduceAck.Run.waits
            outcomes.append(
                Outcome(
                    batch: batch,
                    result: .success(waits ? run.baseOffset : run.baseOffset &+ UInt64(done)),
                    scheduled: run.scheduled
                )
            )
            done += batch.recordCount
        }
        return outcomes
    }

    /// The server has not stored the batch with this sequence.
    mutating func refused(partition: Int, firstSequence: UInt32, error: SluiceClientError, retryAfterMs: UInt32) {
        guard partition < partitions.count, let place = place(partition, sequence: firstSequence) else { return }
        let batch = partitions[partition].queue[offset: place]
        batch.status = .refused(error)
        if error.code == .indeterminate { batch.mayBeStored = true }
        // The server expects an earlier one: this one cannot be there.
        if error.code.rawValue == ErrorCode.sequenceGap.rawValue { batch.mayBeStored = false }
        inFlight -= 1
        self.retryAfterMs = max(self.retryAfterMs, retryAfterMs)
        mode = .settling
    }

    /// What to do once everything that was on its way is answered.
    mutating func settle() -> (Settlement, [Outcome]) {
        guard mode == .settling, inFlight == 0 else { return (.none, []) }
        var outcomes: [Outcome] = []
        var needsNewIdentity = false
        for index in partitions.indices {
            if partitions[index].isBroken { needsNewIdentity = true }
            var kept = CircularBuffer<SealedBatch>()
            for (place, batch) in partitions[index].queue.enumerated() {
                if case .refused(let error) = batch.status {
                    if error.code == .producerFenced {
                        mode = .failed
                        return (.failed(error), outcomes)
                    }
                    let isGap = error.code.rawValue == ErrorCode.sequenceGap.rawValue
                    if isGap, place == 0 { needsNewIdentity = true }
                    if !isGap, error.class == .refused {
                        needsNewIdentity = true
                        outcomes.append(Outcome(batch: batch, result: .failure(error)))
                        continue
                    }
                    batch.status = .waiting
                }
                kept.append(batch)
            }
            partitions[index].queue = kept
            partitions[index].sent = 0
        }
        let pause = retryAfterMs
        retryAfterMs = 0
        if needsNewIdentity {
            mode = .unopened
            return (.reopen, outcomes)
        }
        mode = .paused
        return (.retry(afterMs: pause), outcomes)
    }

    /// The pause is over.
    mutating func resume() {
        if mode == .paused { mode = .running }
    }

    /// The connection is gone: what was on its way may be stored or not, until it is sent again.
    mutating func linkLost() {
        guard mode != .failed else { return }
        mode = .unopened
        inFlight = 0
        retryAfterMs = 0
        for index in partitions.indices {
            partitions[index].sent = 0
            for batch in partitions[index].queue {
                if batch.status == .inFlight { batch.mayBeStored = true }
                batch.status = .waiting
            }
        }
    }

    /// Gives up. What may be stored fails as indeterminate, the rest with `error`.
    mutating func fail(_ error: SluiceClientError) -> [Outcome] {
        mode = .failed
        inFlight = 0
        var outcomes: [Outcome] = []
        for index in partitions.indices {
            for batch in partitions[index].queue {
                let isOpen = batch.mayBeStored || batch.status == .inFlight
                let failure =
                    isOpen ? SluiceClientError(.indeterminate, "it may be stored or not: \(error.message)") : error
                outcomes.append(Outcome(batch: batch, result: .failure(failure)))
            }
            partitions[index].queue.removeAll()
            partitions[index].sent = 0
        }
        return outcomes
    }

    /// Whether a batch has waited longer than it may.
    func hasExpired(now: NIODeadline) -> Bool {
        partitions.contains { ($0.queue.first?.deadline ?? .distantFuture) < now }
    }

    /// The place in the queue of a batch that is on its way.
    private func place(_ partition: Int, sequence: UInt32) -> Int? {
        for place in 0..<partitions[partition].sent {
            let batch = partitions[partition].queue[offset: place]
            if batch.firstSequence == sequence { return batch.status == .inFlight ? place : nil }
        }
        return nil
    }

    private mutating func remove(_ partition: Int, _ place: Int) {
        inFlight -= 1
        partitions[partition].sent -= 1
        if place == 0 {
            partitions[partition].queue.removeFirst()
        } else {
            let index = partitions[partition].queue.index(partitions[partition].queue.startIndex, offsetBy: place)
            partitions[partition].queue.remove(at: index)
        }
    }
}
