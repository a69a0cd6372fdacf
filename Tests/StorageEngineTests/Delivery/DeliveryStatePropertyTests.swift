import MessageModel
import TestSupport
import Testing

@testable import StorageEngine

/// What becomes of each message of a lane, one by one.
private struct NaiveLane {
    enum State: Equatable {
        case fresh
        case leased(owner: UInt64, deadline: Timestamp)
        case ready
        case delayed(Timestamp)
        case dying
        case done
    }

    struct Entry {
        var state = State.fresh
        var failed: UInt32 = 0
        var number: UInt32 = 0
        var generation: LeaseGeneration?
    }

    var entries: [Entry]
    /// Where a seek went: what stands before it is done.
    var start: UInt64 = 0
    var base = LeaseGeneration(epoch: 0, number: 0)
    var highest: UInt32 = 0

    init(count: Int) { entries = Array(repeating: Entry(), count: count) }

    func indices(_ isIncluded: (State) -> Bool) -> [UInt64] {
        entries.indices.filter { isIncluded(entries[$0].state) }.map(UInt64.init)
    }

    var watermark: UInt64 { UInt64(entries.firstIndex { $0.state != .done } ?? entries.count) }

    mutating func finish(_ sequence: UInt64) {
        entries[Int(sequence)] = Entry(state: .done)
    }
}

@Suite("Delivery states, compared with one state for each message")
struct DeliveryStatePropertyTests {
    private static let count = 40
    private static let owners: [UInt64] = [DeliveryState.receiptOwner, 1, 2]

    /// A lane, what the log has of it, and the naive one.
    private struct Bench {
        var state = DeliveryState()
        var naive = NaiveLane(count: DeliveryStatePropertyTests.count)
        var journal = DeliveryJournal()
        /// What the log holds: changes of one epoch, or a seek or a restart.
        var log: [(bytes: [UInt8], epoch: UInt32, seek: UInt64?, isRestart: Bool)] = []
        var epoch: UInt32 = 1
        var now = Timestamp(rawValue: 1_000)
        let key = LaneKey(subscription: SubscriptionID(rawValue: 1), lane: 3)

        mutating func note(_ change: DeliveryChange) { journal.append(change, to: key) }

        mutating func flush() {
            while !journal.isEmpty {
                log.append((journal.next(), epoch, nil, false))
                journal.written()
            }
        }

        /// What a new life makes of the log.
        func replayed() -> DeliveryState {
            var result = DeliveryState()
            for part in log {
                if let place = part.seek { result.seek(to: place, keepsDone: false, epoch: part.epoch) }
                if part.isRestart { result.restart() }
                let isRight = part.bytes.withUnsafeBytes { bytes in
                    DeliveryJournal.read(bytes) { key, change in
                        #expect(key == self.key)
                        result.apply(change, epoch: part.epoch)
                    }
                }
                #expect(isRight)
            }
            return result
        }
    }

    private func deliver(_ bench: inout Bench, _ random: inout SeededRandom) {
        let end = UInt64(Self.count)
        let owner = Self.owners.randomElement(using: &random) ?? 0
        let deadline = bench.now.advanced(byMicroseconds: .random(in: 1...50, using: &random))
        var range: Range<UInt64>
        let fresh = bench.state.next(before: end)
        if let again = bench.state.ready.firstRange, fresh.map({ again.lowerBound < $0.range.lowerBound }) ?? true {
            range = again
        } else if let fresh {
            if fresh.isTaken { return bench.state.pass(to: fresh.range.upperBound) }
            range = fresh.range
        } else {
            return
        }
        let expected = bench.naive.indices { $0 == .fresh || $0 == .ready }.first
        #expect(range.lowerBound == expected)
        range = range.lowerBound..<min(range.upperBound, range.lowerBound + .random(in: 1...6, using: &random))
        let (part, turn) = bench.state.uniform(range)
        bench.state.lease(part, owner: owner, deadline: deadline, epoch: bench.epoch)
        if part.upperBound > bench.state.scan { bench.state.pass(to: part.upperBound) }
        bench.note(owner == DeliveryState.receiptOwner ? .leasedUntil(part, deadline) : .leased(part))
        for sequence in part.map(Int.init) {
            let entry = bench.naive.entries[sequence]
            let number = (entry.generation == nil ? bench.naive.base.number : entry.number) + 1
            #expect(turn.attempt == entry.failed + 1 && turn.number == number)
            bench.naive.entries[sequence].number = number
            bench.naive.entries[sequence].generation = LeaseGeneration(epoch: bench.epoch, number: number)
            bench.naive.entries[sequence].state = .leased(owner: owner, deadline: deadline)
            bench.naive.highest = max(bench.naive.highest, number)
        }
    }

