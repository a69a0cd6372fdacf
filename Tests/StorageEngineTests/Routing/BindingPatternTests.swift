import MessageModel
import StorageService
import Testing

@testable import StorageEngine

@Suite("Bindings")
struct BindingPatternTests {
    private func matches(_ pattern: NamePattern, _ name: String) -> Bool {
        let table = TableUnderTest()
        table.insert(pattern, RoutingTarget(owner: 1, id: 1))
        return !table.found(name).isEmpty
    }

    @Test(
        "want the names that their exchange type says",
        arguments: [
            (.direct, "orders", "eu.created", "orders/eu/created", true), (.direct, "orders", "eu", "orders/us", false),
            (.direct, "orders", "", "orders", true), (.direct, "orders", "", "orders/a", false),
            (.direct, "orders", "a/b", "orders/a.b", true), (.direct, "orders", "*", "orders/a", false),
            (.direct, "orders", "*", "orders/*", true), (.direct, "orders", "#", "orders/a", false),
            (.direct, "orders", "#", "orders/#", true), (.direct, "orders", "a.+", "orders/a/b", false),
            (.direct, "orders", "a.+", "orders/a/+", true),
            (.topic, "orders", "*.created", "orders/eu/created", true),
            (.topic, "orders", "*.created", "orders/eu/x/created", false),
            (.topic, "orders", "#.created", "orders/eu/x/created", true),
            (.topic, "orders", "#.created", "orders/created", true),
            (.topic, "orders", "#", "orders", true), (.topic, "orders", "*", "orders", false),
            (.topic, "orders", "", "orders", true), (.topic, "orders", "", "orders/a", false),
            (.topic, "orders", "+", "orders/a", false), (.topic, "orders", "+", "orders/+", true),
            (.topic, "orders", "a*", "orders/a*", true), (.topic, "orders", "a*", "orders/ab", false),
            (.topic, "orders", "a/b.*", "orders/a.b/c", true), (.topic, "orders", "a..c", "orders/a//c", true),
            (.topic, "orders", "a.*.c", "orders/a//c", true),
            (.topic, "shop/orders", "*", "shop/orders/a", true), (.topic, "shop/orders", "#", "shop", false),
            (.fanout, "orders", "ignored", "orders", true), (.fanout, "orders", "", "orders/a/b", true),
            (.fanout, "orders", "", "ordersx", false), (.headers, "orders", "", "orders/a", true),
            (.topic, "amq.topic", "orders.*", "orders/a", true), (.topic, "amq.topic", "#", "a/b/c", true),
            (.topic, "amq.topic", "#", "$SYS/load", false), (.topic, "amq.topic", "*.load", "$SYS/load", false),
            (.direct, "$amqp", "q.1", "$amqp/q/1", true), (.topic, "$amqp", "#", "$amqp/q/1", true),
            (.fanout, "$amqp", "", "$amqp/q", true), (.topic, "amq.topic", "#", "$amqp/q", false),
            (.topic, "amq.topic", "$SYS.#", "$SYS/load", true), (.topic, "amq.topic", "", "a", false),
            (.direct, "amq.direct", "k", "amq.direct/k", true), (.direct, "amq.direct", "k", "k", false),
            (.filter, "", "a/+/c", "a/b/c", true), (.filter, "", "a/*", "a/b", false),
        ] as [(Binding.Kind, String, String, String, Bool)]
    )
    func names(kind: Binding.Kind, topic: String, key: String, name: String, expected: Bool) throws {
        #expect(matches(try binding(kind, topic, key), name) == expected)
    }

    @Test("are refused where they cannot be part of a name")
    func refused() {
        let bad: [Binding] = [
            Binding(kind: .filter, pattern: Array("a/#/b".utf8)), Binding(kind: .filter, pattern: []),
            Binding(kind: .direct, topic: "a/", pattern: []), Binding(kind: .direct, topic: "", pattern: []),
            Binding(kind: .direct, topic: "a", pattern: [0]),
            Binding(kind: .topic, topic: "a", pattern: [0x62, 0, 0x23]),
            Binding(kind: .topic, topic: "a", pattern: [0xFF]), Binding(kind: .fanout, topic: "a+", pattern: []),
            Binding(kind: .topic, topic: "a", pattern: Array(String(repeating: ".", count: 127).utf8)),
            Binding(kind: .direct, topic: "a", pattern: [UInt8](repeating: 0x61, count: 65_536)),
        ]
        for binding in bad {
            #expect(throws: SluiceError.self, "\(binding)") { try BindingPattern(binding) }
        }
    }

