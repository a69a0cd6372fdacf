internal import MessageModel

/// What a shard was asked for, what it has said, and what must therefore be true of it: the oracle of a simulation.
///
/// A stamp is a place in the history of the simulated disk (zero for whatever was before it): what must be true at a
/// crash behind some first disk operations is what was said up to that place.
final class ShardModel {
    static let never = Int.max

    struct Submission {
        /// Counts all appends: the order in which the shard was given them.
        var number: Int
        var stamp: Int
    }

    struct Batch {
        let id: Int
        let topic: Int
        let partition: PartitionID
        let count: Int
        /// As its producer sent it.
        let bytes: [UInt8]
        /// The full names of its messages.
        let names: [[UInt8]]
        let producer: ProducerID
        let sequence: UInt32
        let isAtMostOnce: Bool
        /// The appends that may have stored it: those that were refused, or lost by a crash, are not among them.
        var submissions: [Submission] = []
        /// Where it stands, once somebody was told.
        var base: UInt64?
        var appendTime: UInt64?
        /// When it was said to be durable, or shown to a reader; and when it was said to be received.
        var durableAt = never
        var receivedAt = never

        var isKnownDurable: Bool { durableAt != never }
    }

    /// A topic from its creation to its deletion.
    struct Topic {
        let name: String
        let partitions: Int
        var id: TopicID?
        var createSubmitted: Int
        var createAnswered = never
        var deleteSubmitted = never
        var deleteAnswered = never
        var isGone = false

        /// It is there, and nothing that could end it was asked for.
        var isUsable: Bool { id != nil && createAnswered != never && deleteSubmitted == never && !isGone }

        func mustExist(_ stamp: Int) -> Bool { !isGone && createAnswered <= stamp && deleteSubmitted > stamp }
        func mayExist(_ stamp: Int) -> Bool { !isGone && createSubmitted <= stamp && deleteAnswered > stamp }
    }

    struct Commit {
        var partition: Int
        var offset: UInt64
        var submitted: Int
        var answered = never
    }

    struct Subscription {
        let name: String
        let topic: Int
        /// Where it began; nil where nobody was told.
        var start: [UInt64]?
        var commits: [Commit] = []
        var createSubmitted: Int
        var createAnswered = never
        var deleteSubmitted = never
        var deleteAnswered = never
        var isGone = false

        var isUsable: Bool { createAnswered != never && deleteSubmitted == never && !isGone }

        func mustExist(_ stamp: Int) -> Bool { !isGone && createAnswered <= stamp && deleteSubmitted > stamp }
        func mayExist(_ stamp: Int) -> Bool { !isGone && createSubmitted <= stamp && deleteAnswered > stamp }

        /// The position that must at least be there.
        func floor(_ partition: Int, _ stamp: Int) -> UInt64 {
            let first = createAnswered <= stamp ? start?[partition] ?? 0 : 0
            return commits.reduce(first) { $1.partition == partition && $1.answered <= stamp ? max($0, $1.offset) : $0 }
        }

        /// The position that can at most be there; nil where that is not known.
        func ceiling(_ partition: Int, _ stamp: Int) -> UInt64? {
            guard let start else { return nil }
            return commits.reduce(start[partition]) {
                $1.partition == partition && $1.submitted <= stamp ? max($0, $1.offset) : $0
            }
        }
    }

    /// A producer in one partition: its batches in the order of their sequences.
    struct Producer {
        let id: ProducerID
        let partition: PartitionID
        let topic: Int
        var batches: [Int] = []
        /// The next of `batches` to be sent: those behind it have not been accepted.
        var sendNext = 0
        var nextSequence: UInt32 = 0
    }

    var batches: [Batch] = []
    var topics: [Topic] = []
    var subscriptions: [Subscription] = []
    var producers: [Producer] = []
    /// The batch that stands at an offset, as far as somebody was told.
    private var places: [PartitionID: [UInt64: Int]] = [:]
    /// The end of what is known to be visible.
    private(set) var knownEnd: [PartitionID: UInt64] = [:]
    var stamp = 0
    private(set) var submissions = 0
    /// The first submission of this life of the shard.
    var lifeBegan = 0
    /// The first thing that was not as it must be.
    private(set) var violation: String?

    func fail(_ text: String) { violation = violation ?? text }

    func check(_ condition: Bool, _ text: @autoclosure () -> String) {
        if !condition { fail(text()) }
    }

    func topic(_ id: TopicID) -> Topic? { topics.last { $0.id == id } }

    // MARK: Batches

