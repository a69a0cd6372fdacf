package import AMQPProtocol

/// What there is in a virtual host, for export and import. Order says nothing in any of the lists.
package struct VirtualHostDefinitions: Sendable, Hashable {
    package struct ExchangeDefinition: Sendable, Hashable {
        package var name: ShortString
        package var type: ShortString
        package var isDurable: Bool
        package var isAutoDelete: Bool
        package var isInternal: Bool
        package var arguments: FieldTable

        package init(
            name: ShortString,
            type: ShortString,
            isDurable: Bool = true,
            isAutoDelete: Bool = false,
            isInternal: Bool = false,
            arguments: FieldTable = FieldTable()
        ) {
            self.name = name
            self.type = type
            self.isDurable = isDurable
            self.isAutoDelete = isAutoDelete
            self.isInternal = isInternal
            self.arguments = arguments
        }
    }

    package struct QueueDefinition: Sendable, Hashable {
        package var name: ShortString
        package var isDurable: Bool
        package var isAutoDelete: Bool
        /// Its kind among them, `x-queue-type`.
        package var arguments: FieldTable

        package init(
            name: ShortString,
            isDurable: Bool = true,
            isAutoDelete: Bool = false,
            arguments: FieldTable = FieldTable()
        ) {
            self.name = name
            self.isDurable = isDurable
            self.isAutoDelete = isAutoDelete
            self.arguments = arguments
        }
    }

    package struct BindingDefinition: Sendable, Hashable {
        package var source: ShortString
        package var destination: BindingDestination
        package var routingKey: ShortString
        package var arguments: FieldTable

        package init(
            source: ShortString,
            destination: BindingDestination,
            routingKey: ShortString = .empty,
            arguments: FieldTable = FieldTable()
        ) {
            self.source = source
            self.destination = destination
            self.routingKey = routingKey
            self.arguments = arguments
        }
    }

    package var exchanges: [ExchangeDefinition] = []
    package var queues: [QueueDefinition] = []
    package var bindings: [BindingDefinition] = []
    /// Those of operators too.
    package var policies: [PolicyDefinition] = []

    package init() {}
}

/// Something of an import that was refused; the rest was taken.
package struct ImportProblem: Sendable, Hashable {
    /// "queue 'q' in vhost '/'".
    package var resource: String
    package var error: AMQPError
}

// MARK: Export and import

extension VirtualHostModel {
    /// What is durable, and nobody's alone, in the order of names.
    package var definitions: VirtualHostDefinitions {
        var definitions = VirtualHostDefinitions()
        definitions.exchanges = allExchanges.filter { $0.isDurable && !$0.isPredeclared }.map { exchange in
            .init(
                name: exchange.name,
                type: exchange.type,
                isDurable: true,
                isAutoDelete: exchange.isAutoDelete,
                isInternal: exchange.isInternal,
                arguments: exchange.arguments
            )
        }
        definitions.queues = allQueues.filter { $0.isDurable && !$0.isExclusive }.map { queue in
            .init(name: queue.name, isDurable: true, isAutoDelete: queue.isAutoDelete, arguments: queue.arguments)
        }
        definitions.bindings = allBindings.filter { binding in
            guard exchanges[binding.source]?.isDurable == true else { return false }
            switch binding.destination {
            case .queue(let name): return queues[name].map { $0.isDurable && !$0.isExclusive } ?? false
            case .exchange(let name): return exchanges[name]?.isDurable ?? false
            }
        }
        definitions.policies = allPolicies
        return definitions
    }

    /// All bindings but those to the default exchange, by their sources.
    package var allBindings: [VirtualHostDefinitions.BindingDefinition] {
        allExchanges.flatMap { bindings(from: $0.name) }
    }

    /// The bindings from an exchange. Of the default exchange: one for each queue, by its name.
    package func bindings(from exchange: ShortString) -> [VirtualHostDefinitions.BindingDefinition] {
        if exchange.isEmpty {
            return allQueues.map { .init(source: .empty, destination: .queue($0.name), routingKey: $0.name) }
        }
        return (exchanges[exchange]?.outgoing.keys.sorted(by: OutgoingBinding.isOrdered) ?? []).map { binding in
            .init(
                source: exchange,
                destination: binding.destination,
                routingKey: binding.routingKey,
                arguments: binding.arguments
            )
        }
    }

    /// The bindings to a queue or an exchange; of a queue also that to the default exchange.
    package func bindings(to destination: BindingDestination) -> [VirtualHostDefinitions.BindingDefinition] {
        var links: Set<IncomingBinding> = []
        switch destination {
        case .queue(let name):
            guard let queue = queues[name] else { return [] }
            links = queue.incoming
            links.insert(IncomingBinding(source: .empty, routingKey: name, arguments: FieldTable()))
        case .exchange(let name): links = exchanges[name]?.incoming ?? []
        }
        return links.sorted(by: IncomingBinding.isOrdered).map { link in
            .init(
                source: link.source,
                destination: destination,
                routingKey: link.routingKey,
                arguments: link.arguments
            )
        }
    }

    /// Takes definitions over. What is there already stays as it is, also where it is otherwise; policies are replaced.
    /// Importing twice has no effects the second time.
    package mutating func importDefinitions(
        _ definitions: VirtualHostDefinitions,
        problems: inout [ImportProblem]
    ) -> [ModelEffect] {
        var effects: [ModelEffect] = []
        for policy in definitions.policies {
            do throws(AMQPError) { effects += try set(policy) } catch {
                problems.append(ImportProblem(resource: "policy '\(policy.name)' in vhost '\(name)'", error: error))
            }
        }
        for exchange in definitions.exchanges where exchanges[exchange.name] == nil {
            do throws(AMQPError) {
                effects += try declare(
                    ExchangeDeclare(
                        exchange: exchange.name,
                        type: exchange.type,
                        isDurable: exchange.isDurable,
                        isAutoDelete: exchange.isAutoDelete,
                        isInternal: exchange.isInternal,
                        arguments: exchange.arguments
                    )
                )
            } catch {
                problems.append(ImportProblem(resource: AMQPError.exchangeText(exchange.name, name), error: error))
            }
        }
        for queue in definitions.queues where queues[queue.name] == nil && !queue.name.isEmpty {
            do throws(AMQPError) {
                let declare = QueueDeclare(
                    queue: queue.name,
                    isDurable: queue.isDurable,
                    isAutoDelete: queue.isAutoDelete,
                    arguments: queue.arguments
                )
                effects += try self.declare(declare, connection: 0).effects
            } catch {
                problems.append(ImportProblem(resource: AMQPError.queueText(queue.name, name), error: error))
            }
        }
        for binding in definitions.bindings where !binding.source.isEmpty {
            do throws(AMQPError) { effects += try take(binding) } catch {
                let resource = "binding of " + AMQPError.exchangeText(binding.source, name)
                problems.append(ImportProblem(resource: resource, error: error))
            }
        }
        return effects
    }

    private mutating func take(
        _ binding: VirtualHostDefinitions.BindingDefinition
    ) throws(AMQPError) -> [ModelEffect] {
        switch binding.destination {
        case .queue(let queue):
            try bind(
                QueueBind(
                    queue: queue,
                    exchange: binding.source,
                    routingKey: binding.routingKey,
                    arguments: binding.arguments
                ),
                connection: nil
            )
        case .exchange(let exchange):
            try bind(
                ExchangeBind(
                    destination: exchange,
                    source: binding.source,
                    routingKey: binding.routingKey,
                    arguments: binding.arguments
                )
            )
        }
    }
}
