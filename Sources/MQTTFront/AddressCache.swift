internal import Gateway
internal import MessageModel
internal import StorageService

/// Where the names belong that were published to last: publishers repeat themselves.
struct AddressCache {
    struct Address {
        var name: [UInt8] = []
        var generation: UInt64 = .max
        var tenant = TenantID.default
        var partition: PartitionID?
        var routingKey: Range<Int>?
        var isAbsolute = false
    }

    /// Each name has two places; a later one takes the first of its own over where both are taken.
    private var places = Array(repeating: Address(), count: Self.size)
    private static let size = 512

    subscript(place: Int) -> Address { places[place] }

    /// Finds where a name belongs.
    /// - Returns: the place of the answer, good until the next call; nil where no topic holds the name.
    mutating func find(_ name: UnsafeRawBufferPointer, _ session: GatewaySession) -> Int? {
        let first = Self.place(of: name)
        if holds(name, session, at: first) { return first }
        if holds(name, session, at: first ^ 1) { return first ^ 1 }
        let place =
            places[first].generation == session.topics.generation
                && places[first ^ 1].generation != session.topics.generation ? first ^ 1 : first
        guard let topic = session.topic(holding: name) else { return nil }
        let placement = topic.nameBytes.withUnsafeBytes { NamePlacement(name: name, topic: $0) }
        places[place] = Address(
            name: Array(name),
            generation: session.topics.generation,
            tenant: session.tenant,
            partition: topic.partition(for: name),
            routingKey: placement.routingKey,
            isAbsolute: placement.isAbsolute
        )
        return place
    }

    private func holds(_ name: UnsafeRawBufferPointer, _ session: GatewaySession, at place: Int) -> Bool {
        places[place].generation == session.topics.generation && places[place].tenant == session.tenant
            && places[place].name.withUnsafeBytes { bytesEqual($0, name) }
    }

    /// By the end of the name, where names differ most.
    private static func place(of name: UnsafeRawBufferPointer) -> Int {
        var hash = UInt64(truncatingIfNeeded: name.count)
        for byte in name.suffix(16) { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        return Int(truncatingIfNeeded: (hash ^ hash >> 29) & UInt64(size - 1))
    }
}
