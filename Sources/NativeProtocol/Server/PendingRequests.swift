/// The requests of one connection that storage has not answered: from storage's token to what the client waits for.
package struct PendingRequests<Context> {
    package struct Entry {
        package var header: FrameHeader
        package var context: Context
    }

    private struct Slot {
        var generation: UInt32
        var entry: Entry?
    }

    private var slots: [Slot] = []
    private var free: [Int] = []
    private let limit: Int
    package private(set) var count = 0

    package init(limit: Int) { self.limit = limit }

    package var isEmpty: Bool { count == 0 }

    /// Notes a request.
    /// - Returns: the token to give to storage; nil where as many are outstanding as may be.
    package mutating func insert(_ header: FrameHeader, _ context: Context) -> UInt64? {
        guard count < limit else { return nil }
        count += 1
        let entry = Entry(header: header, context: context)
        if let index = free.popLast() {
            slots[index].generation &+= 1
            slots[index].entry = entry
            return Self.token(index, slots[index].generation)
        }
        slots.append(Slot(generation: 0, entry: entry))
        return Self.token(slots.count - 1, 0)
    }

    /// What was noted with a request that is not answered.
    package func context(_ token: UInt64) -> Context? {
        let index = Int(token & 0xFFFF_FFFF)
        guard index < slots.count, slots[index].generation == UInt32(token >> 32) else { return nil }
        return slots[index].entry?.context
    }

    /// The request is answered: its entry, or nil where it was taken before.
    package mutating func take(_ token: UInt64) -> Entry? {
        let index = Int(token & 0xFFFF_FFFF)
        guard index < slots.count, slots[index].generation == UInt32(token >> 32), let entry = slots[index].entry else {
            return nil
        }
        slots[index].entry = nil
        free.append(index)
        count -= 1
        return entry
    }

    /// The token of the request that a client calls by this correlation.
    package func token(correlation: UInt32) -> UInt64? {
        for (index, slot) in slots.enumerated() where slot.entry?.header.correlation == correlation {
            return Self.token(index, slot.generation)
        }
        return nil
    }

    package var tokens: [UInt64] {
        slots.indices.filter { slots[$0].entry != nil }.map { Self.token($0, slots[$0].generation) }
    }

    private static func token(_ index: Int, _ generation: UInt32) -> UInt64 {
        UInt64(generation) << 32 | UInt64(index)
    }
}