    private func someRange(_ random: inout SeededRandom) -> Range<UInt64> {
        let lower = UInt64.random(in: 0..<UInt64(Self.count), using: &random)
        return lower..<min(UInt64(Self.count), lower + .random(in: 1...6, using: &random))
    }

    private func settle(_ bench: inout Bench, _ random: inout SeededRandom) {
        let range = someRange(&random)
        let owner = Self.owners.randomElement(using: &random)
        var pieces: [DeliveryState.Lease] = []
        bench.state.takeLeases(in: range, owner: owner, into: &pieces)
        let expected = range.filter {
            if case .leased(let holder, _) = bench.naive.entries[Int($0)].state {
                owner == nil || holder == owner
            } else {
                false
            }
        }
        #expect(pieces.flatMap { Array($0.range) } == expected)
        let choice = Int.random(in: 0..<5, using: &random)
        let until = bench.now.advanced(byMicroseconds: .random(in: 1...60, using: &random))
        let counts = Bool.random(using: &random)
        for piece in pieces {
            for sequence in piece.range.map(Int.init) {
                #expect(bench.naive.entries[sequence].generation == piece.generation)
                #expect(bench.naive.entries[sequence].failed + 1 == piece.attempt)
            }
            switch choice {
            case 0, 1:
                bench.state.finish(piece.range)
                bench.note(.done(piece.range))
                for sequence in piece.range { bench.naive.finish(sequence) }
            case 2:
                let time = counts ? until : nil
                bench.state.release(piece, until: time, countsAttempt: counts)
                bench.note(.released(piece.range, until: time, countsAttempt: counts))
                for sequence in piece.range.map(Int.init) {
                    bench.naive.entries[sequence].failed += counts ? 1 : 0
                    bench.naive.entries[sequence].state = time.map { .delayed($0) } ?? .ready
                }
            case 3:
                bench.state.condemn(piece.range, attempt: piece.attempt)
                bench.note(.condemned(piece.range, reason: "r"))
                for sequence in piece.range.map(Int.init) {
                    bench.naive.entries[sequence].failed += 1
                    bench.naive.entries[sequence].state = .dying
                }
            default:
                bench.state.extend(piece, until: until)
                if piece.owner == DeliveryState.receiptOwner { bench.note(.leasedUntil(piece.range, until)) }
                for sequence in piece.range.map(Int.init) {
                    bench.naive.entries[sequence].state = .leased(owner: piece.owner, deadline: until)
                }
            }
        }
    }

    private func pass(_ bench: inout Bench, _ random: inout SeededRandom) {
        bench.now = bench.now.advanced(byMicroseconds: .random(in: 1...30, using: &random))
        let now = bench.now
        var pieces: [DeliveryState.Lease] = []
        bench.state.takeExpired(now: now, into: &pieces)
        for piece in pieces {
            bench.state.release(piece, until: nil, countsAttempt: true)
            bench.note(.released(piece.range, until: nil, countsAttempt: true))
        }
        let hasWoken = bench.state.wakeDelayed(now: now)
        var expired: [UInt64] = []
        var woken = 0
        for index in bench.naive.entries.indices {
            switch bench.naive.entries[index].state {
            case .leased(_, let deadline) where deadline <= now:
                expired.append(UInt64(index))
                bench.naive.entries[index].failed += 1
                bench.naive.entries[index].state = .ready
            case .delayed(let until) where until <= now:
                woken += 1
                bench.naive.entries[index].state = .ready
            default: continue
            }
        }
        #expect(pieces.flatMap { Array($0.range) }.sorted() == expired)
        #expect(hasWoken == (woken > 0))
        #expect(bench.state.nextDeadline.map { $0 > now } ?? true)
    }

    private func restart(_ bench: inout Bench) {
        bench.flush()
        bench.epoch += 1
        bench.state = bench.replayed()
        bench.state.restart()
        // The ends of delays are not in the log: time tells them again.
        _ = bench.state.wakeDelayed(now: bench.now)
        bench.log.append(([], bench.epoch, nil, true))
        for index in bench.naive.entries.indices {
            switch bench.naive.entries[index].state {
            case .leased(let owner, _) where owner != DeliveryState.receiptOwner:
                bench.naive.entries[index].failed += 1
                bench.naive.entries[index].state = .ready
            default: continue
            }
        }
    }

