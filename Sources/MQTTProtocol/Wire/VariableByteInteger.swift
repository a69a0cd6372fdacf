/// Sizes of the variable byte integer (MQTT 5.0 §1.5.5): seven bits a byte, least significant first.
package enum VariableByteInteger {
    /// The greatest value four bytes can carry.
    package static let maximum: UInt32 = 268_435_455

    /// Bytes of the shortest encoding of `value`.
    @inline(__always)
    package static func size(_ value: UInt32) -> Int {
        if value < 128 { return 1 }
        if value < 16_384 { return 2 }
        if value < 2_097_152 { return 3 }
        return 4
    }
}