    @Test("several # in a row are one; literal # and * are not the wildcards")
    func identity() throws {
        #expect(try binding(.topic, "a", "#.#.b.#.#") == binding(.topic, "a", "#.b.#"))
        #expect(try binding(.fanout, "a", "") == mqtt("a/#"))
        #expect(try binding(.topic, "a", "*.b") == mqtt("a/+/b"))
        #expect(try binding(.direct, "a", "#") != binding(.topic, "a", "#"))
        #expect(try binding(.direct, "a", "+") != mqtt("a/+"))
        #expect(try binding(.direct, "a", "b").isExact && binding(.topic, "a", "b").isExact)
        #expect(try !binding(.topic, "a", "b.#").isExact)
    }
}

@Suite("Headers bindings")
struct HeadersMatchTests {
    private func properties(_ pairs: [(String, String)]) -> [UInt8] {
        var writer = PropertyWriter()
        writer.append(.contentType, "text/plain")
        for (name, value) in pairs { writer.appendUser(name: name, value: value) }
        return writer.withBytes { Array($0) }
    }

    private func matches(_ arguments: [(String, String?)], _ pairs: [(String, String)]) throws -> Bool {
        let match = try HeadersMatch(
            arguments.map { Binding.Argument(name: Array($0.utf8), value: $1.map { Array($0.utf8) }) }
        )
        return properties(pairs).withUnsafeBytes { match.matches(properties: $0) }
    }

    @Test("all arguments must hold, with and without saying so")
    func all() throws {
        for mode in [[], [("x-match", "all")]] as [[(String, String?)]] {
            let arguments = mode + [("format", "pdf"), ("type", "report")]
            #expect(try matches(arguments, [("type", "report"), ("format", "pdf"), ("other", "1")]))
            #expect(try !matches(arguments, [("type", "report")]))
            #expect(try !matches(arguments, [("type", "report"), ("format", "zip")]))
            #expect(try matches(mode, []))
        }
    }

    @Test("with any, one argument is enough, and none is never")
    func any() throws {
        let arguments: [(String, String?)] = [("x-match", "any"), ("format", "pdf"), ("type", "report")]
        #expect(try matches(arguments, [("type", "report")]))
        #expect(try !matches(arguments, [("type", "log"), ("Format", "pdf")]))
        #expect(try !matches([("x-match", "any")], [("a", "b")]))
    }

    @Test("arguments that begin with x- count only with -with-x")
    func withX() throws {
        #expect(try matches([("x-match", "all"), ("x-a", "1"), ("b", "2")], [("b", "2")]))
        #expect(try !matches([("x-match", "all-with-x"), ("x-a", "1"), ("b", "2")], [("b", "2")]))
        #expect(try matches([("x-match", "all-with-x"), ("x-a", "1"), ("b", "2")], [("b", "2"), ("x-a", "1")]))
        #expect(try !matches([("x-match", "any"), ("x-a", "1")], [("x-a", "1")]))
        #expect(try matches([("x-match", "any-with-x"), ("x-a", "1")], [("x-a", "1")]))
        #expect(try !matches([("x-match", "any-with-x")], [("x-match", "any-with-x")]))
    }

    @Test("an argument without a value asks for presence; an empty value is a value")
    func presence() throws {
        #expect(try matches([("a", nil)], [("a", "whatever")]))
        #expect(try matches([("a", nil)], [("a", "")]))
        #expect(try !matches([("a", nil)], [("b", "")]))
        #expect(try !matches([("a", "")], [("a", "x")]))
    }

    @Test("one of a repeated property's values is enough")
    func repeated() throws {
        #expect(try matches([("a", "2")], [("a", "1"), ("a", "2")]))
        #expect(try matches([("a", "1"), ("a", "2")], [("a", "2"), ("a", "1")]))
        #expect(try !matches([("a", "1"), ("a", "2")], [("a", "2"), ("a", "2")]))
    }

    @Test("64 arguments are compared, more are refused; an unknown x-match is refused")
    func limits() throws {
        let names = (0..<65).map { "name\($0)" }
        let pairs = names.prefix(64).map { ($0, "v") }
        #expect(try matches(names.prefix(64).map { ($0, "v") }, pairs))
        #expect(try !matches(names.prefix(64).map { ($0, "v") }, Array(pairs.dropLast())))
        #expect(throws: SluiceError.self) { try matches(names.map { ($0, nil) }, []) }
        #expect(throws: SluiceError.self) { try matches([("x-match", "some")], []) }
        #expect(throws: SluiceError.self) { try matches([("x-match", nil)], []) }
    }

    @Test("properties that end in the middle do no harm")
    func truncated() throws {
        let match = try HeadersMatch([Binding.Argument(name: Array("a".utf8), value: nil)])
        let whole = properties([("b", "1"), ("a", "2")])
        for count in 0...whole.count {
            _ = whole.prefix(count).withUnsafeBytes { match.matches(properties: $0) }
        }
    }
}
