/// Tells the leases of one message apart.
///
/// The number is one more than that of the message's lease before. A crash can take the record of the newest leases with it,
/// and their numbers are given again; the epoch is another one then. So of two leases of a message, as far as the log knows
/// both, the later one has the larger generation, and no two have the same.
struct LeaseGeneration: Comparable {
    /// How often the log had been opened when the message was leased.
    var epoch: UInt32
    /// From 1 on.
    var number: UInt32

    init(epoch: UInt32, number: UInt32) {
        self.epoch = epoch
        self.number = number
    }

    init(rawValue: UInt64) {
        epoch = UInt32(truncatingIfNeeded: rawValue >> 32)
        number = UInt32(truncatingIfNeeded: rawValue)
    }

    /// As receipts carry it.
    var rawValue: UInt64 { UInt64(epoch) << 32 | UInt64(number) }

    static func < (left: LeaseGeneration, right: LeaseGeneration) -> Bool { left.rawValue < right.rawValue }
}
