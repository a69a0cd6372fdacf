package import AMQPProtocol
internal import StorageService

// Declaring and deleting exchanges.
extension VirtualHostModel {
    /// exchange.declare.
    ///
    /// - Throws: 404 for a passive one that is not there, 403 for a reserved name, 406 for an unknown type, for bad
    ///   arguments, and where it is there and otherwise.
    package mutating func declare(_ declare: ExchangeDeclare) throws(AMQPError) -> [ModelEffect] {
        if declare.isPassive {
            _ = try existing(declare.exchange)
            return []
        }
        let (kind, isDelayed) = try Self.kind(of: declare)
        guard !declare.exchange.isEmpty else { throw Self.defaultExchange(.exchangeDeclare) }
        if let known = exchanges[declare.exchange] {
            try checkEquivalence(known, declare)
            return []
        }
        guard !declare.exchange.hasPrefix("amq.") else {
            throw .reservedName("exchange", declare.exchange, method: .exchangeDeclare)
        }
        try checkArguments(declare, kind)
        var topic = StorageNames.topic(ofExchange: declare.exchange)
        if topic != TopicDirectory.builtInTopic { topic = freeTopic(topic) }
        let isStored = declare.isDurable
        let number = isStored ? try takeNumber(.exchange, declare.exchange.bytes) : 0
        var exchange = Exchange(
            name: declare.exchange,
            type: declare.type,
            kind: kind,
            isDurable: declare.isDurable,
            isAutoDelete: declare.isAutoDelete,
            isInternal: declare.isInternal,
            isDelayed: isDelayed,
            arguments: declare.arguments,
            topic: topic,
            storedNumber: number
        )
        exchange.alternate = alternate(of: exchange)
        return insert(exchange)
    }

    /// exchange.delete. One that is not there is deleted already.
    ///
    /// - Throws: 403 for a predeclared one, 406 for one with bindings where only an unused one was meant.
    package mutating func delete(_ delete: ExchangeDelete) throws(AMQPError) -> [ModelEffect] {
        guard !delete.exchange.isEmpty else { throw Self.defaultExchange(.exchangeDelete) }
        guard !delete.exchange.hasPrefix("amq.") else {
            throw .systemExchange(delete.exchange, virtualHost: name)
        }
        guard let exchange = exchanges[delete.exchange] else { return [] }
        guard !delete.ifUnused || exchange.outgoing.isEmpty else {
            throw .exchangeInUse(delete.exchange, virtualHost: name)
        }
        var effects: [ModelEffect] = []
        remove(exchange: delete.exchange, &effects)
        return effects
    }

    static func defaultExchange(_ method: MethodID) -> AMQPError {
        AMQPError(.accessRefused, "operation not permitted on the default exchange", method: method)
    }

    // MARK: Parts

    static func kind(of declare: ExchangeDeclare) throws(AMQPError) -> (ExchangeKind, isDelayed: Bool) {
        guard declare.type == ExchangeKind.delayedType else {
            guard let kind = ExchangeKind(type: declare.type) else { throw .unknownExchangeType(declare.type) }
            return (kind, false)
        }
        guard let type = declare.arguments[ExchangeKind.delayedKindArgument]?.stringBytes,
            let kind = ExchangeKind(type: ShortString(type))
        else {
            throw AMQPError(
                .preconditionFailed,
                "Invalid argument, 'x-delayed-type' must be an existing exchange type",
                method: .exchangeDeclare
            )
        }
        return (kind, true)
    }

    private func checkArguments(_ declare: ExchangeDeclare, _ kind: ExchangeKind) throws(AMQPError) {
        let resource = AMQPError.exchangeText(declare.exchange, name)
        if let alternate = declare.arguments[Self.alternateArgument] {
            guard case .longString = alternate else {
                throw AMQPError(
                    .preconditionFailed,
                    "invalid type '\(alternate.type.erlangName)' for arg 'alternate-exchange' in \(resource)",
                    method: .exchangeDeclare
                )
            }
        }
        if kind == .consistentHash { try HashSource.check(declare.arguments) }
    }

    private func checkEquivalence(_ known: Exchange, _ declare: ExchangeDeclare) throws(AMQPError) {
        let resource = AMQPError.exchangeText(known.name, name)
        guard known.type == declare.type else {
            throw .inequivalent("type", resource, .longString(declare.type.bytes), .longString(known.type.bytes))
        }
        for (argument, received, current) in [
            ("durable", declare.isDurable, known.isDurable), ("auto_delete", declare.isAutoDelete, known.isAutoDelete),
            ("internal", declare.isInternal, known.isInternal),
        ] where received != current {
            throw .inequivalent(argument, resource, received: received, current: current)
        }
        let (received, current) = (declare.arguments[Self.alternateArgument], known.arguments[Self.alternateArgument])
        guard FieldValue.areEquivalent(received, current) else {
            throw .inequivalent("alternate-exchange", resource, received, current)
        }
        guard known.isDelayed else { return }
        let kinds = (
            received: declare.arguments[ExchangeKind.delayedKindArgument],
            current: known.arguments[ExchangeKind.delayedKindArgument]
        )
        guard FieldValue.areEquivalent(kinds.received, kinds.current) else {
            throw .inequivalent("x-delayed-type", resource, kinds.received, kinds.current)
        }
    }

    static let alternateArgument: StaticString = "alternate-exchange"

    /// As its declaration says.
    static func ownAlternate(of exchange: Exchange) -> ShortString? {
        exchange.arguments[alternateArgument]?.stringBytes.map { ShortString($0) }
    }

    /// A topic's name that no other exchange or stream has.
    func freeTopic(_ wanted: String) -> String {
        guard topicsInUse.contains(wanted) else { return wanted }
        for attempt in 1... {
            let other = StorageNames.alternative(wanted, attempt: attempt)
            if !topicsInUse.contains(other) { return other }
        }
        return wanted
    }

    private mutating func insert(_ exchange: Exchange) -> [ModelEffect] {
        exchanges[exchange.name] = exchange
        epoch += 1
        var effects: [ModelEffect] = []
        if exchange.storedNumber != 0 {
            effects.append(.store(number: exchange.storedNumber, value: StoredDefinition.encode(exchange)))
        }
        if let topic = exchange.topic, topic != TopicDirectory.builtInTopic {
            topicsInUse.insert(topic)
            effects.append(.createTopic(name: topic, policy: Self.exchangePolicy))
        }
        return effects
    }
}
