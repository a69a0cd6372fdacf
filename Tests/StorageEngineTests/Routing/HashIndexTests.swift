import Simulator
import Testing

@testable import StorageEngine

@Suite("Hash index")
struct HashIndexTests {
    @Test(
        "holds what a dictionary holds while it grows and shrinks, also with hashes in common",
        arguments: 0..<6 as Range<UInt64>
    )
    func agrees(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var index = HashIndex()
        var held: [(number: Int, hash: UInt32)] = []
        // Few hashes make long runs, hash zero among them; many make few.
        let mask: UInt32 = seed % 2 == 0 ? 0x3FF : .max
        var next = 0
        for isGrowing in [true, false, true, false] {
            for _ in 0..<(seed % 2 == 0 ? 2_000 : 12_000) {
                if random.percent(isGrowing ? 90 : 8) || held.isEmpty {
                    let hash = UInt32.random(in: 0 ... .max, using: &random) & mask
                    index.insert(hash, next)
                    held.append((next, hash))
                    next += 1
                } else {
                    held.swapAt(Int.random(in: held.indices, using: &random), held.count - 1)
                    let gone = held.removeLast()
                    index.remove(gone.hash, gone.number)
                    if index.find(gone.hash, where: { $0 == gone.number }) != nil {
                        Issue.record("\(gone) is still there, seed \(seed)")
                    }
                }
            }
            #expect(index.count == held.count, "seed \(seed)")
            #expect(held.allSatisfy { entry in index.find(entry.hash) { $0 == entry.number } != nil }, "seed \(seed)")
        }
        index.renumber { $0 + 1_000_000 }
        #expect(
            held.allSatisfy { entry in index.find(entry.hash) { $0 == entry.number + 1_000_000 } != nil },
            "seed \(seed)"
        )
    }

    @Test("removing what is not there changes nothing")
    func absent() {
        var index = HashIndex()
        index.remove(1, 1)
        index.insert(1, 1)
        index.remove(1, 2)
        index.remove(2, 1)
        #expect(index.count == 1 && index.find(1) { _ in true } == 1 && index.find(2) { _ in true } == nil)
    }
}
