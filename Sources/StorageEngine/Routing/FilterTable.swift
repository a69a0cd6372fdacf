internal import MessageModel

/// Who wants a message: one live filter of a session.
struct FilterSubscriber: Equatable, Comparable {
    var session: UInt64
    var filter: UInt32

    static func < (left: FilterSubscriber, right: FilterSubscriber) -> Bool {
        (left.session, left.filter) < (right.session, right.filter)
    }
}

/// The live filters of a tenant, made for finding all that match a name.
///
/// Filters without a wildcard are found by one hash of the name; the others stand in a trie of levels. Removing the last
/// filter of a branch frees it.
struct FilterTable {
    private struct Node {
        /// The level that leads here, and the parent; the root has none.
        var level: [UInt8]
        var parent: Int
        var key: UInt64
        /// Children by the hash of their level; those that share a hash are told apart by `sibling`.
        var children: [UInt64: Int] = [:]
        var sibling = -1
        var single = -1
        /// Filters that end here, and those that end here with `#`.
        var subscribers: [FilterSubscriber] = []
        var multi: [FilterSubscriber] = []

        var isEmpty: Bool { children.isEmpty && single < 0 && subscribers.isEmpty && multi.isEmpty }
    }

    private struct Exact {
        var name: [UInt8]
        var subscribers: [FilterSubscriber]
    }

    private var exact: [UInt64: [Exact]] = [:]
    private var nodes = [Node(level: [], parent: -1, key: 0)]
    private var free: [Int] = []
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    // MARK: Changing

    mutating func insert(_ filter: UnsafeRawBufferPointer, _ subscriber: FilterSubscriber) {
        count += 1
        guard NameFilter.hasWildcard(filter) else {
            let key = Self.hash(filter)
            var bucket = exact[key] ?? []
            if let index = bucket.firstIndex(where: { $0.name.withUnsafeBytes { bytesEqual($0, filter) } }) {
                Self.insertSorted(subscriber, into: &bucket[index].subscribers)
            } else {
                bucket.append(Exact(name: Array(filter), subscribers: [subscriber]))
            }
            exact[key] = bucket
            return
        }
        let (node, isMulti) = makeNode(for: filter)
        if isMulti {
            Self.insertSorted(subscriber, into: &nodes[node].multi)
        } else {
            Self.insertSorted(subscriber, into: &nodes[node].subscribers)
        }
    }

    mutating func remove(_ filter: UnsafeRawBufferPointer, _ subscriber: FilterSubscriber) {
        guard NameFilter.hasWildcard(filter) else {
            let key = Self.hash(filter)
            guard var bucket = exact[key],
                let index = bucket.firstIndex(where: { $0.name.withUnsafeBytes { bytesEqual($0, filter) } }),
                Self.removeSorted(subscriber, from: &bucket[index].subscribers)
            else { return }
            if bucket[index].subscribers.isEmpty { bucket.remove(at: index) }
            exact[key] = bucket.isEmpty ? nil : bucket
            count -= 1
            return
        }
        guard let (node, isMulti) = findNode(for: filter) else { return }
        let found =
            isMulti
            ? Self.removeSorted(subscriber, from: &nodes[node].multi)
            : Self.removeSorted(subscriber, from: &nodes[node].subscribers)
        guard found else { return }
        count -= 1
        prune(node)
    }

    private mutating func makeNode(for filter: UnsafeRawBufferPointer) -> (node: Int, isMulti: Bool) {
        var node = 0
        var levels = Levels(filter)
        while let level = levels.next() {
            if level.count == 1, level[0] == NameRules.multiLevel { return (node, true) }
            if level.count == 1, level[0] == NameRules.singleLevel {
                if nodes[node].single < 0 { nodes[node].single = newNode(level, parent: node, key: 0) }
                node = nodes[node].single
            } else if let child = child(of: node, level) {
                node = child
            } else {
                let key = Self.hash(level)
                let child = newNode(level, parent: node, key: key)
                nodes[child].sibling = nodes[node].children[key] ?? -1
                nodes[node].children[key] = child
                node = child
            }
        }
        return (node, false)
    }

    private func findNode(for filter: UnsafeRawBufferPointer) -> (node: Int, isMulti: Bool)? {
        var node = 0
        var levels = Levels(filter)
        while let level = levels.next() {
            if level.count == 1, level[0] == NameRules.multiLevel { return (node, true) }
            if level.count == 1, level[0] == NameRules.singleLevel {
                guard nodes[node].single >= 0 else { return nil }
                node = nodes[node].single
            } else {
                guard let child = child(of: node, level) else { return nil }
                node = child
            }
        }
        return (node, false)
    }

