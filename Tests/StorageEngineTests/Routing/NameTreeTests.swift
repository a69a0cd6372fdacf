import MessageModel
import Simulator
import Testing

@testable import StorageEngine

/// A tree behind a reference, as expectations cannot call what changes a value.
private final class TreeUnderTest {
    var tree = NameTree<UInt64>()

    var names: [String] {
        var names: [String] = []
        tree.forEach { name, _ in names.append(String(decoding: name, as: UTF8.self)) }
        return names
    }

    func get(_ name: String) -> UInt64? { withBytes(name) { tree.get($0) } }
    @discardableResult
    func set(_ name: String, _ value: UInt64) -> UInt64? { withBytes(name) { tree.set($0, value) } }
    @discardableResult
    func remove(_ name: String) -> UInt64? { withBytes(name) { tree.remove($0) } }

    /// One page, and where the next begins.
    func page(
        _ filter: String,
        after: [UInt8]? = nil,
        limit: Int = 1_000,
        effort: Int = 4_096
    ) throws -> (names: [String], values: [UInt64], next: [UInt8]?) {
        var names: [String] = []
        var values: [UInt64] = []
        let next = try withBytes(filter) { filter in
            func scan(_ after: UnsafeRawBufferPointer?) throws -> [UInt8]? {
                try tree.forEach(matching: filter, after: after, limit: limit, effort: effort) { name, value in
                    names.append(String(decoding: name, as: UTF8.self))
                    values.append(value)
                }
            }
            return try after.map { try $0.withUnsafeBytes { try scan($0) } } ?? scan(nil)
        }
        return (names, values, next)
    }

    /// All pages together.
    func all(_ filter: String, limit: Int = 1_000, effort: Int = 4_096) throws -> [String] {
        var names: [String] = []
        var next: [UInt8]?
        repeat {
            let page = try page(filter, after: next, limit: limit, effort: effort)
            #expect(page.names.count <= limit)
            names += page.names
            next = page.next
        } while next != nil
        return names
    }
}

@Suite("Name tree")
struct NameTreeTests {
    private static let words = ["a", "b", "ab", "a!", "", "$x", "z", "level-of-some-length", "ä", "$"]

    private func name(_ random: inout SeededGenerator) -> String {
        let levels = (0..<Int.random(in: 1...5, using: &random)).map { _ in
            Self.words.randomElement(using: &random) ?? "a"
        }
        let name = levels.joined(separator: "/")
        return name.isEmpty ? "a" : name
    }

    private func filter(_ random: inout SeededGenerator) -> String {
        var levels = (0..<Int.random(in: 1...5, using: &random)).map { _ in
            random.percent(40) ? "+" : Self.words.randomElement(using: &random) ?? "a"
        }
        if random.percent(40) { levels[levels.count - 1] = "#" }
        let filter = levels.joined(separator: "/")
        return filter.isEmpty ? "#" : filter
    }

    private func sorted(_ names: some Sequence<String>) -> [String] {
        names.map { ($0, levels($0)) }.sorted { precedes($0.1, $1.1) }.map(\.0)
    }

    private func levels(_ name: String) -> [ArraySlice<UInt8>] {
        Array(name.utf8).split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    }

    private func precedes(_ left: [ArraySlice<UInt8>], _ right: [ArraySlice<UInt8>]) -> Bool {
        left.lexicographicallyPrecedes(right) { $0.lexicographicallyPrecedes($1) }
    }

    private func matches(_ filter: String, _ name: String) -> Bool {
        withBytes(filter) { filter in withBytes(name) { NameFilter.matches(filter, name: $0) } }
    }

