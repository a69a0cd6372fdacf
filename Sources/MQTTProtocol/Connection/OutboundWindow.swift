/// The QoS 1 and 2 messages that were sent to a client and not finished, each with its packet identifier, the owner's
/// token, and how far its exchange is.
///
/// Identifiers are given in turn, or by the owner; an open one is never given twice (MQTT 5.0 §2.2.1).
struct OutboundWindow: Sendable {
    private var table = PacketIdentifierTable()
    /// Most messages open at a time.
    private(set) var limit: Int
    /// The identifiers that are given in turn; others are the owner's to give.
    private let identifiers: ClosedRange<UInt16>
    private var next: UInt16

    init(limit: Int, identifiers: ClosedRange<UInt16> = 1...UInt16.max) {
        self.limit = min(max(limit, 0), identifiers.count)
        self.identifiers = identifiers
        next = identifiers.lowerBound
    }

    var openCount: Int { table.count }
    var hasRoom: Bool { table.count < limit }

    /// Opens a message under the next identifier.
    ///
    /// - Returns: its packet identifier, or nil when the window is full.
    mutating func open(token: UInt64, isExactlyOnce: Bool = false) -> UInt16? {
        guard hasRoom else { return nil }
        // Those of the owner are counted in the limit too: where as many as there are in turn are open, some may be his.
        for _ in identifiers {
            let identifier = next
            next = identifier == identifiers.upperBound ? identifiers.lowerBound : identifier &+ 1
            guard !table.contains(identifier) else { continue }
            table.insert(identifier, token: token, phase: isExactlyOnce ? .publishedExactlyOnce : .published)
            return identifier
        }
        return nil
    }

    /// Opens a message under an identifier of the owner.
    ///
    /// - Returns: false when it is open already, or zero.
    mutating func open(_ identifier: UInt16, token: UInt64, phase: PacketIdentifierTable.Phase) -> Bool {
        guard identifier != 0, !table.contains(identifier) else { return false }
        table.insert(identifier, token: token, phase: phase)
        return true
    }

    /// Closes a message.
    ///
    /// - Returns: its token, or nil when no message with this identifier is open.
    mutating func close(_ identifier: UInt16) -> UInt64? { table.remove(identifier)?.token }

    /// Goes on with a QoS 2 message, or closes one without a token: false, with nothing changed, where that is not where
    /// it is.
    mutating func advance(
        _ identifier: UInt16,
        from phase: PacketIdentifierTable.Phase,
        to next: PacketIdentifierTable.Phase
    ) -> Bool {
        table.advance(identifier, from: phase, to: next)
    }
    mutating func closePlain(_ identifier: UInt16, in phase: PacketIdentifierTable.Phase) -> Bool {
        table.removePlain(identifier, in: phase)
    }

    func entry(_ identifier: UInt16) -> PacketIdentifierTable.Entry? { table[identifier] }
    mutating func setPhase(_ identifier: UInt16, _ phase: PacketIdentifierTable.Phase) {
        table.setPhase(identifier, phase)
    }
    func isOpen(_ identifier: UInt16) -> Bool { table.contains(identifier) }

    /// The tokens of all open messages, in the order they were sent.
    var openTokens: [UInt64] { table.entries.map(\.token) }
}
