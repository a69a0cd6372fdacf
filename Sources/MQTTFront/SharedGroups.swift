internal import DequeModule
internal import Gateway
internal import Logging
internal import MQTTProtocol
internal import MessageModel
internal import StorageService

/// A shared subscription, `$share/GROUP/FILTER`: an inbox whose consumers are its members (MQTT 5.0 §4.8.2).
final class SharedGroup {
    /// The number of its live filters, which share messages with QoS 0.
    let number: UInt64
    /// Members that are connected.
    var members = 0

    init(number: UInt64) { self.number = number }
}

extension MQTTFront {
    func group(_ text: MQTTString) -> SharedGroup {
        if let group = groups[text] { return group }
        lastGroup += 1
        let group = SharedGroup(number: lastGroup)
        groups[text] = group
        return group
    }

    func groupNumber(_ text: MQTTString) -> UInt64 { group(text).number }

    func left(_ text: MQTTString) {
        guard let group = groups[text] else { return }
        group.members -= 1
        guard group.members <= 0 else { return }
        groups[text] = nil
        housekeeper.endGroupIfUnused(text.description) { [unowned self] in groups[text] != nil }
    }
}

extension MQTTConnectionHandler {
    /// Becomes a member of a group; its answer waits until the group's inbox is there.
    func join(_ id: UInt32, _ change: FilterChange, _ index: Int) {
        guard let subscription = filters[id] else { return }
        guard subscription.filter.text.bytes.count <= Limits.subscriptionNameBytes else {
            filters.remove(id)
            _ = session?.storage.removeFilter(id: id)
            change.reasons[index] = .topicFilterInvalid
            return
        }
        change.outstanding += 1
        join(id) { reason in
            if let reason { change.reasons[index] = reason }
            self.answered(change)
        }
    }

    /// - Parameter completion: gets why it failed; nil where it did not.
    func join(_ id: UInt32, _ completion: @escaping (ReasonCode?) -> Void) {
        guard let subscription = filters[id] else { return }
        let text = subscription.filter.text
        let attachment = nextAttachment
        nextAttachment = nextAttachment == UInt32(UInt16.max) ? SessionInbox.attachment + 1 : nextAttachment + 1
        var joined = subscription
        joined.attachment = attachment
        filters.set(id, joined)
        front.group(text).members += 1
        let binding = Binding(kind: .filter, pattern: Array(subscription.filter.matched))
        ask(
            .createSubscription(
                SubscriptionSpecification(
                    name: text.description,
                    source: .inbox(bindings: [binding]),
                    policy: front.options.groupPolicy
                )
            )
        ) { result in
            guard case .success(.subscriptionCreated(let description, _)) = result else {
                completion(.unspecifiedError)
                return
            }
            // It may have left while it was asked.
            guard self.filters[id]?.attachment == attachment else { return completion(nil) }
            if self.inbox != nil { self.noteMembership(description.id, isMember: true) }
            self.groupIDs[attachment] = description.id
            self.attach(to: text.description, as: attachment, used: self.inbox?.sharedCount(id) ?? 0)
            completion(nil)
        }
    }

    /// A group keeps the names of members that have stored sessions: it lasts as long as there are some.
    private func noteMembership(_ group: SubscriptionID, isMember: Bool) {
        var changes = StateChanges(subscription: group)
        let key = SessionKey.member(client)
        if isMember { changes.put(key, client.bytes) } else { changes.remove(key) }
        session?.storage.putState(changes, token: nil)
    }

    /// Ends a membership: what the member has not acknowledged goes to others, but for what came with QoS 2.
    func leave(_ subscription: Subscription, id filter: UInt32) {
        inbox?.forgetFilter(filter)
        if let id = groupIDs.removeValue(forKey: subscription.attachment), inbox != nil {
            noteMembership(id, isMember: false)
        }
        waiting.removeAll { entry in
            guard entry.token.attachment == subscription.attachment, entry.token.attachment != 0,
                !entry.token.isExactlyOnce
            else { return false }
            waitingBytes -= entry.encoded.packetSize
            return true
        }
        session?.storage.detach(attachment: subscription.attachment)
        sources[subscription.attachment] = nil
        front.left(subscription.filter.text)
    }

    /// The connection ends: a stored session stays a member.
    func leaveGroups() {
        let ends = inbox == nil || machine.sessionExpirySeconds == 0
        for (_, subscription) in filters.all where subscription.filter.isShared && subscription.attachment != 0 {
            if ends, inbox != nil, let id = groupIDs[subscription.attachment] { noteMembership(id, isMember: false) }
            session?.storage.detach(attachment: subscription.attachment)
            front.left(subscription.filter.text)
        }
        groupIDs = [:]
    }

    /// What the members of a group get of its messages.
    func groupMatch(_ attachment: UInt32) -> FilterMatch? {
        for (_, subscription) in filters.all where subscription.attachment == attachment {
            var match = FilterMatch()
            match.add(subscription)
            return match
        }
        return nil
    }

    /// Storage ended the group.
    func groupEnded(_ attachment: UInt32) {
        sources[attachment] = nil
        guard let (id, subscription) = filters.all.first(where: { $0.subscription.attachment == attachment }) else {
            return
        }
        // Somebody deleted it by hand: its members are told nothing, and get nothing more until they subscribe again.
        front.logger.warning("a shared subscription was ended by storage", metadata: ["client": "\(client)"])
        filters.remove(id)
        inbox?.forgetFilter(id)
        _ = session?.storage.removeFilter(id: id)
        countFilters()
        groupIDs[attachment] = nil
        front.left(subscription.filter.text)
    }
}
