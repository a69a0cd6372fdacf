/// What at least one record of a batch has: tells whoever stores it which of the rarer features it has to look after,
/// without looking at the records again.
package struct BatchTraits: OptionSet, Sendable {
    package var rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }
    package static let hasDeliverAt = BatchTraits(rawValue: 1 << 0)
    package static let hasPriority = BatchTraits(rawValue: 1 << 1)
    package static let hasOrderingKeys = BatchTraits(rawValue: 1 << 2)
    package static let hasExpiry = BatchTraits(rawValue: 1 << 3)
    package static let hasKeys = BatchTraits(rawValue: 1 << 4)
    package static let hasMessageIDs = BatchTraits(rawValue: 1 << 5)
    /// A record's retain flag is set.
    package static let hasRetained = BatchTraits(rawValue: 1 << 6)
    package static let hasTags = BatchTraits(rawValue: 1 << 7)
    package static let hasTombstones = BatchTraits(rawValue: 1 << 8)

    /// The traits that a record's flags say: these have the same bits in both, so that this costs one instruction.
    @inline(__always)
    init(_ flags: RecordFlags) {
        rawValue = UInt16(flags.rawValue & (RecordFlags.orderingKey.rawValue | RecordFlags.retain.rawValue))
    }
}

extension BatchView {
    /// The traits of a batch that was verified, by a walk over its records.
    package func traits() -> BatchTraits {
        var cursor = records
        while cursor.next() != nil {}
        return cursor.traits
    }
}
