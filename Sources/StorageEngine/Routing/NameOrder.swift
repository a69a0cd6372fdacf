/// The order of names: level by level, as if `/` came before all other bytes.
enum NameOrder {
    static func precedes(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
        let common = min(left.count, right.count)
        var place = 0
        while place &+ 8 <= common,
            left.loadUnaligned(fromByteOffset: place, as: UInt64.self)
                == right.loadUnaligned(fromByteOffset: place, as: UInt64.self)
        {
            place &+= 8
        }
        while place < common {
            if left[place] != right[place] { return rank(left[place]) < rank(right[place]) }
            place &+= 1
        }
        return left.count < right.count
    }

    /// Names have no NUL.
    @inline(__always)
    static func rank(_ byte: UInt8) -> UInt8 { byte == NamePattern.separator ? 0 : byte }
}

/// Goes through names in their order with an MQTT filter, and says after each where the next that can match may be.
struct NameScan {
    enum Step {
        /// This name matches.
        case take
        /// This one does not; the next may.
        case pass
        /// Those for which `isReached` does not hold yet cannot match either.
        case search
        /// No name behind this one matches.
        case stop
    }

    private enum Goal {
        /// The first name that is not before `bound`.
        case notBefore
        /// The first name behind `bound` and all names below it.
        case pastSubtree
        /// The first name that does not begin with `$`.
        case pastHidden
    }

    private var levels: [(kind: Kind, text: [UInt8])] = []
    private var goal = Goal.notBefore
    private var bound: [UInt8] = []

    private enum Kind { case literal, one, any }

    /// A pattern that was made of an MQTT filter: `any` is its last level, if it has one.
    init(_ pattern: NamePattern) {
        pattern.forEachLevel { level in
            switch level {
            case .literal(let text): levels.append((.literal, Array(text)))
            case .one: levels.append((.one, []))
            case .any: levels.append((.any, []))
            }
            return true
        }
    }

    /// Compares the next name.
    mutating func step(_ name: UnsafeRawBufferPointer) -> Step {
        if let first = levels.first, first.kind != .literal, name.first == UInt8(ascii: "$") {
            goal = .pastHidden
            return .search
        }
        var start = 0
        for level in levels {
            if level.kind == .any { return .take }
            // A name that ends before the filter: those below it come next.
            guard start <= name.count else { return .pass }
            var end = start
            while end < name.count, name[end] != NamePattern.separator { end += 1 }
            if level.kind == .literal {
                let text = UnsafeRawBufferPointer(rebasing: name[start..<end])
                let order = level.text.withUnsafeBytes { wanted in
                    NameOrder.precedes(text, wanted) ? -1 : NameOrder.precedes(wanted, text) ? 1 : 0
                }
                if order < 0 { return search(.notBefore, name[0..<start], level.text) }
                if order > 0 { return start == 0 ? .stop : search(.pastSubtree, name[0..<start - 1], []) }
            }
            start = end + 1
        }
        return start > name.count ? .take : search(.pastSubtree, name[0..<start - 1], [])
    }

    private mutating func search(_ goal: Goal, _ prefix: Slice<UnsafeRawBufferPointer>, _ text: [UInt8]) -> Step {
        self.goal = goal
        bound.removeAll(keepingCapacity: true)
        bound.append(contentsOf: prefix)
        bound.append(contentsOf: text)
        return .search
    }

    /// Whether a name is where the search that `step` asked for ends, or behind.
    func isReached(_ name: UnsafeRawBufferPointer) -> Bool {
        bound.withUnsafeBytes { bound in
            switch goal {
            case .notBefore: return !NameOrder.precedes(name, bound)
            case .pastSubtree:
                guard NameOrder.precedes(bound, name) else { return false }
                let isBelow = name.count > bound.count && name[bound.count] == NamePattern.separator
                return !(isBelow && UnsafeRawBufferPointer(rebasing: name[0..<bound.count]).elementsEqual(bound))
            case .pastHidden: return name.first.map { NameOrder.rank($0) > UInt8(ascii: "$") } ?? false
            }
        }
    }
}
