internal import DequeModule
internal import HeapModule
internal import MessageModel

/// What has become of the messages of one lane: of one partition for a cursor subscription, of one level of priority for
/// an inbox. A value that knows sequences and times, and nothing of where messages stand.
///
/// A message is done, leased, delayed, dying (on its way to the dead letters), ready to be delivered again, waiting for
/// its key, or it was never looked at. Everything before `watermark` is done; what was looked at stands before `scan`,
/// apart from what a restart brought along (`taken`).
struct DeliveryState {
    struct Lease: Equatable {
        var range: Range<UInt64>
        /// The consumer's attachment; `receiptOwner` where whoever has the receipt settles.
        var owner: UInt64
        var deadline: Timestamp
        /// Which delivery of these messages it is, from 1 on.
        var attempt: UInt32
        var generation: LeaseGeneration
    }

    /// What is known of a message that was leased, and is not done.
    struct Past: Equatable {
        /// How many deliveries ended without success and count.
        var failed: UInt32
        /// That of its last lease.
        var generation: LeaseGeneration
    }

    /// What the next lease of a message is told by: those that share it can be leased together.
    struct Turn: Equatable {
        var attempt: UInt32
        /// That of its generation.
        var number: UInt32
    }

    static let receiptOwner: UInt64 = 0

    private(set) var watermark: UInt64
    /// Done, and not before the watermark.
    private(set) var done = RangeSet()
    /// What is looked at next.
    private(set) var scan: UInt64
    /// Ascending and disjoint.
    private(set) var leases: Deque<Lease> = []
    private(set) var leasedCount: UInt64 = 0
    private(set) var ready = RangeSet()
    private(set) var delayed: [UInt64: Timestamp] = [:]
    private var delays = Heap<Delay>()
    private(set) var past: [UInt64: Past] = [:]
    /// Stands in for the last lease of messages that had none: leases before it count no more.
    private(set) var base: LeaseGeneration
    /// The largest number that any lease had.
    private(set) var highestNumber: UInt32
    private(set) var dying = RangeSet()
    /// Not before `scan`, and leased or delayed already.
    private(set) var taken = RangeSet()
    private(set) var gate = KeyGate()
    /// Out, and their keys are not known yet: with an order by key nothing else goes out before they are.
    private(set) var unclosed = RangeSet()
    /// No lease ends before this time.
    private var earliestLease = Timestamp.never
    /// No delay is over before this time.
    private var earliestDelay = Timestamp.never

    struct Delay: Comparable {
        var until: Timestamp
        var sequence: UInt64
        static func < (left: Delay, right: Delay) -> Bool {
            (left.until, left.sequence) < (right.until, right.sequence)
        }
    }

    init(at start: UInt64 = 0, base: LeaseGeneration = LeaseGeneration(epoch: 0, number: 0)) {
        watermark = start
        scan = start
        self.base = base
        highestNumber = base.number
    }

    // MARK: Looking

    /// Messages before `end` that are not done.
    func backlog(before end: UInt64) -> UInt64 {
        guard end > watermark else { return 0 }
        // An inbox that is full lets go of messages that nobody sees yet.
        let finished = done.last.map { $0 < end } ?? true ? done.count : done.count(in: watermark..<end)
        return end - watermark - finished
    }

    func isDone(_ sequence: UInt64) -> Bool { sequence < watermark || done.contains(sequence) }

    /// Messages that memory is kept for.
    var trackedCount: Int { Int(leasedCount) + Int(ready.count) + delayed.count + Int(dying.count) + gate.waitingCount }

    /// When something is to be done without being asked; nil for never.
    var nextDeadline: Timestamp? {
        let delay = delays.min?.until ?? .never
        let deadline = min(delay, leases.isEmpty ? .never : earliestLease)
        return deadline == .never ? nil : deadline
    }

    /// How many deliveries of a message ended without success and count.
    func failures(_ sequence: UInt64) -> UInt32 { past[sequence]?.failed ?? 0 }

    /// Nothing is to be done without being asked before this time: quicker than `nextDeadline`, and perhaps too early.
    @inline(__always)
    var earliestDeadline: Timestamp { min(earliestLease, earliestDelay) }

    /// What the next lease of this message will be.
    func nextTurn(_ sequence: UInt64) -> Turn {
        guard !past.isEmpty, let past = past[sequence] else { return Turn(attempt: 1, number: base.number &+ 1) }
        return Turn(attempt: past.failed &+ 1, number: past.generation.number &+ 1)
    }

