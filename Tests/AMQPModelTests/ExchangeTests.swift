import AMQPModel
import AMQPProtocol
import StorageService
import Testing

@Suite struct ExchangeTests {
    @Test("the predeclared exchanges are there, and cannot be deleted")
    func predeclared() throws {
        var host = Host()
        for name in ["amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match"] as [ShortString] {
            #expect(host.model.exchange(name)?.isDurable == true)
            #expect(
                refusal { _ = try host.model.delete(ExchangeDelete(exchange: name)) }
                    == "403 ACCESS_REFUSED - deletion of system exchange '\(name)' in vhost '/' not allowed"
            )
        }
        try host.exchange("amq.direct", "direct", durable: true)
        let topics = host.model.foundation.compactMap { if case .createTopic(let name, _) = $0 { name } else { nil } }
        #expect(topics == ["$queue", "amq.direct", "amq.fanout", "amq.headers", "amq.match", "amq.rabbitmq.trace"])
    }

    @Test("a durable exchange is stored and gets a topic that keeps nothing by itself")
    func declaration() throws {
        var host = Host()
        let effects = try host.exchange("orders", "topic", durable: true)
        guard effects.count == 2, case .store(_, .some) = effects[0],
            case .createTopic("orders", let policy) = effects[1]
        else {
            Issue.record("\(effects)")
            return
        }
        #expect(policy.retention == .subscriptions)
        #expect(try host.exchange("orders", "topic", durable: true) == [])
        #expect(try host.exchange("orders", "", passive: true) == [])
        #expect(try host.exchange("passing", "topic").storedCount == 0)
    }

    @Test("a second declaration must be like the first")
    func equivalence() throws {
        var host = Host()
        try host.exchange("x", "direct", durable: true, ["alternate-exchange": .string("a")])
        #expect(
            refusal { try host.exchange("x", "topic", durable: true) }
                == "406 PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'x' in vhost '/': received 'topic' but "
                + "current is 'direct'"
        )
        #expect(
            refusal { try host.exchange("x", "direct") }
                == "406 PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'x' in vhost '/': received 'false' "
                + "but current is 'true'"
        )
        #expect(
            refusal { try host.exchange("x", "direct", durable: true) }
                == "406 PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': "
                + "received none but current is the value 'a' of type 'longstr'"
        )
        #expect(try host.exchange("x", "direct", durable: true, ["alternate-exchange": .string("a")]) == [])
    }

    @Test("what cannot be declared is refused as RabbitMQ refuses it")
    func refusals() throws {
        var host = Host()
        #expect(
            refusal { try host.exchange("amq.mine") }
                == "403 ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'"
        )
        #expect(
            refusal { try host.exchange("x", "x-nothing") }
                == "406 PRECONDITION_FAILED - unknown exchange type 'x-nothing'"
        )
        #expect(
            refusal { try host.exchange("x", passive: true) }
                == "404 NOT_FOUND - no exchange 'x' in vhost '/'"
        )
        #expect(
            refusal { try host.exchange("x", "direct", ["alternate-exchange": .int32(1)]) }
                == "406 PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in exchange 'x' in vhost '/'"
        )
        #expect(
            refusal {
                try host.exchange(
                    "x",
                    "x-consistent-hash",
                    ["hash-header": .string("a"), "hash-property": .string("message_id")]
                )
            }
                == "406 PRECONDITION_FAILED - hash-header and hash-property are mutually exclusive"
        )
        #expect(
            refusal { try host.exchange("x", "x-delayed-message") }
                == "406 PRECONDITION_FAILED - Invalid argument, 'x-delayed-type' must be an existing exchange type"
        )
    }

    @Test("deleting takes bindings along; an unused one only on demand")
    func deletion() throws {
        var host = Host()
        try host.exchange("x", "fanout", durable: true)
        try host.queue("q", durable: true)
        try host.bind("q", to: "x", "k")
        #expect(
            refusal { _ = try host.model.delete(ExchangeDelete(exchange: "x", ifUnused: true)) }
                == "406 PRECONDITION_FAILED - exchange 'x' in vhost '/' in use"
        )
        let effects = try host.model.delete(ExchangeDelete(exchange: "x"))
        #expect(
            effects.visible == [
                .unbind(inbox: "q", InboxBinding(Binding(.fanout, "x", ""))), .deleteTopic(name: "x"),
            ]
        )
        #expect(effects.forgottenCount == 2)
        #expect(try host.model.delete(ExchangeDelete(exchange: "x")) == [])
        #expect(host.model.queue("q")?.bindingCount == 0)
    }

    @Test("an auto-delete exchange goes with its last binding, and takes along what only led to it")
    func autoDelete() throws {
        var host = Host()
        try host.exchange("a", "fanout", autoDelete: true)
        try host.exchange("b", "fanout", autoDelete: true)
        try host.queue("q")
        try host.join("b", to: "a")
        try host.bind("q", to: "b", "1")
        try host.bind("q", to: "b", "2")
        #expect(try host.unbind("q", from: "b", "1").visible == [])
        #expect(host.model.exchange("b") != nil)
        let effects = try host.unbind("q", from: "b", "2")
        #expect(effects.visible.contains(.deleteTopic(name: "a")))
        #expect(effects.visible.contains(.deleteTopic(name: "b")))
        #expect(host.model.exchange("a") == nil)
        #expect(host.model.exchange("b") == nil)
    }

    @Test("names that a topic cannot have are written otherwise, and no two exchanges share a topic")
    func names() throws {
        var host = Host()
        func topic(_ name: ShortString) throws -> String? {
            try host.exchange(name)
            return host.model.exchange(name)?.topic
        }
        #expect(try topic("a/b") == "a/b")
        #expect(try topic("a#b+") == "a%23b%2B")
        #expect(try topic("$x") == "%24x")
        #expect(try topic("/x/") == "%2Fx%2F")
        #expect(try topic(ShortString([0x61, 0xFF])) == "a%FF")
        #expect(try topic("default") == "default")
        let long = String(repeating: "#", count: 200)
        let first = try topic(ShortString(long + "1"))
        let second = try topic(ShortString(long + "2"))
        #expect(first != second)
        #expect(first?.utf8.count ?? 0 <= 255 && second?.utf8.count ?? 0 <= 255)
    }
}
