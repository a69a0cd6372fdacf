import MessageModel
import Simulator
import Testing

@testable import StorageEngine

@Suite("Filter table")
struct FilterTableTests {
    private static let levels = ["a", "b", "c", "", "$x", "ab"]

    private func name(_ random: inout SeededGenerator) -> [UInt8] {
        let count = Int.random(in: 1...4, using: &random)
        let levels = (0..<count).map { _ in Self.levels.randomElement(using: &random) ?? "a" }
        let text = levels.joined(separator: "/")
        return Array((text.isEmpty ? "a" : text).utf8)
    }

    private func filter(_ random: inout SeededGenerator) -> [UInt8] {
        var levels = (0..<Int.random(in: 1...4, using: &random)).map { _ in
            random.percent(30) ? "+" : Self.levels.randomElement(using: &random) ?? "a"
        }
        if random.percent(30) { levels[levels.count - 1] = "#" }
        let text = levels.joined(separator: "/")
        return Array((text.isEmpty ? "#" : text).utf8)
    }

    private func matches(_ filter: [UInt8], _ name: [UInt8]) -> Bool {
        filter.withUnsafeBytes { filter in name.withUnsafeBytes { NameFilter.matches(filter, name: $0) } }
    }

    @Test("finds whom a comparison with each filter finds, in order, while filters come and go")
    func agreesWithComparison() {
        for seed in 0..<150 as Range<UInt64> {
            var random = SeededGenerator(seed: seed)
            var table = FilterTable()
            var filters: [(filter: [UInt8], subscriber: FilterSubscriber)] = []
            for step in 0..<120 {
                if filters.isEmpty || random.percent(60) {
                    let subscriber = FilterSubscriber(
                        session: .random(in: 0...4, using: &random),
                        filter: UInt32(step)
                    )
                    let filter = filter(&random)
                    filters.append((filter, subscriber))
                    filter.withUnsafeBytes { table.insert($0, subscriber) }
                } else if random.percent(50) {
                    let gone = filters.remove(at: Int.random(in: filters.indices, using: &random))
                    gone.filter.withUnsafeBytes { table.remove($0, gone.subscriber) }
                }
                #expect(table.count == filters.count && table.isEmpty == filters.isEmpty, "seed \(seed)")
                let name = name(&random)
                var found: [FilterSubscriber] = []
                name.withUnsafeBytes { table.match($0, into: &found) }
                let expected = filters.filter { matches($0.filter, name) }.map(\.subscriber).sorted()
                #expect(found == expected, "seed \(seed), name \(String(decoding: name, as: UTF8.self))")
            }
            for gone in filters { gone.filter.withUnsafeBytes { table.remove($0, gone.subscriber) } }
            #expect(table.isEmpty)
        }
    }

    @Test("removing a filter that is not there changes nothing")
    func removesNothing() {
        var table = FilterTable()
        let here = FilterSubscriber(session: 1, filter: 1)
        for filter in ["a/b", "a/+", "a/#"] {
            let bytes = Array(filter.utf8)
            bytes.withUnsafeBytes { bytes in
                table.insert(bytes, here)
                table.remove(bytes, FilterSubscriber(session: 1, filter: 2))
                #expect(table.count == 1)
                table.remove(bytes, here)
                table.remove(bytes, here)
                #expect(table.isEmpty)
            }
        }
    }
}
