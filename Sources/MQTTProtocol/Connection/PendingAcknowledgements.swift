import NIOCore

/// The acknowledgements a client waits for, in the order its messages came: messages may be stored in any order,
/// their PUBACKs and PUBRECs leave in this one (MQTT 5.0 §4.6).
struct PendingAcknowledgements: Sendable {
    private struct Entry {
        var packetIdentifier: UInt16
        var isExactlyOnce: Bool
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

    mutating func append(packetIdentifier: UInt16, isExactlyOnce: Bool) -> UInt64 {
        if count == ring.count { grow() }
        let ticket = next
        ring[place(ticket)] = Entry(packetIdentifier: packetIdentifier, isExactlyOnce: isExactlyOnce, reason: nil)
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

    /// Writes them one by one, those that refuse something with a reason in words.
    private mutating func writeExplained(
        _ ready: Int,
        into output: inout ByteBuffer,
        maximumPacketSize: Int,
        exchanges: inout InboundExchanges
    ) {
        for _ in 0..<ready {
            let entry = ring[place(first)]
            let reason = entry.reason ?? .success
            if entry.isExactlyOnce {
                if reason.isFailure {
                    exchanges.refused(entry.packetIdentifier)
                } else {
                    exchanges.received(entry.packetIdentifier)
                }
            }
            AcknowledgementPacket(
                type: entry.isExactlyOnce ? .pubrec : .puback,
                packetIdentifier: entry.packetIdentifier,
                reason: reason
            ).encode(
                into: &output,
                version: .v5,
                diagnostics: Diagnostics(reasonString: reason.isFailure ? reason.text : nil),
                maximumPacketSize: maximumPacketSize
            )
            first &+= 1
        }
    }

    /// Writes PUBACK or PUBREC for all that may leave, in one piece.
    ///
    /// - Parameters:
    ///   - maximumPacketSize: of a client that wants to be told in words why something is refused; zero for others.
    ///   - exchanges: the QoS 2 messages of the client; those that are received wait for PUBREL from here on,
    ///   those that are refused have ended.
    mutating func writeReady(
        into output: inout ByteBuffer,
        version: ProtocolVersion,
        explainingWithin maximumPacketSize: Int = 0,
        exchanges: inout InboundExchanges
    ) -> Int {
        let ready = readyCount
        guard ready > 0 else { return 0 }
        if maximumPacketSize > 0,
            (first..<first &+ UInt64(ready)).contains(where: { ring[place($0)].reason?.isFailure == true })
        {
            writeExplained(ready, into: &output, maximumPacketSize: maximumPacketSize, exchanges: &exchanges)
            return ready
        }
        output.writeWithUnsafeMutableBytes(minimumWritableBytes: ready &* 5) { memory in
            var cursor = OutputCursor(memory)
            for _ in 0..<ready {
                let entry = ring[place(first)]
                let hasReason = version.hasProperties && entry.reason != .success
                if entry.isExactlyOnce {
                    cursor.write(PacketType.pubrec.rawValue << 4)
                    if entry.reason?.isFailure == true {
                        exchanges.refused(entry.packetIdentifier)
                    } else {
                        exchanges.received(entry.packetIdentifier)
                    }
                } else {
                    cursor.write(PacketType.puback.rawValue << 4)
                }
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
        larger.append(
            contentsOf: repeatElement(Entry(packetIdentifier: 0, isExactlyOnce: false, reason: nil), count: size)
        )
        for ticket in first..<next {
            larger[Int(truncatingIfNeeded: ticket) & (size - 1)] = ring[place(ticket)]
        }
        ring = larger
    }
}
