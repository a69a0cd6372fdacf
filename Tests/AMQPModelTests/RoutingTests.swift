import AMQPModel
import AMQPProtocol
import MessageModel
import StorageService
import TestSupport
import Testing

@Suite struct PublishTargetTests {
    @Test("a target says where a message is appended, and what its name is there")
    func placement() throws {
        var host = Host()
        try host.exchange("orders", "topic")
        try host.exchange("inner", "fanout", isInternal: true)
        var name: [UInt8] = []
        func place(_ exchange: ShortString, _ key: String) throws -> (String?, PublishTarget.Placement?, String) {
            name.removeAll()
            let target = host.model.publishTarget(exchange)
            let placement = try Array(key.utf8).withUnsafeBytes { try target?.place($0, into: &name) }
            return (target?.topic, placement, String(decoding: name, as: UTF8.self))
        }
        #expect(try place("orders", "eu.created") == ("orders", .below, "eu/created"))
        #expect(try place("orders", "") == ("orders", .topicItself, ""))
        #expect(try place("", "tasks/a#") == ("$queue", .below, "tasks.a%23"))
        #expect(try place("amq.topic", "orders.eu") == (nil, .wholeName, "orders/eu"))
        #expect(try place("amq.topic", "") == (nil, .wholeName, "%20"))
        #expect(try place("amq.topic", "$queue.q") == (nil, .wholeName, "%24queue/q"))
        #expect(host.model.publishTarget("none") == nil)
        #expect(host.model.publishTarget("inner")?.isInternal == true)
        let deep = String(repeating: ".", count: 127)
        #expect(refusal { _ = try place("orders", deep) }?.hasPrefix("406 PRECONDITION_FAILED") == true)
        #expect(try place("orders", String(repeating: ".", count: 126)).1 == .below)
    }

    @Test("storage routes alone as long as nothing is behind an exchange that it does not know")
    func whoRoutes() throws {
        var host = Host()
        func routing(_ name: ShortString) -> PublishTarget.Routing? { host.model.publishTarget(name)?.routing }
        try host.exchange("a", "topic")
        try host.exchange("b", "fanout")
        try host.join("b", to: "a", "#")
        try host.queue("q")
        let before = host.model.epoch
        try host.bind("q", to: "b")
        _ = try host.model.delete(QueueDelete(queue: "q"), connection: 1)
        #expect(host.model.epoch == before, "queues that come and go disturb no publisher")
        #expect(routing("a") == .storage && routing("") == .storage)
        try host.queue("s", durable: true, ["x-queue-type": .string("stream")])
        try host.bind("s", to: "b")
        #expect(host.model.epoch != before)
        #expect(routing("a") == .model && routing("b") == .model && routing("") == .model)
        #expect(routing("amq.direct") == .storage)
        _ = try host.model.delete(QueueDelete(queue: "s"), connection: 1)
        #expect(routing("a") == .storage && routing("b") == .storage && routing("") == .storage)
        try host.exchange("c", "x-random")
        try host.join("c", to: "b")
        #expect(routing("a") == .model && routing("c") == .model)
        _ = try host.model.delete(ExchangeDelete(exchange: "c"))
        #expect(routing("a") == .storage)
        try host.exchange("d", "direct", ["alternate-exchange": .string("a")])
        #expect(routing("d") == .model)
    }
}

@Suite struct RoutingTests {
    private func route(
        _ host: inout Host,
        _ exchange: ShortString,
        _ keys: [ShortString],
        headers: FieldTable? = nil,
        random: UInt64 = 0,
        excluding: Set<ShortString> = []
    ) -> RoutePlan {
        var properties = BasicProperties()
        properties.headers = headers
        var plan = RoutePlan()
        properties.encoded().withUnsafeBytes {
            host.model.route(
                exchange,
                keys: keys,
                RoutedMessage(properties: PropertiesView(validated: $0), random: random),
                excluding: excluding,
                into: &plan
            )
        }
        return plan
    }

