/// SipHash-2-4 with a result of 128 bits (J.-P. Aumasson and D. J. Bernstein): the same in every process for the same
/// key, unlike Swift's `Hasher`, so that what it gives can be stored; and without the key nobody can make two texts with
/// the same hash.
package struct KeyedHash: Sendable, Equatable {
    private let key0: UInt64
    private let key1: UInt64

    /// - Parameters: two halves of a random secret that stays with what is stored.
    package init(key0: UInt64, key1: UInt64) {
        self.key0 = key0
        self.key1 = key1
    }

    /// The hash of `bytes`.
    /// - Parameter domain: hashed before the bytes where it is not nil: the same bytes have unrelated hashes in different
    ///   domains.
    package func hash(_ bytes: UnsafeRawBufferPointer, domain: UInt64? = nil) -> (low: UInt64, high: UInt64) {
        var state = State(
            v0: key0 ^ 0x736F_6D65_7073_6575,
            v1: key1 ^ 0x646F_7261_6E64_6F6D ^ 0xEE,
            v2: key0 ^ 0x6C79_6765_6E65_7261,
            v3: key1 ^ 0x7465_6462_7974_6573
        )
        var length = bytes.count
        if let domain {
            state.absorb(domain)
            length += 8
        }
        var position = 0
        while bytes.count - position >= 8 {
            state.absorb(bytes.load64(position))
            position += 8
        }
        var last = UInt64(truncatingIfNeeded: length) << 56
        var shift: UInt64 = 0
        while position < bytes.count {
            last |= UInt64(bytes[position]) << shift
            shift += 8
            position += 1
        }
        state.absorb(last)
        state.v2 ^= 0xEE
        let low = state.squeeze()
        state.v1 ^= 0xDD
        return (low, state.squeeze())
    }

    private struct State {
        var v0: UInt64
        var v1: UInt64
        var v2: UInt64
        var v3: UInt64

        @inline(__always)
        mutating func absorb(_ word: UInt64) {
            v3 ^= word
            round()
            round()
            v0 ^= word
        }

        @inline(__always)
        mutating func squeeze() -> UInt64 {
            for _ in 0..<4 { round() }
            return v0 ^ v1 ^ v2 ^ v3
        }

        @inline(__always)
        private mutating func round() {
            v0 &+= v1
            v1 = v1 << 13 | v1 >> 51
            v1 ^= v0
            v0 = v0 << 32 | v0 >> 32
            v2 &+= v3
            v3 = v3 << 16 | v3 >> 48
            v3 ^= v2
            v0 &+= v3
            v3 = v3 << 21 | v3 >> 43
            v3 ^= v0
            v2 &+= v1
            v1 = v1 << 17 | v1 >> 47
            v1 ^= v2
            v2 = v2 << 32 | v2 >> 32
        }
    }
}
