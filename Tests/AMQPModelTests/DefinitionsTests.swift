import AMQPModel
import AMQPProtocol
import StorageService
import TestSupport
import Testing

/// The values that effects leave in the store.
struct Store {
    var values: [UInt64: [UInt8]] = [:]

    mutating func carryOut(_ effects: [ModelEffect]) {
        for case .store(let number, let value) in effects { values[number] = value }
    }

    var entries: [StateEntry] { values.map { StateEntry(key: $0.key, value: $0.value) } }
}

@Suite struct DefinitionsTests {
    private func filled(_ store: inout Store) throws -> Host {
        var host = Host()
        store.carryOut(
            try host.exchange("x", "topic", durable: true, autoDelete: true, ["alternate-exchange": .string("a#b")])
        )
        store.carryOut(
            try host.exchange(
                "a#b",
                "x-delayed-message",
                durable: true,
                isInternal: true,
                ["x-delayed-type": .string("fanout")]
            )
        )
        store.carryOut(try host.exchange("passing", "fanout"))
        store.carryOut(
            try host.queue("q", durable: true, ["x-max-length": .int32(5), "x-dead-letter-exchange": .string("x")])
                .effects
        )
        store.carryOut(try host.queue("$s", durable: true, ["x-queue-type": .string("stream")]).effects)
        store.carryOut(
            try host.queue("r", durable: true, autoDelete: true, ["x-queue-type": .string("classic")]).effects
        )
        store.carryOut(try host.queue("passing").effects)
        store.carryOut(try host.queue("mine", durable: true, exclusive: true).effects)
        store.carryOut(try host.bind("q", to: "x", "a.*", ["b": .int8(1), "a": .int8(2)]))
        store.carryOut(try host.bind("q", to: "passing"))
        store.carryOut(try host.bind("passing", to: "x", "k"))
        store.carryOut(try host.bind("$s", to: "amq.topic", "#"))
        store.carryOut(try host.join("a#b", to: "x", "go"))
        store.carryOut(try host.bind("r", to: "a#b"))
        store.carryOut(
            try host.model.set(
                PolicyDefinition(name: "p", pattern: "^r", priority: -3, definition: ["max-length": .int64(7)])
            )
        )
        store.carryOut(
            try host.model.set(
                PolicyDefinition(
                    name: "p",
                    pattern: ".",
                    appliesTo: .queues,
                    definition: ["expires": .int64(7)],
                    isOperator: true
                )
            )
        )
        return host
    }

