internal import MessageModel

/// Credit for messages that attachments of a session share, besides what each has of its own.
final class CreditGroup {
    /// What may still be sent to all of them; the last batch to a reader by position may take it below zero.
    @exclusivity(unchecked) private(set) var messages: Int64 = 0
    private var members: [Attachment] = []
    /// Who is called up first when there is credit again.
    private var turn = 0

    func use(messages: Int) { self.messages -= Int64(messages) }

    func join(_ attachment: Attachment) { members.append(attachment) }
    func leave(_ attachment: Attachment) { members.removeAll { $0 === attachment } }

    /// - Returns: those that can go on now, each time another one first, so that none takes all.
    func grant(messages more: UInt64) -> [Attachment] {
        let hadNone = messages <= 0
        messages = Attachment.sum(messages, more)
        guard hadNone, messages > 0, !members.isEmpty else { return [] }
        turn = (turn + 1) % members.count
        return Array(members[turn...] + members[..<turn])
    }
}

extension Shard {
    /// See `StorageSession.grantCredit(group:messages:)`.
    package func grantCredit(session: UInt64, group number: UInt32, messages: UInt64) {
        guard let slot = slot(session) else { return }
        for attachment in creditGroup(number, slot: slot).grant(messages: messages) where attachment.hasCredit {
            callUp(attachment)
        }
    }

    func creditGroup(_ number: UInt32, slot: Int) -> CreditGroup {
        if let group = sessions[slot].creditGroups[number] { return group }
        let group = CreditGroup()
        sessions[slot].creditGroups[number] = group
        return group
    }

    /// Something may be delivered to an attachment.
    func callUp(_ attachment: Attachment) {
        if attachment.leaseOwner == nil {
            enqueue(attachment)
        } else if let subscription = attachment.subscription {
            enqueue(subscription)
        }
    }
}
