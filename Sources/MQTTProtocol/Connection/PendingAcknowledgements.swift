import NIOCore

/// The acknowledgements a client waits for, in the order its messages came: messages may be stored in any order,
/// their PUBACKs leave in this one (MQTT 5.0 §4.6).
struct PendingAcknowledgements: Sendable {
    private struct Entry {
        var packetIdentifier: UInt16
        /// Nil until the message is stored or refused.
        var reason: ReasonCode?
    }

    /// A ring whose size is a power of two; a ticket's place is its low bits.
    private var ring: [Entry] = []
    /// The ticket of the oldest message not acknowledged.
    private(set) var first: UInt64 = 0
    /// The ticket the next message will get.
    private(set) var next: UInt64 = 0

    var count: Int { Int(truncatingIfNeeded: next &- first) }

    private func place(_ ticket: UInt64) -> Int {
        Int(truncatingIfNeeded: ticket) & (ring.count &- 1)
    }

    mutating func append(packetIdentifier: UInt16) -> UInt64 {
        if count == ring.count { grow() }
        let ticket = next
        ring[place(ticket)] = Entry(packetIdentifier: packetIdentifier, reason: nil)
        next &+= 1
        return ticket
    }

    /// - Returns: whether the ticket was waiting.
    @discardableResult
    mutating func complete(_ ticket: UInt64, reason: ReasonCode) -> Bool {
        guard ticket >= first, ticket < next, ring[place(ticket)].reason == nil else { return false }
        ring[place(ticket)].reason = reason
        return true
    }

    /// How many of the oldest are complete, and may leave.
    var readyCount: Int {
        var ticket = first
        while ticket < next, ring[place(ticket)].reason != nil { ticket &+= 1 }
        return Int(truncatingIfNeeded: ticket &- first)
    }

    /// Writes PUBACK for all that may leave, in one piece.
    mutating func writeReady(into output: inout ByteBuffer, version: ProtocolVersion) -> Int {
        let ready = readyCount
        guard ready > 0 else { return 0 }
        output.writeWithUnsafeMutableBytes(minimumWritableBytes: ready &* 5) { memory in
            var cursor = OutputCursor(memory)
            for _ in 0..<ready {
                let entry = ring[place(first)]
                let hasReason = version.hasProperties && entry.reason != .success
                cursor.write(PacketType.puback.rawValue << 4)
                cursor.write(hasReason ? 3 : 2 as UInt8)
                cursor.write(entry.packetIdentifier)
                if hasReason, let reason = entry.reason { cursor.write(reason.rawValue) }
                first &+= 1
            }
            return cursor.position
        }
        return ready
    }

    private mutating func grow() {
        var larger: [Entry] = []
        let size = max(8, ring.count * 2)
        larger.reserveCapacity(size)
        larger.append(contentsOf: repeatElement(Entry(packetIdentifier: 0, reason: nil), count: size))
        for ticket in first..<next {
            larger[Int(truncatingIfNeeded: ticket) & (size - 1)] = ring[place(ticket)]
        }
        ring = larger
    }
}