    /// Whether messages whose lease this is had one before. Leases do not count that ended with a seek, or that a crash took
    /// before they were in the log.
    func isRepeated(_ turn: Turn) -> Bool { turn.attempt > 1 || turn.number != base.number &+ 1 }

    /// The first part of a range in which all messages have the same turn.
    func uniform(_ range: Range<UInt64>) -> (range: Range<UInt64>, turn: Turn) {
        let turn = nextTurn(range.lowerBound)
        guard !past.isEmpty else { return (range, turn) }
        var end = range.lowerBound + 1
        while end < range.upperBound, nextTurn(end) == turn { end += 1 }
        return (range.lowerBound..<end, turn)
    }

    /// What comes next that was not looked at, before `end`: messages that are all fresh, or all taken already.
    func next(before end: UInt64) -> (range: Range<UInt64>, isTaken: Bool)? {
        if done.isEmpty, taken.isEmpty { return scan < end ? (scan..<end, false) : nil }
        var start = scan
        if let range = done.range(holding: start) { start = range.upperBound }
        guard start < end else { return nil }
        var stop = end
        if let range = done.firstRange(from: start) { stop = min(stop, range.lowerBound) }
        guard let held = taken.firstRange(from: start), held.lowerBound < stop else { return (start..<stop, false) }
        if held.lowerBound > start { return (start..<held.lowerBound, false) }
        return (start..<min(stop, held.upperBound), true)
    }

    func lease(holding sequence: UInt64) -> Lease? {
        let place = leasePlace(endingBehind: sequence)
        return place < leases.count && leases[place].range.contains(sequence) ? leases[place] : nil
    }

    private func leasePlace(endingBehind sequence: UInt64) -> Int {
        if let last = leases.last, last.range.upperBound <= sequence { return leases.count }
        return PartitionIndex.firstIndex(in: 0..<leases.count) { leases[$0].range.upperBound > sequence }
    }

    // MARK: Delivering

    /// Messages were looked at and need no more of it.
    mutating func pass(to sequence: UInt64) {
        guard sequence > scan else { return }
        if !taken.isEmpty { taken.remove(scan..<sequence) }
        if !unclosed.isEmpty { unclosed.remove(scan..<sequence) }
        scan = sequence
    }

    /// Whether the order of its key lets a message go out now; it is held back otherwise.
    mutating func admit(_ sequence: UInt64, key: UInt64) -> Bool { gate.admit(sequence, key: key) }

    /// The keys of messages that are out become known.
    mutating func close(_ sequence: UInt64, key: UInt64) { gate.close(sequence, key: key) }
    mutating func closed(_ range: Range<UInt64>) { unclosed.remove(range) }

    /// Messages go out to a consumer. They are fresh or ready, and have the same turn.
    /// - Parameter epoch: that of the log.
    mutating func lease(_ range: Range<UInt64>, owner: UInt64, deadline: Timestamp, epoch: UInt32) {
        guard !range.isEmpty else { return }
        let turn = nextTurn(range.lowerBound)
        if !ready.isEmpty { ready.remove(range) }
        if !delayed.isEmpty { for sequence in range { delayed[sequence] = nil } }
        let generation = LeaseGeneration(epoch: epoch, number: turn.number)
        insertLease(
            Lease(range: range, owner: owner, deadline: deadline, attempt: turn.attempt, generation: generation)
        )
    }

    /// A lease that was taken goes on until another time.
    mutating func extend(_ lease: Lease, until deadline: Timestamp) {
        var lease = lease
        lease.deadline = deadline
        insertLease(lease)
    }

    private mutating func insertLease(_ lease: Lease) {
        leasedCount += lease.range.upperBound - lease.range.lowerBound
        highestNumber = max(highestNumber, lease.generation.number)
        earliestLease = min(earliestLease, lease.deadline)
        let place = leasePlace(endingBehind: lease.range.lowerBound)
        if place > 0 {
            let before = leases[place - 1]
            if before.range.upperBound == lease.range.lowerBound, before.owner == lease.owner,
                before.deadline == lease.deadline, before.attempt == lease.attempt,
                before.generation == lease.generation
            {
                leases[place - 1].range = before.range.lowerBound..<lease.range.upperBound
                return
            }
        }
        if place == leases.count { leases.append(lease) } else { leases.insert(lease, at: place) }
    }

