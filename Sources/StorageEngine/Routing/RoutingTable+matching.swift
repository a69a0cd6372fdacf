/// What a match needs for a moment.
struct MatchScratch {
    /// The nodes that the levels so far lead to, those that the next one leads to, and those behind `any`, which stay.
    var active: [UInt32] = []
    var next: [UInt32] = []
    var lasting: [UInt32] = []
    /// Where in what was found each sorted run begins.
    var runs: [Int] = []
    var otherRuns: [Int] = []
    var merged: [RoutingTarget] = []
    var groups: [TargetStore.FoundGroup] = []
    /// The number of the match, see `RoutingTable.Node.seen`.
    var serial: UInt32 = 0

    var byteCount: Int {
        (active.capacity + next.capacity + lasting.capacity) * 4 + (runs.capacity + otherRuns.capacity) * 8
            + merged.capacity * MemoryLayout<RoutingTarget>.stride
            + groups.capacity * MemoryLayout<TargetStore.FoundGroup>.stride
    }
}

extension RoutingTable {
    /// Finds everybody who wants a message of this name, in the order of owners and of their ids; what `found` held is
    /// gone. A target with a predicate is a candidate: the caller looks whether the predicate holds.
    ///
    /// The work is at most the product of the name's levels and the nodes of the tree, whatever the patterns look like.
    package mutating func match(_ name: UnsafeRawBufferPointer, into found: inout [RoutingTarget]) {
        match(name, into: &found) { _ in true }
    }

    /// Whether anybody wants a message of this name, as far as names say; no group's turn goes on.
    package mutating func hasMatch(_ name: UnsafeRawBufferPointer) -> Bool {
        var found: [RoutingTarget] = []
        scratch.runs.removeAll(keepingCapacity: true)
        scratch.groups.removeAll(keepingCapacity: true)
        if !exact.isEmpty, let entry = exact.find(name) { take(exact[entry], &found) }
        if found.isEmpty, scratch.groups.isEmpty, wildcards > 0 { walk(name, &found) }
        return !found.isEmpty || !scratch.groups.isEmpty
    }

    /// Whether the last match chose a member of a group.
    package var hasMatchedGroup: Bool { !scratch.groups.isEmpty }

    /// As above; of a group it takes a member that is available, where there is one.
    /// - Parameter isAvailable: whether this owner can have the message now. Asked for members of groups only.
    package mutating func match(
        _ name: UnsafeRawBufferPointer,
        into found: inout [RoutingTarget],
        isAvailable: (UInt64) -> Bool
    ) {
        found.removeAll(keepingCapacity: true)
        scratch.runs.removeAll(keepingCapacity: true)
        scratch.groups.removeAll(keepingCapacity: true)
        if !exact.isEmpty, let entry = exact.find(name) { take(exact[entry], &found) }
        if wildcards > 0 { walk(name, &found) }
        if !scratch.groups.isEmpty { chooseMembers(isAvailable, &found) }
        if scratch.runs.count > 1 { sortRuns(&found) }
    }

    @inline(__always)
    private mutating func take(_ set: TargetSet, _ found: inout [RoutingTarget]) {
        guard !set.isEmpty else { return }
        let start = found.count
        if targets.collect(set, into: &found, groups: &scratch.groups) { scratch.runs.append(start) }
    }

    /// Goes down the tree with all nodes that the levels so far lead to at a time.
    ///
    /// A node has one parent, so that a level leads to it once. Only a node behind `any` is reached again with each further
    /// level; `enter` sees to it that it is there once.
    private mutating func walk(_ name: UnsafeRawBufferPointer, _ found: inout [RoutingTarget]) {
        beginWalk()
        // Names that begin with `$` are hidden from wildcards in the first level (MQTT 5.0 §4.7.2).
        var isHidden = name.first == UInt8(ascii: "$")
        if !isHidden { enter(0, &found) }
        scratch.active.append(0)
        var start = 0
        while true {
            var end = start
            while end < name.count, name[end] != NamePattern.separator { end += 1 }
            step(UnsafeRawBufferPointer(rebasing: name[start..<end]), isHidden: isHidden, &found)
            isHidden = false
            if end == name.count { break }
            if scratch.active.isEmpty, scratch.lasting.isEmpty { return }
            start = end + 1
        }
        for place in scratch.active.indices { take(nodes[Int(scratch.active[place])].here, &found) }
    }

