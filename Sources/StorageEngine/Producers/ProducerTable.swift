internal import MessageModel

/// What was last stored of each producer in each partition: tells a repeated batch from a new one.
struct ProducerTable {
    struct Key: Hashable {
        var producer: ProducerID
        var partition: PartitionID
    }

    /// A batch that may come again.
    struct Remembered: Equatable {
        var baseSequence: UInt32
        var count: UInt32
        var baseOffset: UInt64
    }

    struct State: Equatable {
        var epoch: UInt16
        var nextSequence: UInt32
        /// Newest last, at most `batchesRemembered`.
        var recent: [Remembered]
        /// When it was used, counted in appends.
        var lastUse: UInt64
    }

    enum Verdict: Equatable {
        case new
        /// Stored before; nil where so long ago that the offset is forgotten.
        case duplicate(baseOffset: UInt64?)
        case fenced
        case gap(expected: UInt32)
    }

    /// A producer may have so many batches in flight in a partition and still learn the offset of each repeated one.
    static let batchesRemembered = 64

    private(set) var states: [Key: State] = [:]
    private var uses: UInt64 = 0
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    /// Judges a batch before it is appended.
    func judge(_ batch: BatchView, partition: PartitionID) -> Verdict {
        let sequence = batch.baseSequence
        guard let state = states[Key(producer: batch.producer, partition: partition)],
            batch.producerEpoch <= state.epoch
        else {
            // Whoever begins, begins with the first: if that was refused and the second taken, the first would be
            // called a repeated one when it comes again.
            return sequence == 0 ? .new : .gap(expected: 0)
        }
        if batch.producerEpoch < state.epoch { return .fenced }
        if sequence == state.nextSequence { return .new }
        for remembered in state.recent.reversed()
        where remembered.baseSequence == sequence && Int(remembered.count) == batch.recordCount {
            return .duplicate(baseOffset: remembered.baseOffset)
        }
        // Sequences wrap: what is less than half the range behind was before.
        let behind = state.nextSequence &- sequence
        return behind < UInt32(1) << 31 ? .duplicate(baseOffset: nil) : .gap(expected: state.nextSequence)
    }

    /// A batch was appended, or found in the log.
    mutating func stored(
        producer: ProducerID,
        epoch: UInt16,
        baseSequence: UInt32,
        count: UInt32,
        baseOffset: UInt64,
        partition: PartitionID
    ) {
        uses += 1
        let key = Key(producer: producer, partition: partition)
        let batch = Remembered(baseSequence: baseSequence, count: count, baseOffset: baseOffset)
        if let index = states.index(forKey: key), states.values[index].epoch == epoch {
            states.values[index].nextSequence = baseSequence &+ count
            if states.values[index].recent.count == Self.batchesRemembered { states.values[index].recent.removeFirst() }
            states.values[index].recent.append(batch)
            states.values[index].lastUse = uses
            return
        }
        states[key] = State(epoch: epoch, nextSequence: baseSequence &+ count, recent: [batch], lastUse: uses)
        if states.count > limit { forgetOldest() }
    }

    func nextSequence(of producer: ProducerID, partition: PartitionID) -> UInt32 {
        states[Key(producer: producer, partition: partition)]?.nextSequence ?? 0
    }

    func epoch(of producer: ProducerID, partition: PartitionID) -> UInt16 {
        states[Key(producer: producer, partition: partition)]?.epoch ?? 0
    }

    /// Puts back what a snapshot holds.
    mutating func restore(_ key: Key, _ state: State) {
        states[key] = state
        uses = max(uses, state.lastUse)
    }

    mutating func forget(topic: TopicID) {
        states = states.filter { $0.key.partition.topic != topic }
    }

    /// Forgets a quarter at once, so that the search for the oldest is rare.
    private mutating func forgetOldest() {
        let kept = states.sorted { $0.value.lastUse > $1.value.lastUse }.prefix(limit * 3 / 4)
        states = Dictionary(uniqueKeysWithValues: kept.map { ($0.key, $0.value) })
    }
}
