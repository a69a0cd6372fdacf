package import AMQPProtocol
internal import StorageService

// Routing with the model's own copy of the bindings, for what storage cannot route alone.
extension VirtualHostModel {
    /// Whether storage's bindings do all the routing of an exchange: not where a kind of exchange, an alternate exchange
    /// or a stream is behind it that storage knows nothing of.
    func routing(of exchange: Exchange) -> PublishTarget.Routing {
        if exchange.name.isEmpty { return streams > 0 ? .model : .storage }
        var seen: Set<ShortString> = [exchange.name]
        var work = [exchange]
        while let next = work.popLast() {
            guard next.kind.storageKind != nil, next.alternate == nil, next.bindingsToStreams == 0 else {
                return .model
            }
            for name in next.exchangesBehind.keys {
                if seen.insert(name).inserted, let further = exchanges[name] { work.append(further) }
            }
        }
        return .storage
    }

    /// Says where a message goes: to the set of queues that RabbitMQ's exchanges give it to, each once, through
    /// exchanges that are bound to each other, each of which is passed once.
    ///
    /// - Parameters:
    ///   - keys: the routing key, then those of CC and BCC.
    ///   - excluded: queues that are not to get it.
    ///   - plan: is emptied first.
    package mutating func route(
        _ exchange: ShortString,
        keys: [ShortString],
        _ message: RoutedMessage,
        excluding excluded: Set<ShortString> = [],
        into plan: inout RoutePlan
    ) {
        plan.removeAll()
        guard let origin = exchanges[exchange] else { return }
        var reached: [ShortString] = []
        var known: Set<ShortString> = []
        reach(origin, keys, message, storageOnly: false, &reached, &known)
        // What is appended to the exchange's topic has one name, and goes where storage finds a way.
        var byStorage: [ShortString] = []
        var found: Set<ShortString> = []
        reach(origin, Array(keys.prefix(1)), message, storageOnly: true, &byStorage, &found)
        if found.isDisjoint(with: excluded) {
            plan.appendsToExchange = !found.isEmpty || !exchange.isEmpty
        } else {
            found.removeAll()
        }
        for name in reached where !excluded.contains(name) {
            plan.isRouted = true
            guard let queue = queues[name] else { continue }
            if queue.isStream {
                plan.streams.append(queue.storageName)
            } else if !found.contains(name) {
                plan.queues.append(name)
            }
        }
    }

    /// Collects queues in the order in which they are found.
    private mutating func reach(
        _ origin: Exchange,
        _ keys: [ShortString],
        _ message: RoutedMessage,
        storageOnly: Bool,
        _ reached: inout [ShortString],
        _ known: inout Set<ShortString>
    ) {
        if origin.name.isEmpty {
            for key in keys {
                guard let queue = queues[key], !storageOnly || !queue.isStream else { continue }
                if known.insert(key).inserted { reached.append(key) }
            }
            return
        }
        var seen: Set<ShortString> = [origin.name]
        var work = [origin.name]
        var destinations: [BindingDestination] = []
        while let next = work.popLast() {
            guard let exchange = exchanges[next] else { continue }
            if storageOnly, exchange.kind.storageKind == nil { continue }
            destinations.removeAll(keepingCapacity: true)
            index(of: exchange).match(keys, message, into: &destinations)
            if destinations.isEmpty, !storageOnly, let alternate = exchange.alternate, exchanges[alternate] != nil {
                destinations.append(.exchange(alternate))
            }
            for destination in destinations {
                switch destination {
                case .exchange(let name): if seen.insert(name).inserted { work.append(name) }
                case .queue(let name):
                    if storageOnly, queues[name]?.isStream != false { continue }
                    if known.insert(name).inserted { reached.append(name) }
                }
            }
        }
    }

    private mutating func index(of exchange: Exchange) -> RoutingIndex {
        if let index = routingIndexes[exchange.name] { return index }
        let index = RoutingIndex(exchange)
        routingIndexes[exchange.name] = index
        return index
    }
}
