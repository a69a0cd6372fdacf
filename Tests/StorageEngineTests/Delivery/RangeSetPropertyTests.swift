import TestSupport
import Testing

@testable import StorageEngine

@Suite("Range sets, compared with sets of numbers")
struct RangeSetPropertyTests {
    private static let limit: UInt64 = 120

    private func someRange(_ random: inout SeededRandom) -> Range<UInt64> {
        let lower = UInt64.random(in: 0..<Self.limit, using: &random)
        return lower..<min(Self.limit, lower + .random(in: 0...12, using: &random))
    }

    private func compare(_ set: RangeSet, _ model: Set<UInt64>, _ seed: UInt64, _ random: inout SeededRandom) {
        #expect(set.count == UInt64(model.count), "seed \(seed)")
        #expect(set.isEmpty == model.isEmpty, "seed \(seed)")
        #expect(set.first == model.min() && set.last == model.max(), "seed \(seed)")
        #expect(Set(set.ranges.flatMap { Array($0) }) == model, "seed \(seed)")
        #expect(zip(set.ranges, set.ranges.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound }, "seed \(seed)")
        let number = UInt64.random(in: 0..<Self.limit, using: &random)
        #expect(set.contains(number) == model.contains(number), "seed \(seed)")
        #expect(set.range(holding: number)?.contains(number) ?? false == model.contains(number), "seed \(seed)")
        let next = (number..<Self.limit).first { model.contains($0) }
        let found = set.firstRange(from: number)
        #expect(found?.lowerBound == next, "seed \(seed)")
        #expect(found.map { !model.contains($0.upperBound) && $0.allSatisfy(model.contains) } ?? true, "seed \(seed)")
        let range = someRange(&random)
        #expect(set.count(in: range) == UInt64(range.count { model.contains($0) }), "seed \(seed)")
    }

    @Test("every operation does what it does to a set", arguments: 1...10 as ClosedRange<UInt64>)
    func operations(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var set = RangeSet()
        var model = Set<UInt64>()
        for _ in 0..<200 {
            let range = someRange(&random)
            switch Int.random(in: 0..<20, using: &random) {
            case 0..<10:
                let added = UInt64(range.count { !model.contains($0) })
                #expect(set.insert(range) == added, "seed \(seed)")
                model.formUnion(range)
            case 10..<19:
                let removed = UInt64(range.count { model.contains($0) })
                #expect(set.remove(range) == removed, "seed \(seed)")
                model.subtract(range)
            default:
                // What settlements in order do: the beginning goes.
                let start = 0..<(set.first ?? 0) + UInt64.random(in: 0..<20, using: &random)
                _ = set.remove(start)
                model.subtract(start)
            }
            compare(set, model, seed, &random)
        }
        var copy = RangeSet()
        for number in model.shuffled(using: &random) { copy.insert(number..<number + 1) }
        #expect(copy == set, "seed \(seed)")
    }
}
