import AMQPModel
import AMQPProtocol
import StorageService
import Testing

@Suite struct QueueArgumentsTests {
    private func policy(_ arguments: FieldTable) throws -> SubscriptionPolicy? {
        var host = Host()
        for effect in try host.queue("q", durable: true, arguments).effects {
            if case .createInbox(_, let policy, _) = effect { return policy }
        }
        return nil
    }

    @Test("arguments become the policy of the inbox")
    func mapping() throws {
        #expect(try policy(["x-message-ttl": .int32(1_500)])?.messageTTLMicroseconds == 1_500_000)
        #expect(try policy(["x-message-ttl": .int32(0)])?.messageTTLMicroseconds == 5_000)
        #expect(try policy(["x-expires": .uint64Like(60_000)])?.expiresUnusedMicroseconds == 60_000_000)
        #expect(try policy(["x-max-length": .uint8(5)])?.maxMessages == 5)
        #expect(try policy(["x-max-length-bytes": .int64(1 << 40)])?.maxBytes == 1 << 40)
        #expect(try policy(["x-max-priority": .int16(10)])?.maxPriority == 10)
        #expect(try policy(["x-single-active-consumer": .boolean(true)])?.consumers == .failover)
        #expect(try policy([:])?.maxAttempts == 0)
        #expect(try policy(["x-queue-type": .string("quorum")])?.maxAttempts == 21)
        #expect(try policy(["x-queue-type": .string("quorum"), "x-delivery-limit": .int32(2)])?.maxAttempts == 3)
        #expect(try policy(["x-queue-type": .string("quorum"), "x-delivery-limit": .int32(-1)])?.maxAttempts == 0)
        #expect(try policy([:])?.overflow == .dropHead)
        #expect(try policy(["x-overflow": .string("reject-publish")])?.overflow == .reject)
        #expect(try policy(["x-overflow": .string("reject-publish-dlx")])?.overflow == .reject)
        let dead = try policy(["x-dead-letter-exchange": .string("dlx"), "x-dead-letter-routing-key": .string("k")])
        #expect(dead?.deadLetterTopic == "$amqp/dead" && dead?.overflow == .deadLetter)
    }

    @Test("arguments of dead features, and those that nobody knows, are accepted")
    func ignored() throws {
        #expect(
            try policy([
                "x-queue-mode": .string("lazy"), "x-queue-version": .int32(2), "x-ha-policy": .string("all"),
                "x-consumer-timeout": .int32(1), "x-queue-leader-locator": .string("client-local"), "mine": .void,
                "x-quorum-initial-group-size": .int32(3),
            ]) == SubscriptionPolicy.ofPlainQueue
        )
    }

    @Test(
        "wrong arguments are refused in RabbitMQ's words",
        arguments: [
            ("x-message-ttl", FieldValue.string("60"), "\"expected integer, got longstr\""),
            ("x-message-ttl", .int32(-1), "{value_negative,-1}"),
            ("x-message-ttl", .int64(4_294_967_296), "{value_too_big,4294967296}"),
            ("x-expires", .int32(0), "{value_zero,0}"),
            ("x-max-length", .int8(-1), "{value_negative,-1}"),
            ("x-max-length-bytes", .boolean(true), "\"expected integer, got bool\""),
            ("x-max-priority", .int32(256), "{max_value_exceeded,256}"),
            ("x-overflow", .string("drop-tail"), "invalid_overflow"),
            ("x-overflow", .int32(1), "{unacceptable_type,signedint}"),
            ("x-single-active-consumer", .string("true"), "{unacceptable_type,longstr}"),
            ("x-queue-type", .string("lazy"), "\"unsupported queue type 'lazy'\""),
            ("x-dead-letter-routing-key", .string("k"), "routing_key_but_no_dlx_defined"),
            ("x-dead-letter-strategy", .string("often"), "invalid_dlx_strategy"),
            ("x-max-age", .string("1w"), "invalid_max_age"),
            ("x-delivery-limit", .string("1"), "\"expected integer, got longstr\""),
        ]
    )
    func wrong(name: String, value: FieldValue, problem: String) {
        var host = Host()
        var arguments = FieldTable()
        arguments.append(name, value)
        #expect(
            refusal { try host.queue("q", durable: true, arguments) }
                == "406 PRECONDITION_FAILED - invalid arg '\(name)' for queue 'q' in vhost '/': \(problem)"
        )
        #expect(host.model.queueCount == 0)
    }

    @Test("the dead letter exchange is a string")
    func deadLetterExchange() {
        var host = Host()
        #expect(
            refusal { try host.queue("q", ["x-dead-letter-exchange": .int32(1)]) }
                == "406 PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'"
        )
    }

    @Test("quorum queues and streams are durable, shared and stay", arguments: ["quorum", "stream"])
    func replicated(type: String) {
        var host = Host()
        let arguments: FieldTable = ["x-queue-type": .string(type)]
        #expect(
            refusal { try host.queue("q", arguments) }
                == "406 PRECONDITION_FAILED - invalid property 'non-durable' for queue 'q' in vhost '/'"
        )
        #expect(
            refusal { try host.queue("q", durable: true, exclusive: true, arguments) }
                == "406 PRECONDITION_FAILED - invalid property 'exclusive-owner' for queue 'q' in vhost '/'"
        )
        #expect(
            refusal { try host.queue("q", durable: true, autoDelete: true, arguments) }
                == "406 PRECONDITION_FAILED - invalid property 'auto-delete' for queue 'q' in vhost '/'"
        )
    }

    @Test("a stream is a topic that keeps its messages by age and size")
    func stream() throws {
        var host = Host()
        let declared = try host.queue(
            "s",
            durable: true,
            [
                "x-queue-type": .string("stream"), "x-max-age": .string("7D"), "x-max-length-bytes": .int64(1_000),
            ]
        )
        #expect(declared.queue.isStream)
        guard case .createTopic("s", let policy) = declared.effects.last else {
            Issue.record("\(declared.effects)")
            return
        }
        #expect(policy.retention == .limits)
        #expect(policy.maxAgeMicroseconds == 7 * 86_400_000_000)
        #expect(policy.maxBytes == 1_000)
        #expect(
            refusal {
                try host.queue("t", durable: true, ["x-queue-type": .string("stream"), "x-max-length": .int32(1)])
            }
                == "406 PRECONDITION_FAILED - invalid arg 'x-max-length' for queue 't' in vhost '/' of queue type "
                + "rabbit_stream_queue"
        )
        // An exchange of the same name has another topic.
        try host.exchange("s", "fanout")
        #expect(host.model.exchange("s")?.topic == "s~1")
        #expect(try host.model.delete(QueueDelete(queue: "s"), connection: 1).visible.last == .deleteTopic(name: "s"))
    }
}

extension FieldValue {
    static func uint64Like(_ value: Int64) -> FieldValue { .longInt64(value) }
}

extension SubscriptionPolicy {
    static var ofPlainQueue: SubscriptionPolicy {
        var policy = SubscriptionPolicy()
        policy.leaseMicroseconds = 0
        return policy
    }
}
