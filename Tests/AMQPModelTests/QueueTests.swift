import AMQPModel
import AMQPProtocol
import StorageService
import Testing

@Suite struct QueueTests {
    @Test("a durable queue is stored, and is an inbox that is bound to the default exchange")
    func declaration() throws {
        var host = Host()
        let declared = try host.queue("tasks.eu", durable: true)
        #expect(declared.isNew)
        guard declared.effects.count == 2, case .store(_, .some) = declared.effects[0],
            case .createInbox("tasks.eu", let policy, let bindings) = declared.effects[1]
        else {
            Issue.record("\(declared.effects)")
            return
        }
        #expect(policy.isDurable)
        #expect(policy.leaseMicroseconds == 0)
        #expect(bindings == [InboxBinding(Binding(.direct, "$queue", "tasks.eu"))])
        let again = try host.queue("tasks.eu", durable: true)
        #expect(!again.isNew && again.effects.isEmpty && again.queue.number == declared.queue.number)
        #expect(try host.queue("tasks.eu", passive: true).effects == [])
    }

    @Test("transient and exclusive queues are not stored")
    func transient() throws {
        var host = Host()
        for declared in [try host.queue("a"), try host.queue("b", durable: true, exclusive: true)] {
            guard declared.effects.count == 1, case .createInbox(_, let policy, _) = declared.effects[0] else {
                Issue.record("\(declared.effects)")
                return
            }
            #expect(!policy.isDurable)
        }
    }