    private func compare(_ bench: Bench, _ random: inout SeededRandom) {
        let (state, naive) = (bench.state, bench.naive)
        #expect(state.watermark == naive.watermark)
        let finished = naive.indices { $0 == .done }
        #expect((0..<UInt64(Self.count)).filter { state.isDone($0) } == finished)
        #expect(state.backlog(before: UInt64(Self.count)) == UInt64(Self.count - finished.count))
        let leased = naive.indices { if case .leased = $0 { true } else { false } }
        #expect(state.leases.flatMap { Array($0.range) } == leased && state.leasedCount == UInt64(leased.count))
        #expect(state.dying.ranges.flatMap { Array($0) } == naive.indices { $0 == .dying })
        #expect(state.delayed.keys.sorted() == naive.indices { if case .delayed = $0 { true } else { false } })
        for (index, entry) in naive.entries.enumerated() where entry.state != .done {
            let sequence = UInt64(index)
            if let lease = state.lease(holding: sequence) {
                #expect(entry.state == .leased(owner: lease.owner, deadline: lease.deadline))
                #expect(lease.generation == entry.generation)
            } else {
                #expect(entry.state == .dying || state.past[sequence]?.generation == entry.generation)
                #expect(state.failures(sequence) == entry.failed)
            }
        }
        let sequence = UInt64.random(in: 0..<UInt64(Self.count), using: &random)
        let entry = naive.entries[Int(sequence)]
        for number in 0...entry.number + 1 {
            for epoch in 1...bench.epoch {
                let generation = LeaseGeneration(epoch: epoch, number: number)
                let isOpen = entry.state != .done && entry.state != .dying
                let last = entry.generation ?? naive.base
                let isLost = epoch < bench.epoch && epoch >= last.epoch && number > last.number
                let isRight = isOpen && (generation == entry.generation || isLost)
                #expect(state.accepts(sequence, generation, epoch: bench.epoch) == isRight)
            }
        }
    }

    @Test("random histories lead to the same, before and behind restarts", arguments: 1...10 as ClosedRange<UInt64>)
    func histories(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var bench = Bench()
        for step in 0..<120 {
            switch Int.random(in: 0..<40, using: &random) {
            case 0..<16: deliver(&bench, &random)
            case 16..<28: settle(&bench, &random)
            case 28..<34: pass(&bench, &random)
            case 34:
                // Whoever finishes what is not out: a filter, a limit.
                let range = someRange(&random)
                var pieces: [DeliveryState.Lease] = []
                bench.state.takeLeases(in: range, owner: nil, into: &pieces)
                bench.state.finish(range)
                bench.note(.done(range))
                for sequence in range { bench.naive.finish(sequence) }
            case 35: bench.state.lookAgain()
            case 36: bench.flush()
            case 37: restart(&bench)
            case 38:
                var writer = ByteWriter()
                bench.state.encode(to: &writer)
                let bytes = writer.bytes
                bytes.withUnsafeBytes { bytes in
                    var reader = ByteReader(bytes)
                    var read = DeliveryState(from: &reader)
                    #expect(read != nil && reader.remaining == 0)
                    var copy = bench.state
                    read?.restart()
                    copy.restart()
                    var first = ByteWriter()
                    var second = ByteWriter()
                    read?.encode(to: &first)
                    copy.encode(to: &second)
                    #expect(first.bytes == second.bytes)
                }
            default:
                guard random.next() % 4 == 0 else { continue }
                bench.flush()
                let place = UInt64.random(in: 0...UInt64(Self.count), using: &random)
                bench.state.seek(to: place, keepsDone: false, epoch: bench.epoch)
                bench.log.append(([], bench.epoch, place, false))
                let base = LeaseGeneration(epoch: bench.epoch, number: bench.naive.highest)
                bench.naive = NaiveLane(count: Self.count)
                bench.naive.base = base
                bench.naive.highest = base.number
                for sequence in 0..<place { bench.naive.finish(sequence) }
            }
            if step % 4 == 0 { compare(bench, &random) }
        }
        restart(&bench)
        compare(bench, &random)
    }
}