    @Test(
        "holds what a dictionary holds, and finds by filters what a comparison finds",
        arguments: 0..<60 as Range<UInt64>
    )
    func agrees(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let tree = TreeUnderTest()
        var values: [String: UInt64] = [:]
        for step in 0..<300 as Range<UInt64> {
            let name = name(&random)
            if random.percent(65) {
                #expect(tree.set(name, step) == values.updateValue(step, forKey: name), "seed \(seed)")
            } else {
                let gone = random.percent(60) ? values.keys.sorted().randomElement(using: &random) ?? name : name
                #expect(tree.remove(gone) == values.removeValue(forKey: gone), "seed \(seed)")
            }
            #expect(tree.tree.count == values.count && tree.get(name) == values[name], "seed \(seed)")
            guard step % 10 == 0 else { continue }
            let all = sorted(values.keys)
            #expect(tree.names == all, "seed \(seed)")
            for _ in 0..<5 {
                let filter = filter(&random)
                let limit = Int.random(in: 1...8, using: &random)
                let effort = Int.random(in: 1...8, using: &random)
                let expected = all.filter { matches(filter, $0) }
                #expect(try tree.all(filter) == expected, "seed \(seed), filter \(filter)")
                #expect(
                    try tree.all(filter, limit: limit, effort: effort) == expected,
                    "seed \(seed), filter \(filter), limit \(limit), effort \(effort)"
                )
                let page = try tree.page(filter, after: Array(name.utf8))
                let behind = expected.filter { precedes(levels(name), levels($0)) }
                #expect(page.names == behind, "seed \(seed), filter \(filter), after \(name)")
                #expect(page.values == page.names.compactMap { values[$0] }, "seed \(seed)")
            }
        }
        for name in values.keys { tree.remove(name) }
        #expect(tree.tree.isEmpty && tree.tree.byteCount == NameTree<UInt64>().byteCount, "seed \(seed)")
    }

    @Test("names stand before those below them, and these before what follows by its bytes")
    func order() {
        let tree = TreeUnderTest()
        for name in ["a!", "b", "a/b", "a", "/", "a/", "$a", "ab/c", "a!/x", "a/b/c"] { tree.set(name, 0) }
        #expect(tree.names == ["/", "$a", "a", "a/", "a/b", "a/b/c", "a!", "a!/x", "ab/c", "b"])
    }

    @Test(
        "names that begin with $ are hidden from a wildcard in the first level",
        arguments: [
            ("#", ["a", "a/b"]), ("+/b", ["a/b"]), ("$s/#", ["$s", "$s/b"]), ("$s/+", ["$s/b"]), ("+", ["a"]),
        ]
    )
    func hidden(filter: String, expected: [String]) throws {
        let tree = TreeUnderTest()
        for name in ["a", "a/b", "$s", "$s/b", "$"] { tree.set(name, 0) }
        #expect(try tree.all(filter) == expected)
    }

    @Test("a page ends at its limit and goes on behind its last name, also when that has gone meanwhile")
    func pages() throws {
        let tree = TreeUnderTest()
        for number in 0..<10 as Range<UInt64> { tree.set("a/\(number)/x", number) }
        let first = try tree.page("a/+/x", limit: 4)
        #expect(first.values == [0, 1, 2, 3] && first.next == Array("a/3/x".utf8))
        tree.remove("a/3/x")
        tree.remove("a/4/x")
        tree.set("a/35/x", 35)
        let second = try tree.page("a/+/x", after: first.next, limit: 4)
        #expect(second.values == [35, 5, 6, 7])
        let third = try tree.page("a/+/x", after: second.next, limit: 4)
        #expect(third.values == [8, 9] && third.next == nil)
    }

    @Test("a filter without a wildcard finds its name once")
    func exact() throws {
        let tree = TreeUnderTest()
        tree.set("a/b", 7)
        #expect(try tree.page("a/b").values == [7])
        #expect(try tree.page("a/b", after: Array("a".utf8)).values == [7])
        #expect(try tree.page("a/b", after: Array("a/b".utf8)).values == [])
        #expect(try tree.page("a/c").values == [])
        #expect(throws: SluiceError.self) { try tree.page("a/#/b") }
    }

    @Test("what cannot match is passed over: the effort follows the matches, not the names")
    func passesOver() throws {
        let tree = TreeUnderTest()
        for site in 0..<20 { for device in 0..<500 { tree.set("s\(site)/d\(device)/state", UInt64(device)) } }
        let page = try tree.page("+/d77/state", effort: 200)
        #expect(page.values == Array(repeating: 77, count: 20) && page.next == nil)
        let one = try tree.page("s7/#", limit: 1_000, effort: 520)
        #expect(one.values.count == 500 && one.next == nil)
    }

    @Test("memory is given back when most names have gone; the others are where they were")
    func memory() throws {
        let tree = TreeUnderTest()
        var random = SeededGenerator(seed: 1)
        let names = (0..<20_000).map { "site/\($0 % 50)/device/\($0)/state" }
        for (number, name) in names.enumerated().shuffled(using: &random) { tree.set(name, UInt64(number)) }
        let large = tree.tree.byteCount
        #expect(large < 20_000 * 140)
        let order = names.indices.shuffled(using: &random)
        for number in order.dropFirst(500) { tree.remove(names[number]) }
        #expect(tree.tree.byteCount < large / 8)
        let kept = order.prefix(500).map { names[$0] }
        #expect(try tree.all("site/#") == sorted(kept))
        for number in order.prefix(500) { #expect(tree.get(names[number]) == UInt64(number)) }
    }
}
