import MessageModel
import NIOCore
import NativeProtocol
import Testing

@testable import SluiceClient

private func sealed(_ ordinal: UInt64, count: Int = 1, partition: Int = 0, deadline: NIODeadline = .distantFuture)
    -> SealedBatch
{
    var builder = BatchBuilder()
    builder.begin()
    for _ in 0..<count { builder.append(RecordFields()) }
    return builder.finish { bytes in
        SealedBatch(
            bytes,
            partition: partition,
            acknowledgement: .durable,
            recordCount: count,
            ordinal: ordinal,
            waiters: [],
            deadline: deadline
        )
    }
}

/// A server that stores what it gets, in order, once.
private struct Server {
    var stored: [(producer: UInt64, sequence: UInt32, ordinal: UInt64)] = []
    var next: [UInt64: UInt32] = [:]
    var offsets: [UInt64: [UInt32: UInt64]] = [:]
    var nextOffset: UInt64 = 0

    mutating func receive(_ batch: SealedBatch, producer: UInt64) -> Result<ProduceAck.Run, SluiceClientError> {
        let sequence = batch.firstSequence ?? 0
        if let offset = offsets[producer]?[sequence] {
            return .success(.init(firstSequence: sequence, count: batch.recordCount, baseOffset: offset))
        }
        if let expected = next[producer], expected != sequence {
            return .failure(SluiceClientError(.init(.sequenceGap), "gap"))
        }
        stored.append((producer, sequence, batch.ordinal))
        offsets[producer, default: [:]][sequence] = nextOffset
        next[producer] = sequence &+ batch.recordCount
        defer { nextOffset += UInt64(batch.recordCount) }
        return .success(.init(firstSequence: sequence, count: batch.recordCount, baseOffset: nextOffset))
    }
}

extension ProducerState {
    fileprivate mutating func sendable() -> [SealedBatch] {
        var result: [SealedBatch] = []
        takeSendable { result.append($0) }
        return result
    }
}

@Suite("A producer's state")
struct ProducerStateTests {
    @Test("batches get sequences in order, and the limit holds")
    func sequences() {
        var state = ProducerState(maxInFlight: 2)
        for ordinal in UInt64(0)..<3 { state.enqueue(sealed(ordinal, count: 5)) }
        #expect(state.sendable().isEmpty)
        _ = state.opened(handle: 3, producer: 9, epoch: 1)
        let first = state.sendable()
        #expect(first.map(\.firstSequence) == [0, 5])
        #expect(state.sendable().isEmpty)
        let done = state.acknowledged(partition: 0, run: .init(firstSequence: 0, count: 10, baseOffset: 100))
        #expect(done.map { try? $0.result.get() } == [100, 105])
        #expect(state.sendable().map(\.firstSequence) == [10])
    }

    @Test("a batch on the wire says its producer, sequence, handle and checksum")
    func frame() throws {
        var state = ProducerState(maxInFlight: 2)
        state.enqueue(sealed(0, count: 2))
        state.enqueue(sealed(1, count: 3))
        _ = state.opened(handle: 3, producer: 9, epoch: 1)
        let batch = try #require(state.sendable().last)
        batch.frame.withUnsafeReadableBytes { bytes in
            let frame = Frame.read(bytes).frame
            #expect(frame.header.handle == 3 && frame.header.opcode == .produce)
            let view = ProduceHead.read(frame.body, flags: frame.header.flags)?.batch
            #expect(view?.producer.rawValue == 9 && view?.producerEpoch == 1 && view?.baseSequence == 2)
            #expect(view?.hasValidDataChecksum == true)
        }
    }