    @Test(
        "topic patterns",
        arguments: [
            ("a.b", "a.b", true), ("a.*", "a.b", true), ("a.*", "a", false), ("a.#", "a", true), ("#", "", true),
            ("*", "", false), ("", "", true), ("#.b", "a.a.b", true), ("a.#.b", "a.b", true),
            ("a.#.b", "a.x.y.b", true),
            ("a.#.b", "a.x.y.c", false), ("#.#.#", "", true), ("*.#.*", "a", false), ("*.#.*", "a.b", true),
            ("a..c", "a..c", true), ("a.*.c", "a..c", true), ("#.a.#.b", "x.a.y.a.z.b", true), ("a.#", "ab", false),
            ("#.*", "", false), ("*.*", "a.", true), (".", "..", false),
        ]
    )
    func topicPatterns(pattern: ShortString, key: ShortString, matches: Bool) throws {
        // An alternate exchange that is not there makes the model route.
        var host = Host()
        try host.exchange("x", "topic", ["alternate-exchange": .string("none")])
        try host.queue("q")
        try host.bind("q", to: "x", pattern)
        #expect(route(&host, "x", [key]).isRouted == matches)
    }

    @Test("an alternate exchange takes what is routed nowhere, and only that")
    func alternate() throws {
        var host = Host()
        try host.exchange("x", "direct", ["alternate-exchange": .string("other")])
        try host.exchange("other", "fanout", ["alternate-exchange": .string("x")])
        try host.queue("q")
        try host.queue("rest")
        try host.bind("q", to: "x", "k")
        #expect(!route(&host, "x", ["lost"]).isRouted)
        try host.bind("rest", to: "other")
        let known = route(&host, "x", ["k"])
        #expect(known.isRouted && known.appendsToExchange && known.queues == [])
        let lost = route(&host, "x", ["lost"])
        #expect(lost.isRouted && lost.queues == ["rest"])
    }

    @Test("further keys reach further queues, each queue once")
    func copies() throws {
        var host = Host()
        try host.queue("a")
        try host.queue("b")
        let plan = route(&host, "", ["a", "b", "a", "none"])
        #expect(plan.appendsToExchange && plan.queues == ["b"])
        #expect(!route(&host, "", ["none"]).isRouted)
        #expect(!route(&host, "", ["none"]).appendsToExchange)
        try host.bind("a", to: "amq.direct", "1")
        try host.bind("b", to: "amq.direct", "2")
        try host.bind("b", to: "amq.direct", "1")
        let direct = route(&host, "amq.direct", ["1", "2"])
        #expect(direct.appendsToExchange && direct.queues == [])
        let other = route(&host, "amq.direct", ["2", "1"])
        #expect(other.queues == ["a"])
    }

    @Test("streams are appended to themselves")
    func streams() throws {
        var host = Host()
        try host.queue("s", durable: true, ["x-queue-type": .string("stream")])
        try host.queue("q")
        try host.bind("s", to: "amq.fanout")
        try host.bind("q", to: "amq.fanout")
        let plan = route(&host, "amq.fanout", ["k"])
        #expect(plan.appendsToExchange && plan.queues == [] && plan.streams == ["s"])
        #expect(route(&host, "", ["s"]).streams == ["s"])
        #expect(!route(&host, "", ["s"]).appendsToExchange)
    }

    @Test("exchanges in a circle are passed once each, also with alternates")
    func circles() throws {
        var host = Host()
        try host.exchange("a", "fanout", ["alternate-exchange": .string("b")])
        try host.exchange("b", "fanout")
        try host.join("b", to: "a")
        try host.join("a", to: "b")
        #expect(!route(&host, "a", ["k"]).isRouted)
        try host.queue("q")
        try host.bind("q", to: "b")
        #expect(route(&host, "a", ["k"]).isRouted)
    }

    @Test(
        "headers: all, any, and both with those that begin with x-",
        arguments: [
            ("all", true, false, false), ("any", true, true, false), ("all-with-x", true, false, false),
            ("any-with-x", true, true, true),
        ]
    )
    func headers(mode: String, both: Bool, one: Bool, onlyX: Bool) throws {
        var host = Host()
        try host.exchange("x", "headers", ["alternate-exchange": .string("none")])
        try host.queue("q")
        try host.bind(
            "q",
            to: "x",
            "",
            [
                "x-match": .string(mode), "a": .int32(1), "there": .void, "x-kind": .string("k"),
            ]
        )
        let all: FieldTable = ["a": .int8(1), "there": .string("anything"), "x-kind": .string("k")]
        #expect(route(&host, "x", [""], headers: all).isRouted == both)
        #expect(route(&host, "x", [""], headers: ["a": .int64(1)]).isRouted == one)
        #expect(route(&host, "x", [""], headers: ["x-kind": .string("k")]).isRouted == onlyX)
        #expect(!route(&host, "x", [""], headers: ["a": .int64(2)]).isRouted)
        #expect(!route(&host, "x", [""]).isRouted)
    }

