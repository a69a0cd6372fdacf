import NIOCore
import Testing

@testable import AMQPProtocol

@Suite("Bookkeeping against naive models")
struct BookkeepingTests {
    @Test("unacknowledged deliveries behave like a sorted list")
    func unacknowledged() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        for _ in 0..<30 {
            var deliveries = UnacknowledgedDeliveries()
            var model: [UnacknowledgedDeliveries.Entry] = []
            var removed: [SettledDelivery] = []
            var tag: UInt64 = 0
            for _ in 0..<2_000 {
                switch Int.random(in: 0...9, using: &random) {
                case 0...4:
                    // Tags of deliveries that need no acknowledgement lie between.
                    tag += UInt64.random(in: 1...3, using: &random)
                    let entry = UnacknowledgedDeliveries.Entry(
                        deliveryTag: tag,
                        token: tag * 2,
                        source: 1,
                        consumer: UInt32(tag % 3)
                    )
                    deliveries.append(entry)
                    model.append(entry)
                case 5...7:
                    // Mostly one that waits, sometimes one that does not.
                    let chosen =
                        Bool.random(using: &random)
                        ? model.randomElement(using: &random)?.deliveryTag ?? 1
                        : UInt64.random(in: 0...tag + 2, using: &random)
                    let index = model.firstIndex { $0.deliveryTag == chosen }
                    #expect(deliveries.remove(chosen) == index.map { model[$0] }, "seed \(seed)")
                    if let index {
                        removed.append(SettledDelivery(model[index], .acknowledge))
                        model.remove(at: index)
                    }
                case 8 where Int.random(in: 0...20, using: &random) == 0:
                    let chosen = model.randomElement(using: &random)?.deliveryTag ?? 5
                    var taken: [UnacknowledgedDeliveries.Entry] = []
                    let isKnown = deliveries.remove(through: chosen) { taken.append($0) }
                    #expect(isKnown == model.contains { $0.deliveryTag == chosen }, "seed \(seed)")
                    if isKnown {
                        #expect(taken == model.filter { $0.deliveryTag <= chosen }, "seed \(seed)")
                        model.removeAll { $0.deliveryTag <= chosen }
                    }
                case 9 where Int.random(in: 0...50, using: &random) == 0:
                    let back = Array(removed.suffix(5))
                    removed = []
                    deliveries.restore(back)
                    model += back.map {
                        .init(deliveryTag: $0.deliveryTag, token: $0.token, source: $0.source, consumer: $0.consumer)
                    }
                    model.sort { $0.deliveryTag < $1.deliveryTag }
                default: break
                }
                #expect(deliveries.count == model.count, "seed \(seed)")
                #expect(deliveries.storedCount <= max(2 * model.count, model.count + 33), "seed \(seed)")
            }
            var rest: [UnacknowledgedDeliveries.Entry] = []
            deliveries.removeAll { rest.append($0) }
            #expect(rest == model, "seed \(seed)")
            #expect(deliveries.isEmpty)
        }
    }

    @Test("one delivery that is held for long does not keep the others")
    func held() {
        var deliveries = UnacknowledgedDeliveries()
        for tag in UInt64(1)...100_000 {
            deliveries.append(.init(deliveryTag: tag, token: 0, source: 0, consumer: 0))
            if tag > 1 { #expect(deliveries.remove(tag) != nil) }
        }
        #expect(deliveries.count == 1)
        #expect(deliveries.storedCount < 64)
        #expect(deliveries.contains(1))
    }

    @Test("every publish is confirmed once, none is covered before it is finished or by the other outcome")
    func confirms() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        for _ in 0..<20 {
            var confirms = PublisherConfirms()
            var refused: Set<UInt64> = []
            var finished: Set<UInt64> = []
            var pending: [UInt64] = []
            // As a client keeps it: what it has not heard of.
            var outstanding: [UInt64] = []
            for _ in 0..<400 {
                for _ in 0..<Int.random(in: 0...8, using: &random) {
                    let sequence = confirms.append()
                    pending.append(sequence)
                    outstanding.append(sequence)
                }
                for _ in 0..<Int.random(in: 0...8, using: &random) {
                    let inOrder = Int.random(in: 0...3, using: &random) > 0
                    guard let index = inOrder ? pending.indices.first : pending.indices.randomElement(using: &random)
                    else { break }
                    let sequence = pending.remove(at: index)
                    let isRefused = Int.random(in: 0...9, using: &random) == 0
                    if isRefused { refused.insert(sequence) }
                    finished.insert(sequence)
                    confirms.finish(sequence, isRefused: isRefused)
                    // A second verdict changes nothing.
                    confirms.finish(sequence, isRefused: !isRefused)
                }
                var output = ByteBuffer()
                let told = confirms.write(channel: 1, into: &output)
                var heard = 0
                for frame in frames(Array(output.readableBytesView)) {
                    let tag = frame.payload[4..<12].reduce(0) { $0 << 8 | UInt64($1) }
                    let isMultiple = frame.payload[12] & 1 == 1
                    let covered = outstanding.filter { isMultiple ? $0 <= tag : $0 == tag }
                    #expect(covered.last == tag, "seed \(seed)")
                    for sequence in covered {
                        #expect(finished.contains(sequence), "seed \(seed)")
                        #expect(refused.contains(sequence) == (frame.id == .basicNack), "seed \(seed)")
                    }
                    heard += covered.count
                    outstanding.removeAll { isMultiple ? $0 <= tag : $0 == tag }
                }
                #expect(told == heard, "seed \(seed)")
                #expect(Set(outstanding) == Set(pending), "seed \(seed)")
            }
        }
    }

    @Test("what is finished in order goes out as one frame")
    func cumulative() {
        var transcript = Transcript.open()
        _ = transcript.receives(method(.confirmSelect, [0]) + (0..<5).flatMap { _ in publish() })
        #expect(transcript.sent() == ["1 confirmSelectOk"])
        #expect(transcript.published.map(\.confirmTag) == [1, 2, 3, 4, 5])
        transcript.finishes([2, 1, 3])
        #expect(transcript.confirms() == ["1 basicAck 3 multiple"])
        transcript.finishes([5])
        #expect(transcript.confirms() == ["1 basicAck 5"])
        transcript.finishes([4])
        #expect(transcript.confirms() == ["1 basicAck 4"])
        #expect(transcript.confirms() == [])
        _ = transcript.receives((0..<4).flatMap { _ in publish() })
        transcript.finishes([6, 9])
        transcript.finishes([7, 8], refused: true)
        #expect(transcript.confirms() == ["1 basicAck 6", "1 basicNack 8 multiple", "1 basicAck 9"])
    }
}