    private mutating func newNode(_ level: UnsafeRawBufferPointer, parent: Int, key: UInt64) -> Int {
        let node = Node(level: Array(level), parent: parent, key: key)
        if let index = free.popLast() {
            nodes[index] = node
            return index
        }
        nodes.append(node)
        return nodes.count - 1
    }

    /// Frees a node that holds nothing any more, and then its parents.
    private mutating func prune(_ start: Int) {
        var node = start
        while node != 0, nodes[node].isEmpty {
            let parent = nodes[node].parent
            if nodes[parent].single == node {
                nodes[parent].single = -1
            } else {
                unlink(node, from: parent)
            }
            nodes[node] = Node(level: [], parent: -1, key: 0)
            free.append(node)
            node = parent
        }
    }

    private mutating func unlink(_ node: Int, from parent: Int) {
        let key = nodes[node].key
        let sibling = nodes[node].sibling
        guard let first = nodes[parent].children[key] else { return }
        if first == node {
            nodes[parent].children[key] = sibling < 0 ? nil : sibling
            return
        }
        var other = first
        while nodes[other].sibling != node, nodes[other].sibling >= 0 { other = nodes[other].sibling }
        nodes[other].sibling = sibling
    }

    // MARK: Matching

    /// Appends everybody who wants a message of this name to `found`, and says whether that is in order of sessions.
    func match(_ name: UnsafeRawBufferPointer, into found: inout [FilterSubscriber]) {
        var sources = 0
        if let bucket = exact[Self.hash(name)] {
            for entry in bucket where entry.name.withUnsafeBytes({ bytesEqual($0, name) }) {
                found.append(contentsOf: entry.subscribers)
                sources += 1
            }
        }
        if nodes.count > 1 || !nodes[0].multi.isEmpty {
            // Names that begin with `$` are hidden from wildcards in the first level (MQTT 5.0 §4.7.2).
            let isHidden = name.first == UInt8(ascii: "$")
            visit(0, name, from: 0, isHidden: isHidden, &found, &sources)
        }
        if sources > 1 { found.sort() }
    }

    private func visit(
        _ node: Int,
        _ name: UnsafeRawBufferPointer,
        from start: Int,
        isHidden: Bool,
        _ found: inout [FilterSubscriber],
        _ sources: inout Int
    ) {
        if !isHidden { take(nodes[node].multi, &found, &sources) }
        // Behind the last level: `start` is one past the end.
        if start > name.count {
            take(nodes[node].subscribers, &found, &sources)
            return
        }
        var end = start
        while end < name.count, name[end] != NameRules.separator { end += 1 }
        if !nodes[node].children.isEmpty, let child = child(of: node, name.slice(start..<end)) {
            visit(child, name, from: end + 1, isHidden: false, &found, &sources)
        }
        if nodes[node].single >= 0, !isHidden {
            visit(nodes[node].single, name, from: end + 1, isHidden: false, &found, &sources)
        }
    }

    @inline(__always)
    private func take(_ list: [FilterSubscriber], _ found: inout [FilterSubscriber], _ sources: inout Int) {
        guard !list.isEmpty else { return }
        found.append(contentsOf: list)
        sources += 1
    }

    private func child(of node: Int, _ level: UnsafeRawBufferPointer) -> Int? {
        var child = nodes[node].children[Self.hash(level)] ?? -1
        while child >= 0 {
            if nodes[child].level.withUnsafeBytes({ bytesEqual($0, level) }) { return child }
            child = nodes[child].sibling
        }
        return nil
    }

    // MARK: Pieces

    private static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        UInt64(Checksum.crc32c(bytes)) | UInt64(truncatingIfNeeded: bytes.count) << 32
    }

    private static func insertSorted(_ subscriber: FilterSubscriber, into list: inout [FilterSubscriber]) {
        let index = PartitionIndex.firstIndex(in: 0..<list.count) { list[$0] >= subscriber }
        list.insert(subscriber, at: index)
    }

    private static func removeSorted(_ subscriber: FilterSubscriber, from list: inout [FilterSubscriber]) -> Bool {
        let index = PartitionIndex.firstIndex(in: 0..<list.count) { list[$0] >= subscriber }
        guard index < list.count, list[index] == subscriber else { return false }
        list.remove(at: index)
        return true
    }

    private struct Levels {
        let bytes: UnsafeRawBufferPointer
        var position = 0

        init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

        mutating func next() -> UnsafeRawBufferPointer? {
            guard position <= bytes.count else { return nil }
            var end = position
            while end < bytes.count, bytes[end] != NameRules.separator { end += 1 }
            defer { position = end + 1 }
            return bytes.slice(position..<end)
        }
    }
}
