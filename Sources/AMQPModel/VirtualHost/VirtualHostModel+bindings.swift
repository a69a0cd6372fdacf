package import AMQPProtocol
internal import StorageService

// Binding queues and exchanges to exchanges.
extension VirtualHostModel {
    /// queue.bind. A binding that is there already changes nothing.
    ///
    /// - Throws: 404 for a missing exchange or queue, 405 for an exclusive queue of another connection, 406 for
    ///   arguments or a key that the exchange cannot use, and beyond the limit of ways to one queue.
    package mutating func bind(_ bind: QueueBind, connection: UInt64?) throws(AMQPError) -> [ModelEffect] {
        guard !bind.exchange.isEmpty else { throw Self.defaultExchange(.queueBind) }
        let source = try existing(bind.exchange)
        guard let queue = queues[bind.queue] else { throw .noQueue(bind.queue, virtualHost: name) }
        if let connection { try checkOwner(queue, connection) }
        let link = IncomingBinding(
            source: bind.exchange,
            routingKey: bind.routingKey,
            arguments: bind.arguments.sorted
        )
        guard !queue.incoming.contains(link) else { return [] }
        try BindingRules.check(source, link, method: .queueBind)
        let added = try ways(of: link, already: queue.installed.count, method: .queueBind)
        let number = try takeBindingNumber(
            link,
            .queue(queue.name),
            isStored: source.isDurable && queue.storedNumber != 0
        )
        var effects: [ModelEffect] = []
        connect(link, .queue(queue.name), number, &effects)
        for binding in added {
            let count = queues[queue.name]?.installed[binding, default: 0] ?? 0
            queues[queue.name]?.installed[binding] = count + 1
            if count == 0, !queue.isStream { effects.append(.bind(inbox: queue.storageName, binding)) }
        }
        return effects
    }

    /// queue.unbind. What is not bound is unbound already.
    package mutating func unbind(_ bind: QueueBind, connection: UInt64?) throws(AMQPError) -> [ModelEffect] {
        guard !bind.exchange.isEmpty else { throw Self.defaultExchange(.queueUnbind) }
        guard let queue = queues[bind.queue] else { return [] }
        if let connection { try checkOwner(queue, connection) }
        let link = IncomingBinding(source: bind.exchange, routingKey: bind.routingKey, arguments: bind.arguments.sorted)
        guard queue.incoming.contains(link) else { return [] }
        let removed = (try? ways(of: link, already: 0, method: .queueUnbind)) ?? []
        var effects: [ModelEffect] = []
        for binding in removed {
            guard let count = queues[queue.name]?.installed[binding] else { continue }
            queues[queue.name]?.installed[binding] = count > 1 ? count - 1 : nil
            if count == 1, !queue.isStream { effects.append(.unbind(inbox: queue.storageName, binding)) }
        }
        disconnect(link, .queue(queue.name), &effects)
        endUnusedExchanges([link.source], &effects)
        return effects
    }

    /// exchange.bind.
    ///
    /// - Throws: 404 for a missing exchange, 406 for arguments or a key that the source cannot use, and where a queue
    ///   would be reached on too many ways.
    package mutating func bind(_ bind: ExchangeBind) throws(AMQPError) -> [ModelEffect] {
        guard !bind.source.isEmpty, !bind.destination.isEmpty else { throw Self.defaultExchange(.exchangeBind) }
        let source = try existing(bind.source)
        let destination = try existing(bind.destination)
        let link = IncomingBinding(source: bind.source, routingKey: bind.routingKey, arguments: bind.arguments.sorted)
        guard !destination.incoming.contains(link) else { return [] }
        try BindingRules.check(source, link, method: .exchangeBind)
        let number = try takeBindingNumber(
            link,
            .exchange(bind.destination),
            isStored: source.isDurable && destination.isDurable
        )
        var effects: [ModelEffect] = []
        connect(link, .exchange(bind.destination), number, &effects)
        do throws(AMQPError) {
            try installAnew(queuesBehind(bind.destination), &effects, method: .exchangeBind)
        } catch {
            var ignored: [ModelEffect] = []
            disconnect(link, .exchange(bind.destination), &ignored)
            throw error
        }
        return effects
    }

    /// exchange.unbind.
    package mutating func unbind(_ bind: ExchangeBind) throws(AMQPError) -> [ModelEffect] {
        guard !bind.source.isEmpty, !bind.destination.isEmpty else { throw Self.defaultExchange(.exchangeUnbind) }
        let link = IncomingBinding(source: bind.source, routingKey: bind.routingKey, arguments: bind.arguments.sorted)
        guard exchanges[bind.destination]?.incoming.contains(link) == true else { return [] }
        var effects: [ModelEffect] = []
        var stored: [ModelEffect] = []
        disconnect(link, .exchange(bind.destination), &stored)
        // There are fewer ways than before.
        try? installAnew(queuesBehind(bind.destination), &effects, method: .exchangeUnbind)
        effects += stored
        endUnusedExchanges([link.source], &effects)
        return effects
    }