    @Test("a headers binding that asks for nothing matches everything with all, and nothing with any")
    func emptyHeaders() throws {
        var host = Host()
        try host.exchange("x", "headers", ["alternate-exchange": .string("none")])
        try host.queue("all")
        try host.queue("any")
        try host.bind("all", to: "x")
        try host.bind("any", to: "x", "", ["x-match": .string("any")])
        #expect(route(&host, "x", [""], excluding: ["any"]).isRouted)
        #expect(!route(&host, "x", [""], excluding: ["all"]).isRouted)
    }

    @Test("a consistent hash shares by weight, keeps its choices, and moves few when a queue comes")
    func consistentHash() throws {
        var host = Host()
        try host.exchange("x", "x-consistent-hash")
        for (name, weight) in [("a", "1"), ("b", "1"), ("c", "2")] as [(ShortString, ShortString)] {
            try host.queue(name)
            try host.bind(name, to: "x", weight)
        }
        var chosen: [Int: ShortString] = [:]
        for key in 0..<4_000 {
            let plan = route(&host, "x", [ShortString("key-\(key)")])
            #expect(plan.queues.count == 1)
            chosen[key] = plan.queues.first
        }
        let shares = Dictionary(grouping: chosen.values, by: \.description).mapValues(\.count)
        #expect((850...1_150).contains(shares["a"] ?? 0), "\(shares)")
        #expect((850...1_150).contains(shares["b"] ?? 0), "\(shares)")
        #expect((1_800...2_200).contains(shares["c"] ?? 0), "\(shares)")
        try host.queue("d")
        try host.bind("d", to: "x", "1")
        var moved = 0
        for key in 0..<4_000 {
            let now = route(&host, "x", [ShortString("key-\(key)")]).queues.first
            if now != chosen[key] {
                moved += 1
                #expect(now == "d")
            }
        }
        #expect((600...1_000).contains(moved), "\(moved)")
    }

    @Test("the hash can be taken of a header or a property")
    func hashSources() throws {
        var host = Host()
        try host.exchange("h", "x-consistent-hash", ["hash-header": .string("user")])
        for name in ["a", "b", "c", "d"] as [ShortString] {
            try host.queue(name)
            try host.bind(name, to: "h", "1")
        }
        let first = (0..<50).map { route(&host, "h", [ShortString("\($0)")], headers: ["user": .string("u")]).queues }
        #expect(Set(first).count == 1)
        let users = (0..<50).map { route(&host, "h", ["k"], headers: ["user": .int32(Int32($0))]).queues }
        #expect(Set(users).count == 4)
    }

    @Test("random and modulus exchanges give each message to one queue")
    func oneOfMany() throws {
        var host = Host()
        try host.exchange("r", "x-random")
        try host.exchange("m", "x-modulus-hash")
        for name in ["a", "b", "c"] as [ShortString] {
            try host.queue(name)
            try host.bind(name, to: "r")
            try host.bind(name, to: "m")
        }
        var seen: Set<ShortString> = []
        for random in 0..<9 as Range<UInt64> { seen.formUnion(route(&host, "r", ["k"], random: random).queues) }
        #expect(seen.count == 3)
        #expect(route(&host, "m", ["k"]).queues.count == 1)
        #expect(route(&host, "m", ["k"]).queues == route(&host, "m", ["k"], random: 9).queues)
    }

