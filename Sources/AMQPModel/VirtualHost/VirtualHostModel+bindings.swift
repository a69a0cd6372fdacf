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
        let link = IncomingBinding(source: bind.exchange, routingKey: bind.routingKey, arguments: bind.arguments.sorted)
        guard let plan = try plan(link, to: bind.queue, connection) else { return [] }
        let number = try takeBindingNumber(link, .queue(bind.queue), isStored: plan.isStored)
        var effects: [ModelEffect] = []
        connect(link, .queue(bind.queue), number, &effects)
        for binding in plan.added {
            let count = queues[bind.queue]?.installed[binding] ?? 0
            queues[bind.queue]?.installed[binding] = count + 1
            if count == 0, let inbox = plan.inbox { effects.append(.bind(inbox: inbox, binding)) }
        }
        return effects
    }

    /// What a new binding of a queue comes to. It is found here, so that nobody holds a copy of the exchange or the
    /// queue while it changes: their bindings would be copied for each of them.
    private struct BindingPlan {
        var added: [InboxBinding]
        var isStored: Bool
        /// Nil for a stream.
        var inbox: String?
    }

    /// Nil where it is there already.
    private func plan(
        _ link: IncomingBinding,
        to name: ShortString,
        _ connection: UInt64?
    ) throws(AMQPError) -> BindingPlan? {
        let source = try existing(link.source)
        guard let queue = queues[name] else { throw .noQueue(name, virtualHost: self.name) }
        if let connection { try checkOwner(queue, connection) }
        guard !queue.incoming.contains(link) else { return nil }
        try BindingRules.check(source, link, method: .queueBind)
        return BindingPlan(
            added: try ways(of: link, already: queue.installed.count, method: .queueBind),
            isStored: source.isDurable && queue.storedNumber != 0,
            inbox: queue.isStream ? nil : queue.storageName
        )
    }

    /// queue.unbind. What is not bound is unbound already.
    package mutating func unbind(_ bind: QueueBind, connection: UInt64?) throws(AMQPError) -> [ModelEffect] {
        guard !bind.exchange.isEmpty else { throw Self.defaultExchange(.queueUnbind) }
        let link = IncomingBinding(source: bind.exchange, routingKey: bind.routingKey, arguments: bind.arguments.sorted)
        if let connection, let queue = queues[bind.queue] { try checkOwner(queue, connection) }
        guard queues[bind.queue]?.incoming.contains(link) == true else { return [] }
        let inbox = queues[bind.queue].flatMap { $0.isStream ? nil : $0.storageName }
        let removed = (try? ways(of: link, already: 0, method: .queueUnbind)) ?? []
        var effects: [ModelEffect] = []
        for binding in removed {
            guard let count = queues[bind.queue]?.installed[binding] else { continue }
            queues[bind.queue]?.installed[binding] = count > 1 ? count - 1 : nil
            if count == 1, let inbox { effects.append(.unbind(inbox: inbox, binding)) }
        }
        disconnect(link, .queue(bind.queue), &effects)
        endUnusedExchanges([link.source], &effects)
        return effects
    }

    /// exchange.bind.
    ///
    /// - Throws: 404 for a missing exchange, 406 for arguments or a key that the source cannot use, and where a queue
    ///   would be reached on too many ways.
    package mutating func bind(_ bind: ExchangeBind) throws(AMQPError) -> [ModelEffect] {
        guard !bind.source.isEmpty, !bind.destination.isEmpty else { throw Self.defaultExchange(.exchangeBind) }
        let link = IncomingBinding(source: bind.source, routingKey: bind.routingKey, arguments: bind.arguments.sorted)
        guard let isStored = try isStored(link, to: bind.destination) else { return [] }
        let number = try takeBindingNumber(link, .exchange(bind.destination), isStored: isStored)
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

    /// Whether a new binding of an exchange is to be stored; nil where it is there already.
    private func isStored(_ link: IncomingBinding, to name: ShortString) throws(AMQPError) -> Bool? {
        let source = try existing(link.source)
        let destination = try existing(name)
        guard !destination.incoming.contains(link) else { return nil }
        try BindingRules.check(source, link, method: .exchangeBind)
        return source.isDurable && destination.isDurable
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
        formerQueues.insert(queue)
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
