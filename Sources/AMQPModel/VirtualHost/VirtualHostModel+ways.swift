internal import AMQPProtocol
internal import StorageService

// Queues behind exchanges that are bound to exchanges: which bindings of an inbox that makes.
extension VirtualHostModel {
    /// The bindings that one binding of a queue makes in storage: one for each way on which a message can come to it
    /// without passing an exchange twice. Ways that begin at an exchange whose routing is not storage's, or pass one,
    /// make none.
    ///
    /// - Throws: 406 where there are more of them than the limit leaves.
    func ways(
        of link: IncomingBinding,
        already: Int,
        method: MethodID
    ) throws(AMQPError) -> [InboxBinding] {
        guard let exchange = exchanges[link.source], let kind = exchange.kind.storageKind else { return [] }
        guard !exchange.incoming.isEmpty else {
            // As nearly all are.
            return [InboxBinding(StorageBinding.make(kind, exchange, link))]
        }
        var found: [InboxBinding] = []
        var visited: [ShortString] = []
        try collect(link, conditions: [], &visited, &found, limit: limits.maximumPathsPerQueue - already, method)
        return found
    }

    private func collect(
        _ link: IncomingBinding,
        conditions: [InboxBinding.Condition],
        _ visited: inout [ShortString],
        _ found: inout [InboxBinding],
        limit: Int,
        _ method: MethodID
    ) throws(AMQPError) {
        guard !visited.contains(link.source), let exchange = exchanges[link.source],
            let kind = exchange.kind.storageKind
        else { return }
        guard found.count < limit, visited.count < limits.maximumExchangesOnPath else {
            throw AMQPError(
                .preconditionFailed,
                "a queue would be reached by more than \(limits.maximumPathsPerQueue) ways through exchanges, or through "
                    + "more than \(limits.maximumExchangesOnPath) exchanges",
                method: method
            )
        }
        // Keys of the whole tree are written a little otherwise.
        let also = exchange.topic == nil ? conditions.map(StorageBinding.ofWholeTree) : conditions
        found.append(InboxBinding(StorageBinding.make(kind, exchange, link), also: also))
        guard !exchange.incoming.isEmpty else { return }
        var further = conditions
        if let condition = StorageBinding.condition(kind, exchange, link), !further.contains(condition) {
            further.append(condition)
        }
        visited.append(link.source)
        for link in exchange.incoming.sorted(by: IncomingBinding.isOrdered) {
            try collect(link, conditions: further, &visited, &found, limit: limit, method)
        }
        visited.removeLast()
    }

    /// The queues that messages of an exchange can come to, through whichever others.
    func queuesBehind(_ exchange: ShortString) -> [ShortString] {
        var seen: Set<ShortString> = [exchange]
        var work = [exchange]
        var found: Set<ShortString> = []
        while let next = work.popLast() {
            for outgoing in exchanges[next]?.outgoing.keys ?? [:].keys {
                switch outgoing.destination {
                case .queue(let name): found.insert(name)
                case .exchange(let name): if seen.insert(name).inserted { work.append(name) }
                }
            }
        }
        return found.sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }
    }

    /// Computes the bindings of queues again after a change of what is before them. All or nothing.
    mutating func installAnew(
        _ names: [ShortString],
        _ effects: inout [ModelEffect],
        method: MethodID
    ) throws(AMQPError) {
        var computed: [(name: ShortString, installed: [InboxBinding: Int])] = []
        for name in names {
            guard let queue = queues[name] else { continue }
            var installed: [InboxBinding: Int] = [:]
            for link in queue.incoming {
                for binding in try ways(of: link, already: installed.count, method: method) {
                    installed[binding, default: 0] += 1
                }
            }
            computed.append((name, installed))
        }
        for (name, installed) in computed {
            guard let queue = queues[name] else { continue }
            queues[name]?.installed = installed
            guard !queue.isStream else { continue }
            let added = installed.keys.filter { queue.installed[$0] == nil }.sorted(by: InboxBinding.isOrdered)
            let removed = queue.installed.keys.filter { installed[$0] == nil }.sorted(by: InboxBinding.isOrdered)
            effects += added.map { .bind(inbox: queue.storageName, $0) }
            effects += removed.map { .unbind(inbox: queue.storageName, $0) }
        }
    }
}

// Orders, so that the same change has the same effects in every process.

extension IncomingBinding {
    static func isOrdered(_ left: IncomingBinding, _ right: IncomingBinding) -> Bool {
        ordered(
            (left.source.bytes, right.source.bytes),
            (left.routingKey.bytes, right.routingKey.bytes),
            (left.arguments.bytes, right.arguments.bytes)
        )
    }
}

extension OutgoingBinding {
    static func isOrdered(_ left: OutgoingBinding, _ right: OutgoingBinding) -> Bool {
        ordered(
            (left.destination.order, right.destination.order),
            (left.routingKey.bytes, right.routingKey.bytes),
            (left.arguments.bytes, right.arguments.bytes)
        )
    }
}

extension BindingDestination {
    fileprivate var order: [UInt8] {
        switch self {
        case .queue(let name): [0] + name.bytes
        case .exchange(let name): [1] + name.bytes
        }
    }
}

extension InboxBinding {
    static func isOrdered(_ left: InboxBinding, _ right: InboxBinding) -> Bool {
        ordered(
            (Array(left.binding.topic.utf8), Array(right.binding.topic.utf8)),
            (left.binding.pattern, right.binding.pattern),
            (left.rest, right.rest)
        )
    }

    private var rest: [UInt8] {
        var bytes = [binding.kind.rawValue]
        append(binding.arguments, to: &bytes)
        for condition in also {
            bytes.append(condition.kind.rawValue)
            bytes += condition.pattern
            append(condition.arguments, to: &bytes)
        }
        return bytes
    }

    private func append(_ arguments: [Binding.Argument], to bytes: inout [UInt8]) {
        for argument in arguments {
            bytes += argument.name
            bytes.append(0)
            bytes += argument.value ?? [0]
        }
    }
}

/// The first pair that differs decides.
private func ordered(_ pairs: (left: [UInt8], right: [UInt8])...) -> Bool {
    for pair in pairs where pair.left != pair.right { return pair.left.lexicographicallyPrecedes(pair.right) }
    return false
}
