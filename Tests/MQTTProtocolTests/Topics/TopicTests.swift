import Testing

@testable import MQTTProtocol

@Suite("Topic names and filters")
struct TopicTests {
    func error(inName name: [UInt8], limits: MQTTLimits = MQTTLimits()) -> MQTTProtocolError? {
        name.withUnsafeBytes { bytes in
            do throws(MQTTProtocolError) {
                try TopicName.validate(bytes, limits: limits)
                return nil
            } catch {
                return error
            }
        }
    }

    @Test("topic names with wildcards are malformed wherever the wildcard stands")
    func wildcardsInNames() {
        for length in 1...40 {
            for position in 0..<length {
                for wildcard in "+#".utf8 {
                    var name = [UInt8](repeating: UInt8(ascii: "a"), count: length)
                    name[position] = wildcard
                    #expect(error(inName: name) == .malformedTopicName)
                }
            }
        }
    }

    @Test(
        "names like these are valid",
        arguments: ["a", "/", "//", "a/b", "/a", "a/", "a b/ü", "$SYS/x", ",./:;<=>@", "*-,.\"$%&"]
    )
    func validNames(_ name: String) {
        #expect(error(inName: Array(name.utf8)) == nil)
        #expect(error(inName: Array((name + "01234567" + name).utf8)) == nil)
    }

    @Test("empty, too long and too deep names are refused")
    func limits() {
        var limits = MQTTLimits()
        limits.maximumTopicLength = 20
        limits.maximumTopicLevels = 10
        #expect(error(inName: [], limits: limits) == .emptyTopicName)
        #expect(error(inName: [UInt8](repeating: 0x61, count: 20), limits: limits) == nil)
        #expect(error(inName: [UInt8](repeating: 0x61, count: 21), limits: limits) == .topicNameBeyondLimits)
        #expect(error(inName: [UInt8](repeating: 0x2F, count: 9), limits: limits) == nil)
        #expect(error(inName: [UInt8](repeating: 0x2F, count: 10), limits: limits) == .topicNameBeyondLimits)
        #expect(error(inName: Array("a/b/c/d/e/f/g/h/i/j".utf8), limits: limits) == nil)
        #expect(error(inName: Array("/./././0//////".utf8), limits: limits) == .topicNameBeyondLimits)
    }

    @Test(
        "well-formed filters are taken",
        arguments: ["#", "+", "/", "a/#", "/#", "+/+", "+/a/#", "a/+/b", "$SYS/#", "$share", "$sharex/a/b"]
    )
    func validFilters(_ text: String) throws {
        if text == "$share" {
            #expect(throws: MQTTProtocolError.malformedTopicFilter) { try filter(text) }
            return
        }
        let valid = try filter(text)
        #expect(!valid.isShared)
        #expect(valid.hasWildcards == text.contains { "+#".contains($0) })
        #expect(Array(valid.matched) == Array(text.utf8))
    }

    @Test(
        "malformed filters are refused",
        arguments: ["", "a#", "#/a", "a/#/b", "##", "a+", "+a", "a/+b/c", "a/b+", "++", "+#", "a\u{0}b"]
    )
    func malformedFilters(_ text: String) {
        #expect(throws: MQTTProtocolError.malformedTopicFilter) { try filter(text) }
    }

    @Test("shared subscriptions have a group and a filter")
    func shared() throws {
        let shared = try filter("$share/group/a/+/#")
        #expect(shared.isShared)
        #expect(shared.shareGroup.map(Array.init) == Array("group".utf8))
        #expect(Array(shared.matched) == Array("a/+/#".utf8))
        #expect(shared.levels == 3)
        #expect(shared.matches(Array("a/x/y".utf8)))
        #expect(Array(try filter("$share/g//").matched) == Array("/".utf8))
    }

    @Test(
        "malformed shared subscriptions are refused",
        arguments: ["$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g#/a", "$share/g/#/a"]
    )
    func malformedShared(_ text: String) {
        #expect(throws: MQTTProtocolError.malformedTopicFilter) { try filter(text) }
    }

    @Test(
        "filters match as the specification's examples say",
        arguments: [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/tennis/player1/#", "sport/tennis/player10", false),
            ("sport/#", "sport", true), ("sport/#", "sports", false), ("#", "a/b", true), ("#", "/", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false), ("sport/+", "sport/", true),
            ("+/+", "/finance", true), ("/+", "/finance", true), ("+", "/finance", false),
            ("#", "$SYS/x", false), ("+/x", "$SYS/x", false), ("$SYS/#", "$SYS/x", true), ("$SYS/#", "$SYS", true),
            ("a", "a", true), ("a", "b", false), ("a", "a/", false), ("a/", "a", false), ("a/b", "a", false),
            ("a/+/c", "a//c", true), ("a/+", "a/b/c", false), ("ACCOUNTS", "Accounts", false), ("+", "", true),
            ("a/+/#", "a/b", true), ("a/+/#", "a", false), ("/#", "/", true), ("/#", "a", false),
        ]
    )
    func matching(_ filter: String, _ topic: String, _ expected: Bool) {
        #expect(topicMatches(filter: Array(filter.utf8), topic: Array(topic.utf8)) == expected)
    }

    @Test("matching agrees with comparing level by level")
    func matchingModel() {
        var random = SplitMix64(seed: 4)
        func levels(_ wild: Bool) -> [String] {
            let names = wild ? ["a", "b", "", "+", "$x"] : ["a", "b", "", "$x"]
            var result = (0..<Int.random(in: 1...4, using: &random)).map { _ in
                names[Int.random(in: 0..<names.count, using: &random)]
            }
            if wild, Bool.random(using: &random) { result.append("#") }
            return result
        }
        func model(_ filter: [String], _ topic: [String]) -> Bool {
            if topic[0].hasPrefix("$"), filter[0] == "+" || filter[0] == "#" { return false }
            for (index, level) in filter.enumerated() {
                if level == "#" { return true }
                guard index < topic.count, level == "+" || level == topic[index] else { return false }
            }
            return filter.count == topic.count
        }
        for _ in 0..<5_000 {
            let filter = levels(true)
            let topic = levels(false)
            let found = topicMatches(
                filter: Array(filter.joined(separator: "/").utf8),
                topic: Array(topic.joined(separator: "/").utf8)
            )
            #expect(found == model(filter, topic), "\(filter) \(topic)")
        }
    }
}
