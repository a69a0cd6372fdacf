package import AMQPProtocol
package import StorageService

/// A definition that was stored and cannot be used.
package struct DefinitionProblem: Sendable, Hashable {
    package var number: UInt64
    package var reason: String
}

// From the store and back into step with it.
extension VirtualHostModel {
    /// The virtual host as its definitions say it.
    ///
    /// What cannot be used is left out and reported: it stays stored, under its number.
    /// - Parameters:
    ///   - entries: the session state of `StorageNames.definitionsInbox`, in any order.
    package init(
        name: ShortString,
        limits: AMQPModelLimits = AMQPModelLimits(),
        restoring entries: [StateEntry],
        problems: inout [DefinitionProblem]
    ) {
        self.init(name: name, limits: limits)
        var bindings: [(number: UInt64, IncomingBinding, BindingDestination)] = []
        for entry in entries.sorted(by: { $0.key < $1.key }) {
            storedNumbers.insert(entry.key)
            var problem: String?
            switch StoredDefinition.decode(entry.key, entry.value) {
            case .exchange(let declare, let topic): problem = restore(declare, topic, entry.key)
            case .queue(let declare, let kind, let inbox): problem = restore(declare, kind, inbox, entry.key)
            case .binding(let link, let destination): bindings.append((entry.key, link, destination))
            case .policy(let policy): problem = policies.restore(policy, entry.key)
            case nil: problem = "it is damaged, or of a later version"
            }
            if let problem { problems.append(DefinitionProblem(number: entry.key, reason: problem)) }
        }
        for (number, link, destination) in bindings {
            guard let problem = restore(link, destination, number) else { continue }
            problems.append(DefinitionProblem(number: number, reason: problem))
        }
        applyPolicies()
        for name in queues.keys {
            var ignored: [ModelEffect] = []
            do throws(AMQPError) {
                try installAnew([name], &ignored, method: .queueBind)
            } catch {
                problems.append(
                    DefinitionProblem(number: queues[name]?.storedNumber ?? 0, reason: "queue '\(name)': \(error)")
                )
            }
        }
    }

    /// What makes the inboxes and topics of stored definitions that are not there: the process ended between storing
    /// one and making the other.
    ///
    /// - Parameters:
    ///   - hasInbox: whether storage has an inbox of this name.
    ///   - hasTopic: whether it has a topic.
    package func missing(hasInbox: (String) -> Bool, hasTopic: (String) -> Bool) -> [ModelEffect] {
        var effects = foundation.filter { if case .createTopic(let name, _) = $0 { !hasTopic(name) } else { true } }
        for exchange in allExchanges where !exchange.isPredeclared {
            guard let topic = exchange.topic, topic != TopicDirectory.builtInTopic, !hasTopic(topic) else { continue }
            effects.append(.createTopic(name: topic, policy: Self.exchangePolicy))
        }
        for queue in allQueues where !(queue.isStream ? hasTopic : hasInbox)(queue.storageName) {
            effects.append(creation(of: queue))
        }
        return effects
    }

    /// What brings the bindings of an inbox to what they have to be.
    package func repair(_ queue: Queue, having present: Set<InboxBinding>) -> [ModelEffect] {
        guard !queue.isStream else { return [] }
        let wanted = Set(queue.installed.keys).union([.ofDefaultExchange(queue.name)])
        let added = wanted.subtracting(present).sorted(by: InboxBinding.isOrdered)
        let removed = present.subtracting(wanted).sorted(by: InboxBinding.isOrdered)
        return added.map { .bind(inbox: queue.storageName, $0) } + removed.map { .unbind(inbox: queue.storageName, $0) }
    }

    // MARK: Parts

    private mutating func restore(_ declare: ExchangeDeclare, _ topic: String, _ number: UInt64) -> String? {
        guard exchanges[declare.exchange] == nil else { return "exchange '\(declare.exchange)' is there already" }
        guard !topicsInUse.contains(topic) || topic == TopicDirectory.builtInTopic else {
            return "exchange '\(declare.exchange)' has the topic of another"
        }
        let kind: (ExchangeKind, isDelayed: Bool)
        do throws(AMQPError) { kind = try Self.kind(of: declare) } catch { return error.description }
        var exchange = Exchange(
            name: declare.exchange,
            type: declare.type,
            kind: kind.0,
            isDurable: true,
            isAutoDelete: declare.isAutoDelete,
            isInternal: declare.isInternal,
            isDelayed: kind.isDelayed,
            arguments: declare.arguments,
            topic: topic,
            storedNumber: number
        )
        exchange.alternate = Self.ownAlternate(of: exchange)
        exchanges[exchange.name] = exchange
        topicsInUse.insert(topic)
        return nil
    }

    private mutating func restore(
        _ declare: QueueDeclare,
        _ kind: Queue.Kind,
        _ storageName: String,
        _ number: UInt64
    ) -> String? {
        guard queues[declare.queue] == nil else { return "queue '\(declare.queue)' is there already" }
        let settings: QueueSettings
        do throws(AMQPError) {
            settings = try QueueArguments.settings(declare, virtualHost: name).settings
        } catch { return error.description }
        let queue = Queue(
            name: declare.queue,
            number: takeQueueNumber(),
            kind: kind,
            isDurable: true,
            isAutoDelete: declare.isAutoDelete,
            owner: nil,
            arguments: declare.arguments,
            ownSettings: settings,
            storageName: storageName,
            storedNumber: number
        )
        insert(queue)
        return nil
    }

    private mutating func restore(
        _ link: IncomingBinding,
        _ destination: BindingDestination,
        _ number: UInt64
    ) -> String? {
        guard let source = exchanges[link.source], !link.source.isEmpty else {
            return "a binding of exchange '\(link.source)', which is not there"
        }
        switch destination {
        case .queue(let name) where queues[name] == nil: return "a binding to queue '\(name)', which is not there"
        case .exchange(let name) where exchanges[name] == nil || name.isEmpty:
            return "a binding to exchange '\(name)', which is not there"
        default: break
        }
        do throws(AMQPError) {
            try BindingRules.check(source, link, method: .queueBind)
        } catch { return error.description }
        var ignored: [ModelEffect] = []
        connect(link, destination, number, &ignored)
        return nil
    }
}
