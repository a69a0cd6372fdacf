/// The targets of one pattern, as an entry or a node of the table keeps them: none, one in place, or a list elsewhere.
struct TargetSet {
    /// Of the only target; `id` is the number of the list where there is one.
    fileprivate var owner: UInt64 = 0
    fileprivate var id: UInt32 = 0
    /// A predicate, or one of the two below, which no predicate is.
    fileprivate var tag = Self.none

    fileprivate static let none = UInt32.max
    fileprivate static let list = UInt32.max - 1

    @inline(__always)
    var isEmpty: Bool { tag == Self.none }

    init() {}

    fileprivate init(_ target: RoutingTarget) {
        owner = target.owner
        id = target.id
        tag = target.predicate
    }

    fileprivate init(list: Int) {
        id = UInt32(truncatingIfNeeded: list)
        tag = Self.list
    }

    @inline(__always)
    fileprivate var target: RoutingTarget { RoutingTarget(owner: owner, id: id, predicate: tag) }
}

/// The lists of those patterns that have more than one target, or members of a group.
struct TargetStore {
    /// Members of one group at one pattern: one of them at a time is a target.
    struct Group {
        var id: UInt64
        /// The place of the member whose turn it is.
        var turn = 0
        var members: SortedTargets
    }

    private struct List {
        var targets = SortedTargets()
        /// In the order of their ids.
        var groups: [Group] = []
    }

    /// A group that has a member for the message at hand.
    struct FoundGroup {
        var id: UInt64
        fileprivate var list: Int
        fileprivate var place: Int

        /// Members of one group side by side.
        static func precedes(_ left: FoundGroup, _ right: FoundGroup) -> Bool {
            (left.id, left.list) < (right.id, right.list)
        }
    }

    private var lists: [List] = []
    private var free: [UInt32] = []

    var byteCount: Int {
        lists.reduce(lists.capacity * MemoryLayout<List>.stride + free.capacity * 4) { sum, list in
            list.groups.reduce(
                sum + list.targets.byteCount + list.groups.capacity * MemoryLayout<Group>.stride
            ) { $0 + $1.members.byteCount }
        }
    }

    // MARK: Changing

    /// Adds a target, or gives the one that is there another predicate.
    /// - Returns: whether it was added.
    mutating func insert(_ target: RoutingTarget, group: UInt64?, into set: inout TargetSet) -> Bool {
        if let group {
            let list = makeList(of: &set)
            let place = Self.place(of: group, in: lists[list].groups)
            if place < lists[list].groups.count, lists[list].groups[place].id == group {
                return lists[list].groups[place].members.insert(target)
            }
            lists[list].groups.insert(Group(id: group, members: SortedTargets(target)), at: place)
            return true
        }
        if set.tag == TargetSet.list { return lists[Int(set.id)].targets.insert(target) }
        if set.isEmpty || set.target.isSame(as: target) {
            defer { set = TargetSet(target) }
            return set.isEmpty
        }
        return lists[makeList(of: &set)].targets.insert(target)
    }

    /// - Returns: whether it was there.
    mutating func remove(_ target: RoutingTarget, group: UInt64?, from set: inout TargetSet) -> Bool {
        guard set.tag == TargetSet.list else {
            guard group == nil, !set.isEmpty, set.target.isSame(as: target) else { return false }
            set = TargetSet()
            return true
        }
        let list = Int(set.id)
        if let group {
            let place = Self.place(of: group, in: lists[list].groups)
            guard place < lists[list].groups.count, lists[list].groups[place].id == group,
                lists[list].groups[place].members.remove(target)
            else { return false }
            if lists[list].groups[place].members.isEmpty { lists[list].groups.remove(at: place) }
        } else {
            guard lists[list].targets.remove(target) else { return false }
        }
        guard lists[list].groups.isEmpty else { return true }
        if let only = lists[list].targets.only {
            set = TargetSet(only)
        } else if lists[list].targets.isEmpty {
            set = TargetSet()
        } else {
            return true
        }
        lists[list] = List()
        free.append(UInt32(truncatingIfNeeded: list))
        return true
    }

    private mutating func makeList(of set: inout TargetSet) -> Int {
        if set.tag == TargetSet.list { return Int(set.id) }
        let targets = set.isEmpty ? SortedTargets() : SortedTargets(set.target)
        let number: Int
        if let last = free.popLast() {
            number = Int(last)
        } else {
            number = lists.count
            lists.append(List())
        }
        lists[number].targets = targets
        set = TargetSet(list: number)
        return number
    }

    private static func place(of group: UInt64, in groups: [Group]) -> Int {
        PartitionIndex.firstIndex(in: 0..<groups.count) { groups[$0].id >= group }
    }

    // MARK: Finding

    /// Appends the targets of a set in their order, and its groups.
    /// - Returns: whether there were targets apart from groups.
    @inline(__always)
    func collect(_ set: TargetSet, into found: inout [RoutingTarget], groups: inout [FoundGroup]) -> Bool {
        guard set.tag == TargetSet.list else {
            found.append(set.target)
            return true
        }
        return collect(list: Int(set.id), into: &found, groups: &groups)
    }

    @inline(never)
    private func collect(list: Int, into found: inout [RoutingTarget], groups: inout [FoundGroup]) -> Bool {
        for place in lists[list].groups.indices {
            groups.append(FoundGroup(id: lists[list].groups[place].id, list: list, place: place))
        }
        guard !lists[list].targets.isEmpty else { return false }
        lists[list].targets.append(to: &found)
        return true
    }

    /// Chooses a member of a group that was found at one pattern or more, and appends what it has at each of them, as a
    /// run for each.
    ///
    /// The turn goes round over all members at these patterns, past those that are not available; if none is, whose turn it
    /// is gets the message all the same: a member that lasts may keep it.
    mutating func choose(
        from groups: ArraySlice<FoundGroup>,
        isAvailable: (UInt64) -> Bool,
        into found: inout [RoutingTarget],
        runs: inout [Int]
    ) {
        guard let first = groups.first else { return }
        let total = groups.reduce(0) { $0 + lists[$1.list].groups[$1.place].members.count }
        guard total > 0 else { return }
        let start = lists[first.list].groups[first.place].turn % total
        var chosen = start
        for step in 0..<total {
            let place = (start + step) % total
            if let member = member(at: place, of: groups), isAvailable(member.owner) {
                chosen = place
                break
            }
        }
        guard let member = member(at: chosen, of: groups) else { return }
        lists[first.list].groups[first.place].turn = (chosen + 1) % total
        for group in groups {
            runs.append(found.count)
            lists[group.list].groups[group.place].members.append(of: member.owner, to: &found)
            if runs.last == found.count { runs.removeLast() }
        }
    }

    private func member(at place: Int, of found: ArraySlice<FoundGroup>) -> RoutingTarget? {
        var place = place
        for group in found {
            let members = lists[group.list].groups[group.place].members
            let count = members.count
            if place < count { return members.target(at: place) }
            place -= count
        }
        return nil
    }
}