    @Test("a second declaration must be like the first")
    func equivalence() throws {
        var host = Host()
        try host.queue("q", durable: true, ["x-message-ttl": .int32(100), "x-unknown": .string("a")])
        #expect(
            refusal { try host.queue("q", ["x-message-ttl": .int32(100)]) }
                == "406 PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but "
                + "current is 'true'"
        )
        #expect(
            refusal { try host.queue("q", durable: true, ["x-message-ttl": .int32(200)]) }
                == "406 PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received '200' but "
                + "current is '100'"
        )
        #expect(
            refusal { try host.queue("q", durable: true) }
                == "406 PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received none but "
                + "current is the value '100' of type 'signedint'"
        )
        // Integers of other types, and arguments that nobody knows, make no difference.
        try host.queue("q", durable: true, ["x-message-ttl": .int64(100), "x-queue-type": .string("classic")])
        #expect(
            refusal {
                try host.queue("q", durable: true, ["x-message-ttl": .uint8(100), "x-queue-type": .string("quorum")])
            }
                == "406 PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received 'quorum' but "
                + "current is 'classic'"
        )
    }

    static let locked =
        "405 RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be originally "
        + "declared on another connection or the exclusive property value does not match that of the original declaration."

    @Test("an exclusive queue is its connection's alone, and ends with it")
    func exclusive() throws {
        var host = Host()
        let number = try host.queue("q", exclusive: true, connection: 7).queue.number
        try host.exchange("x", "fanout", durable: true, autoDelete: true)
        #expect(refusal { try host.queue("q", exclusive: true, connection: 8) } == Self.locked)
        #expect(refusal { try host.queue("q", passive: true, connection: 8) } == Self.locked)
        #expect(refusal { try host.queue("q", connection: 7) } == Self.locked)
        #expect(refusal { try host.bind("q", to: "x", connection: 8) } == Self.locked)
        #expect(refusal { _ = try host.model.delete(QueueDelete(queue: "q"), connection: 8) } == Self.locked)
        #expect(refusal { _ = try host.model.addConsumer(to: "q", connection: 8, isExclusive: false) } == Self.locked)
        try host.bind("q", to: "x", connection: 7)
        #expect(host.model.connectionEnded(8) == [])
        let effects = host.model.connectionEnded(7)
        #expect(effects.visible == [.queueGone(number), .deleteInbox(name: "q"), .deleteTopic(name: "x")])
        #expect(host.model.queue("q") == nil && host.model.exchange("x") == nil)
        #expect(host.model.connectionEnded(7) == [])
    }

    @Test("a queue is deleted with what is in it, or only when it is empty or unused")
    func deletion() throws {
        var host = Host()
        let number = try host.queue("q", durable: true).queue.number
        _ = try host.model.addConsumer(to: "q", connection: 1, isExclusive: false)
        #expect(
            refusal { _ = try host.model.delete(QueueDelete(queue: "q", ifUnused: true), connection: 1) }
                == "406 PRECONDITION_FAILED - queue 'q' in vhost '/' in use"
        )
        #expect(
            refusal {
                _ = try host.model.delete(QueueDelete(queue: "q", ifEmpty: true), connection: 1, messageCount: 1)
            }
                == "406 PRECONDITION_FAILED - queue 'q' in vhost '/' is not empty"
        )
        let effects = try host.model.delete(QueueDelete(queue: "q"), connection: 1, messageCount: 1)
        #expect(effects.visible == [.queueGone(number), .deleteInbox(name: "q")])
        #expect(effects.forgottenCount == 1)
        #expect(try host.model.delete(QueueDelete(queue: "q"), connection: 1) == [])
        #expect(refusal { _ = try host.model.queue("q", for: 1) } == "404 NOT_FOUND - no queue 'q' in vhost '/'")
    }

    @Test("an auto-delete queue goes with its last consumer, and not before it had one")
    func autoDelete() throws {
        var host = Host()
        let number = try host.queue("q", autoDelete: true).queue.number
        #expect(host.model.removeConsumer(from: number) == [])
        _ = try host.model.addConsumer(to: "q", connection: 1, isExclusive: false)
        _ = try host.model.addConsumer(to: "q", connection: 2, isExclusive: false)
        #expect(host.model.removeConsumer(from: number) == [])
        #expect(host.model.removeConsumer(from: number) == [.queueGone(number), .deleteInbox(name: "q")])
    }

    @Test("an exclusive consumer suffers no other")
    func exclusiveConsumer() throws {
        var host = Host()
        let number = try host.queue("q").queue.number
        let inUse = "403 ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"
        _ = try host.model.addConsumer(to: "q", connection: 1, isExclusive: false)
        #expect(refusal { _ = try host.model.addConsumer(to: "q", connection: 1, isExclusive: true) } == inUse)
        _ = host.model.removeConsumer(from: number)
        _ = try host.model.addConsumer(to: "q", connection: 1, isExclusive: true)
        #expect(refusal { _ = try host.model.addConsumer(to: "q", connection: 2, isExclusive: false) } == inUse)
        _ = host.model.removeConsumer(from: number)
        _ = try host.model.addConsumer(to: "q", connection: 2, isExclusive: false)
    }

    @Test("an inbox that storage let go of is no queue any more")
    func expired() throws {
        var host = Host()
        let number = try host.queue("q", durable: true, ["x-expires": .int32(1_000)]).queue.number
        let effects = host.model.inboxEnded("q")
        #expect(effects.visible == [.queueGone(number)])
        #expect(effects.forgottenCount == 1)
        #expect(host.model.inboxEnded("q") == [])
    }

    @Test("queue names that inboxes cannot have are written otherwise")
    func names() throws {
        var host = Host()
        #expect(try host.queue("a/b#").queue.storageName == "a/b#")
        #expect(try host.queue("$mqtt/x").queue.storageName == "%24mqtt/x")
        #expect(try host.queue(ShortString([0xFF])).queue.storageName == "%FF")
        #expect(try host.queue("%FF").queue.storageName == "%25FF")
        let long = ShortString([UInt8](repeating: 0x80, count: 255))
        var other = long
        other.bytes[254] = 0x81
        let names = [try host.queue(long).queue.storageName, try host.queue(other).queue.storageName]
        #expect(names[0] != names[1] && names.allSatisfy { $0.utf8.count <= 255 })
        // One that is called as the other is stored.
        #expect(try host.queue(ShortString(names[0])).queue.storageName != names[0])
    }

    @Test("a virtual host has no more queues than it may have")
    func limit() throws {
        var limits = AMQPModelLimits()
        limits.maximumQueues = 1
        var host = Host(limits: limits)
        try host.queue("a")
        try host.queue("a")
        #expect(
            refusal { try host.queue("b") }
                == "406 PRECONDITION_FAILED - cannot declare queue 'b': queue limit in vhost '/' (1) is reached"
        )
    }

    @Test("a queue takes little memory, since there may be a hundred thousand of them")
    func size() {
        #expect(MemoryLayout<Queue>.stride <= 128)
    }
}
