import MessageModel
import StorageService
import TestSupport
import Testing

@testable import StorageEngine

@Suite("Bindings behind other exchanges")
struct BindingConditionTests {
    private func condition(_ kind: Binding.Kind, _ pattern: String) -> Binding.Condition {
        Binding.Condition(kind: kind, pattern: Array(pattern.utf8))
    }

    private func red(_ key: String = "color") -> Binding.Argument {
        Binding.Argument(name: Array(key.utf8), value: Array("red".utf8))
    }

    @Test(
        "see the key of the first exchange",
        arguments: [
            (.direct, "orders", "eu.created", "orders/eu/created", true),
            (.direct, "orders", "eu.created", "orders/eu", false), (.direct, "orders", "", "orders", true),
            (.direct, "orders", "", "orders/a", false), (.direct, "orders", "#", "orders/a", false),
            (.direct, "orders", "#", "orders/#", true), (.direct, "orders", "a/b", "orders/a.b", true),
            (.topic, "orders", "*.created", "orders/eu/created", true),
            (.topic, "orders", "*.created", "orders/created", false), (.topic, "orders", "#", "orders", true),
            (.topic, "orders", "*", "orders", false), (.topic, "orders", "", "orders", true),
            (.topic, "orders", "#.b.#.d", "orders/a/b/c/b/d", true),
            (.topic, "orders", "#.b.#.d", "orders/a/b/c/b/e", false), (.topic, "orders", "a.*.c", "orders/a//c", true),
            (.topic, "orders", "#.a.*", "orders/a/a", true), (.topic, "shop/orders", "x", "shop/orders/x", true),
            (.fanout, "orders", "x", "orders/y", true), (.topic, "amq.topic", "orders.*", "orders/a", true),
            (.topic, "amq.topic", "*", "orders/a", false), (.direct, "amq.topic", "orders.a", "orders/a", true),
        ] as [(Binding.Kind, String, String, String, Bool)]
    )
    func keys(kind: Binding.Kind, topic: String, key: String, name: String, expected: Bool) throws {
        let pattern = try BindingPattern(
            Binding(kind: .topic, topic: topic, pattern: [0x23], also: [condition(kind, key)])
        )
        let bytes = Array(name.utf8)
        let holds = bytes.withUnsafeBytes { name in
            guard case .key(let key) = pattern.predicate else { return pattern.predicate == nil }
            return key.matches(name)
        }
        #expect(holds == expected)
    }

    @Test("want the same names as a binding of the exchange itself", arguments: 0..<200)
    func same(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        func words(_ choice: [String]) -> String {
            (0..<Int.random(in: 0...5, using: &random)).map { _ in
                choice[Int.random(in: 0..<choice.count, using: &random)]
            }
            .joined(separator: ".")
        }
        let key = words(["a", "b", "*", "#", ""])
        let own = try BindingPattern(Binding(kind: .topic, topic: "x", pattern: Array(key.utf8))).names
        let behind = try BindingPattern(
            Binding(kind: .fanout, topic: "x", pattern: [], also: [condition(.topic, key)])
        )
        let table = TableUnderTest()
        table.insert(own, RoutingTarget(owner: 1, id: 1))
        for _ in 0..<20 {
            let rest = words(["a", "b", "c", ""])
            let name = rest.isEmpty ? "x" : "x/" + rest.map { $0 == "." ? "/" : String($0) }.joined()
            guard case .key(let pattern) = behind.predicate else {
                Issue.record("no predicate")
                return
            }
            let holds = Array(name.utf8).withUnsafeBytes { pattern.matches($0) }
            #expect(holds == !table.found(name).isEmpty, "seed \(seed): \(key), \(name)")
        }
    }

    @Test("all must hold, after a restart and a crash as well, and go with their binding")
    func all() throws {
        let bench = try DeliveryBench()
        let topic = try bench.topic("t")
        try bench.inbox("q", [])
        let binding = Binding(
            kind: .headers,
            topic: "t",
            pattern: [],
            arguments: [red()],
            also: [
                condition(.topic, "*.new"), Binding.Condition(kind: .headers, pattern: [], arguments: [red("size")]),
            ]
        )
        let other = Binding(kind: .fanout, topic: "t", pattern: [], also: [condition(.direct, "only")])
        bench.ask(.bind(name: "q", binding))
        bench.ask(.bind(name: "q", other))
        for round in 0..<3 {
            bench.publish(
                topic,
                [
                    .init("a\(round)", key: "eu/new", user: ["color": "red", "size": "red"]),
                    .init("b", key: "eu/new", user: ["color": "red"]),
                    .init("c", key: "eu/old", user: ["color": "red", "size": "red"]),
                    .init("d\(round)", key: "only"),
                    .init("e", key: "eu/new", user: ["size": "red"]),
                ]
            )
            bench.consume("q")
            let got = bench.take()
            #expect(got.map(\.body) == ["a\(round)", "d\(round)"])
            for message in got { bench.settle(message, .accept) }
            bench.pass(milliseconds: 50)
            guard case .success(.bindings(let bindings)) = bench.ask(.listBindings(name: "q")) else {
                Issue.record("no bindings")
                return
            }
            #expect(bindings == [binding, other])
            if round == 0 { try bench.crash() } else { try bench.restart() }
        }
        bench.ask(.unbind(name: "q", other))
        bench.consume("q")
        bench.publish(
            topic,
            [.init("x", key: "only"), .init("y", key: "a/new", user: ["color": "red", "size": "red"])]
        )
        #expect(bench.take().map(\.body) == ["y"])
    }

    @Test("are refused where they make no sense")
    func refused() {
        let many = Array(repeating: condition(.fanout, ""), count: Binding.maxConditions + 1)
        let bad: [Binding] = [
            Binding(kind: .filter, pattern: [0x61], also: [condition(.fanout, "")]),
            Binding(kind: .topic, topic: "t", pattern: [], also: [condition(.filter, "a")]),
            Binding(kind: .topic, topic: "t", pattern: [], also: many),
            Binding(kind: .topic, topic: "t", pattern: [], also: [condition(.direct, "\0")]),
        ]
        for binding in bad { #expect(throws: SluiceError.self) { try BindingPattern(binding) } }
    }

    @Test("a binding without them is kept as it always was")
    func format() throws {
        var writer = ByteWriter()
        Binding(kind: .direct, topic: "t", pattern: [0x61]).encode(to: &writer)
        #expect(writer.bytes == [1, 1, 0, 0, 0, 0x74, 1, 0, 0, 0, 0x61, 0, 0])
        let read = writer.bytes.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            return Binding(from: &reader)
        }
        #expect(read == Binding(kind: .direct, topic: "t", pattern: [0x61]))
    }
}
