/// Numbers found by a hash: one flat array with open addressing, eight bytes a place.
///
/// It does not know what is hashed: the caller compares. The hashes must come from a keyed function, so that nobody can
/// choose names that share one. When a large index grows or shrinks, what it holds moves a little with each change, so that
/// none of them takes long.
struct HashIndex {
    /// The hash in the upper half, the number plus one in the lower; zero is a free place. The length is a power of two.
    private var places: [UInt64] = []
    /// What is still to be moved to `places`, from `firstOld` on; empty otherwise.
    private var old: [UInt64] = []
    private var firstOld = 0
    private(set) var count = 0

    private static let smallest = 8
    /// A smaller index is moved at once.
    private static let movedAtOnce = 4_096
    /// Places moved with each change: all are before the next growth or shrinking is due.
    private static let movedAtATime = 16
    /// In `old`: what was here is in `places` or gone, and the search goes on. No number is that large.
    private static let gone: UInt64 = 0xFFFF_FFFF

    var byteCount: Int { (places.capacity + old.capacity) * MemoryLayout<UInt64>.stride }

    /// The number with this hash for which `isWanted` holds; numbers are smaller than 2³² - 2.
    @inline(__always)
    func find(_ hash: UInt32, where isWanted: (Int) -> Bool) -> Int? {
        guard count > 0 else { return nil }
        if let number = Self.find(hash, in: places, where: isWanted) { return number }
        return old.isEmpty ? nil : Self.find(hash, in: old, where: isWanted)
    }

    @inline(__always)
    private static func find(_ hash: UInt32, in places: [UInt64], where isWanted: (Int) -> Bool) -> Int? {
        let mask = places.count &- 1
        var place = Int(hash) & mask
        while true {
            let content = places[place]
            if content == 0 { return nil }
            if UInt32(truncatingIfNeeded: content >> 32) == hash, content != gone {
                let number = Self.number(content)
                if isWanted(number) { return number }
            }
            place = (place &+ 1) & mask
        }
    }

    /// Adds a number that is not there yet.
    mutating func insert(_ hash: UInt32, _ number: Int) {
        if (count + 1) * 4 > places.count * 3 { resize(to: max(Self.smallest, places.count * 2)) }
        put(Self.content(hash, number))
        count += 1
        if !old.isEmpty { moveSome(Self.movedAtATime) }
    }

    mutating func remove(_ hash: UInt32, _ number: Int) {
        let content = Self.content(hash, number)
        if let place = Self.place(of: content, in: places) {
            close(place)
        } else if let place = Self.place(of: content, in: old) {
            old[place] = Self.gone
        } else {
            return
        }
        count -= 1
        if !old.isEmpty { moveSome(Self.movedAtATime) }
        if places.count > Self.smallest, count * 8 < places.count { resize(to: max(Self.smallest, places.count / 4)) }
    }

    /// Gives every entry another number.
    mutating func renumber(_ newNumber: (Int) -> Int) {
        moveSome(old.count)
        for place in places.indices where places[place] != 0 {
            let hash = UInt32(truncatingIfNeeded: places[place] >> 32)
            places[place] = Self.content(hash, newNumber(Self.number(places[place])))
        }
    }

    /// Frees a place: what stands behind moves up, as long as that brings it nearer to where its hash points.
    private mutating func close(_ place: Int) {
        let mask = places.count - 1
        var hole = place
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
    }

    private mutating func resize(to size: Int) {
        moveSome(old.count)
        old = places
        firstOld = 0
        places = [UInt64](repeating: 0, count: size)
        if old.count <= Self.movedAtOnce { moveSome(old.count) }
    }

    private mutating func moveSome(_ number: Int) {
        let end = min(firstOld + number, old.count)
        while firstOld < end {
            let content = old[firstOld]
            if content != 0, content != Self.gone {
                put(content)
                old[firstOld] = Self.gone
            }
            firstOld += 1
        }
        if firstOld == old.count {
            old = []
            firstOld = 0
        }
    }

    @inline(__always)
    private mutating func put(_ content: UInt64) {
        let mask = places.count - 1
        var place = Int(content >> 32) & mask
        while places[place] != 0 { place = (place + 1) & mask }
        places[place] = content
    }

    private static func place(of content: UInt64, in places: [UInt64]) -> Int? {
        guard !places.isEmpty else { return nil }
        let mask = places.count - 1
        var place = Int(content >> 32) & mask
        while places[place] != content {
            if places[place] == 0 { return nil }
            place = (place + 1) & mask
        }
        return place
    }

    @inline(__always)
    private static func content(_ hash: UInt32, _ number: Int) -> UInt64 {
        UInt64(hash) << 32 | UInt64(truncatingIfNeeded: number &+ 1)
    }

    @inline(__always)
    private static func number(_ content: UInt64) -> Int { Int(content & 0xFFFF_FFFF) &- 1 }
}
