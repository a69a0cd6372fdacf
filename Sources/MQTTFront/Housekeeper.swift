internal import Gateway
internal import Logging
internal import MQTTProtocol
internal import MessageModel
internal import NIOCore
internal import StorageService

/// What is to be done for clients that are not connected: their wills, and the ends of their sessions.
///
/// A will that waits is a message with a later delivery time: storage publishes it, also after a restart.
final class Housekeeper: StorageSessionDelegate {
    private unowned let front: MQTTFront
    private var session: GatewaySession?
    private var requests: [UInt64: (Result<StorageReply, SluiceError>) -> Void] = [:]
    /// Wills on their way into the log, by the tokens of their appends.
    private var scheduling: [UInt64: Scheduling] = [:]

    private struct Scheduling {
        var will: StoredWill
        var subscription: SubscriptionID
        /// What a client that came back meanwhile wants: false for its publication, true for nothing.
        var isWithdrawn: Bool?
    }

    init(front: MQTTFront) { self.front = front }

    private var open: GatewaySession {
        if let session { return session }
        let opened = front.gateway.openSession(delegate: self)
        session = opened
        return opened
    }

    func ask(
        _ request: StorageRequest,
        _ completion: @escaping (Result<StorageReply, SluiceError>) -> Void = { _ in }
    ) {
        let token = front.nextToken()
        requests[token] = completion
        open.storage.perform(request, token: token)
    }

    // MARK: Sessions

    func delete(_ name: String) {
        ask(.deleteSubscription(name: name)) { self.note($0, "delete", name) }
    }

    func update(_ name: String, _ policy: SubscriptionPolicy) {
        ask(.updateSubscription(name: name, policy)) { self.note($0, "change", name) }
    }

    private func note(_ result: Result<StorageReply, SluiceError>, _ verb: String, _ name: String) {
        guard case .failure(let error) = result, error.code != .subscriptionNotFound else { return }
        front.logger.warning(
            "an MQTT session could not be changed",
            metadata: ["what": "\(verb)", "session": "\(name)", "why": "\(error.message)"]
        )
    }

    /// Looks whether anybody still wants the messages of a group that has no connected member.
    func endGroupIfUnused(_ name: String, isUsed: @escaping () -> Bool) {
        ask(.getState(name: name)) { result in
            guard case .success(.state(let description, let members)) = result, members.isEmpty,
                description.consumers == 0, !isUsed()
            else { return }
            self.delete(name)
        }
    }

    // MARK: Wills

    /// Publishes a will now.
    func publish(_ will: Will, of client: MQTTString) { _ = append(will, of: client, delaySeconds: nil) }

    /// Publishes a will later, if the client does not come back before.
    func schedule(_ will: Will, of client: MQTTString, _ subscription: SubscriptionID, delaySeconds: UInt32) {
        guard let token = append(will, of: client, delaySeconds: delaySeconds) else { return }
        scheduling[token] = Scheduling(will: StoredWill(client: client, will: will), subscription: subscription)
    }

    /// - Returns: the token of its append.
    private func append(_ will: Will, of client: MQTTString, delaySeconds: UInt32?) -> UInt64? {
        guard !will.topic.isEmpty else { return nil }
        let session = open
        let token = will.topic.bytes.withUnsafeBytes { name -> UInt64? in
            guard name.first != UInt8(ascii: "$"), let place = front.addresses.find(name, session),
                let partition = front.addresses[place].partition
            else { return nil }
            var record = RecordFields()
            record.routingKey = front.addresses[place].routingKey.map { name.slice($0) }
            record.hasAbsoluteName = front.addresses[place].isAbsolute
            record.deliveryClass = will.qos.deliveryClass
            record.isRetained = will.retain
            PropertyMapping.read(will.properties, delaySeconds: delaySeconds ?? 0, into: &front.properties)
            client.bytes.withUnsafeBytes { front.properties.append(.publisher, $0) }
            if let delaySeconds {
                // What waits is stored, whatever its quality.
                if will.qos == .atMostOnce { record.deliveryClass = .atLeastOnce }
                let due = Timestamp.wallClock() + UInt64(delaySeconds) * 1_000_000
                front.properties.append(.deliverAt, number: due)
            }
            return will.payload.withUnsafeBytes { payload in
                front.properties.withBytes { properties in
                    record.body = payload
                    record.properties = properties
                    return front.gatherer.add(record, to: partition, session: session)
                }
            }
        }
        front.gatherer.flush(session: session)
        return token
    }

    /// A client came back: to the session that it had, or to a new one, which ends the old.
    func sessionReturned(_ stored: StoredWill, _ subscription: SubscriptionID, isKept: Bool) {
        if let token = scheduling.first(where: { $0.value.subscription == subscription })?.key {
            scheduling[token]?.isWithdrawn = isKept
        } else if let scheduled = stored.scheduled {
            withdraw(scheduled, stored, isKept: isKept)
        } else if !isKept {
            publish(stored.will, of: stored.client)
        }
        if isKept { forgetWill(subscription) }
    }

    private func withdraw(_ scheduled: ScheduledID, _ stored: StoredWill, isKept: Bool) {
        ask(.cancelScheduled(scheduled)) { result in
            // Where it waits no more it was published.
            if case .success = result, !isKept { self.publish(stored.will, of: stored.client) }
        }
    }

    func forgetWill(_ subscription: SubscriptionID) {
        var changes = StateChanges(subscription: subscription)
        changes.remove(SessionKey.will)
        open.storage.putState(changes, token: nil)
    }

    /// The server was gone: so are the connections of those that had left a will.
    func recoverWills(after: String? = nil) {
        ask(.scanState(key: SessionKey.will, after: after, limit: 1_000)) { result in
            guard case .success(.states(let states, let next)) = result else { return }
            for state in states where !state.isUsed {
                guard let stored = StoredWill(encoded: state.value), stored.scheduled == nil else { continue }
                if stored.will.delaySeconds > 0 {
                    self.schedule(stored.will, of: stored.client, state.id, delaySeconds: stored.will.delaySeconds)
                } else {
                    self.publish(stored.will, of: stored.client)
                    self.forgetWill(state.id)
                }
            }
            if let next { self.recoverWills(after: next) }
        }
    }

    // MARK: Answers

    func appendCompleted(token: UInt64, result: AppendResult) {
        guard var pending = scheduling.removeValue(forKey: token) else { return }
        guard result.error == nil else {
            front.logger.warning(
                "the will of an MQTT client could not be stored",
                metadata: ["client": "\(pending.will.client)", "why": "\(result.error?.rendering.title ?? "")"]
            )
            return
        }
        // Its time was over at once.
        guard let scheduled = result.scheduled else { return forgetWill(pending.subscription) }
        if let isWithdrawn = pending.isWithdrawn { return withdraw(scheduled, pending.will, isKept: isWithdrawn) }
        pending.will.scheduled = scheduled
        var changes = StateChanges(subscription: pending.subscription)
        changes.put(SessionKey.will, pending.will.encoded)
        open.storage.putState(changes, token: nil)
    }

    func requestCompleted(token: UInt64, result: Result<StorageReply, SluiceError>) {
        requests.removeValue(forKey: token)?(result)
    }

    func batchDelivered(_ delivery: BatchDelivery) {}
    func messageRouted(_ message: RoutedMessage) {}
    func attachmentEnded(attachment: UInt32, error: SluiceError) {}
    func storageRoundEnded() {}
}
