/// The QoS 2 messages of a client that are not released: a packet identifier that is here brings no second message
/// (MQTT 5.0 §4.3.3).
struct InboundExchanges: Sendable {
    private var table = PacketIdentifierTable()
    /// Those whose PUBREC has not been sent.
    private(set) var storingCount = 0

    var count: Int { table.count }

    func phase(_ identifier: UInt16) -> PacketIdentifierTable.Phase? { table[identifier]?.phase }

    /// A message arrived whose identifier is not here.
    mutating func begin(_ identifier: UInt16) {
        table.insert(identifier, token: 0, phase: .publishedExactlyOnce)
        storingCount &+= 1
    }

    /// It is here from an earlier connection.
    mutating func restore(_ identifier: UInt16) {
        guard identifier != 0, !table.contains(identifier) else { return }
        table.insert(identifier, token: 0, phase: .received)
    }

    /// PUBREC leaves.
    mutating func received(_ identifier: UInt16) {
        guard table[identifier]?.phase == .publishedExactlyOnce else { return }
        table.setPhase(identifier, .received)
        storingCount &-= 1
    }

    /// PUBREC leaves, with a failure: the exchange is over.
    mutating func refused(_ identifier: UInt16) {
        guard table[identifier]?.phase == .publishedExactlyOnce else { return }
        table.remove(identifier)
        storingCount &-= 1
    }

    /// PUBREL arrived.
    mutating func released(_ identifier: UInt16) { table.setPhase(identifier, .released) }

    /// PUBREL arrived, and PUBCOMP leaves; false, with nothing changed, where PUBREC has not been sent.
    mutating func releaseAndComplete(_ identifier: UInt16) -> Bool {
        table.removePlain(identifier, in: .received)
    }

    /// PUBCOMP leaves.
    mutating func complete(_ identifier: UInt16) { table.remove(identifier) }

    /// The identifiers that wait for PUBREL, in the order of their messages.
    var receivedIdentifiers: [UInt16] {
        table.entries.filter { $0.phase != .publishedExactlyOnce }.map(\.identifier)
    }
}