    // MARK: Both ends

    /// Enters a binding at both of its ends.
    mutating func connect(
        _ link: IncomingBinding,
        _ destination: BindingDestination,
        _ number: UInt64,
        _ effects: inout [ModelEffect]
    ) {
        let outgoing = OutgoingBinding(
            destination: destination,
            routingKey: link.routingKey,
            arguments: link.arguments
        )
        exchanges[link.source]?.outgoing[outgoing] = number
        switch destination {
        case .queue(let name): queues[name]?.incoming.insert(link)
        case .exchange(let name): exchanges[name]?.incoming.insert(link)
        }
        count(1, link.source, destination)
        if number != 0 {
            effects.append(.store(number: number, value: StoredDefinition.encode(link, destination)))
        }
    }

    mutating func disconnect(
        _ link: IncomingBinding,
        _ destination: BindingDestination,
        _ effects: inout [ModelEffect]
    ) {
        let outgoing = OutgoingBinding(
            destination: destination,
            routingKey: link.routingKey,
            arguments: link.arguments
        )
        if let number = exchanges[link.source]?.outgoing.removeValue(forKey: outgoing), number != 0 {
            storedNumbers.remove(number)
            effects.append(.store(number: number, value: nil))
        }
        switch destination {
        case .queue(let name): queues[name]?.incoming.remove(link)
        case .exchange(let name): exchanges[name]?.incoming.remove(link)
        }
        count(-1, link.source, destination)
    }

    /// Keeps what decides who routes: bindings of queues do not, so that queues which come and go disturb no publisher.
    private mutating func count(_ change: Int, _ source: ShortString, _ destination: BindingDestination) {
        if !routingIndexes.isEmpty { routingIndexes[source] = nil }
        switch destination {
        case .queue(let name):
            guard queues[name]?.isStream == true else { return }
            exchanges[source]?.bindingsToStreams += change
        case .exchange(let name):
            let number = (exchanges[source]?.exchangesBehind[name] ?? 0) + change
            exchanges[source]?.exchangesBehind[name] = number > 0 ? number : nil
        }
        epoch += 1
    }

    // MARK: Ends

    /// Takes a queue out of everything.
    mutating func remove(queue name: ShortString, _ effects: inout [ModelEffect]) {
        guard let queue = queues[name] else { return }
        effects.append(.queueGone(queue.number))
        effects.append(queue.isStream ? .deleteTopic(name: queue.storageName) : .deleteInbox(name: queue.storageName))
        for link in queue.incoming.sorted(by: IncomingBinding.isOrdered) {
            disconnect(link, .queue(name), &effects)
        }
        if queue.storedNumber != 0 {
            storedNumbers.remove(queue.storedNumber)
            effects.append(.store(number: queue.storedNumber, value: nil))
        }
        queues[name] = nil
        queueNames[queue.number] = nil
        if let owner = queue.owner { queuesOfConnections[owner]?.remove(name) }
        unusualInboxes.remove(queue.storageName)
        if queue.isStream {
            topicsInUse.remove(queue.storageName)
            streams -= 1
            epoch += 1
        }
        endUnusedExchanges(Set(queue.incoming.map(\.source)), &effects)
    }

    /// Takes an exchange out of everything; with it may go those that are unused then.
    mutating func remove(exchange name: ShortString, _ effects: inout [ModelEffect]) {
        guard let exchange = exchanges[name] else { return }
        let behind = queuesBehind(name)
        var stored: [ModelEffect] = []
        for outgoing in exchange.outgoing.keys.sorted(by: OutgoingBinding.isOrdered) {
            let link = IncomingBinding(
                source: name,
                routingKey: outgoing.routingKey,
                arguments: outgoing.arguments
            )
            disconnect(link, outgoing.destination, &stored)
        }
        for link in exchange.incoming.sorted(by: IncomingBinding.isOrdered) {
            disconnect(link, .exchange(name), &stored)
        }
        exchanges[name] = nil
        routingIndexes[name] = nil
        // There are fewer ways than before.
        try? installAnew(behind, &effects, method: .exchangeDelete)
        if let topic = exchange.topic, topic != TopicDirectory.builtInTopic {
            topicsInUse.remove(topic)
            effects.append(.deleteTopic(name: topic))
        }
        effects += stored
        if exchange.storedNumber != 0 {
            storedNumbers.remove(exchange.storedNumber)
            effects.append(.store(number: exchange.storedNumber, value: nil))
        }
        epoch += 1
        endUnusedExchanges(Set(exchange.incoming.map(\.source)).subtracting([name]), &effects)
    }

    /// Auto-delete exchanges end when the last binding from them does.
    mutating func endUnusedExchanges(_ sources: Set<ShortString>, _ effects: inout [ModelEffect]) {
        for source in sources.sorted(by: { $0.bytes.lexicographicallyPrecedes($1.bytes) }) {
            guard let exchange = exchanges[source], exchange.isAutoDelete, exchange.outgoing.isEmpty else { continue }
            remove(exchange: source, &effects)
        }
    }
}
