internal import AMQPProtocol

/// The policies of a virtual host, ready to be applied.
struct PolicyTable: Sendable {
    struct Entry: Sendable {
        let definition: PolicyDefinition
        let expression: NameExpression
        let settings: QueueSettings
        let alternate: ShortString?
        let storedNumber: UInt64
    }

    /// The one that comes first counts: by priority, then by name.
    private(set) var users: [Entry] = []
    private(set) var operators: [Entry] = []

    var isEmpty: Bool { users.isEmpty && operators.isEmpty }

    func entry(_ name: ShortString, isOperator: Bool) -> Entry? {
        (isOperator ? operators : users).first { $0.definition.name == name }
    }

    mutating func insert(_ entry: Entry) {
        remove(entry.definition.name, isOperator: entry.definition.isOperator)
        var entries = entry.definition.isOperator ? operators : users
        let place = entries.firstIndex { Self.comes(entry.definition, before: $0.definition) } ?? entries.endIndex
        entries.insert(entry, at: place)
        if entry.definition.isOperator { operators = entries } else { users = entries }
    }

    mutating func remove(_ name: ShortString, isOperator: Bool) {
        if isOperator {
            operators.removeAll { $0.definition.name == name }
        } else {
            users.removeAll { $0.definition.name == name }
        }
    }

    /// One that was stored; what is wrong with it makes it do nothing.
    mutating func restore(_ definition: PolicyDefinition, _ number: UInt64) -> String? {
        do throws(AMQPError) {
            insert(try Self.entry(definition, number))
            return nil
        } catch {
            return "policy '\(definition.name)': \(error.explanation)"
        }
    }

    private static func comes(_ left: PolicyDefinition, before right: PolicyDefinition) -> Bool {
        left.priority != right.priority
            ? left.priority > right.priority : left.name.bytes.lexicographicallyPrecedes(right.name.bytes)
    }

    /// - Throws: 406 for a pattern or a value that cannot be used.
    static func entry(_ definition: PolicyDefinition, _ number: UInt64) throws(AMQPError) -> Entry {
        guard let expression = NameExpression(definition.pattern) else {
            throw AMQPError(
                .preconditionFailed,
                "pattern '\(definition.pattern)' of policy '\(definition.name)' is not understood"
            )
        }
        guard !definition.definition.isEmpty else {
            throw AMQPError(.preconditionFailed, "no policy provided: policy '\(definition.name)' says nothing")
        }
        let settings = try QueueArguments.settings(ofPolicy: definition)
        var alternate: ShortString?
        if let value = definition.definition["alternate-exchange"] {
            guard let name = value.stringBytes else {
                throw AMQPError(.preconditionFailed, "alternate-exchange of policy '\(definition.name)' is no string")
            }
            alternate = ShortString(name)
        }
        return Entry(
            definition: definition,
            expression: expression,
            settings: settings,
            alternate: alternate,
            storedNumber: number
        )
    }

    func user(of queue: ShortString, _ kind: Queue.Kind) -> Entry? {
        users.first { $0.definition.applies(to: kind) && $0.expression.matches(queue.bytes) }
    }

    func operatorPolicy(of queue: ShortString, _ kind: Queue.Kind) -> Entry? {
        operators.first { $0.definition.applies(to: kind) && $0.expression.matches(queue.bytes) }
    }

    func user(ofExchange exchange: ShortString) -> Entry? {
        users.first { $0.definition.appliesToExchanges && $0.expression.matches(exchange.bytes) }
    }
}

extension QueueSettings {
    /// What arguments say, with what policies add to them: an argument counts before a policy, the lower of two limits
    /// before the higher.
    func merged(user: QueueSettings?, operatorPolicy: QueueSettings?) -> QueueSettings {
        guard user != nil || operatorPolicy != nil else { return self }
        let user = user ?? QueueSettings()
        let bound = operatorPolicy ?? QueueSettings()
        func lower<Value: Comparable>(_ field: KeyPath<QueueSettings, Value?>) -> Value? {
            [self[keyPath: field], user[keyPath: field], bound[keyPath: field]].compactMap { $0 }.min()
        }
        var merged = self
        merged.messageTTLMilliseconds = lower(\.messageTTLMilliseconds)
        merged.expiresMilliseconds = lower(\.expiresMilliseconds)
        merged.maxLength = lower(\.maxLength)
        merged.maxLengthBytes = lower(\.maxLengthBytes)
        merged.maxAgeMilliseconds = lower(\.maxAgeMilliseconds)
        let limits = [deliveryLimit, user.deliveryLimit, bound.deliveryLimit].compactMap { $0 }
        // A negative one is no limit.
        merged.deliveryLimit = limits.filter { $0 >= 0 }.min() ?? limits.first
        merged.overflow = overflow ?? user.overflow ?? bound.overflow
        merged.deadLetterExchange = deadLetterExchange ?? user.deadLetterExchange
        merged.deadLetterRoutingKey = deadLetterRoutingKey ?? user.deadLetterRoutingKey
        merged.deadLetterStrategy = deadLetterStrategy ?? user.deadLetterStrategy
        return merged
    }
}
