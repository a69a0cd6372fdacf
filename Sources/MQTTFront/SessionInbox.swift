internal import MQTTProtocol
internal import MessageModel
internal import StorageService

/// The inbox of a stored session while its client is connected.
final class SessionInbox {
    /// The attachment of a session to its own inbox; those to groups have higher numbers.
    static let attachment: UInt32 = 1
    /// Packet identifiers of messages in the inbox: those below the ones that the state machine gives itself.
    static let identifiers = UInt64(MQTTConnectionStateMachine.firstOwnIdentifier) - 1

    let id: SubscriptionID
    let name: String
    /// What is leased from it, once its consumer is attached.
    var source: LeasedSource?
    /// Changes of the session's state that are not handed over yet.
    var changes: StateChanges
    /// The session's state has a will.
    var hasWill = false
    /// QoS 2 messages that the client has had since an earlier connection, and whether they were leased again and
    /// finished meanwhile: they are never sent again.
    var resumed: [UInt64: Resumed] = [:]
    /// What waits until the changes of this tick are durable.
    var transitions = Transitions()
    var waitingTransitions: [UInt64: Transitions] = [:]

    /// Sequences of messages that came with a subscription, as last values do.
    var retained: [RetainedRun] = []

    struct RetainedRun {
        var range: Range<UInt64>
        /// Of those, how many were not acknowledged on this connection.
        var open: Int
    }

    func isRetained(_ sequence: UInt64) -> Bool { retained.contains { $0.range.contains(sequence) } }

    /// A message is done: a run that is done is forgotten.
    func finished(_ sequence: UInt64) {
        if !identifiers.isEmpty { forgetIdentifier(sequence) }
        if shared.removeValue(forKey: sequence) != nil { changes.remove(SessionKey.shared(sequence)) }
        guard !retained.isEmpty, let place = retained.firstIndex(where: { $0.range.contains(sequence) }) else { return }
        retained[place].open -= 1
        guard retained[place].open <= 0 else { return }
        changes.remove(SessionKey.retained(retained[place].range.lowerBound))
        retained.remove(at: place)
    }

    func addRetained(_ range: Range<UInt64>) {
        guard !range.isEmpty else { return }
        let count = UInt32(clamping: range.count)
        retained.append(RetainedRun(range: range, open: range.count))
        changes.put(SessionKey.retained(range.lowerBound), withUnsafeBytes(of: count.littleEndian) { Array($0) })
    }

    /// Nothing is known of any message in it that another one does not have.
    var hasOnlyPlain: Bool { resumed.isEmpty && retained.isEmpty && identifiers.isEmpty && shared.isEmpty }

    struct Resumed {
        var isLeased = false
        var isFinished = false
    }

    /// Steps of QoS 2 that are taken once they cannot be forgotten.
    struct Transitions {
        /// PUBREL is to be sent.
        var confirmed: [UInt16] = []
        /// PUBCOMP is to be sent.
        var released: [UInt16] = []
        var isEmpty: Bool { confirmed.isEmpty && released.isEmpty }
    }

    /// Messages with QoS 2 that came from groups, and by which filter.
    var shared: [UInt64: UInt32] = [:]
    /// Stands for a filter that is gone.
    static let noFilter = UInt32.max

    init(id: SubscriptionID, name: String) {
        self.id = id
        self.name = name
        changes = StateChanges(subscription: id)
    }

    /// Messages that have other packet identifiers than their sequences give, because those were taken: a client has left
    /// a message unacknowledged while as many others as there are identifiers came and went.
    var identifiers: [UInt64: UInt16] = [:]

    func identifier(of sequence: UInt64) -> UInt16 {
        guard !identifiers.isEmpty, let other = identifiers[sequence] else { return Self.identifier(of: sequence) }
        return other
    }

    /// A message was sent under another identifier, and keeps it.
    func note(_ identifier: UInt16, of sequence: UInt64) {
        identifiers[sequence] = identifier
        changes.put(
            SessionKey.identifier(sequence),
            [UInt8(truncatingIfNeeded: identifier), UInt8(truncatingIfNeeded: identifier >> 8)]
        )
    }

    private func forgetIdentifier(_ sequence: UInt64) {
        if identifiers.removeValue(forKey: sequence) != nil { changes.remove(SessionKey.identifier(sequence)) }
    }

    /// A message has the same packet identifier whenever it is sent: no identifier need be stored.
    static func identifier(of sequence: UInt64) -> UInt16 {
        UInt16(truncatingIfNeeded: sequence % identifiers) + 1
    }
}

/// What the state machine brings back with an acknowledgement: which leased message it was for.
struct DeliveryToken {
    /// Attachment in the highest 16 bits (zero for messages that are not leased), then one bit for QoS 2, then the
    /// sequence.
    var rawValue: UInt64
    private static let exactlyOnce: UInt64 = 1 << 47

    static let unleased = DeliveryToken(rawValue: 0)

    init(rawValue: UInt64) { self.rawValue = rawValue }

    init(attachment: UInt32, sequence: UInt64, isExactlyOnce: Bool) {
        rawValue =
            UInt64(attachment) << 48 | (isExactlyOnce ? Self.exactlyOnce : 0) | sequence & (Self.exactlyOnce - 1)
    }

    var attachment: UInt32 { UInt32(truncatingIfNeeded: rawValue >> 48) }
    var sequence: UInt64 { rawValue & (Self.exactlyOnce - 1) }
    var isExactlyOnce: Bool { rawValue & Self.exactlyOnce != 0 }
}

/// A consumer of leased messages: the session's own inbox, or a group.
final class LeasedSource {
    /// Messages that are leased and not settled, and about their bytes: given back as credit.
    var messages: Int
    var bytes = 0
    /// Of settlements that are not handed over yet, a run of sequences.
    var first: UInt64 = 0
    var last: UInt64 = 0
    var settled = 0
    /// Messages that are settled and whose credit was not given back.
    var unreturned = 0

    init(messages: Int) { self.messages = messages }
}

/// Messages of an inbox that follow each other and differ only in their payloads.
struct LeasedRun {
    var records: [RecordView] = []
    /// The sequence of the first.
    private(set) var first: UInt64 = 0

    /// What is sent at a time.
    private static let limit = 256

    mutating func begin(at sequence: UInt64) { first = sequence }

    func continues(with record: RecordView, at sequence: UInt64) -> Bool {
        guard let before = records.last, records.count < Self.limit, sequence == first + UInt64(records.count),
            before.flags == record.flags, let left = before.routingKey, let right = record.routingKey
        else { return false }
        return bytesEqual(left, right)
    }
}
