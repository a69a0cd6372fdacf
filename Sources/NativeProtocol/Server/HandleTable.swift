/// The producers or subscriptions that a connection has open: a handle is a place in an array, and how often the place
/// was used, so that a late frame for a closed one does not meet its successor. Handle 0 is never given. What every
/// delivery and settlement asks for is inlinable, so that it is specialised in other modules too.
package struct HandleTable<Value> {
    @usableFromInline
    struct Slot {
        @usableFromInline var generation: UInt16
        @usableFromInline var value: Value?

        @usableFromInline
        init(generation: UInt16, value: Value?) {
            self.generation = generation
            self.value = value
        }
    }

    @usableFromInline var slots: [Slot] = []
    private var free: [UInt16] = []
    private let limit: Int
    package private(set) var count = 0

    /// - Parameter limit: at most 65,535.
    package init(limit: Int) { self.limit = min(limit, Int(UInt16.max)) }

    package var isFull: Bool { count >= limit }

    /// A handle for `value`; nil where there are as many as may be.
    package mutating func insert(_ value: Value) -> UInt32? {
        guard !isFull else { return nil }
        count += 1
        if let place = free.popLast() {
            let index = Int(place)
            slots[index].generation &+= 1
            slots[index].value = value
            return Self.handle(place, slots[index].generation)
        }
        slots.append(Slot(generation: 0, value: value))
        return Self.handle(UInt16(slots.count - 1), 0)
    }

    /// The place of a handle that is open; nil for every other.
    @inlinable
    package func place(_ handle: UInt32) -> Int? {
        let index = HandlePlace.of(handle)
        guard index >= 0, index < slots.count, slots[index].generation == UInt16(handle >> 16),
            slots[index].value != nil
        else { return nil }
        return index
    }

    /// The handle of a place that is in use.
    package func handle(place index: Int) -> UInt32? {
        guard index >= 0, index < slots.count, slots[index].value != nil else { return nil }
        return Self.handle(UInt16(index), slots[index].generation)
    }

    /// The value at a place; nil where there is none.
    package subscript(place index: Int) -> Value? {
        @inlinable
        get { index >= 0 && index < slots.count ? slots[index].value : nil }
        @inlinable
        _modify {
            var none: Value?
            if index >= 0, index < slots.count { yield &slots[index].value } else { yield &none }
        }
    }

    package mutating func remove(place index: Int) {
        guard index >= 0, index < slots.count, slots[index].value != nil else { return }
        slots[index].value = nil
        free.append(UInt16(index))
        count -= 1
    }

    /// The places in use.
    package var places: [Int] { slots.indices.filter { slots[$0].value != nil } }

    private static func handle(_ place: UInt16, _ generation: UInt16) -> UInt32 {
        UInt32(generation) << 16 | (UInt32(place) + 1)
    }
}

/// Where a handle stands in its table.
package enum HandlePlace {
    /// -1 for the handle 0.
    @inlinable
    package static func of(_ handle: UInt32) -> Int { Int(handle & 0xFFFF) - 1 }
}
