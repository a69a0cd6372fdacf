/// Exchanges that are open, by their packet identifiers: sixteen bytes each, found by arithmetic.
///
/// Identifiers mostly follow each other, so their low bits are their places; those that collide stand in the next place
/// that is free.
struct PacketIdentifierTable: Sendable {
    /// Where an exchange stands (MQTT 5.0 §4.3.2, §4.3.3).
    enum Phase: UInt8, Sendable {
        /// Of QoS 1: PUBACK is awaited.
        case published
        /// Of QoS 2: PUBREC is awaited, or not sent yet.
        case publishedExactlyOnce
        /// PUBREC was received, or sent.
        case received
        /// PUBREL was sent, or received.
        case released
    }

    struct Entry: Sendable {
        var token: UInt64
        /// Counts entries, to tell their order.
        var number: UInt32
        /// Zero where the place is free.
        var identifier: UInt16
        var phase: Phase
    }

    private var slots: [Entry] = []
    private(set) var count = 0
    private var nextNumber: UInt32 = 0
    /// Entries that are not in their own places. Mostly there are none, and then nothing moves when one is removed.
    private var displaced = 0

    private static let free = Entry(token: 0, number: 0, identifier: 0, phase: .published)

    private var mask: Int { slots.count &- 1 }

    private func place(_ identifier: UInt16) -> Int? {
        guard count > 0, identifier != 0 else { return nil }
        var place = Int(identifier) & mask
        // The table is never full: a free place ends every search.
        while slots[place].identifier != identifier {
            if slots[place].identifier == 0 { return nil }
            place = (place &+ 1) & mask
        }
        return place
    }

    subscript(identifier: UInt16) -> Entry? { place(identifier).map { slots[$0] } }

    func contains(_ identifier: UInt16) -> Bool { place(identifier) != nil }

    /// - Parameter identifier: not zero, and not in the table.
    mutating func insert(_ identifier: UInt16, token: UInt64, phase: Phase) {
        if (count &+ 1) &* 4 > slots.count &* 3 { grow() }
        put(Entry(token: token, number: nextNumber, identifier: identifier, phase: phase))
        nextNumber &+= 1
        count &+= 1
    }

    private mutating func put(_ entry: Entry) {
        let wanted = Int(entry.identifier) & mask
        var place = wanted
        while slots[place].identifier != 0 { place = (place &+ 1) & mask }
        if place != wanted { displaced &+= 1 }
        slots[place] = entry
    }

    mutating func setPhase(_ identifier: UInt16, _ phase: Phase) {
        if let place = place(identifier) { slots[place].phase = phase }
    }

    /// Goes on with an exchange that is in a phase.
    /// - Returns: false, with nothing changed, where there is none.
    mutating func advance(_ identifier: UInt16, from phase: Phase, to next: Phase) -> Bool {
        guard let place = place(identifier), slots[place].phase == phase else { return false }
        slots[place].phase = next
        return true
    }

    /// Removes an exchange that is in a phase, and has no token.
    /// - Returns: false, with nothing changed, where there is none.
    mutating func removePlain(_ identifier: UInt16, in phase: Phase) -> Bool {
        guard let place = place(identifier), slots[place].phase == phase, slots[place].token == 0 else { return false }
        remove(identifier, at: place)
        return true
    }

    @discardableResult
    mutating func remove(_ identifier: UInt16) -> Entry? {
        place(identifier).map { remove(identifier, at: $0) }
    }

    @discardableResult
    private mutating func remove(_ identifier: UInt16, at start: Int) -> Entry {
        var hole = start
        let entry = slots[hole]
        slots[hole] = Self.free
        count &-= 1
        if Int(identifier) & mask != hole { displaced &-= 1 }
        guard displaced > 0 else { return entry }
        // What stands behind it and would not be found any more moves up.
        var place = (hole &+ 1) & mask
        while slots[place].identifier != 0 {
            let wanted = Int(slots[place].identifier) & mask
            if (place &- wanted) & mask >= (place &- hole) & mask {
                if hole == wanted { displaced &-= 1 }
                slots[hole] = slots[place]
                slots[place] = Self.free
                hole = place
            }
            place = (place &+ 1) & mask
        }
        return entry
    }

    /// All entries, in the order in which they were inserted.
    var entries: [Entry] {
        let first = nextNumber
        // Numbers may have gone around.
        return slots.filter { $0.identifier != 0 }.sorted { $0.number &- first < $1.number &- first }
    }

    private mutating func grow() {
        let old = slots
        slots = Array(repeating: Self.free, count: max(8, old.count * 2))
        displaced = 0
        for entry in old where entry.identifier != 0 { put(entry) }
    }
}
