/// Who wants a message: one filter of a session, or one binding of an inbox.
package struct RoutingTarget: Equatable, Comparable, Sendable {
    package var owner: UInt64
    /// The filter or binding, unique among those of its owner.
    package var id: UInt32
    /// What else must hold of the message: the caller's number of a `RoutingPredicate`, at most `largestPredicate`; zero
    /// where the name is all.
    package var predicate: UInt32

    package static let largestPredicate: UInt32 = 0x7FFF_FFFF

    package init(owner: UInt64, id: UInt32, predicate: UInt32 = 0) {
        precondition(predicate <= Self.largestPredicate, "predicates are numbered by the owner of the table")
        self.owner = owner
        self.id = id
        self.predicate = predicate
    }

    @inline(__always)
    package static func < (left: RoutingTarget, right: RoutingTarget) -> Bool {
        if left.owner != right.owner { return left.owner < right.owner }
        if left.id != right.id { return left.id < right.id }
        return left.predicate < right.predicate
    }

    /// Whether both are the same filter or binding.
    @inline(__always)
    func isSame(as other: RoutingTarget) -> Bool { owner == other.owner && id == other.id }

    /// The order of targets without their predicate.
    @inline(__always)
    func precedes(_ other: RoutingTarget) -> Bool {
        owner != other.owner ? owner < other.owner : id < other.id
    }
}