    // MARK: Settling

    /// Ends the leases of a range, or those of one owner in it.
    /// - Parameter pieces: gets what was leased, cut to the range.
    mutating func takeLeases(in range: Range<UInt64>, owner: UInt64?, into pieces: inout [Lease]) {
        guard !range.isEmpty else { return }
        var place = leasePlace(endingBehind: range.lowerBound)
        while place < leases.count, leases[place].range.lowerBound < range.upperBound {
            let lease = leases[place]
            guard owner == nil || lease.owner == owner else {
                place += 1
                continue
            }
            var piece = lease
            piece.range = lease.range.clamped(to: range)
            pieces.append(piece)
            leasedCount -= piece.range.upperBound - piece.range.lowerBound
            let before = lease.range.lowerBound..<piece.range.lowerBound
            let behind = piece.range.upperBound..<lease.range.upperBound
            switch (before.isEmpty, behind.isEmpty) {
            case (true, true):
                if place == 0 { leases.removeFirst() } else { leases.remove(at: place) }
            case (false, true):
                leases[place].range = before
                place += 1
            case (true, false):
                leases[place].range = behind
                place += 1
            case (false, false):
                leases[place].range = before
                var rest = lease
                rest.range = behind
                leases.insert(rest, at: place + 1)
                place += 2
            }
        }
    }

    /// Takes every lease that one owner has.
    mutating func takeLeases(of owner: UInt64, into pieces: inout [Lease]) {
        guard let first = leases.first, let last = leases.last else { return }
        takeLeases(in: first.range.lowerBound..<last.range.upperBound, owner: owner, into: &pieces)
    }

    /// Ends the leases whose time has come.
    mutating func takeExpired(now: Timestamp, into pieces: inout [Lease]) {
        guard earliestLease <= now else { return }
        earliestLease = .never
        var place = 0
        while place < leases.count {
            let lease = leases[place]
            if lease.deadline <= now {
                pieces.append(lease)
                leasedCount -= lease.range.upperBound - lease.range.lowerBound
                leases.remove(at: place)
            } else {
                earliestLease = min(earliestLease, lease.deadline)
                place += 1
            }
        }
    }

    /// Whether a receipt still counts: its message was not delivered again, as far as anybody knows, and is not done.
    /// - Parameter epoch: that of the log now. A lease of an earlier one may be younger than all that the log knows of: then a
    ///   crash took its record, and it counts. Zero where there is no such lease.
    func accepts(_ sequence: UInt64, _ generation: LeaseGeneration, epoch: UInt32) -> Bool {
        guard !isDone(sequence), !dying.contains(sequence) else { return false }
        let known = lease(holding: sequence)?.generation ?? past[sequence]?.generation
        if generation == known { return true }
        let last = known ?? base
        return generation.epoch < epoch && generation.epoch >= last.epoch && generation.number > last.number
    }

    /// Never to be delivered again.
    mutating func finish(_ range: Range<UInt64>) {
        let range = max(range.lowerBound, watermark)..<max(range.upperBound, watermark)
        guard !range.isEmpty else { return }
        if !ready.isEmpty { ready.remove(range) }
        if !dying.isEmpty { dying.remove(range) }
        if !unclosed.isEmpty { unclosed.remove(range) }
        if !past.isEmpty || !delayed.isEmpty || !gate.isEmpty { forget(range) }
        if range.lowerBound == watermark {
            watermark = range.upperBound
            if !done.isEmpty {
                done.remove(range)
                if let next = done.firstRange, next.lowerBound <= watermark {
                    watermark = max(watermark, next.upperBound)
                    done.remove(next)
                }
            }
            if scan < watermark { pass(to: watermark) }
        } else {
            done.insert(range)
        }
    }

    private mutating func forget(_ range: Range<UInt64>) {
        // A jump over a long backlog is not to be walked message by message.
        if range.upperBound - range.lowerBound > UInt64(max(past.count, delayed.count)) + 1_024, gate.isEmpty {
            past = past.filter { !range.contains($0.key) }
            delayed = delayed.filter { !range.contains($0.key) }
            return
        }
        for sequence in range {
            past[sequence] = nil
            delayed[sequence] = nil
            if let next = gate.done(sequence), !range.contains(next) { makeReady(next) }
        }
    }

