import MessageModel
import Simulator
import Testing

@testable import StorageEngine

@Suite("Routing table against a naive matcher")
struct RoutingTablePropertyTests {
    private struct Route {
        var levels: [NaiveMatcher.Level]
        var pattern: NamePattern
        var group: UInt64?
        var target: RoutingTarget
    }

    private static let words = ["a", "b", "ab", "", "$x", "+", "*", "a-level-of-some-length"]

    private func name(_ random: inout SeededGenerator) -> String {
        let levels = (0..<Int.random(in: 1...6, using: &random)).map { _ in
            random.percent(70) ? "a" : Self.words.randomElement(using: &random) ?? "a"
        }
        let name = levels.joined(separator: "/")
        return name.isEmpty ? "a" : name
    }

    private func levels(_ random: inout SeededGenerator) -> [NaiveMatcher.Level] {
        let wild = [0, 0, 40, 70].randomElement(using: &random) ?? 0
        let levels = (0..<Int.random(in: 1...6, using: &random)).map { _ -> NaiveMatcher.Level in
            if random.percent(wild) { return random.percent(50) ? .one : .any }
            return .literal(random.percent(60) ? "a" : Self.words.randomElement(using: &random) ?? "a")
        }
        return levels == [.literal("")] ? [.any] : levels
    }

    private func check(_ table: TableUnderTest, _ routes: [Route], _ name: String, _ note: Comment) {
        let found = table.found(name)
        let wanted = routes.filter { NaiveMatcher.matches($0.levels, name) }
        #expect(zip(found, found.dropFirst()).allSatisfy { $0.isSame(as: $1) == false && $0 < $1 }, note)
        let shared = Set(routes.filter { $0.group != nil }.map(\.target.id))
        let single = wanted.filter { $0.group == nil }.map(\.target).sorted()
        #expect(found.filter { !shared.contains($0.id) } == single, note)
        let groups = Dictionary(grouping: wanted.filter { $0.group != nil }) { $0.group ?? 0 }
        var chosen = 0
        for members in groups.values {
            let ids = Set(members.map(\.target.id))
            let targets = found.filter { ids.contains($0.id) }
            #expect(!targets.isEmpty, note)
            let owner = targets.first?.owner
            #expect(targets == members.map(\.target).filter { $0.owner == owner }.sorted(), note)
            chosen += targets.count
        }
        #expect(found.count == single.count + chosen, note)
    }

    @Test("finds the same while targets and members of groups come and go", arguments: 0..<80 as Range<UInt64>)
    func agrees(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let table = TableUnderTest()
        var routes: [Route] = []
        for step in 0..<200 {
            if routes.isEmpty || random.percent(60) {
                let levels = levels(&random)
                let route = Route(
                    levels: levels,
                    pattern: NaiveMatcher.pattern(levels),
                    group: random.percent(30) ? .random(in: 0...3, using: &random) : nil,
                    target: RoutingTarget(
                        owner: .random(in: 0...5, using: &random),
                        id: UInt32(step),
                        predicate: random.percent(20) ? UInt32(step) : 0
                    )
                )
                #expect(table.insert(route.pattern, group: route.group, route.target), "seed \(seed)")
                routes.append(route)
            } else {
                let gone = routes.remove(at: Int.random(in: routes.indices, using: &random))
                #expect(table.remove(gone.pattern, group: gone.group, gone.target), "seed \(seed)")
            }
            #expect(table.count == routes.count && table.isEmpty == routes.isEmpty, "seed \(seed)")
            let name = name(&random)
            check(table, routes, name, "seed \(seed), step \(step), name \(name)")
        }
        for gone in routes { #expect(table.remove(gone.pattern, group: gone.group, gone.target), "seed \(seed)") }
        #expect(table.isEmpty && table.byteCount == RoutingTable().byteCount, "seed \(seed)")
    }

    @Test("finds the same when a large table has shrunk", arguments: 0..<3 as Range<UInt64>)
    func agreesAfterShrinking(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let table = TableUnderTest()
        var routes: [Route] = []
        for step in 0..<6_000 {
            var levels = levels(&random)
            levels.insert(.literal("n\(step % 1_999)"), at: Int.random(in: 0...levels.count, using: &random))
            let target = RoutingTarget(owner: UInt64(step % 7), id: UInt32(step))
            let route = Route(levels: levels, pattern: NaiveMatcher.pattern(levels), group: nil, target: target)
            table.insert(route.pattern, target)
            routes.append(route)
        }
        routes.shuffle(using: &random)
        for gone in routes.dropFirst(150) { #expect(table.remove(gone.pattern, gone.target), "seed \(seed)") }
        routes.removeSubrange(150...)
        for route in routes {
            let levels = route.levels.map { level in
                if case .literal(let text) = level { text } else { "a" }
            }
            let name = levels.joined(separator: "/")
            check(table, routes, name, "seed \(seed), name \(name)")
        }
    }
}