    @Test("after a lost connection the same batches go with the same sequences")
    func resume() {
        var state = ProducerState(maxInFlight: 8)
        for ordinal in UInt64(0)..<3 { state.enqueue(sealed(ordinal, count: 2)) }
        _ = state.opened(handle: 1, producer: 9, epoch: 0)
        #expect(state.sendable().count == 3)
        _ = state.acknowledged(partition: 0, run: .init(firstSequence: 0, count: 2, baseOffset: 0))
        state.linkLost()
        #expect(state.sendable().isEmpty)
        #expect(state.opened(handle: 7, producer: 9, epoch: 0).isEmpty)
        #expect(state.sendable().map(\.firstSequence) == [2, 4])
    }

    @Test("what may be stored is indeterminate when the server no longer knows the producer")
    func forgotten() {
        var state = ProducerState(maxInFlight: 2)
        for ordinal in UInt64(0)..<4 { state.enqueue(sealed(ordinal)) }
        _ = state.opened(handle: 1, producer: 9, epoch: 0)
        #expect(state.sendable().count == 2)
        state.linkLost()
        let lost = state.opened(handle: 1, producer: 10, epoch: 0)
        #expect(lost.map(\.batch.ordinal) == [0, 1])
        for outcome in lost { #expect(outcome.error?.code == .indeterminate) }
        let rest = state.sendable()
        #expect(rest.map(\.ordinal) == [2, 3])
        #expect(rest.map(\.firstSequence) == [0, 1])
    }

    @Test("only what was sent fails as indeterminate when the producer is given up")
    func givenUp() {
        var state = ProducerState(maxInFlight: 1)
        state.enqueue(sealed(0))
        state.enqueue(sealed(1))
        _ = state.opened(handle: 1, producer: 9, epoch: 0)
        #expect(state.sendable().count == 1)
        state.linkLost()
        let outcomes = state.fail(SluiceClientError(.timedOut, "late"))
        #expect(outcomes.map(\.error?.code) == [.indeterminate, .timedOut])
    }

    @Test("a busy server gets all batches again after a pause, under the same identity")
    func busy() {
        var state = ProducerState(maxInFlight: 8)
        for ordinal in UInt64(0)..<3 { state.enqueue(sealed(ordinal)) }
        _ = state.opened(handle: 1, producer: 9, epoch: 0)
        #expect(state.sendable().count == 3)
        let busy = SluiceClientError(.busy, "busy")
        let gap = SluiceClientError(.init(.sequenceGap), "gap")
        state.refused(partition: 0, firstSequence: 0, error: busy, retryAfterMs: 30)
        #expect(state.settle().0 == .none)
        state.refused(partition: 0, firstSequence: 1, error: gap, retryAfterMs: 0)
        state.refused(partition: 0, firstSequence: 2, error: gap, retryAfterMs: 0)
        #expect(state.settle().0 == .retry(afterMs: 30))
        #expect(state.sendable().isEmpty)
        state.resume()
        #expect(state.sendable().map(\.firstSequence) == [0, 1, 2])
    }

    @Test("a fenced producer is at its end")
    func fenced() {
        var state = ProducerState(maxInFlight: 8)
        state.enqueue(sealed(0))
        _ = state.opened(handle: 1, producer: 9, epoch: 0)
        #expect(state.sendable().count == 1)
        let fenced = SluiceClientError(.producerFenced, "newer")
        state.refused(partition: 0, firstSequence: 0, error: fenced, retryAfterMs: 0)
        #expect(state.settle().0 == .failed(fenced))
    }

    @Test("acknowledgements of nothing that was sent change nothing")
    func strayAcknowledgements() {
        var state = ProducerState(maxInFlight: 8)
        state.enqueue(sealed(0, count: 4))
        _ = state.opened(handle: 1, producer: 9, epoch: 0)
        #expect(state.sendable().count == 1)
        for run in [
            ProduceAck.Run(firstSequence: 1, count: 3, baseOffset: 0), .init(firstSequence: 0, count: 2, baseOffset: 0),
            .init(firstSequence: 9, count: .max, baseOffset: .max),
        ] {
            #expect(state.acknowledged(partition: 0, run: run).isEmpty)
            #expect(state.acknowledged(partition: 5, run: run).isEmpty)
        }
        #expect(state.inFlight == 1)
    }

    @Test("whatever is refused or lost, each message is stored at most once, in order, and reported as it is")
    func random() {
        for seed in UInt64(1)...300 {
            var random = SplitMix64(state: seed)
            var state = ProducerState(maxInFlight: 4)
            var server = Server()
            var identity: UInt64 = 1
            var nextIdentity: UInt64 = 2
            var outcomes: [UInt64: Result<UInt64, SluiceClientError>] = [:]
            func note(_ done: [ProducerState.Outcome]) {
                for outcome in done {
                    #expect(outcomes[outcome.batch.ordinal] == nil, "seed \(seed)")
                    outcomes[outcome.batch.ordinal] = outcome.result
                }
            }
            let total = UInt64(30)
            for ordinal in 0..<total { state.enqueue(sealed(ordinal, count: Int.random(in: 1...3, using: &random))) }
            note(state.opened(handle: 1, producer: identity, epoch: 0))
            var rounds = 0
            while !state.isEmpty, rounds < 5_000 {
                rounds += 1
                if state.mode == .unopened { note(state.opened(handle: 1, producer: identity, epoch: 0)) }
                state.resume()
                let batches = state.sendable()
                let lostAt = Int.random(in: 0...9, using: &random) == 0 ? Int.random(in: 0...4, using: &random) : nil
                for (index, batch) in batches.enumerated() {
                    let dice = Int.random(in: 0...19, using: &random)
                    let sequence = batch.firstSequence ?? 0
                    let isKnown = server.offsets[identity]?[sequence] != nil
                    let answer: Result<ProduceAck.Run, SluiceClientError>
                    if dice == 0, !isKnown {
                        answer = .failure(SluiceClientError(.busy, "busy"))
                    } else if dice == 1, !isKnown {
                        answer = .failure(SluiceClientError(.tooLarge, "no"))
                    } else {
                        answer = server.receive(batch, producer: identity)
                    }
                    if let lostAt, index >= lostAt { continue }
                    switch answer {
                    case .success(let run): note(state.acknowledged(partition: 0, run: run))
                    case .failure(let error):
                        state.refused(partition: 0, firstSequence: sequence, error: error, retryAfterMs: 0)
                    }
                }
                if lostAt != nil {
                    state.linkLost()
                    continue
                }
                let (settlement, failed) = state.settle()
                note(failed)
                if settlement == .reopen {
                    identity = nextIdentity
                    nextIdentity += 1
                }
            }
            #expect(state.isEmpty && outcomes.count == Int(total), "seed \(seed)")
            let ordinals = server.stored.map(\.ordinal)
            #expect(Set(ordinals).count == ordinals.count, "stored twice, seed \(seed)")
            for ordinal in 0..<total {
                switch outcomes[ordinal] {
                case .success: #expect(ordinals.contains(ordinal), "seed \(seed)")
                case .failure(let error):
                    if error.code != .indeterminate { #expect(!ordinals.contains(ordinal), "seed \(seed)") }
                case nil: Issue.record("no outcome, seed \(seed)")
                }
            }
        }
    }
}

extension ProducerState.Outcome {
    fileprivate var error: SluiceClientError? { if case .failure(let error) = result { error } else { nil } }
}

/// SplitMix64: a failing case is found again by its seed.
private struct SplitMix64: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

@Suite("Reconnecting")
struct BackoffTests {
    @Test("pauses double up to the largest, and are between half and all of it")
    func pauses() {
        var backoff = Backoff(smallest: .milliseconds(100), largest: .milliseconds(350))
        #expect(backoff.pause(random: 1) == .milliseconds(100))
        #expect(backoff.pause(random: 0) == .milliseconds(100))
        #expect(backoff.pause(random: 1) == .milliseconds(350))
        backoff.reset()
        #expect(backoff.pause(random: 0) == .milliseconds(50))
    }
}
