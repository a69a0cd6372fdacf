import MessageModel
import Simulator
import StorageService
import Testing

@testable import StorageEngine

private let here = RoutingTarget(owner: 1, id: 1)

@Suite("Routing table")
struct RoutingTableTests {
    private func matches(_ pattern: NamePattern, _ name: String) -> Bool {
        let table = TableUnderTest()
        table.insert(pattern, here)
        return table.found(name) == [here]
    }

    @Test(
        "filters match as MQTT 5.0 §4.7 says",
        arguments: [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true), ("sport/#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true), ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false), ("sport/+", "sport/", true), ("+/+", "/finance", true),
            ("/+", "/finance", true), ("+", "/finance", false), ("#", "a/b", true), ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false), ("$SYS/#", "$SYS/x", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true), ("a/+/#", "a/b", true), ("a/+/#", "a", false),
            ("+/tennis/#", "sport/tennis", true), ("a/#", "ab", false), ("a/b", "a/b", true), ("a/b", "a/B", false),
            ("a//b", "a//b", true), ("a/+/b", "a//b", true), ("a/b/#", "a", false), ("a/+", "a/$b", true),
        ]
    )
    func filters(filter: String, name: String, expected: Bool) throws {
        #expect(matches(try mqtt(filter), name) == expected)
    }

    /// The bindings and keys of RabbitMQ's own test of its topic exchange.
    @Test(
        "topic bindings match as RabbitMQ's do",
        arguments: [
            ("a.b.c", [1, 2, 5, 6, 10, 11, 12, 18, 20, 21, 22, 23, 24, 26]),
            ("a.b", [3, 5, 6, 7, 8, 9, 11, 12, 15, 21, 22, 23, 24, 26]),
            ("a.b.b", [3, 5, 6, 7, 11, 12, 14, 18, 21, 22, 23, 24, 26]),
            ("", [5, 6, 17, 24]), ("b.c.c", [5, 6, 18, 21, 22, 23, 24, 26]),
            ("a.a.a.a.a", [5, 6, 11, 12, 21, 22, 23, 24]), ("vodka.gin", [5, 6, 8, 21, 22, 23, 24]),
            ("vodka.martini", [5, 6, 8, 19, 21, 22, 23, 24]), ("b.b.c", [5, 6, 10, 13, 18, 21, 22, 23, 24, 26]),
            ("nothing.here.at.all", [5, 6, 21, 22, 23, 24]), ("oneword", [5, 6, 21, 22, 23, 24, 25]),
        ] as [(String, [UInt32])]
    )
    func topicBindings(key: String, expected: [UInt32]) throws {
        let keys = [
            "a.b.c", "a.*.c", "a.#.b", "a.b.b.c", "#", "#.#", "#.b", "*.*", "a.*", "*.b.c", "a.#", "a.#.#", "b.b.c",
            "a.b.b", "a.b", "b.c", "", "*.*.*", "vodka.martini", "a.b.c", "*.#", "#.*.#", "*.#.#", "#.#.#", "*",
            "#.b.#",
        ]
        let table = TableUnderTest()
        for (index, key) in keys.enumerated() {
            table.insert(try binding(.topic, "x", key), RoutingTarget(owner: 1, id: UInt32(index + 1)))
        }
        #expect(table.foundIDs(NameMapping.name(exchange: "x", routingKey: key)) == expected)
        #expect(table.foundIDs("y/a/b/c") == [])
        for (index, key) in keys.enumerated() {
            #expect(table.remove(try binding(.topic, "x", key), RoutingTarget(owner: 1, id: UInt32(index + 1))))
        }
        #expect(table.isEmpty)
    }

    @Test("an owner stands once for each of its patterns that match, in the order of its ids, whatever brought them")
    func overlap() throws {
        let table = TableUnderTest()
        for (id, filter) in ["#", "a/+", "a/b", "+/b", "c", "a/#"].enumerated() {
            table.insert(try mqtt(filter), RoutingTarget(owner: 7, id: UInt32(id)))
            table.insert(try mqtt(filter), RoutingTarget(owner: 3, id: UInt32(10 - id)))
        }
        #expect(table.found("a/b").map(\.owner) == [3, 3, 3, 3, 3, 7, 7, 7, 7, 7])
        #expect(table.foundIDs("a/b") == [5, 7, 8, 9, 10, 0, 1, 2, 3, 5])
    }

    @Test("one target with several patterns that match is found once")
    func oneTarget() throws {
        let table = TableUnderTest()
        for filter in ["#", "a/+", "a/b", "+/b"] { table.insert(try mqtt(filter), here) }
        #expect(table.found("a/b") == [here])
        #expect(table.count == 4)
        #expect(table.remove(try mqtt("a/+"), here))
        #expect(table.found("a/c") == [here])
    }

    @Test("a pattern behind # that matches in several places is found once")
    func repeatedMatches() throws {
        let table = TableUnderTest()
        table.insert(try binding(.topic, "x", "#.a.#"), here)
        table.insert(try binding(.topic, "x", "#.a.#.b.#"), RoutingTarget(owner: 1, id: 2))
        #expect(table.foundIDs("x/a/a/a") == [1])
        #expect(table.foundIDs("x/a/b/a/b/a") == [1, 2])
    }

    @Test("patterns that fork at every level cost no more than levels times nodes")
    func hostilePatterns() throws {
        let table = TableUnderTest()
        let words = (0..<60).map { _ in "#.a" }
        for count in 1...words.count {
            table.insert(
                try binding(.topic, "amq.topic", words.prefix(count).joined(separator: ".") + ".b"),
                RoutingTarget(owner: 1, id: UInt32(count))
            )
        }
        // A matcher that tries every split would not end here.
        #expect(table.foundIDs(Array(repeating: "a", count: 127).joined(separator: "/") + "/c") == [])
        #expect(table.foundIDs(Array(repeating: "a", count: 127).joined(separator: "/") + "/b").count == 60)
    }

    @Test("adding a target again only changes its predicate; removing what is not there changes nothing")
    func identity() throws {
        for filter in ["a/b", "a/+", "a/#"] {
            let table = TableUnderTest()
            let pattern = try mqtt(filter)
            #expect(table.insert(pattern, here))
            #expect(!table.insert(pattern, RoutingTarget(owner: 1, id: 1, predicate: 9)))
            #expect(table.count == 1)
            #expect(table.found("a/b") == [RoutingTarget(owner: 1, id: 1, predicate: 9)])
            #expect(!table.remove(pattern, RoutingTarget(owner: 1, id: 2)))
            #expect(!table.remove(pattern, RoutingTarget(owner: 2, id: 1)))
            #expect(!table.remove(pattern, group: 1, here))
            #expect(!table.remove(try mqtt("a"), here))
            #expect(!table.remove(try mqtt("a/+/c"), here))
            #expect(!table.remove(try mqtt("+/#"), here))
            #expect(table.remove(pattern, here))
            #expect(!table.remove(pattern, here))
            #expect(table.isEmpty && table.found("a/b") == [])
        }
    }

    // MARK: Shared subscriptions

    @Test("the members of a group take turns, beside those that are not in it")
    func turns() throws {
        for filter in ["a/b", "a/+", "#"] {
            let table = TableUnderTest()
            let pattern = try mqtt(filter)
            for owner in [5, 2, 9] as [UInt64] { table.insert(pattern, group: 77, RoutingTarget(owner: owner, id: 0)) }
            for owner in [5, 4] as [UInt64] { table.insert(pattern, group: 78, RoutingTarget(owner: owner, id: 8)) }
            table.insert(pattern, RoutingTarget(owner: 5, id: 1))
            #expect(table.count == 6)
            var seen: [[UInt64]] = []
            for _ in 0..<6 { seen.append(table.found("a/b").map(\.owner)) }
            #expect(seen == [[2, 4, 5], [5, 5, 5], [4, 5, 9], [2, 5, 5], [4, 5, 5], [5, 5, 9]])
        }
    }

    @Test("members come and go; the last takes the group with it")
    func membersComeAndGo() throws {
        let table = TableUnderTest()
        let pattern = try mqtt("a/+")
        let members = (1...3).map { RoutingTarget(owner: $0, id: 0) }
        for member in members { table.insert(pattern, group: 1, member) }
        #expect(table.found("a/b") == [members[0]])
        #expect(table.remove(pattern, group: 1, members[1]))
        #expect(!table.remove(pattern, group: 2, members[0]))
        #expect(!table.remove(pattern, members[0]))
        #expect(Set((0..<4).map { _ in table.found("a/b")[0].owner }) == [1, 3])
        #expect(table.remove(pattern, group: 1, members[0]))
        #expect((0..<3).map { _ in table.found("a/b") } == [[members[2]], [members[2]], [members[2]]])
        #expect(table.remove(pattern, group: 1, members[2]))
        #expect(table.isEmpty && table.found("a/b").isEmpty)
    }

    @Test("a group at several patterns that match gives one member what it has at each of them")
    func groupAtSeveralPatterns() throws {
        let table = TableUnderTest()
        table.insert(try mqtt("a/+"), group: 1, RoutingTarget(owner: 1, id: 1))
        table.insert(try mqtt("a/#"), group: 1, RoutingTarget(owner: 1, id: 2))
        table.insert(try mqtt("a/b"), group: 1, RoutingTarget(owner: 2, id: 3))
        var seen = Set<[UInt32]>()
        for _ in 0..<6 { seen.insert(table.foundIDs("a/b")) }
        #expect(seen == [[1, 2], [3]])
        #expect(table.foundIDs("a/c") == [1, 2])
    }

    @Test("members that are not available are passed over, unless none is")
    func availability() throws {
        let table = TableUnderTest()
        for owner in 1...4 as ClosedRange<UInt64> {
            table.insert(try mqtt("a"), group: 1, RoutingTarget(owner: owner, id: 0))
        }
        func next(_ available: Set<UInt64>) -> UInt64? {
            table.found("a") { available.contains($0) }.first?.owner
        }
        #expect([next([2, 4]), next([2, 4]), next([2, 4])] == [2, 4, 2])
        #expect([next([]), next([])] == [3, 4])
        #expect([next([1, 2, 3, 4]), next([1, 2, 3, 4])] == [1, 2])
    }

    // MARK: Size

    @Test("a pattern with thousands of targets finds them all in order, in whatever order they came and went")
    func manyTargets() throws {
        for filter in ["news", "news/#"] {
            let table = TableUnderTest()
            let pattern = try mqtt(filter)
            var random = SeededGenerator(seed: 3)
            let all = (0..<5_000).map { RoutingTarget(owner: UInt64($0), id: 1) }
            for target in all.shuffled(using: &random) { table.insert(pattern, target) }
            #expect(table.found("news") == all)
            let shuffled = all.shuffled(using: &random)
            for target in shuffled.dropLast(1_000) { table.remove(pattern, target) }
            let wanted = shuffled.suffix(1_000).sorted()
            #expect(table.found("news") == wanted)
            for target in wanted { #expect(table.remove(pattern, target)) }
            #expect(table.isEmpty)
        }
    }

    @Test("a group with thousands of members gives each its turn")
    func manyMembers() throws {
        let table = TableUnderTest()
        for owner in 0..<2_000 as Range<UInt64> {
            table.insert(try mqtt("a"), group: 1, RoutingTarget(owner: owner, id: 1))
        }
        #expect((0..<2_000).map { _ in table.found("a")[0].owner } == Array(0..<2_000))
    }

    @Test("memory is used again, and given back when most of it is unused")
    func memory() throws {
        let table = TableUnderTest()
        let small = table.byteCount
        func pattern(_ number: Int) throws -> NamePattern {
            try mqtt("site/\(number % 100)/device/\(number)/\(number % 3 == 0 ? "#" : "state")")
        }
        func target(_ number: Int) -> RoutingTarget { RoutingTarget(owner: UInt64(number), id: 1) }
        for number in 0..<20_000 { table.insert(try pattern(number), target(number)) }
        let large = table.byteCount
        for round in 1...5 {
            for number in 0..<10_000 {
                #expect(
                    table.remove(
                        try pattern(round * 10_000 + number - 10_000),
                        target(round * 10_000 + number - 10_000)
                    )
                )
                table.insert(try pattern(round * 10_000 + number + 10_000), target(round * 10_000 + number + 10_000))
            }
            #expect(table.count == 20_000)
        }
        #expect(table.byteCount < large + large / 2)
        for number in 50_000..<69_900 { #expect(table.remove(try pattern(number), target(number))) }
        #expect(table.byteCount < large / 10)
        for number in 69_900..<70_000 {
            #expect(table.found("site/\(number % 100)/device/\(number)/state") == [target(number)])
            #expect(table.remove(try pattern(number), target(number)))
        }
        #expect(table.isEmpty && table.byteCount == small)
    }
}
