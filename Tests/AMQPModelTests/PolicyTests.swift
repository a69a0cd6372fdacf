import AMQPModel
import AMQPProtocol
import StorageService
import Testing

@Suite struct NameExpressionTests {
    @Test(
        "expressions",
        arguments: [
            ("", "anything", true), ("^amq\\.", "amq.gen", true), ("^amq\\.", "amqp", false), (".*", "", true),
            ("^(?!amq\\.).*", "amq.gen", false), ("^(?!amq\\.).*", "orders", true), ("orders", "my-orders-1", true),
            ("^orders$", "orders1", false), ("^a{2,3}$", "aa", true), ("^a{2,3}$", "aaaa", false),
            ("^a{2,}$", "aaaaa", true),
            ("^(a|bc)+$", "abcbca", true), ("^(a|bc)+$", "abcb", false), ("[a-c_]$", "x_", true),
            ("^[^a-c]+$", "xyz", true),
            ("^[^a-c]+$", "xaz", false), ("^\\d+\\w?$", "12x", true), ("^\\d+$", "1a", false),
            ("(?i)^ORDERS", "orders", true),
            ("^a.*?b$", "axxb", true), ("^(?:ha|two)\\..*", "two.q", true), ("^a{x}$", "a{x}", true),
            ("^q(?=1)", "q1", true),
            ("^q(?=1)", "q2", false), ("[]a]", "]", true), ("a|", "zzz", true), ("^[\\w.-]+$", "a-b.c", true),
        ]
    )
    func matching(pattern: String, name: String, matches: Bool) {
        #expect(NameExpression(pattern)?.matches(Array(name.utf8)) == matches)
    }

    @Test(
        "what is not understood is none",
        arguments: [
            "(", ")", "[a", "*a", "a\\", "(?<=a)b", "\\1", "a{3,2}", "[z-a]", "a{99999}", "(?=a(?=b))",
            String(repeating: "(", count: 100) + String(repeating: ")", count: 100), "(a{1000}){1000}",
            String(repeating: "a", count: 2_000),
        ]
    )
    func malformed(pattern: String) {
        #expect(NameExpression(pattern) == nil)
    }

    @Test(
        "patterns that take other matchers for ever take no time",
        arguments: ["^(a+)+$", "^(a|aa)+$", "(.*)*(.*)*(.*)*x$"]
    )
    func bounded(pattern: String) {
        let name = [UInt8](repeating: UInt8(ascii: "a"), count: 254) + [UInt8(ascii: "b")]
        #expect(NameExpression(pattern)?.matches(name) == false)
    }
}

@Suite struct PolicyTests {
    private func policy(
        _ name: ShortString,
        _ pattern: String,
        _ definition: FieldTable,
        priority: Int64 = 0,
        to target: PolicyDefinition.Target = .all,
        isOperator: Bool = false
    ) -> PolicyDefinition {
        PolicyDefinition(
            name: name,
            pattern: pattern,
            appliesTo: target,
            priority: priority,
            definition: definition,
            isOperator: isOperator
        )
    }

    @Test("a policy applies to queues that are there and to those that come, and its end to both")
    func life() throws {
        var host = Host()
        try host.queue("q1", durable: true)
        try host.queue("other", durable: true)
        let effects = try host.model.set(policy("p", "^q", ["max-length": .int64(10)]))
        guard effects.count == 2, case .store(_, .some) = effects[0], case .updatePolicy("q1", let changed) = effects[1]
        else {
            Issue.record("\(effects)")
            return
        }
        #expect(changed.maxMessages == 10)
        #expect(try host.model.set(policy("p", "^q", ["max-length": .int64(10)])) == [])
        #expect(try host.queue("q2", durable: true).queue.settings.maxLength == 10)
        let ended = host.model.removePolicy("p")
        #expect(ended.count == 3 && ended.forgottenCount == 1)
        #expect(host.model.queue("q2")?.settings.maxLength == nil)
        #expect(host.model.removePolicy("p") == [])
    }

    @Test("of several only the one with the highest priority counts")
    func priority() throws {
        var host = Host()
        _ = try host.model.set(policy("low", ".*", ["max-length": .int64(1), "overflow": .string("reject-publish")]))
        _ = try host.model.set(policy("high", "^q", ["message-ttl": .int64(5)], priority: 7))
        let settings = try host.queue("q").queue.settings
        #expect(settings.maxLength == nil && settings.messageTTLMilliseconds == 5)
        #expect(host.model.queue("q").flatMap { host.model.policies(of: $0).user?.name } == "high")
    }

    @Test("an argument counts before a policy, the lower limit before the higher, an operator's before all")
    func merging() throws {
        var host = Host()
        _ = try host.model.set(
            policy(
                "user",
                ".*",
                [
                    "message-ttl": .int64(100), "max-length": .int64(50), "dead-letter-exchange": .string("p"),
                    "dead-letter-routing-key": .string("k"), "overflow": .string("reject-publish"),
                    "delivery-limit": .int64(-1),
                ]
            )
        )
        _ = try host.model.set(
            policy("bound", ".*", ["max-length": .int64(40), "expires": .int64(9)], isOperator: true)
        )
        let settings = try host.queue(
            "q",
            durable: true,
            [
                "x-message-ttl": .int32(200), "x-max-length": .int32(60), "x-dead-letter-exchange": .string("a"),
            ]
        ).queue.settings
        #expect(settings.messageTTLMilliseconds == 100)
        #expect(settings.maxLength == 40)
        #expect(settings.expiresMilliseconds == 9)
        #expect(settings.deadLetterExchange == "a" && settings.deadLetterRoutingKey == "k")
        #expect(settings.overflow == .rejectPublish)
        let quorum = try host.queue("quorum", durable: true, ["x-queue-type": .string("quorum")]).queue
        #expect(quorum.settings.inboxPolicy(kind: .quorum, isDurable: true).maxAttempts == 0)
    }

    @Test("policies apply to the kinds of queues, or the exchanges, that they are for")
    func targets() throws {
        var host = Host()
        try host.exchange("x", "direct")
        let epoch = host.model.epoch
        _ = try host.model.set(policy("q", ".*", ["max-length": .int64(1)], to: .quorumQueues))
        #expect(try host.queue("c", durable: true).queue.settings.maxLength == nil)
        #expect(try host.queue("r", durable: true, ["x-queue-type": .string("quorum")]).queue.settings.maxLength == 1)
        #expect(host.model.epoch == epoch)
        _ = try host.model.set(policy("x", "^x$", ["alternate-exchange": .string("amq.fanout")], to: .exchanges))
        #expect(host.model.exchange("x")?.alternate == "amq.fanout")
        #expect(host.model.publishTarget("x")?.routing == .model)
        #expect(host.model.epoch != epoch)
        _ = host.model.removePolicy("x")
        #expect(host.model.publishTarget("x")?.routing == .storage)
    }

    @Test("what cannot be used is refused")
    func refusals() {
        var host = Host()
        #expect(
            refusal { _ = try host.model.set(policy("p", "(", ["max-length": .int64(1)])) }?.hasPrefix("406") == true
        )
        #expect(
            refusal { _ = try host.model.set(policy("p", "", ["max-length": .string("1")])) }?.hasPrefix("406") == true
        )
        #expect(refusal { _ = try host.model.set(policy("p", "", [:])) }?.hasPrefix("406") == true)
        #expect(host.model.allPolicies == [])
    }
}
