internal import MessageModel

/// Who wants messages of which names: the filters of live sessions, or the bindings of inboxes, of one tenant.
///
/// Patterns without a wildcard are found by one hash of the name (`ExactNames`). The others stand in a tree of levels whose
/// edges are in one hash index for all nodes. Everything is in a few flat arrays: a name with one target costs its text, 18
/// bytes and its place in the index. What nobody uses any more is used again, and given back when most of it is unused.
package struct RoutingTable {
    struct Node {
        /// The level that leads here; empty for wildcards.
        var level = TextReference.empty
        var parent: UInt32 = 0
        /// What follows by a wildcard; zero where there is none, as the root follows nothing.
        var one: UInt32 = 0
        var any: UInt32 = 0
        /// The number of nodes that follow by a literal level.
        var children: UInt32 = 0
        /// That node where there is one, so that nothing need be looked up; zero where there are more, or where it is not
        /// known which one was left.
        var onlyChild: UInt32 = 0
        /// The last match that came by, see `RoutingTable.match`.
        var seen: UInt32 = 0
        /// Of patterns that end here, and of those that have only `any` behind.
        var here = TargetSet()
        var below = TargetSet()

        var isEmpty: Bool { children == 0 && one == 0 && any == 0 && here.isEmpty && below.isEmpty }
    }

    var exact = ExactNames<TargetSet>()
    var nodes = [Node()]
    private var freeNodes: [UInt32] = []
    var edges = HashIndex()
    var texts = TextArena()
    var targets = TargetStore()
    /// Targets and members of groups.
    package private(set) var count = 0
    /// Those of them that have a pattern with a wildcard.
    private(set) var wildcards = 0

    // Only of use during a match, kept for their memory.
    var scratch = MatchScratch()

    package init() {}

    package var isEmpty: Bool { count == 0 }

    /// The memory this takes, without what the system's allocator adds.
    package var byteCount: Int {
        exact.byteCount + nodes.capacity * MemoryLayout<Node>.stride + freeNodes.capacity * 4 + edges.byteCount
            + texts.byteCount + targets.byteCount + scratch.byteCount
    }

    // MARK: Changing

    /// Adds a target, or gives the one that has this pattern another predicate.
    /// - Parameter group: of the members of a group just one gets each message, in turn.
    /// - Returns: whether it was added.
    @discardableResult
    package mutating func insert(_ pattern: NamePattern, group: UInt64? = nil, _ target: RoutingTarget) -> Bool {
        let isAdded: Bool
        if pattern.isExact {
            let entry = pattern.bytes.withUnsafeBytes { exact.find($0) ?? exact.make($0, TargetSet()) }
            isAdded = targets.insert(target, group: group, into: &exact[entry])
        } else {
            let (node, isBelow) = makeNode(for: pattern)
            isAdded =
                isBelow
                ? targets.insert(target, group: group, into: &nodes[node].below)
                : targets.insert(target, group: group, into: &nodes[node].here)
            if isAdded { wildcards += 1 }
        }
        if isAdded { count += 1 }
        return isAdded
    }

    /// Removes a target, whatever its predicate.
    /// - Returns: whether it was there, with this pattern and in this group.
    @discardableResult
    package mutating func remove(_ pattern: NamePattern, group: UInt64? = nil, _ target: RoutingTarget) -> Bool {
        if pattern.isExact {
            guard let entry = pattern.bytes.withUnsafeBytes({ exact.find($0) }),
                targets.remove(target, group: group, from: &exact[entry])
            else { return false }
            if exact[entry].isEmpty { exact.remove(entry) }
        } else {
            guard let (node, isBelow) = findNode(for: pattern),
                isBelow
                    ? targets.remove(target, group: group, from: &nodes[node].below)
                    : targets.remove(target, group: group, from: &nodes[node].here)
            else { return false }
            wildcards -= 1
            prune(node)
        }
        count -= 1
        if count == 0 {
            self = RoutingTable()
        } else {
            giveBack()
        }
        return true
    }

    // MARK: The tree

    func child(of node: Int, _ level: UnsafeRawBufferPointer, _ levelHash: UInt64) -> Int? {
        let only = Int(nodes[node].onlyChild)
        if only != 0 { return texts.isEqual(nodes[only].level, level) ? only : nil }
        return edges.find(RoutingHash.of(levelHash, below: node)) {
            Int(nodes[$0].parent) == node && texts.isEqual(nodes[$0].level, level)
        }
    }

    /// The node at which a pattern ends, or where it ends with `any`, the node before that.
    private mutating func makeNode(for pattern: NamePattern) -> (node: Int, isBelow: Bool) {
        var node = 0
        var isBelow = false
        pattern.forEachLevel { level in
            if isBelow {
                // That `any` was not the last level.
                if nodes[node].any == 0 { nodes[node].any = UInt32(truncatingIfNeeded: newNode(.empty, node)) }
                node = Int(nodes[node].any)
                isBelow = false
            }
            switch level {
            case .any:
                isBelow = true
            case .one:
                if nodes[node].one == 0 { nodes[node].one = UInt32(truncatingIfNeeded: newNode(.empty, node)) }
                node = Int(nodes[node].one)
            case .literal(let text):
                let hash = RoutingHash.of(text)
                if let child = child(of: node, text, hash) {
                    node = child
                } else {
                    let child = newNode(texts.add(text), node)
                    edges.insert(RoutingHash.of(hash, below: node), child)
                    nodes[node].onlyChild = nodes[node].children == 0 ? UInt32(truncatingIfNeeded: child) : 0
                    nodes[node].children += 1
                    node = child
                }
            }
            return true
        }
        return (node, isBelow)
    }

    private func findNode(for pattern: NamePattern) -> (node: Int, isBelow: Bool)? {
        var node = 0
        var isBelow = false
        let isFound = pattern.forEachLevel { level in
            if isBelow {
                guard nodes[node].any != 0 else { return false }
                node = Int(nodes[node].any)
                isBelow = false
            }
            switch level {
            case .any:
                isBelow = true
            case .one:
                guard nodes[node].one != 0 else { return false }
                node = Int(nodes[node].one)
            case .literal(let text):
                guard let child = child(of: node, text, RoutingHash.of(text)) else { return false }
                node = child
            }
            return true
        }
        return isFound ? (node, isBelow) : nil
    }

    private mutating func newNode(_ level: TextReference, _ parent: Int) -> Int {
        let node = Node(level: level, parent: UInt32(truncatingIfNeeded: parent))
        if let index = freeNodes.popLast() {
            nodes[Int(index)] = node
            return Int(index)
        }
        nodes.append(node)
        return nodes.count - 1
    }

    /// Frees a node that holds nothing any more, and then its parents.
    private mutating func prune(_ start: Int) {
        var node = start
        while node != 0, nodes[node].isEmpty {
            let parent = Int(nodes[node].parent)
            let number = UInt32(truncatingIfNeeded: node)
            if nodes[parent].one == number {
                nodes[parent].one = 0
            } else if nodes[parent].any == number {
                nodes[parent].any = 0
            } else {
                edges.remove(edgeHash(of: node), node)
                nodes[parent].children -= 1
                nodes[parent].onlyChild = 0
                texts.remove(nodes[node].level)
            }
            nodes[node] = Node()
            freeNodes.append(number)
            node = parent
        }
    }

    private func edgeHash(of node: Int) -> UInt32 {
        RoutingHash.of(texts.with(nodes[node].level) { RoutingHash.of($0) }, below: Int(nodes[node].parent))
    }

    // MARK: Memory

    /// Gives memory back of which three quarters are unused: rarely enough to cost each removal next to nothing.
    private mutating func giveBack() {
        if nodes.count > 1_024, nodes.count - freeNodes.count < nodes.count / 4 { renumberNodes() }
        if exact.isSparse { exact.compact() }
        if texts.isSparse { moveTexts() }
    }

    private mutating func renumberNodes() {
        var isFree = [Bool](repeating: false, count: nodes.count)
        for node in freeNodes { isFree[Int(node)] = true }
        var numbers = [UInt32](repeating: 0, count: nodes.count)
        var kept: [Node] = []
        kept.reserveCapacity((nodes.count - freeNodes.count) * 2)
        for node in nodes.indices where !isFree[node] {
            numbers[node] = UInt32(truncatingIfNeeded: kept.count)
            kept.append(nodes[node])
        }
        var isWildcard = [Bool](repeating: false, count: kept.count)
        for node in kept.indices {
            kept[node].parent = numbers[Int(kept[node].parent)]
            kept[node].one = numbers[Int(kept[node].one)]
            kept[node].any = numbers[Int(kept[node].any)]
            kept[node].onlyChild = numbers[Int(kept[node].onlyChild)]
            isWildcard[Int(kept[node].one)] = true
            isWildcard[Int(kept[node].any)] = true
        }
        nodes = kept
        freeNodes = []
        edges = HashIndex()
        for node in nodes.indices.dropFirst() where !isWildcard[node] {
            edges.insert(edgeHash(of: node), node)
            let parent = Int(nodes[node].parent)
            if nodes[parent].children == 1 { nodes[parent].onlyChild = UInt32(truncatingIfNeeded: node) }
        }
    }

    private mutating func moveTexts() {
        var moved = TextArena()
        for node in nodes.indices where nodes[node].level != .empty {
            nodes[node].level = texts.with(nodes[node].level) { moved.add($0) }
        }
        texts = moved
    }
}
