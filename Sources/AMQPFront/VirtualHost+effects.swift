internal import AMQPModel
internal import AMQPProtocol
internal import Gateway
internal import Logging
internal import MessageModel
internal import NIOCore
internal import StorageService

// What changes of the model are in storage.
extension VirtualHost {
    /// Carries out what a change of the model needs.
    /// - Parameter completion: called when all is durable, at once where nothing has to be done; with the first error
    ///   where something failed.
    func carryOut(_ effects: [ModelEffect], _ completion: @escaping (SluiceError?) -> Void) {
        guard !effects.isEmpty else { return completion(nil) }
        let work = EffectWork(count: effects.count, completion)
        var changes: [StateChanges.Change] = []
        for effect in effects {
            switch effect {
            case .createTopic(let name, let policy):
                let isInternal = name.utf8.first == UInt8(ascii: "$")
                let specification = TopicSpecification(name: name, policy: policy, isInternal: isInternal)
                ask(.createTopic(specification)) { self.topicCreated(name, $0, work) }
            case .deleteTopic(let name): deleteTopic(name, work)
            case .createInbox(let name, let policy, let bindings):
                let specification = SubscriptionSpecification(
                    name: name,
                    source: .inbox(bindings: bindings.map(\.inStorage)),
                    policy: policy
                )
                ask(.createSubscription(specification)) { result in
                    guard case .failure(let error) = result, error.code == .alreadyExists else {
                        return work.done(result)
                    }
                    // What was found at the start and has other settings now, or was made by somebody else.
                    self.ask(.updateSubscription(name: name, policy)) { work.done($0) }
                }
            case .updatePolicy(let inbox, let policy):
                ask(.updateSubscription(name: inbox, policy)) { work.done($0) }
            case .deleteInbox(let name):
                ask(.deleteSubscription(name: name)) { work.done($0, ignoring: .subscriptionNotFound) }
            case .bind(let inbox, let binding):
                ask(.bind(name: inbox, binding.inStorage)) { work.done($0) }
            case .unbind(let inbox, let binding):
                ask(.unbind(name: inbox, binding.inStorage)) { work.done($0, ignoring: .notFound) }
            case .store(let number, let value):
                changes.append(StateChanges.Change(key: number, value: value))
            case .queueGone(let number):
                queueGone(number)
                work.done()
            }
        }
        guard !changes.isEmpty else { return }
        guard let definitions else { return work.done(.failure(Self.notReady), count: changes.count) }
        let count = changes.count
        let token = expect { work.done($0, count: count) }
        open.storage.putState(StateChanges(subscription: definitions, changes: changes), token: token)
    }

    private static let notReady = SluiceError(.busy, "definitions are not read yet")

    private func topicCreated(_ name: String, _ result: Result<StorageReply, SluiceError>, _ work: EffectWork) {
        switch result {
        case .success(.topicCreated(_, isNew: false)): noteForeign(name)
        case .failure(let error) where error.code == .alreadyExists: noteForeign(name)
        case .failure(let error): return work.done(.failure(error))
        case .success: break
        }
        work.done()
    }

    /// A topic was there before the exchange: it is somebody else's, and outlives the exchange.
    private func noteForeign(_ name: String) {
        guard isRecovered, foreignTopics.insert(name).inserted, let definitions else { return }
        var changes = StateChanges(subscription: definitions)
        changes.put(ForeignTopics.key(name), Array(name.utf8))
        open.storage.putState(changes, token: nil)
    }

    private func deleteTopic(_ name: String, _ work: EffectWork) {
        if foreignTopics.remove(name) != nil {
            if let definitions {
                var changes = StateChanges(subscription: definitions)
                changes.remove(ForeignTopics.key(name))
                open.storage.putState(changes, token: nil)
            }
            return work.done()
        }
        ask(.deleteTopic(name: name)) { work.done($0, ignoring: .topicNotFound) }
    }
}

/// Topics that are not the front's, as the session state of the definitions has them.
enum ForeignTopics {
    /// Above all numbers of the model.
    static let firstKey: UInt64 = 0xFF << 56

    static func key(_ name: String) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        return firstKey | hash >> 8
    }
}

/// What one change of the model still waits for.
private final class EffectWork {
    private var left: Int
    private var error: SluiceError?
    private let completion: (SluiceError?) -> Void

    init(count: Int, _ completion: @escaping (SluiceError?) -> Void) {
        left = count
        self.completion = completion
    }

    func done(count: Int = 1) {
        left -= count
        if left == 0 { completion(error) }
    }

    func done(_ result: Result<StorageReply, SluiceError>, count: Int = 1, ignoring code: ErrorCode? = nil) {
        if case .failure(let failure) = result, failure.code != code { error = error ?? failure }
        done(count: count)
    }
}

extension InboxBinding {
    var inStorage: Binding {
        var whole = binding
        whole.also = also.map { Binding.Condition(kind: $0.kind, pattern: $0.pattern, arguments: $0.arguments) }
        return whole
    }

    init(inStorage whole: Binding) {
        var binding = whole
        binding.also = []
        self.init(
            binding,
            also: whole.also.map { Condition(kind: $0.kind, pattern: $0.pattern, arguments: $0.arguments) }
        )
    }
}

extension AMQPError {
    /// Storage could not do what a method asked for.
    init(_ error: SluiceError) {
        self.init(ReplyCode(rawValue: error.code.rendering.amqpReply) ?? .internalError, error.message)
    }
}