    private mutating func beginWalk() {
        scratch.active.removeAll(keepingCapacity: true)
        scratch.lasting.removeAll(keepingCapacity: true)
        scratch.serial &+= 1
        if scratch.serial == 0 {
            for node in nodes.indices { nodes[node].seen = 0 }
            scratch.serial = 1
        }
    }

    /// Takes one level of the name: from each active node to those that follow.
    @inline(__always)
    private mutating func step(
        _ level: UnsafeRawBufferPointer,
        isHidden: Bool,
        _ found: inout [RoutingTarget]
    ) {
        scratch.next.removeAll(keepingCapacity: true)
        var hash: UInt64?
        let active = scratch.active.count
        let all = active + scratch.lasting.count
        for place in 0..<all {
            let node = Int(place < active ? scratch.active[place] : scratch.lasting[place - active])
            if nodes[node].children > 0 {
                let levelHash = hash ?? RoutingHash.of(level)
                hash = levelHash
                if let child = child(of: node, level, levelHash) { arrive(child, &found) }
            }
            let one = Int(nodes[node].one)
            if one != 0, !isHidden { arrive(one, &found) }
        }
        swap(&scratch.active, &scratch.next)
    }

    @inline(__always)
    private mutating func arrive(_ node: Int, _ found: inout [RoutingTarget]) {
        scratch.next.append(UInt32(truncatingIfNeeded: node))
        enter(node, &found)
    }

    /// What any number of further levels leads to, none included: once for each match.
    @inline(__always)
    private mutating func enter(_ node: Int, _ found: inout [RoutingTarget]) {
        let any = nodes[node].any
        guard any != 0 || !nodes[node].below.isEmpty, nodes[node].seen != scratch.serial else { return }
        nodes[node].seen = scratch.serial
        take(nodes[node].below, &found)
        if any != 0 { scratch.lasting.append(any) }
    }

    private mutating func chooseMembers(_ isAvailable: (UInt64) -> Bool, _ found: inout [RoutingTarget]) {
        let groups =
            scratch.groups.count > 1 ? scratch.groups.sorted(by: TargetStore.FoundGroup.precedes) : scratch.groups
        var first = 0
        while first < groups.count {
            var end = first + 1
            while end < groups.count, groups[end].id == groups[first].id { end += 1 }
            targets.choose(from: groups[first..<end], isAvailable: isAvailable, into: &found, runs: &scratch.runs)
            first = end
        }
    }

    // MARK: Order

    private static let mergedKept = 65_536

    /// Merges the runs; a target that several patterns of one owner brought stands there once.
    private mutating func sortRuns(_ found: inout [RoutingTarget]) {
        if found.count <= 16 {
            for end in 1..<found.count {
                let target = found[end]
                var place = end
                while place > 0, target < found[place - 1] {
                    found[place] = found[place - 1]
                    place -= 1
                }
                found[place] = target
            }
        } else {
            while scratch.runs.count > 1 { mergePairs(&found) }
            // A match with everybody is rare: its memory is not kept.
            if scratch.merged.capacity > Self.mergedKept { scratch.merged = [] }
        }
        var kept = 1
        for place in 1..<found.count where found[place] != found[kept - 1] {
            found[kept] = found[place]
            kept += 1
        }
        found.removeLast(found.count - kept)
    }

    /// Merges each run with its neighbour.
    private mutating func mergePairs(_ found: inout [RoutingTarget]) {
        scratch.merged.removeAll(keepingCapacity: true)
        scratch.otherRuns.removeAll(keepingCapacity: true)
        let runs = scratch.runs.count
        var run = 0
        while run < runs {
            scratch.otherRuns.append(scratch.merged.count)
            var left = scratch.runs[run]
            let middle = run + 1 < runs ? scratch.runs[run + 1] : found.count
            let end = run + 2 < runs ? scratch.runs[run + 2] : found.count
            var right = middle
            while left < middle, right < end {
                if found[right] < found[left] {
                    scratch.merged.append(found[right])
                    right += 1
                } else {
                    scratch.merged.append(found[left])
                    left += 1
                }
            }
            scratch.merged.append(contentsOf: found[left..<middle])
            scratch.merged.append(contentsOf: found[right..<end])
            run += 2
        }
        swap(&scratch.runs, &scratch.otherRuns)
        swap(&scratch.merged, &found)
    }
}
