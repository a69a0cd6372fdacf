package import AMQPProtocol
internal import StorageService

/// What became of a queue.declare.
package struct QueueDeclaration: Sendable {
    package var queue: Queue
    package var isNew: Bool
    package var effects: [ModelEffect]
}

// Declaring and deleting queues, and what ends them.
extension VirtualHostModel {
    /// queue.declare. The channel has put a name where the client gave none, and has refused reserved ones.
    ///
    /// - Parameter connection: the owner of an exclusive queue.
    /// - Throws: 404 for a passive one that is not there, 405 for an exclusive queue of another connection, 406 for bad
    ///   arguments, where it is there and otherwise, and beyond the limit of queues.
    package mutating func declare(_ declare: QueueDeclare, connection: UInt64) throws(AMQPError) -> QueueDeclaration {
        if declare.isPassive {
            return QueueDeclaration(queue: try queue(declare.queue, for: connection), isNew: false, effects: [])
        }
        if let known = queues[declare.queue] {
            try checkEquivalence(known, declare, connection)
            return QueueDeclaration(queue: known, isNew: false, effects: [])
        }
        if let maximum = limits.maximumQueues, queues.count >= maximum {
            throw AMQPError(
                .preconditionFailed,
                "cannot declare queue '\(declare.queue)': queue limit in vhost '\(name)' (\(maximum)) is reached",
                method: .queueDeclare
            )
        }
        let (kind, own) = try QueueArguments.settings(declare, virtualHost: name)
        let owner = declare.isExclusive ? connection : nil
        let isStored = declare.isDurable && owner == nil
        let number = isStored ? try takeNumber(.queue, declare.queue.bytes) : 0
        var queue = Queue(
            name: declare.queue,
            number: takeQueueNumber(),
            kind: kind,
            isDurable: declare.isDurable,
            isAutoDelete: declare.isAutoDelete,
            owner: owner,
            arguments: declare.arguments,
            ownSettings: own,
            storageName: kind == .stream
                ? freeTopic(StorageNames.topic(ofExchange: declare.queue)) : freeInbox(declare.queue),
            storedNumber: number
        )
        queue.settings = settings(of: queue)
        var effects: [ModelEffect] = []
        if number != 0 { effects.append(.store(number: number, value: StoredDefinition.encode(queue))) }
        effects.append(creation(of: queue))
        insert(queue)
        return QueueDeclaration(queue: queue, isNew: true, effects: effects)
    }

    /// queue.delete. One that is not there is deleted already, and had no messages.
    ///
    /// - Parameters:
    ///   - messageCount: messages in it, leased ones included, where the client asks for an empty one.
    ///   - connection: nil for an administrator, who may delete what belongs to a connection.
    /// - Throws: 405, and 406 for one that is in use or not empty where an unused or empty one was meant.
    package mutating func delete(
        _ delete: QueueDelete,
        connection: UInt64?,
        messageCount: UInt64 = 0
    ) throws(AMQPError) -> [ModelEffect] {
        guard let queue = queues[delete.queue] else { return [] }
        if let connection { try checkOwner(queue, connection) }
        guard !delete.ifUnused || queue.consumers == 0 else { throw .queueInUse(queue.name, virtualHost: name) }
        guard !delete.ifEmpty || messageCount == 0 else { throw .queueNotEmpty(queue.name, virtualHost: name) }
        var effects: [ModelEffect] = []
        remove(queue: queue.name, &effects)
        return effects
    }

    /// Storage let a queue go that nobody used for as long as it said (`x-expires`), or somebody deleted its inbox.
    package mutating func inboxEnded(_ name: String) -> [ModelEffect] {
        guard let queue = queue(ofInbox: name) else { return [] }
        var effects: [ModelEffect] = []
        remove(queue: queue.name, &effects)
        return effects.filter { $0 != .deleteInbox(name: name) }
    }

    /// The exclusive queues of a connection end with it.
    package mutating func connectionEnded(_ connection: UInt64) -> [ModelEffect] {
        guard let names = queuesOfConnections.removeValue(forKey: connection) else { return [] }
        var effects: [ModelEffect] = []
        for name in names.sorted(by: { $0.bytes.lexicographicallyPrecedes($1.bytes) }) { remove(queue: name, &effects) }
        return effects
    }

    // MARK: Consumers