    func submit(_ batch: Int) -> Int {
        submissions += 1
        batches[batch].submissions.append(Submission(number: submissions, stamp: stamp))
        return submissions
    }

    /// This append did not store it, and will not.
    func refused(_ batch: Int, submission: Int) {
        batches[batch].submissions.removeAll { $0.number == submission }
    }

    /// Somebody was told that a batch stands there.
    func place(_ batch: Int, at base: UInt64, appendTime: UInt64? = nil) {
        if let known = batches[batch].base, known != base {
            fail("batch \(batch) stood at offset \(known) and stands at \(base)")
        }
        let partition = batches[batch].partition
        if let other = places[partition]?[base], other != batch, batches[other].base == base {
            fail("offset \(base) of \(Self.text(partition)) held batch \(other) and holds batch \(batch)")
        }
        places[partition, default: [:]][base] = batch
        batches[batch].base = base
        if let appendTime {
            if let known = batches[batch].appendTime, known != appendTime {
                fail("batch \(batch) was stored at \(known) and then at \(appendTime)")
            }
            batches[batch].appendTime = appendTime
        }
    }

    /// From now on it must be there after every crash.
    func madeDurable(_ batch: Int) {
        batches[batch].durableAt = min(batches[batch].durableAt, stamp)
        guard let base = batches[batch].base else { return }
        let partition = batches[batch].partition
        knownEnd[partition] = max(knownEnd[partition] ?? 0, base + UInt64(batches[batch].count))
    }

    /// The batch that stands at an offset.
    func batch(at base: UInt64, in partition: PartitionID) -> Int? { places[partition]?[base] }

    /// A reader was shown these bytes: checks that they are a batch of this partition, unchanged.
    /// - Returns: its number.
    func recognize(_ view: BatchView, in partition: PartitionID) -> Int? {
        guard (try? view.verify()) != nil, view.hasValidStamp else {
            fail("a reader of \(Self.text(partition)) was given a damaged batch at offset \(view.baseOffset)")
            return nil
        }
        var records = view.records
        guard let id = records.next().flatMap({ MessageText.batch(of: $0.body) }), id < batches.count else {
            fail("a reader of \(Self.text(partition)) was given a batch that nobody sent")
            return nil
        }
        let batch = batches[id]
        let isSame = batch.bytes.withUnsafeBytes { sent in
            sent.count == view.byteCount && bytesEqual(sent.slice(32..<sent.count), view.bytes.slice(32..<sent.count))
        }
        check(isSame, "batch \(id) came back with other content")
        check(
            batch.partition == partition,
            "batch \(id) of \(Self.text(batch.partition)) came back from \(Self.text(partition))"
        )
        return id
    }

    /// A reader was shown a batch.
    func seen(_ view: BatchView, in partition: PartitionID) -> Int? {
        guard let id = recognize(view, in: partition) else { return nil }
        check(
            batches[id].isKnownDurable || !batches[id].submissions.isEmpty,
            "batch \(id) was lost or refused, and a reader was given it"
        )
        place(id, at: view.baseOffset, appendTime: view.appendTime.rawValue)
        madeDurable(id)
        return id
    }

    /// After a crash: a batch that is not there any more, and not to come back by itself.
    func lost(_ batch: Int) {
        batches[batch].submissions = []
        if let base = batches[batch].base { places[batches[batch].partition]?[base] = nil }
        batches[batch].base = nil
        batches[batch].appendTime = nil
        batches[batch].receivedAt = Self.never
    }

    func forgetEnd(of partition: PartitionID) { knownEnd[partition] = nil }

    static func text(_ partition: PartitionID) -> String { "\(partition.topic.rawValue)/\(partition.index)" }
}

/// The bodies of simulated messages: the number of the batch, the index in it, and filler that follows from them.
enum MessageText {
    static func body(batch: Int, index: Int, bytes: Int) -> [UInt8] {
        var body: [UInt8] = []
        withUnsafeBytes(of: UInt64(batch).littleEndian) { body.append(contentsOf: $0) }
        withUnsafeBytes(of: UInt32(index).littleEndian) { body.append(contentsOf: $0) }
        var filler = SeededGenerator(seed: UInt64(batch) << 16 | UInt64(index))
        while body.count < bytes { body.append(UInt8(truncatingIfNeeded: filler.next())) }
        return body
    }

    static func batch(of body: UnsafeRawBufferPointer) -> Int? {
        body.count >= 12 ? Int(exactly: body.load64(0)) : nil
    }

    static func index(of body: UnsafeRawBufferPointer) -> Int? { body.count >= 12 ? Int(body.load32(8)) : nil }
}