    /// The order of its key does not hold a message back any more.
    private mutating func makeReady(_ sequence: UInt64) {
        guard !dying.contains(sequence), delayed[sequence] == nil else { return }
        ready.insert(sequence..<sequence + 1)
    }

    /// To be delivered again: at once, or not before a time.
    /// - Parameter lease: what was taken from the leases.
    mutating func release(_ lease: Lease, until: Timestamp?, countsAttempt: Bool) {
        let past = Past(failed: countsAttempt ? lease.attempt : lease.attempt - 1, generation: lease.generation)
        for sequence in lease.range where !isDone(sequence) { self.past[sequence] = past }
        if until == nil, gate.isEmpty, lease.range.upperBound <= scan {
            ready.insert(lease.range)
            return
        }
        for sequence in lease.range where !isDone(sequence) { putBack(sequence, until: until) }
    }

    private mutating func putBack(_ sequence: UInt64, until: Timestamp?) {
        if sequence >= scan {
            // It is looked at in its turn, as if it had not been out.
            taken.remove(sequence..<sequence + 1)
            unclosed.remove(sequence..<sequence + 1)
            if let until { delay(sequence, until: until) }
            if let next = gate.done(sequence) { makeReady(next) }
            return
        }
        if let until { delay(sequence, until: until) }
        if let next = gate.release(sequence) { makeReady(next) }
    }

    private mutating func delay(_ sequence: UInt64, until: Timestamp) {
        delayed[sequence] = until
        delays.insert(Delay(until: until, sequence: sequence))
        earliestDelay = min(earliestDelay, until)
        if sequence >= scan { taken.insert(sequence..<sequence + 1) }
    }

    /// A delivery that ended and was not repeated yet is settled after all.
    mutating func takeBack(_ sequence: UInt64) {
        ready.remove(sequence..<sequence + 1)
        delayed[sequence] = nil
    }

    /// On its way to the dead letters.
    /// - Parameter attempt: the delivery that was its last; nil where that is known already.
    mutating func condemn(_ range: Range<UInt64>, attempt: UInt32?) {
        if let attempt {
            for sequence in range { past[sequence, default: Past(failed: 0, generation: base)].failed = attempt }
        }
        ready.remove(range)
        for sequence in range where !delayed.isEmpty { delayed[sequence] = nil }
        // What is done already stays so.
        insertOpen(range, into: \.dying)
        // Nor is it to be delivered when it is come by.
        if range.upperBound > scan { insertOpen(max(range.lowerBound, scan)..<range.upperBound, into: \.taken) }
    }

    private mutating func insertOpen(_ range: Range<UInt64>, into set: WritableKeyPath<DeliveryState, RangeSet>) {
        var start = max(range.lowerBound, watermark)
        while start < range.upperBound {
            let next = done.firstRange(from: start) ?? range.upperBound..<range.upperBound
            self[keyPath: set].insert(start..<max(start, min(next.lowerBound, range.upperBound)))
            start = max(next.upperBound, start)
        }
    }

    /// Makes those ready whose delay is over.
    /// - Returns: whether there were any.
    mutating func wakeDelayed(now: Timestamp) -> Bool {
        var woke = false
        while let first = delays.min, first.until <= now {
            delays.removeMin()
            guard delayed[first.sequence] == first.until else { continue }
            delayed[first.sequence] = nil
            if first.sequence >= scan {
                taken.remove(first.sequence..<first.sequence + 1)
            } else if !gate.holdsBack(first.sequence) {
                ready.insert(first.sequence..<first.sequence + 1)
            }
            woke = true
        }
        earliestDelay = delays.min?.until ?? .never
        return woke
    }

    // MARK: Restarts

    /// Nobody is attached any more: what was leased to attachments goes back, what receipts were given for stays out.
    mutating func restart() {
        var lost: [Lease] = []
        for lease in leases where lease.owner != Self.receiptOwner { lost.append(lease) }
        leases = leases.filter { $0.owner == Self.receiptOwner }
        leasedCount = 0
        earliestLease = .never
        for lease in leases {
            leasedCount += lease.range.upperBound - lease.range.lowerBound
            earliestLease = min(earliestLease, lease.deadline)
        }
        for lease in lost {
            let past = Past(failed: lease.attempt, generation: lease.generation)
            for sequence in lease.range where !isDone(sequence) { self.past[sequence] = past }
        }
        lookAgain()
    }

