package import AMQPProtocol
internal import StorageService

// Policies, which apply to what is there at once.
extension VirtualHostModel {
    /// Sets a policy, in the place of one with the same name.
    ///
    /// - Throws: 406 for a pattern or a value that cannot be used.
    package mutating func set(_ policy: PolicyDefinition) throws(AMQPError) -> [ModelEffect] {
        let known = policies.entry(policy.name, isOperator: policy.isOperator)
        if let known, known.definition == policy { return [] }
        // What is wrong is found before a number is taken.
        _ = try PolicyTable.entry(policy, 0)
        let number: UInt64
        if let known {
            number = known.storedNumber
        } else {
            number = try takeNumber(policy.isOperator ? .operatorPolicy : .policy, policy.name.bytes)
        }
        policies.insert(try PolicyTable.entry(policy, number))
        return [.store(number: number, value: policy.encoded)] + applyPolicies()
    }

    /// Removes a policy. One that is not there is removed already.
    package mutating func removePolicy(_ name: ShortString, isOperator: Bool = false) -> [ModelEffect] {
        guard let known = policies.entry(name, isOperator: isOperator) else { return [] }
        policies.remove(name, isOperator: isOperator)
        storedNumbers.remove(known.storedNumber)
        return [.store(number: known.storedNumber, value: nil)] + applyPolicies()
    }

    /// Users' policies, then operators', each in the order in which they are tried.
    package var allPolicies: [PolicyDefinition] { (policies.users + policies.operators).map(\.definition) }

    /// The policies that a queue is under.
    package func policies(
        of queue: Queue
    ) -> (user: PolicyDefinition?, operatorPolicy: PolicyDefinition?) {
        (
            policies.user(of: queue.name, queue.kind)?.definition,
            policies.operatorPolicy(of: queue.name, queue.kind)?.definition
        )
    }

    package func policy(of exchange: Exchange) -> PolicyDefinition? {
        policies.user(ofExchange: exchange.name)?.definition
    }

    /// Arguments and policies together.
    func settings(of queue: Queue) -> QueueSettings {
        guard !policies.isEmpty else { return queue.ownSettings }
        return queue.ownSettings.merged(
            user: policies.user(of: queue.name, queue.kind)?.settings,
            operatorPolicy: policies.operatorPolicy(of: queue.name, queue.kind)?.settings
        )
    }

    func alternate(of exchange: Exchange) -> ShortString? {
        Self.ownAlternate(of: exchange) ?? policies.user(ofExchange: exchange.name)?.alternate
    }

    /// What has changed for the queues and exchanges that are there.
    @discardableResult
    mutating func applyPolicies() -> [ModelEffect] {
        for (name, exchange) in exchanges where !name.isEmpty {
            let alternate = alternate(of: exchange)
            guard alternate != exchange.alternate else { continue }
            exchanges[name]?.alternate = alternate
            epoch += 1
        }
        var effects: [ModelEffect] = []
        for queue in allQueues {
            let settings = settings(of: queue)
            guard settings != queue.settings else { continue }
            let before = inboxPolicy(of: queue)
            var changed = queue
            changed.settings = settings
            queues[queue.name]?.settings = settings
            let after = inboxPolicy(of: changed)
            if !queue.isStream, before != after {
                effects.append(.updatePolicy(inbox: queue.storageName, policy: after))
            }
        }
        return effects
    }
}
