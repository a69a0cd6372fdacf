import TestSupport
import Testing

@testable import StorageEngine

@Suite("Timer heap")
struct TimerHeapTests {
    private func entry(_ random: inout SeededRandom, within range: UInt64) -> TimerEntry {
        TimerEntry(
            due: .random(in: 0..<range, using: &random),
            payload: .random(in: 0..<4, using: &random),
            detail: .random(in: 0..<2, using: &random),
            kind: .random(in: 0..<2, using: &random)
        )
    }

    @Test("gives entries in the order in which they are due, as a sorted array does", arguments: 0..<30)
    func order(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        // Few different times make many that are equal.
        let ranges: [UInt64] = [3, 50, 1 << 40]
        let range: UInt64 = ranges.randomElement(using: &random) ?? 3
        let heap = TimerHeap()
        var sorted: [TimerEntry] = []
        for _ in 0..<600 {
            switch Int.random(in: 0..<20, using: &random) {
            case 0..<12:
                let new = entry(&random, within: range)
                heap.insert(new)
                sorted.insert(new, at: sorted.firstIndex { new < $0 } ?? sorted.count)
            case 12..<16:
                #expect(heap.popFirst() == sorted.first, "seed \(seed)")
                if !sorted.isEmpty { sorted.removeFirst() }
            case 16..<19:
                let now = UInt64.random(in: 0..<range, using: &random)
                let due = sorted.first.flatMap { $0.due <= now ? $0 : nil }
                #expect(heap.popFirst(dueBy: now) == due, "seed \(seed)")
                if due != nil { sorted.removeFirst() }
            default:
                let payload = UInt64.random(in: 0..<6, using: &random)
                heap.removeAll { $0.payload == payload }
                sorted.removeAll { $0.payload == payload }
            }
            #expect(heap.count == sorted.count && heap.first == sorted.first, "seed \(seed)")
        }
        var rest: [TimerEntry] = []
        heap.forEach { rest.append($0) }
        #expect(rest.sorted() == sorted, "seed \(seed)")
        for expected in sorted { #expect(heap.popFirst() == expected, "seed \(seed)") }
        #expect(heap.isEmpty && heap.popFirst() == nil && heap.first == nil)
    }

    @Test("the order does not depend on the order of insertion, also where times are equal")
    func determinism() {
        var random = SeededRandom(seed: 5)
        let entries = (0..<500).map { _ in entry(&random, within: 4) }
        func drained(_ entries: [TimerEntry]) -> [TimerEntry] {
            let heap = TimerHeap()
            for entry in entries { heap.insert(entry) }
            return (0..<entries.count).compactMap { _ in heap.popFirst() }
        }
        #expect(drained(entries) == entries.sorted())
        #expect(drained(entries.shuffled(using: &random)) == entries.sorted())
    }

    @Test("a pass that removes keeps the order of what stays, across many chunks")
    func sweep() {
        var random = SeededRandom(seed: 6)
        let heap = TimerHeap()
        var kept: [TimerEntry] = []
        for index in 0..<20_000 as Range<UInt64> {
            let entry = TimerEntry(due: .random(in: 0..<1 << 30, using: &random), payload: index)
            heap.insert(entry)
            if index % 3 == 0 { kept.append(entry) }
        }
        heap.removeAll { $0.payload % 3 != 0 }
        #expect(heap.count == kept.count)
        for expected in kept.sorted() { #expect(heap.popFirst() == expected) }
    }

    @Test("a million entries cost 24 bytes each and a little, and their memory goes back")
    func memory() {
        #expect(MemoryLayout<TimerEntry>.stride == 24)
        let heap = TimerHeap()
        #expect(heap.byteCount == 0)
        // Descending times: every insertion rises to the root.
        for index in 0..<1_000_000 as Range<UInt64> { heap.insert(TimerEntry(due: 1_000_000 - index, payload: index)) }
        #expect(heap.byteCount <= 1_000_000 * 25)
        heap.removeAll { $0.due > 1_000 }
        #expect(heap.count == 1_000)
        #expect(heap.byteCount < 150_000)
        #expect(heap.popFirst(dueBy: 0) == nil)
        #expect(heap.popFirst(dueBy: 1)?.due == 1)
        heap.removeAll()
        #expect(heap.byteCount == 0 && heap.isEmpty)
        heap.insert(TimerEntry(due: 1, payload: 1))
        #expect(heap.first?.due == 1)
    }
}
