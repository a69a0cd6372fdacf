import AMQPModel
import AMQPProtocol
import StorageService
import Testing

@Suite struct BindingTests {
    private func bound(_ type: ShortString, _ key: ShortString, _ arguments: FieldTable = [:]) throws -> [InboxBinding]
    {
        var host = Host()
        try host.exchange("x", type)
        try host.queue("q")
        return try host.bind("q", to: "x", key, arguments).bound
    }

    @Test("bindings go to storage with keys as names hold them")
    func keys() throws {
        #expect(try bound("direct", "eu.created") == [InboxBinding(Binding(.direct, "x", "eu.created"))])
        #expect(try bound("direct", "a#+*") == [InboxBinding(Binding(.direct, "x", "a%23%2B*"))])
        #expect(try bound("topic", "*.a#.#") == [InboxBinding(Binding(.topic, "x", "*.a%23.#"))])
        #expect(try bound("topic", "") == [InboxBinding(Binding(.topic, "x", ""))])
        #expect(try bound("fanout", "anything") == [InboxBinding(Binding(.fanout, "x", ""))])
    }

    @Test("amq.topic is the whole tree, in which a name is not empty and does not begin with a dollar")
    func wholeTree() throws {
        var host = Host()
        try host.queue("q")
        let keys = ["orders.#", "", "$queue.q", "#"] as [ShortString]
        let patterns = try keys.flatMap { try host.bind("q", to: "amq.topic", $0).bound }.map(\.binding)
        #expect(patterns == ["orders.#", "%20", "%24queue.q", "#"].map { Binding(.topic, "amq.topic", $0) })
    }

    @Test("arguments of headers bindings are compared as text")
    func headers() throws {
        let binding = try bound(
            "headers",
            "k",
            [
                "x-match": .string("any"), "text": .string("a"), "number": .int64(5), "flag": .boolean(true),
                "there": .void,
            ]
        )
        #expect(binding.first?.binding.kind == .headers)
        let arguments = Dictionary(
            uniqueKeysWithValues: (binding.first?.binding.arguments ?? []).map {
                (String(decoding: $0.name, as: UTF8.self), $0.value.map { String(decoding: $0, as: UTF8.self) })
            }
        )
        #expect(arguments == ["x-match": "any", "text": "a", "number": "5", "flag": "true", "there": nil])
    }

    @Test("a binding is there once, and another order of its arguments makes no other")
    func idempotence() throws {
        var host = Host()
        try host.exchange("x", "headers", durable: true)
        try host.queue("q", durable: true)
        #expect(try host.bind("q", to: "x", "", ["a": .int32(1), "b": .int32(2)]).count == 2)
        #expect(try host.bind("q", to: "x", "", ["b": .int32(2), "a": .int32(1)]) == [])
        // Another binding for AMQP, but the same for storage.
        let again = try host.bind("q", to: "x", "", ["a": .string("1"), "b": .int32(2)])
        #expect(again.bound == [] && again.storedCount == 1)
        #expect(try host.unbind("q", from: "x", "", ["a": .int32(1), "b": .int32(2)]).unbound == [])
        #expect(try host.unbind("q", from: "x", "", ["a": .string("1"), "b": .int32(2)]).unbound.count == 1)
        #expect(try host.unbind("q", from: "x", "", ["a": .string("1"), "b": .int32(2)]) == [])
    }