    /// Everything that is not out is looked at again, from the first on: the order in which it goes out is not known, or
    /// another one.
    mutating func lookAgain() {
        ready.removeAll()
        gate.removeAll()
        unclosed.removeAll()
        taken = dying
        scan = watermark
        for lease in leases {
            taken.insert(lease.range)
            unclosed.insert(lease.range)
        }
        for sequence in delayed.keys { taken.insert(sequence..<sequence + 1) }
    }

    /// Goes on at another place: nothing of what was is kept, but for what is done behind it where that is gone for good,
    /// and nothing that was leased before counts.
    mutating func seek(to sequence: UInt64, keepsDone: Bool, epoch: UInt32) {
        let done = done.ranges
        self = DeliveryState(at: sequence, base: LeaseGeneration(epoch: epoch, number: highestNumber))
        guard keepsDone else { return }
        for range in done where range.upperBound > sequence {
            apply(.done(max(range.lowerBound, sequence)..<range.upperBound), epoch: epoch)
        }
    }
}

extension DeliveryState {
    func encode(to writer: inout ByteWriter) {
        writer.write64(watermark)
        writer.write64(base.rawValue)
        writer.write32(highestNumber)
        writer.write32(UInt32(done.ranges.count))
        for range in done.ranges { writer.write(range) }
        writer.write32(UInt32(leases.count))
        for lease in leases {
            writer.write(lease.range)
            writer.write8(lease.owner == Self.receiptOwner ? 0 : 1)
            writer.write64(lease.deadline.rawValue)
            writer.write32(lease.attempt)
            writer.write64(lease.generation.rawValue)
        }
        writer.write32(UInt32(past.count))
        for (sequence, past) in past.sorted(by: { $0.key < $1.key }) {
            writer.write64(sequence)
            writer.write32(past.failed)
            writer.write64(past.generation.rawValue)
        }
        writer.write32(UInt32(delayed.count))
        for (sequence, until) in delayed.sorted(by: { $0.key < $1.key }) {
            writer.write64(sequence)
            writer.write64(until.rawValue)
        }
        writer.write32(UInt32(dying.ranges.count))
        for range in dying.ranges { writer.write(range) }
    }

    /// Nil where the bytes end early or make no sense.
    init?(from reader: inout ByteReader) {
        guard let watermark = reader.read64(), let base = reader.read64(), let highest = reader.read32(),
            let doneCount = reader.read32()
        else { return nil }
        self.init(at: watermark, base: LeaseGeneration(rawValue: base))
        highestNumber = highest
        for _ in 0..<doneCount {
            guard let range = reader.readRange(), range.lowerBound > watermark else { return nil }
            done.insert(range)
        }
        guard let leaseCount = reader.read32() else { return nil }
        for _ in 0..<leaseCount {
            guard let range = reader.readRange(), let isAttached = reader.read8(), let deadline = reader.read64(),
                let attempt = reader.read32(), let generation = reader.read64(), attempt > 0,
                range.lowerBound >= leases.last?.range.upperBound ?? 0
            else { return nil }
            insertLease(
                Lease(
                    range: range,
                    owner: isAttached == 0 ? Self.receiptOwner : .max,
                    deadline: Timestamp(rawValue: deadline),
                    attempt: attempt,
                    generation: LeaseGeneration(rawValue: generation)
                )
            )
        }
        guard let pastCount = reader.read32() else { return nil }
        for _ in 0..<pastCount {
            guard let sequence = reader.read64(), let failed = reader.read32(), let generation = reader.read64() else {
                return nil
            }
            past[sequence] = Past(failed: failed, generation: LeaseGeneration(rawValue: generation))
        }
        guard let delayedCount = reader.read32() else { return nil }
        for _ in 0..<delayedCount {
            guard let sequence = reader.read64(), let until = reader.read64() else { return nil }
            delay(sequence, until: Timestamp(rawValue: until))
        }
        guard let dyingCount = reader.read32() else { return nil }
        for _ in 0..<dyingCount {
            guard let range = reader.readRange() else { return nil }
            dying.insert(range)
        }
    }
}

extension ByteWriter {
    mutating func write(_ range: Range<UInt64>) {
        write64(range.lowerBound)
        write64(range.upperBound)
    }
}

extension ByteReader {
    /// A range that is not empty.
    mutating func readRange() -> Range<UInt64>? {
        guard let lower = read64(), let upper = read64(), lower < upper else { return nil }
        return lower..<upper
    }
}
