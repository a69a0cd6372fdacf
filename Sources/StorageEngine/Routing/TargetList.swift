/// Targets in their order, of which one is added or removed in logarithmic time however many there are: in pieces of
/// bounded length, so that little has to move.
struct SortedTargets {
    /// The first piece, and the others behind it; the others are never empty.
    private var head: [RoutingTarget] = []
    private var rest: [[RoutingTarget]] = []

    private static let pieceLimit = 512

    init() {}
    init(_ target: RoutingTarget) { head = [target] }

    var isEmpty: Bool { head.isEmpty }
    var count: Int { rest.reduce(head.count) { $0 + $1.count } }
    /// The only target; nil where there are more or none.
    var only: RoutingTarget? { rest.isEmpty && head.count == 1 ? head[0] : nil }

    var byteCount: Int {
        let pieces = rest.reduce(head.capacity) { $0 + $1.capacity } * MemoryLayout<RoutingTarget>.stride
        return pieces + rest.capacity * MemoryLayout<[RoutingTarget]>.stride
    }

    /// Adds a target, or gives the one that is there another predicate.
    /// - Returns: whether it was added.
    mutating func insert(_ target: RoutingTarget) -> Bool {
        let piece = piece(for: target)
        let isAdded = piece < 0 ? Self.insert(target, into: &head) : Self.insert(target, into: &rest[piece])
        let count = piece < 0 ? head.count : rest[piece].count
        guard count > Self.pieceLimit else { return isAdded }
        // What comes in ascending order fills the pieces; else they are cut in the middle.
        let isLast = piece == rest.count - 1
        var left = piece < 0 ? head : rest[piece]
        let middle = isLast && left[count - 1].isSame(as: target) ? count - 1 : count / 2
        let right = Array(left[middle...])
        left.removeLast(count - middle)
        if piece < 0 { head = left } else { rest[piece] = left }
        rest.insert(right, at: piece + 1)
        return isAdded
    }

    /// - Returns: whether it was there.
    mutating func remove(_ target: RoutingTarget) -> Bool {
        let piece = piece(for: target)
        guard piece < 0 ? Self.remove(target, from: &head) : Self.remove(target, from: &rest[piece]) else {
            return false
        }
        let count = piece < 0 ? head.count : rest[piece].count
        guard count < Self.pieceLimit / 4 else { return true }
        if piece < 0 {
            if let next = rest.first, next.count + count <= Self.pieceLimit / 2 || count == 0 {
                head += next
                rest.removeFirst()
            }
        } else if count == 0 {
            rest.remove(at: piece)
        } else if piece + 1 < rest.count, rest[piece + 1].count + count <= Self.pieceLimit / 2 {
            rest[piece] += rest[piece + 1]
            rest.remove(at: piece + 1)
        }
        return true
    }

    @inline(__always)
    func append(to found: inout [RoutingTarget]) {
        found.append(contentsOf: head)
        for piece in rest { found.append(contentsOf: piece) }
    }

    /// The target at a place of the order; nil beyond the end.
    func target(at place: Int) -> RoutingTarget? {
        if place < head.count { return head[place] }
        var place = place - head.count
        for piece in rest {
            if place < piece.count { return piece[place] }
            place -= piece.count
        }
        return nil
    }

    /// Appends the targets of one owner.
    func append(of owner: UInt64, to found: inout [RoutingTarget]) {
        var piece = piece(for: RoutingTarget(owner: owner, id: 0))
        while piece < rest.count {
            let targets = piece < 0 ? head : rest[piece]
            var place = Self.place(of: RoutingTarget(owner: owner, id: 0), in: targets)
            while place < targets.count, targets[place].owner == owner {
                found.append(targets[place])
                place += 1
            }
            if place < targets.count { return }
            piece += 1
        }
    }

    /// The piece that holds a target or should hold it; -1 for the first.
    private func piece(for target: RoutingTarget) -> Int {
        guard !rest.isEmpty else { return -1 }
        return PartitionIndex.firstIndex(in: 0..<rest.count) { target.precedes(rest[$0][0]) } - 1
    }

    private static func place(of target: RoutingTarget, in targets: [RoutingTarget]) -> Int {
        PartitionIndex.firstIndex(in: 0..<targets.count) { !targets[$0].precedes(target) }
    }

    private static func insert(_ target: RoutingTarget, into targets: inout [RoutingTarget]) -> Bool {
        let place = place(of: target, in: targets)
        if place < targets.count, targets[place].isSame(as: target) {
            targets[place] = target
            return false
        }
        targets.insert(target, at: place)
        return true
    }

    private static func remove(_ target: RoutingTarget, from targets: inout [RoutingTarget]) -> Bool {
        let place = place(of: target, in: targets)
        guard place < targets.count, targets[place].isSame(as: target) else { return false }
        targets.remove(at: place)
        return true
    }
}