    @Test("a queue that is not to get a message makes the others get theirs one by one")
    func excluded() throws {
        var host = Host()
        try host.queue("a")
        try host.queue("b")
        try host.bind("a", to: "amq.fanout")
        try host.bind("b", to: "amq.fanout")
        let plan = route(&host, "amq.fanout", ["k"], excluding: ["a"])
        #expect(!plan.appendsToExchange && plan.queues == ["b"] && plan.isRouted)
        #expect(!route(&host, "amq.fanout", ["k"], excluding: ["a", "b"]).isRouted)
    }

    /// What storage is told and what the model routes must agree: both follow the same bindings.
    @Test("storage's bindings with their conditions reach what the model reaches", arguments: [1, 2, 3, 4] as [UInt64])
    func agreement(seed: UInt64) throws {
        var generator = SeededRandom(seed: seed)
        var host = Host()
        let exchanges = (0..<5).map { ShortString("x\($0)") }
        for name in exchanges {
            let type = (["direct", "topic", "fanout"] as [ShortString]).randomElement(using: &generator) ?? "direct"
            try host.exchange(name, type)
        }
        let queues = (0..<4).map { ShortString("q\($0)") }
        for name in queues { try host.queue(name) }
        var installed: [String: Set<InboxBinding>] = [:]
        let keys = ["a", "b", "a.b", "a.*", "#", "", "*.b", "#.a"] as [ShortString]
        func apply(_ effects: [ModelEffect]) {
            for effect in effects {
                switch effect {
                case .bind(let inbox, let binding):
                    #expect(installed[inbox, default: []].insert(binding).inserted, "seed \(seed)")
                case .unbind(let inbox, let binding):
                    #expect(installed[inbox]?.remove(binding) != nil, "seed \(seed)")
                default: break
                }
            }
        }
        for _ in 0..<25 {
            let key = keys.randomElement(using: &generator) ?? ""
            let source = exchanges.randomElement(using: &generator) ?? ""
            let other = exchanges.randomElement(using: &generator) ?? ""
            let queue = queues.randomElement(using: &generator) ?? ""
            switch Int.random(in: 0..<7, using: &generator) {
            case 0...2: apply(try host.bind(queue, to: source, key))
            case 3: apply(try host.unbind(queue, from: source, key))
            case 4...5: apply(try host.join(other, to: source, key))
            default: apply(try host.part(other, from: source, key))
            }
            for exchange in exchanges {
                for published in ["a", "b", "a.b", "", "b.b.a"] as [ShortString] {
                    let byStorage = queues.filter { name in
                        (installed[name.description] ?? []).contains { $0.matches(exchange, published) }
                    }
                    let plan = route(&host, exchange, [published])
                    #expect(plan.queues == [], "seed \(seed)")
                    #expect(plan.isRouted == !byStorage.isEmpty, "seed \(seed), \(exchange) \(published)")
                    for name in queues {
                        let others = Set(queues).subtracting([name])
                        let reached = route(&host, exchange, [published], excluding: others).isRouted
                        #expect(reached == byStorage.contains(name), "seed \(seed), \(exchange) \(published) \(name)")
                    }
                }
            }
        }
    }
}

extension InboxBinding {
    /// As storage reads it, for keys that need no coding.
    func matches(_ exchange: ShortString, _ key: ShortString) -> Bool {
        guard binding.topic == exchange.description else { return false }
        func holds(_ kind: Binding.Kind, _ pattern: [UInt8]) -> Bool {
            switch kind {
            case .fanout: return true
            case .direct: return pattern == key.bytes
            default: return Self.matches(words(pattern)[...], words(key.bytes)[...])
            }
        }
        return holds(binding.kind, binding.pattern) && also.allSatisfy { holds($0.kind, $0.pattern) }
    }

    private func words(_ bytes: [UInt8]) -> [String] {
        bytes.isEmpty
            ? []
            : String(decoding: bytes, as: UTF8.self).split(separator: ".", omittingEmptySubsequences: false).map(
                String.init
            )
    }

    private static func matches(_ pattern: ArraySlice<String>, _ key: ArraySlice<String>) -> Bool {
        guard let first = pattern.first else { return key.isEmpty }
        if first == "#" {
            return matches(pattern.dropFirst(), key) || (!key.isEmpty && matches(pattern, key.dropFirst()))
        }
        guard let word = key.first, first == "*" || first == word else { return false }
        return matches(pattern.dropFirst(), key.dropFirst())
    }
}