    @Test("what cannot be bound is refused as RabbitMQ refuses it")
    func refusals() throws {
        var host = Host()
        try host.queue("q")
        try host.exchange("h", "headers")
        try host.exchange("c", "x-consistent-hash")
        #expect(refusal { try host.bind("q", to: "none") } == "404 NOT_FOUND - no exchange 'none' in vhost '/'")
        #expect(refusal { try host.bind("none", to: "h") } == "404 NOT_FOUND - no queue 'none' in vhost '/'")
        #expect(refusal { try host.join("none", to: "h") } == "404 NOT_FOUND - no exchange 'none' in vhost '/'")
        #expect(
            refusal { try host.bind("q", to: "") }
                == "403 ACCESS_REFUSED - operation not permitted on the default exchange"
        )
        #expect(
            refusal { try host.bind("q", to: "h", "", ["x-match": .string("bogus")]) }
                == "406 PRECONDITION_FAILED - Invalid x-match field value <<\"bogus\">>; expected all, any, all-with-x, or any-with-x"
        )
        #expect(
            refusal { try host.bind("q", to: "h", "", ["x-match": .int8(1)]) }
                == "406 PRECONDITION_FAILED - Invalid x-match field type byte (value 1); expected longstr"
        )
        #expect(
            refusal { try host.bind("q", to: "c", "heavy") }
                == "406 PRECONDITION_FAILED - The binding key must be an integer: <<\"heavy\">>"
        )
        #expect(
            refusal { try host.bind("q", to: "c", "0") }
                == "406 PRECONDITION_FAILED - The binding key must be greater than 0"
        )
        let deep = ShortString([UInt8](repeating: UInt8(ascii: "."), count: 127))
        #expect(refusal { try host.bind("q", to: "amq.direct", deep) }?.hasPrefix("406 PRECONDITION_FAILED") == true)
    }

    @Test("what is not bound is unbound already")
    func unbinding() throws {
        var host = Host()
        try host.queue("q")
        #expect(try host.unbind("q", from: "none") == [])
        #expect(try host.unbind("none", from: "amq.direct") == [])
        #expect(try host.unbind("q", from: "amq.direct", "k") == [])
        #expect(try host.part("none", from: "amq.direct") == [])
    }

    @Test("a queue behind two exchanges is bound to the first, with the second binding as a condition")
    func conditions() throws {
        var host = Host()
        try host.exchange("first", "topic")
        try host.exchange("second", "direct")
        try host.exchange("third", "fanout")
        try host.queue("q")
        try host.bind("q", to: "third", "any")
        try host.join("third", to: "second", "eu.created")
        let effects = try host.join("second", to: "first", "eu.#")
        let second = InboxBinding.Condition(kind: .direct, pattern: Array("eu.created".utf8))
        #expect(effects.bound == [InboxBinding(Binding(.topic, "first", "eu.#"), also: [second])])
        #expect(try host.part("second", from: "first", "eu.#").unbound == effects.bound)
    }

    @Test("exchanges bound in a circle end nothing and reach every queue once on each way")
    func circles() throws {
        var host = Host()
        try host.exchange("a", "fanout")
        try host.exchange("b", "fanout")
        try host.queue("q")
        try host.bind("q", to: "a")
        try host.join("a", to: "b")
        try host.join("b", to: "a")
        try host.join("a", to: "a")
        let binding = try host.bind("q", to: "b").bound
        // From b it came through a already.
        #expect(binding == [])
        #expect(try host.unbind("q", from: "a").unbound == [])
        #expect(Set(try host.unbind("q", from: "b").unbound.map(\.binding.topic)) == ["a", "b"])
    }

    @Test("too many ways to one queue are refused, and nothing is changed")
    func bounded() throws {
        var limits = AMQPModelLimits()
        limits.maximumPathsPerQueue = 100
        var host = Host(limits: limits)
        for level in 0...3 { try host.exchange(ShortString("e\(level)"), "direct") }
        try host.queue("q")
        try host.bind("q", to: "e3", "k")
        for level in [2, 1] as [Int] {
            for key in 0..<5 {
                try host.join(ShortString("e\(level + 1)"), to: ShortString("e\(level)"), ShortString("k\(key)"))
            }
        }
        var refused = 0
        for key in 0..<5 {
            do { try host.join("e1", to: "e0", ShortString("k\(key)")) } catch {
                refused += 1
                #expect((error as? AMQPError)?.code == .preconditionFailed)
            }
        }
        #expect(refused > 0)
        let effects = try host.unbind("q", from: "e3", "k").unbound
        #expect(effects.count <= 100)
    }

    @Test("thousands of bindings of one exchange and one queue are no more work each than the first")
    func many() throws {
        var host = Host()
        try host.exchange("x", "topic", durable: true)
        try host.queue("q", durable: true)
        let count = 5_000
        for key in 0..<count { #expect(try host.bind("q", to: "x", ShortString("k\(key)")).bound.count == 1) }
        #expect(host.model.exchange("x")?.bindingCount == count)
        for key in 0..<count { #expect(try host.unbind("q", from: "x", ShortString("k\(key)")).unbound.count == 1) }
        #expect(host.model.queue("q")?.bindingCount == 0)
    }
}
