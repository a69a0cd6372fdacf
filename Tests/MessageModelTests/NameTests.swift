import MessageModel
import TestSupport
import Testing

private func bytes<Result>(_ text: String, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    Array(text.utf8).withUnsafeBytes(body)
}

private func matches(_ filter: String, _ name: String) -> Bool {
    bytes(filter) { filter in bytes(name) { NameFilter.matches(filter, name: $0) } }
}

private func problem(_ check: (UnsafeRawBufferPointer) throws(SluiceError) -> Void, _ text: String) -> ErrorCode? {
    bytes(text) { bytes in
        do throws(SluiceError) { try check(bytes) } catch { return error.code }
        return nil
    }
}

@Suite("Names")
struct NameTests {
    @Test(
        "match filters as MQTT 5.0 §4.7 says",
        arguments: [
            ("a/b", "a/b", true), ("a/b", "a/c", false), ("a/+", "a/b", true), ("a/+", "a", false),
            ("a/+", "a/b/c", false), ("a/#", "a", true), ("a/#", "a/b/c", true), ("a/#", "ab", false),
            ("#", "a/b", true), ("+", "a", true), ("+", "/a", false), ("+/+", "/a", true), ("/+", "/a", true),
            ("+/a", "/a", true), ("#", "$SYS/x", false), ("+/x", "$SYS/x", false), ("$SYS/#", "$SYS/x", true),
            ("a//b", "a//b", true), ("a/+/b", "a//b", true), ("a/#", "a/", true), ("a/b/#", "a", false),
            ("a/+/#", "a/b", true), ("a/+/#", "a", false), ("sport/tennis/player1/#", "sport/tennis/player1", true),
        ]
    )
    func filters(filter: String, name: String, expected: Bool) {
        #expect(matches(filter, name) == expected)
    }

    @Test("a name matches itself, and every filter made of it by wildcards", arguments: 0..<300)
    func derivedFilters(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let name = random.name()
        guard !name.isEmpty, !name.hasPrefix("$") else { return }
        #expect(matches(name, name), "seed \(seed)")
        var levels = name.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        let place = Int.random(in: 0..<levels.count, using: &random)
        levels[place] = "+"
        #expect(matches(levels.joined(separator: "/"), name), "seed \(seed)")
        #expect(matches((levels[...place] + ["#"]).joined(separator: "/"), name), "seed \(seed)")
    }

    @Test(
        "that cannot be published to are refused",
        arguments: [
            "", "a/+", "#", "a\0b", "a/#/b", String(repeating: "a", count: 65_536), String(repeating: "/", count: 128),
        ]
    )
    func badNames(name: String) {
        #expect(problem(NameRules.checkName, name) == .invalidName)
    }

    @Test(
        "filters with a wildcard in the wrong place are refused",
        arguments: ["a+", "a/b+/c", "#/a", "a#", "a/#/b", "+a/b", ""]
    )
    func badFilters(filter: String) {
        #expect(problem(NameRules.checkFilter, filter) == .invalidName)
    }

    @Test("that are not UTF-8 are refused")
    func notText() {
        let refused = [[0xFF], [0xC3], [0xED, 0xA0, 0x80]] as [[UInt8]]
        for bytes in refused {
            #expect(throws: SluiceError.self) { try bytes.withUnsafeBytes { try NameRules.checkName($0) } }
        }
    }

    @Test(
        "topics have names that every protocol can say",
        arguments: ["/a", "a/", "$a", "a\nb", "a+", String(repeating: "x", count: 256)]
    )
    func badTopicNames(name: String) {
        #expect(throws: SluiceError.self) { try NameRules.checkTopicName(name) }
        guard name != "$a" else { return }
        #expect(throws: SluiceError.self) { try NameRules.checkTopicName(name, allowsInternal: true) }
    }

    @Test("topics that are a front's own may begin with $")
    func internalTopicNames() throws { try NameRules.checkTopicName("$a", allowsInternal: true) }

    @Test("go to AMQP and back byte for byte", arguments: 0..<300)
    func amqpRoundTrip(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let name = random.name()
        let topic = random.name()
        guard !name.isEmpty, !topic.isEmpty else { return }
        #expect(NameMapping.swappingSeparators(NameMapping.swappingSeparators(name)) == name)
        let placement = bytes(name) { name in bytes(topic) { NamePlacement(name: name, topic: $0) } }
        let key = placement.routingKey.map { String(decoding: Array(name.utf8)[$0], as: UTF8.self) }
        // What AMQP cannot tell apart: the topic's own name, and the empty level below it.
        guard key != "" else { return }
        let (exchange, routingKey) = NameMapping.exchange(
            topic: topic,
            routingKey: key,
            isAbsolute: placement.isAbsolute
        )
        #expect(NameMapping.name(exchange: exchange, routingKey: routingKey) == name, "seed \(seed)")
    }