    /// basic.consume.
    ///
    /// - Throws: 404 and 405 as ever; 403 where it, or another, wants to be the only one.
    package mutating func addConsumer(
        to name: ShortString,
        connection: UInt64,
        isExclusive: Bool
    ) throws(AMQPError) -> Queue {
        let queue = try queue(name, for: connection)
        guard !queue.hasExclusiveConsumer, !isExclusive || queue.consumers == 0 else {
            throw .exclusiveUse(name, virtualHost: self.name)
        }
        queues[name]?.consumers += 1
        queues[name]?.hasExclusiveConsumer = isExclusive
        return queue
    }

    /// A consumer is cancelled, or its channel is closed. An auto-delete queue goes with its last one.
    package mutating func removeConsumer(from number: QueueNumber) -> [ModelEffect] {
        guard let name = queueNames[number], let queue = queues[name], queue.consumers > 0 else { return [] }
        queues[name]?.consumers -= 1
        // Where there is an exclusive one, there is no other.
        queues[name]?.hasExclusiveConsumer = false
        guard queue.isAutoDelete, queue.consumers == 1 else { return [] }
        var effects: [ModelEffect] = []
        remove(queue: name, &effects)
        return effects
    }

    // MARK: Parts

    private func checkEquivalence(
        _ known: Queue,
        _ declare: QueueDeclare,
        _ connection: UInt64
    ) throws(AMQPError) {
        guard known.owner == (declare.isExclusive ? connection : nil) else {
            throw .lockedQueue(known.name, virtualHost: name)
        }
        let resource = AMQPError.queueText(known.name, name)
        for (argument, received, current) in [
            ("durable", declare.isDurable, known.isDurable), ("auto_delete", declare.isAutoDelete, known.isAutoDelete),
        ] where received != current {
            throw .inequivalent(argument, resource, received: received, current: current)
        }
        try QueueArguments.checkEquivalence(known, declare.arguments, virtualHost: name)
    }

    private func freeInbox(_ queue: ShortString) -> String {
        let wanted = StorageNames.inbox(ofQueue: queue)
        guard isTaken(wanted) else { return wanted }
        for attempt in 1... {
            let other = StorageNames.alternative(wanted, attempt: attempt)
            if !isTaken(other) { return other }
        }
        return wanted
    }

    private func isTaken(_ inbox: String) -> Bool {
        unusualInboxes.contains(inbox) || queues[ShortString(inbox)]?.storageName == inbox
    }

    /// The queue whose inbox this is.
    func queue(ofInbox name: String) -> Queue? {
        if let queue = queues[ShortString(name)], queue.storageName == name { return queue.isStream ? nil : queue }
        guard unusualInboxes.contains(name) else { return nil }
        return queues.values.first { !$0.isStream && $0.storageName == name }
    }

    /// Queues come and go by the thousand: after four billion, numbers begin again, with those that are free.
    mutating func takeQueueNumber() -> QueueNumber {
        while nextQueue == 0 || queueNames[QueueNumber(rawValue: nextQueue)] != nil { nextQueue &+= 1 }
        defer { nextQueue &+= 1 }
        return QueueNumber(rawValue: nextQueue)
    }

    /// Puts a queue in its places.
    mutating func insert(_ queue: Queue) {
        queues[queue.name] = queue
        queueNames[queue.number] = queue.name
        if let owner = queue.owner { queuesOfConnections[owner, default: []].insert(queue.name) }
        if queue.isStream {
            topicsInUse.insert(queue.storageName)
            streams += 1
            epoch += 1
        } else if !queue.storageName.utf8.elementsEqual(queue.name.bytes) {
            unusualInboxes.insert(queue.storageName)
        }
    }

    /// What makes a queue in storage. An inbox has its bindings from the beginning, the one to the default exchange
    /// among them.
    func creation(of queue: Queue) -> ModelEffect {
        if queue.isStream { return .createTopic(name: queue.storageName, policy: queue.settings.streamPolicy) }
        let others = queue.installed.keys.sorted(by: InboxBinding.isOrdered)
        return .createInbox(
            name: queue.storageName,
            policy: inboxPolicy(of: queue),
            bindings: [InboxBinding.ofDefaultExchange(queue.name)] + others
        )
    }

    func inboxPolicy(of queue: Queue) -> SubscriptionPolicy {
        queue.settings.inboxPolicy(kind: queue.kind, isDurable: queue.isDurable && queue.owner == nil)
    }
}
