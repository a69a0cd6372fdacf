/// Numbers found by a hash: one flat array with open addressing, eight bytes a place.
///
/// It does not know what is hashed: the caller compares. The hashes must come from a keyed function, so that nobody can
/// choose names that share one.
struct HashIndex {
    /// The hash in the upper half, the number plus one in the lower; zero is a free place. The length is a power of two.
    private var places: [UInt64] = []
    private(set) var count = 0

    private static let smallest = 8

    var byteCount: Int { places.capacity * MemoryLayout<UInt64>.stride }

    /// The number with this hash for which `isWanted` holds.
    @inline(__always)
    func find(_ hash: UInt32, where isWanted: (Int) -> Bool) -> Int? {
        guard count > 0 else { return nil }
        let mask = places.count &- 1
        var place = Int(hash) & mask
        while true {
            let content = places[place]
            if content == 0 { return nil }
            if UInt32(truncatingIfNeeded: content >> 32) == hash {
                let number = Self.number(content)
                if isWanted(number) { return number }
            }
            place = (place &+ 1) & mask
        }
    }

    /// Adds a number that is not there yet.
    mutating func insert(_ hash: UInt32, _ number: Int) {
        if (count + 1) * 4 > places.count * 3 { resize(to: max(Self.smallest, places.count * 2)) }
        put(UInt64(hash) << 32 | UInt64(truncatingIfNeeded: number + 1))
        count += 1
    }

    mutating func remove(_ hash: UInt32, _ number: Int) {
        guard let removed = place(of: hash, number) else { return }
        // What stands behind moves up, as long as that brings it nearer to where its hash points.
        let mask = places.count - 1
        var hole = removed
        var next = (hole + 1) & mask
        while places[next] != 0 {
            let home = Int(places[next] >> 32) & mask
            if (next &- home) & mask >= (next &- hole) & mask {
                places[hole] = places[next]
                hole = next
            }
            next = (next + 1) & mask
        }
        places[hole] = 0
        count -= 1
        if places.count > Self.smallest, count * 8 < places.count { resize(to: max(Self.smallest, places.count / 4)) }
    }

    /// Gives every entry another number.
    mutating func renumber(_ newNumber: (Int) -> Int) {
        for place in places.indices where places[place] != 0 {
            let number = newNumber(Self.number(places[place]))
            places[place] = places[place] & 0xFFFF_FFFF_0000_0000 | UInt64(truncatingIfNeeded: number + 1)
        }
    }

    private func place(of hash: UInt32, _ number: Int) -> Int? {
        guard count > 0 else { return nil }
        let content = UInt64(hash) << 32 | UInt64(truncatingIfNeeded: number + 1)
        let mask = places.count - 1
        var place = Int(hash) & mask
        while places[place] != content {
            if places[place] == 0 { return nil }
            place = (place + 1) & mask
        }
        return place
    }

    private mutating func resize(to size: Int) {
        let old = places
        places = [UInt64](repeating: 0, count: size)
        for content in old where content != 0 { put(content) }
    }

    @inline(__always)
    private mutating func put(_ content: UInt64) {
        let mask = places.count - 1
        var place = Int(content >> 32) & mask
        while places[place] != 0 { place = (place + 1) & mask }
        places[place] = content
    }

    @inline(__always)
    private static func number(_ content: UInt64) -> Int { Int(content & 0xFFFF_FFFF) &- 1 }
}