    @Test("what was stored comes back, without what was not meant to stay")
    func restoring() throws {
        var store = Store()
        let host = try filled(&store)
        var problems: [DefinitionProblem] = []
        let restored = VirtualHostModel(name: "/", restoring: store.entries, problems: &problems)
        #expect(problems == [])
        #expect(restored.definitions == host.model.definitions)
        #expect(
            restored.queue("passing") == nil && restored.queue("mine") == nil && restored.exchange("passing") == nil
        )
        #expect(restored.queue("r")?.settings == host.model.queue("r")?.settings)
        #expect(restored.queue("$s")?.storageName == "%24s")
        #expect(restored.exchange("a#b")?.isDelayed == true)
        // Nothing is missing where all is there; all that is not there is made again, with its bindings.
        #expect(restored.missing(hasInbox: { _ in true }, hasTopic: { _ in true }) == [])
        let missing = restored.missing(hasInbox: { _ in false }, hasTopic: { _ in false })
        let inboxes = missing.compactMap { effect -> (String, Int)? in
            if case .createInbox(let name, _, let bindings) = effect { (name, bindings.count) } else { nil }
        }
        #expect(inboxes.map(\.0) == ["q", "r"])
        // r is reached from a#b, and from x through it.
        #expect(inboxes.map(\.1) == [2, 3])
        guard let queue = restored.queue("r") else { return }
        let repair = restored.repair(queue, having: [.init(Binding(.direct, "gone", "k"))])
        #expect(repair.bound.count == 3 && repair.unbound.count == 1)
    }

    @Test("what was deleted is not stored any more")
    func forgetting() throws {
        var store = Store()
        var host = try filled(&store)
        for name in ["q", "$s", "r"] as [ShortString] {
            store.carryOut(try host.model.delete(QueueDelete(queue: name), connection: nil))
        }
        store.carryOut(try host.model.delete(ExchangeDelete(exchange: "x")))
        store.carryOut(try host.model.delete(ExchangeDelete(exchange: "a#b")))
        store.carryOut(host.model.removePolicy("p"))
        store.carryOut(host.model.removePolicy("p", isOperator: true))
        #expect(store.values.isEmpty)
    }

    @Test("broken entries are reported, and never stop the others", arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
    func broken(seed: UInt64) throws {
        var generator = SeededRandom(seed: seed)
        var store = Store()
        _ = try filled(&store)
        for _ in 0..<200 {
            var entries = store.entries.sorted { $0.key < $1.key }
            let victim = Int.random(in: 0..<entries.count, using: &generator)
            switch Int.random(in: 0..<4, using: &generator) {
            case 0: entries[victim].value = generator.bytes(0...60)
            case 1:
                entries[victim].value.removeLast(
                    min(entries[victim].value.count, Int.random(in: 1...9, using: &generator))
                )
            case 2:
                entries[victim].value[Int.random(in: 0..<entries[victim].value.count, using: &generator)] ^=
                    UInt8.random(in: 1...255, using: &generator)
            default: entries.remove(at: victim)
            }
            var problems: [DefinitionProblem] = []
            let restored = VirtualHostModel(name: "/", restoring: entries, problems: &problems)
            #expect(restored.queueCount + restored.exchangeCount >= 8, "seed \(seed)")
        }
        var problems: [DefinitionProblem] = []
        _ = VirtualHostModel(
            name: "/",
            restoring: [StateEntry(key: 9 << 56, value: [1]), StateEntry(key: 1 << 56)],
            problems: &problems
        )
        #expect(problems.count == 2)
    }

    @Test(
        "definitions that are imported are there, in whatever order; importing them again does nothing",
        arguments: [1, 2, 3] as [UInt64]
    )
    func importing(seed: UInt64) throws {
        var generator = SeededRandom(seed: seed)
        var store = Store()
        let host = try filled(&store)
        var definitions = host.model.definitions
        definitions.exchanges.shuffle(using: &generator)
        definitions.queues.shuffle(using: &generator)
        definitions.bindings.shuffle(using: &generator)
        definitions.policies.shuffle(using: &generator)
        var other = VirtualHostModel(name: "/")
        var problems: [ImportProblem] = []
        let effects = other.importDefinitions(definitions, problems: &problems)
        #expect(problems == [] && !effects.isEmpty)
        #expect(other.definitions == host.model.definitions, "seed \(seed)")
        #expect(other.importDefinitions(definitions, problems: &problems) == [] && problems == [])
    }

    @Test("an import takes what it can, and says what it could not")
    func importProblems() throws {
        var model = VirtualHostModel(name: "/")
        var definitions = VirtualHostDefinitions()
        definitions.exchanges = [.init(name: "x", type: "nonsense"), .init(name: "amq.topic", type: "topic")]
        definitions.queues = [.init(name: "q", arguments: ["x-message-ttl": .int32(-1)]), .init(name: "r")]
        definitions.bindings = [
            .init(source: "x", destination: .queue("r")),
            .init(source: "amq.topic", destination: .queue("r"), routingKey: "#"),
        ]
        var problems: [ImportProblem] = []
        _ = model.importDefinitions(definitions, problems: &problems)
        #expect(
            problems.map(\.resource) == [
                "exchange 'x' in vhost '/'", "queue 'q' in vhost '/'", "binding of exchange 'x' in vhost '/'",
            ]
        )
        #expect(model.queue("r")?.bindingCount == 1)
        #expect(model.bindings(to: .queue("r")).count == 2)
        #expect(model.bindings(from: "").map(\.routingKey) == ["r"])
    }
}