    @Test("come back from a record byte for byte, wherever they stand in their topic", arguments: 0..<300)
    func placementRoundTrip(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let topic = random.name()
        let name =
            Bool.random(using: &random) ? random.name() : topic + ["", "/", "/a/b", "x"].randomElement(using: &random)!
        guard !name.isEmpty else { return }
        var builder = BatchBuilder()
        builder.begin()
        bytes(name) { name in
            bytes(topic) { topic in
                let placement = NamePlacement(name: name, topic: topic)
                var record = RecordFields()
                record.routingKey = placement.routingKey.map { name.slice($0) }
                record.hasAbsoluteName = placement.isAbsolute
                builder.append(record)
                builder.finish { batch in
                    var cursor = BatchView(prefixOf: batch)!.records
                    var found: [UInt8] = []
                    cursor.next()!.appendName(topic: topic, to: &found)
                    #expect(found == Array(name), "seed \(seed)")
                }
            }
        }
    }
}

@Suite("Captures")
struct CaptureTests {
    private func table(_ captures: [(String, Bool, Int)]) -> CaptureTable<Int> {
        var table = CaptureTable<Int>()
        table.fallback = 0
        for (prefix, subtree, value) in captures {
            _ = table.insert(Array(prefix.utf8), includesSubtree: subtree, value: value)
        }
        return table
    }

    @Test("the longest capture holds a name, and the built-in topic what none holds")
    func longest() {
        let table = table([("orders", true, 1), ("orders/eu", true, 2), ("orders/eu/x", false, 3)])
        let cases = [
            ("orders", 1), ("orders/us", 1), ("orders/eu", 2), ("orders/eu/x", 3), ("orders/eu/x/y", 2), ("ordersx", 0),
            ("other", 0), ("orders/", 1), ("/orders", 0),
        ]
        for (name, expected) in cases { #expect(bytes(name) { table.lookup($0) } == expected, "\(name)") }
    }

    @Test("an exact capture is closer than a subtree at the same place, whichever came first")
    func exactBeforeSubtree() {
        for order in [[("a", true, 1), ("a", false, 2)], [("a", false, 2), ("a", true, 1)]] {
            let table = table(order)
            #expect(bytes("a") { table.lookup($0) } == 2)
            #expect(bytes("a/b") { table.lookup($0) } == 1)
        }
    }

    @Test("finds what a search through all captures finds, also after removals", arguments: 0..<100)
    func againstSearch(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var captures: [(String, Bool, Int)] = []
        for value in 1...40 {
            let prefix = random.name()
            let subtree = Bool.random(using: &random)
            if !captures.contains(where: { $0.0 == prefix && $0.1 == subtree }) {
                captures.append((prefix, subtree, value))
            }
        }
        var table = table(captures)
        for _ in 0..<10 {
            let gone = captures.remove(at: Int.random(in: 0..<captures.count, using: &random))
            table.remove(Array(gone.0.utf8), includesSubtree: gone.1)
        }
        for _ in 0..<100 {
            let name = random.name()
            let holding = captures.filter { prefix, subtree, _ in
                name == prefix || subtree && name.utf8.starts(with: (prefix + "/").utf8)
            }
            let expected = holding.max { left, right in
                (left.0.utf8.count, left.1 ? 0 : 1) < (right.0.utf8.count, right.1 ? 0 : 1)
            }
            #expect(bytes(name) { table.lookup($0) } == expected?.2 ?? 0, "seed \(seed) name \(name)")
        }
    }
}

@Suite("The registry of errors")
struct ErrorCodeTests {
    @Test("says each error in each protocol's own range", arguments: ErrorCode.allCases)
    func renderings(code: ErrorCode) {
        let rendering = code.rendering
        #expect(rendering.httpStatus >= 400 && rendering.httpStatus < 600)
        #expect(rendering.mqttReason >= 0x80 || rendering.mqttReason == 0x11)
        #expect((311...541).contains(rendering.amqpReply))
        #expect(!rendering.title.isEmpty)
        #expect(rendering.name.allSatisfy { $0.isLowercase || $0 == "_" })
        #expect(code.statusClass != .ok)
    }

    @Test("has no two errors of one name")
    func distinctNames() {
        #expect(Set(ErrorCode.allCases.map(\.rendering.name)).count == ErrorCode.allCases.count)
    }
}
