internal import AMQPModel
internal import AMQPProtocol
internal import Gateway
internal import Logging
internal import MessageModel
internal import NIOCore
internal import StorageService

// What was declared before the last stop.
extension VirtualHost {
    /// Makes what is always there, reads the definitions, and makes what of them is missing in storage.
    func recover() -> EventLoopFuture<Void> {
        let promise = front.eventLoop.makePromise(of: Void.self)
        let recovery = Recovery(host: self, promise)
        recovery.start()
        return promise.futureResult
    }

    /// Empties a queue of what could be delivered.
    func purge(_ queue: Queue, _ completion: @escaping (Result<UInt32, SluiceError>) -> Void) {
        ask(.describeSubscription(name: queue.storageName)) { result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(.subscription(let found)):
                // What is on its way to the disk is purged too: answered when that is over.
                self.ask(.updateSubscription(name: found.name, found.policy)) { _ in
                    self.ask(.describeSubscription(name: found.name)) { self.purge($0, completion) }
                }
            case .success: completion(.failure(SluiceError(.internal, "storage answered another question")))
            }
        }
    }

    private func purge(
        _ result: Result<StorageReply, SluiceError>,
        _ completion: @escaping (Result<UInt32, SluiceError>) -> Void
    ) {
        guard case .success(.subscription(let found)) = result else {
            if case .failure(let error) = result { completion(.failure(error)) }
            return
        }
        ask(.seek(name: found.name, .next)) { result in
            switch result {
            case .success: completion(.success(found.readyMessages))
            case .failure(let error): completion(.failure(error))
            }
        }
    }
}

/// The steps of a start: the definitions, then what storage has, then what is missing there.
private final class Recovery {
    private let host: VirtualHost
    private let promise: EventLoopPromise<Void>
    private var inboxes: Set<String> = []

    init(host: VirtualHost, _ promise: EventLoopPromise<Void>) {
        self.host = host
        self.promise = promise
    }

    func start() {
        var policy = SubscriptionPolicy()
        policy.takesAtMostOnce = false
        let specification = SubscriptionSpecification(
            name: StorageNames.definitionsInbox,
            source: .inbox(bindings: []),
            policy: policy
        )
        host.ask(.createSubscription(specification)) { result in
            guard case .success(.subscriptionCreated(let description, _)) = result else { return self.fail(result) }
            self.host.definitions = description.id
            self.readDefinitions()
        }
    }

    private func fail(_ result: Result<StorageReply, SluiceError>) {
        if case .failure(let error) = result { return promise.fail(error) }
        promise.fail(SluiceError(.internal, "storage answered another question"))
    }

    private func readDefinitions() {
        host.ask(.getState(name: StorageNames.definitionsInbox)) { result in
            guard case .success(.state(_, let entries)) = result else { return self.fail(result) }
            var definitions: [StateEntry] = []
            for entry in entries {
                if entry.key >= ForeignTopics.firstKey {
                    self.host.foreignTopics.insert(String(decoding: entry.value, as: UTF8.self))
                } else {
                    definitions.append(entry)
                }
            }
            var problems: [DefinitionProblem] = []
            self.host.model = VirtualHostModel(
                name: VirtualHost.defaultName,
                restoring: definitions,
                problems: &problems
            )
            for problem in problems {
                self.host.front.logger.error(
                    "an AMQP definition cannot be used",
                    metadata: ["number": "\(problem.number)", "why": "\(problem.reason)"]
                )
            }
            self.listInboxes(after: nil)
        }
    }

    private func listInboxes(after: String?) {
        host.ask(.listSubscriptions(after: after, limit: 1_000)) { result in
            guard case .success(.subscriptions(let page, let next)) = result else { return self.fail(result) }
            for subscription in page { self.inboxes.insert(subscription.name) }
            if let next { return self.listInboxes(after: next) }
            self.repair()
        }
    }

    private func repair() {
        let topics = host.open.topics
        let tenant = host.tenant
        let missing = host.model.missing(
            hasInbox: { inboxes.contains($0) },
            hasTopic: { topics.topic(named: $0, tenant: tenant) != nil }
        )
        host.carryOut(missing) { error in
            if let error { return self.promise.fail(error) }
            self.repairBindings()
        }
    }

    private func repairBindings() {
        let queues = host.model.allQueues.filter { !$0.isStream && inboxes.contains($0.storageName) }
        guard !queues.isEmpty else { return finish() }
        var left = queues.count
        var effects: [ModelEffect] = []
        for queue in queues {
            host.ask(.listBindings(name: queue.storageName)) { result in
                if case .success(.bindings(let bindings)) = result {
                    let present = Set(bindings.map { InboxBinding(inStorage: $0) })
                    effects += self.host.model.repair(queue, having: present)
                }
                left -= 1
                guard left == 0 else { return }
                self.host.carryOut(effects) { error in
                    if let error { return self.promise.fail(error) }
                    self.finish()
                }
            }
        }
    }

    private func finish() {
        host.isRecovered = true
        host.letters.start { error in
            if let error { self.promise.fail(error) } else { self.promise.succeed() }
        }
    }
}
