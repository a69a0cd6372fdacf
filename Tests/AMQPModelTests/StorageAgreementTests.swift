import AMQPModel
import AMQPProtocol
import MessageModel
import StorageEngine
import StorageService
import TestSupport
import Testing

/// What the model tells storage, and how storage routes by it: the same queues as RabbitMQ's exchanges give a message to.
@Suite struct StorageAgreementTests {
    /// The bindings of inboxes as the engine holds them.
    private struct Storage {
        var table = RoutingTable()
        var bindings: [String: Set<InboxBinding>] = [:]
        var predicates: [RoutingPredicate?] = [nil]
        var known: [InboxBinding: (owner: UInt64, RoutingTarget, NamePattern)] = [:]

        mutating func carryOut(_ effects: [ModelEffect], _ owners: [String: UInt64]) throws {
            for effect in effects {
                switch effect {
                case .bind(let inbox, let binding):
                    bindings[inbox, default: []].insert(binding)
                case .unbind(let inbox, let binding):
                    bindings[inbox]?.remove(binding)
                default: break
                }
            }
            table = RoutingTable()
            predicates = [nil]
            var id: UInt32 = 0
            for (inbox, bindings) in bindings {
                for binding in bindings {
                    let pattern = try BindingPattern(binding.inStorage)
                    id += 1
                    var number: UInt32 = 0
                    if let predicate = pattern.predicate {
                        number = UInt32(predicates.count)
                        predicates.append(predicate)
                    }
                    _ = table.insert(
                        pattern.names,
                        RoutingTarget(owner: owners[inbox] ?? 0, id: id, predicate: number)
                    )
                }
            }
        }

        mutating func reached(_ name: [UInt8], _ properties: [UInt8]) -> Set<UInt64> {
            var found: [RoutingTarget] = []
            name.withUnsafeBytes { table.match($0, into: &found) }
            return withRecord(key: name, isAbsolute: true, properties: properties) { record in
                name.withUnsafeBytes { name in
                    Set(
                        found.filter { target in
                            predicates[Int(target.predicate)].map { $0.matches(record, name: name) } ?? true
                        }.map(\.owner)
                    )
                }
            } ?? []
        }
    }

    private static let words: [[UInt8]] = [
        Array("a".utf8), Array("b".utf8), Array("a".utf8), [], Array("50%".utf8), Array("%41".utf8), Array("a/b".utf8),
        Array("#x".utf8), Array("+".utf8), [0], [0xFF], Array("$y".utf8), Array("*z".utf8),
    ]

    private static func key(_ generator: inout SeededRandom, isPattern: Bool) -> ShortString {
        let count = [0, 1, 1, 1, 2, 2, 3].randomElement(using: &generator) ?? 1
        let wild: [[UInt8]] = isPattern ? [Array("*".utf8), Array("#".utf8), Array("#".utf8)] : []
        let chosen = (0..<count).map { _ in
            (Bool.random(using: &generator) ? wild.randomElement(using: &generator) : nil)
                ?? words.prefix(Int.random(in: 2...words.count, using: &generator)).randomElement(using: &generator)
                ?? []
        }
        return ShortString(Array(chosen.joined(separator: [UInt8(ascii: ".")])))
    }

    private static func headers(_ generator: inout SeededRandom, isBinding: Bool) -> FieldTable {
        var table = FieldTable()
        let values: [FieldValue] = [
            .int8(1), .int64(1), .string("1"), .boolean(true), .bytes([1]), .longString([0xFF]), .void,
        ]
        for name in ["a", "b", "x-c"] where Bool.random(using: &generator) {
            table.append(name, values.randomElement(using: &generator) ?? .void)
        }
        if isBinding,
            let mode = ["all", "any", "all-with-x", "any-with-x", nil].randomElement(using: &generator) ?? nil
        {
            table.append("x-match", .string(mode))
        }
        return table
    }

    @Test("storage and model reach the same queues", arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64], [true, false])
    func agreement(seed: UInt64, isWholeTree: Bool) throws {
        var generator = SeededRandom(seed: seed)
        var host = Host()
        var exchanges = (0..<4).map { ShortString("x\($0)") }
        let kinds = ["direct", "topic", "fanout", "headers"] as [ShortString]
        for name in exchanges { try host.exchange(name, kinds.randomElement(using: &generator) ?? "direct") }
        if isWholeTree { exchanges.append("amq.topic") }
        let queues = (0..<3).map { ShortString("q\($0)") }
        var owners: [String: UInt64] = [:]
        for (index, name) in queues.enumerated() {
            try host.queue(name)
            owners[name.description] = UInt64(index)
        }
        var storage = Storage()
        for _ in 0..<15 {
            let source = exchanges.randomElement(using: &generator) ?? ""
            let kind = host.model.exchange(source)?.kind
            let key = Self.key(&generator, isPattern: kind == .topic)
            let arguments = kind == .headers ? Self.headers(&generator, isBinding: true) : [:]
            if Bool.random(using: &generator) {
                let queue = queues.randomElement(using: &generator) ?? ""
                try storage.carryOut(try host.bind(queue, to: source, key, arguments), owners)
            } else {
                let other = exchanges.randomElement(using: &generator) ?? ""
                try storage.carryOut(try host.join(other, to: source, key, arguments), owners)
            }
            for _ in 0..<25 {
                // The whole tree sees what is published to every exchange; here only what is published to itself.
                let exchange = isWholeTree ? "amq.topic" : exchanges.randomElement(using: &generator) ?? ""
                let published = Self.key(&generator, isPattern: false)
                // Of a whole name the empty key is one word.
                if isWholeTree, published.isEmpty { continue }
                var properties = BasicProperties()
                properties.headers = Self.headers(&generator, isBinding: false)
                let record = try fields(properties)
                var name: [UInt8] = []
                let target = host.model.publishTarget(exchange)
                let placement = try published.bytes.withUnsafeBytes { try target?.place($0, into: &name) }
                if placement != .wholeName {
                    name = Array((target?.topic ?? "").utf8) + (placement == .below ? [0x2F] + name : [])
                }
                let byStorage = storage.reached(name, record)
                for queue in queues {
                    var plan = RoutePlan()
                    properties.encoded().withUnsafeBytes {
                        host.model.route(
                            exchange,
                            keys: [published],
                            RoutedMessage(properties: PropertiesView(validated: $0), random: 0),
                            excluding: Set(queues).subtracting([queue]),
                            into: &plan
                        )
                    }
                    #expect(
                        plan.isRouted == byStorage.contains(owners[queue.description] ?? 9),
                        "seed \(seed), \(exchange), key \(published.bytes), queue \(queue)"
                    )
                }
            }
        }
    }
}

extension InboxBinding {
    var inStorage: Binding {
        var whole = binding
        whole.also = also.map { Binding.Condition(kind: $0.kind, pattern: $0.pattern, arguments: $0.arguments) }
        return whole
    }
}
