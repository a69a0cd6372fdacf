/// Hashes of names and levels that nobody outside the process can foresee: peers choose the names, and must not be able to
/// choose them so that they share a place.
///
/// Folded multiplication with random keys, as wyhash does it: a few nanoseconds for a name, where `Hasher` takes 40. Where
/// something stands by its hash is never seen from outside, so that the keys change no result.
enum RoutingHash {
    private static let keys: (UInt64, UInt64, UInt64) = {
        var random = SystemRandomNumberGenerator()
        return (random.next(), random.next() | 1, random.next() | 1)
    }()

    @inline(__always)
    static func of(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        let keys = Self.keys
        let count = bytes.count
        var state = keys.0
        guard count >= 8 else { return fold(state ^ short(bytes), keys.2 ^ UInt64(count)) }
        var position = 0
        while position &+ 8 < count {
            state = fold(state ^ bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self), keys.1)
            position &+= 8
        }
        // The last eight bytes, of which some may have been taken before.
        let last = bytes.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
        return fold(state ^ last, keys.2 ^ UInt64(count))
    }

    /// The hash of something below a parent.
    @inline(__always)
    static func of(_ hash: UInt64, below parent: Int) -> UInt32 {
        let mixed = (hash ^ UInt64(truncatingIfNeeded: parent) &* 0x9E37_79B9_7F4A_7C15) &* 0xD6E8_FEB8_6659_FD93
        return UInt32(truncatingIfNeeded: mixed >> 32)
    }

    /// Fewer than eight bytes as a number.
    @inline(__always)
    private static func short(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        let count = bytes.count
        if count >= 4 {
            let first = bytes.loadUnaligned(fromByteOffset: 0, as: UInt32.self)
            let last = bytes.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)
            return UInt64(first) << 32 | UInt64(last)
        }
        guard count > 0 else { return 0 }
        return UInt64(bytes[0]) << 16 | UInt64(bytes[count >> 1]) << 8 | UInt64(bytes[count &- 1])
    }

    @inline(__always)
    private static func fold(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let product = left.multipliedFullWidth(by: right)
        return product.high ^ product.low
    }
}
