package import MessageModel

/// A value for each of many names, found by the name, or by a filter in the order of names: what is retained.
///
/// The order is that of the levels, one after the other, each by its bytes; a name stands before those below it. (It is the
/// order of the whole bytes if `/` came before all others.)
///
/// A hash leads to a name, so that giving one that is there another value is quick. Beside it stand the names in their order,
/// four bytes each, in pieces of bounded length. A filter goes through the order and passes over what cannot match by
/// searching for what can come next.
package struct NameTree<Value: BitwiseCopyable> {
    private var names = ExactNames<Value>()
    /// Entries of `names` in the order of their names; no piece is empty.
    private var pieces: [[UInt32]] = []

    private static var pieceLimit: Int { 512 }

    /// A place in the order; behind the last name where `piece` is the number of pieces.
    private struct Place {
        var piece: Int
        var place: Int
    }

    package init() {}

    package var count: Int { names.count }
    package var isEmpty: Bool { names.isEmpty }

    /// The memory this takes, without what the system's allocator adds.
    package var byteCount: Int {
        pieces.reduce(names.byteCount + pieces.capacity * 8) { $0 + $1.capacity * 4 }
    }

    package func get(_ name: UnsafeRawBufferPointer) -> Value? { names.find(name).map { names[$0] } }

    // MARK: Changing

    /// Gives a name a value. Names have passed `NameRules.checkName`.
    /// - Returns: the value it had.
    @discardableResult
    package mutating func set(_ name: UnsafeRawBufferPointer, _ value: Value) -> Value? {
        if let entry = names.find(name) {
            defer { names[entry] = value }
            return names[entry]
        }
        let entry = UInt32(truncatingIfNeeded: names.make(name, value))
        guard !pieces.isEmpty else {
            pieces = [[entry]]
            return nil
        }
        var place = firstPlace { !NameOrder.precedes($0, name) }
        // Behind the last name of a piece rather than before the first of the next one.
        if place.place == 0, place.piece > 0 {
            place.piece -= 1
            place.place = pieces[place.piece].count
        }
        pieces[place.piece].insert(entry, at: place.place)
        split(place)
        return nil
    }

    /// - Returns: the value it had.
    @discardableResult
    package mutating func remove(_ name: UnsafeRawBufferPointer) -> Value? {
        guard let entry = names.find(name) else { return nil }
        let value = names[entry]
        let place = firstPlace { !NameOrder.precedes($0, name) }
        pieces[place.piece].remove(at: place.place)
        join(place.piece)
        names.remove(entry)
        if names.isEmpty {
            self = NameTree()
        } else if names.isSparse {
            names.compact { newNumber in
                for piece in pieces.indices {
                    for place in pieces[piece].indices {
                        let new = newNumber(Int(pieces[piece][place]))
                        pieces[piece][place] = UInt32(truncatingIfNeeded: new)
                    }
                }
            }
        }
        return value
    }

    private mutating func split(_ place: Place) {
        let count = pieces[place.piece].count
        guard count > Self.pieceLimit else { return }
        // What comes in order fills the pieces; else they are cut in the middle.
        let isLast = place.piece == pieces.count - 1 && place.place == count - 1
        let middle = isLast ? count - 1 : count / 2
        let right = Array(pieces[place.piece][middle...])
        // A copy of just this size: the other half would keep its room.
        pieces[place.piece] = Array(pieces[place.piece][..<middle])
        pieces.insert(right, at: place.piece + 1)
    }

    private mutating func join(_ piece: Int) {
        let count = pieces[piece].count
        if count == 0 {
            pieces.remove(at: piece)
        } else if count < Self.pieceLimit / 4, piece + 1 < pieces.count,
            pieces[piece + 1].count + count <= Self.pieceLimit / 2
        {
            pieces[piece] += pieces[piece + 1]
            pieces.remove(at: piece + 1)
        }
    }

    // MARK: The order

    @inline(__always)
    private func withName<Result>(at place: Place, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        names.withName(of: Int(pieces[place.piece][place.place]), body)
    }

    /// The first place, not before the given one, where `isReached` holds, which is false and then true along the order.
    private func firstPlace(
        from start: Place = Place(piece: 0, place: 0),
        where isReached: (UnsafeRawBufferPointer) -> Bool
    ) -> Place {
        let next = PartitionIndex.firstIndex(in: min(start.piece + 1, pieces.count)..<pieces.count) { piece in
            withName(at: Place(piece: piece, place: 0), isReached)
        }
        let piece = next - 1
        guard piece >= 0 else { return Place(piece: 0, place: 0) }
        let places = (piece == start.piece ? start.place : 0)..<pieces[piece].count
        let place = PartitionIndex.firstIndex(in: places) { place in
            withName(at: Place(piece: piece, place: place), isReached)
        }
        return place == pieces[piece].count ? Place(piece: next, place: 0) : Place(piece: piece, place: place)
    }

    /// Calls `body` with every name, in order.
    package func forEach(_ body: (UnsafeRawBufferPointer, Value) -> Void) {
        for piece in pieces {
            for entry in piece { names.withName(of: Int(entry)) { body($0, names[Int(entry)]) } }
        }
    }

    /// Calls `body` with names that match an MQTT filter (MQTT 5.0 §4.7), in order: a page of them.
    ///
    /// - Parameters:
    ///   - after: only names behind this one, which need not be there.
    ///   - limit: at most so many names, at least one.
    ///   - effort: at most so many names are looked at, so that a filter that matches few does not hold up everything else.
    /// - Returns: where the next page begins: to be given as `after`; nil at the end. There may be no name behind it.
    /// - Throws: `invalidName` where the filter is malformed.
    package func forEach(
        matching filter: UnsafeRawBufferPointer,
        after: UnsafeRawBufferPointer? = nil,
        limit: Int,
        effort: Int = 4_096,
        _ body: (UnsafeRawBufferPointer, Value) -> Void
    ) throws(SluiceError) -> [UInt8]? {
        let pattern = try NamePattern(filter: filter)
        if pattern.isExact {
            if let entry = names.find(filter), after.map({ NameOrder.precedes($0, filter) }) ?? true {
                body(filter, names[entry])
            }
            return nil
        }
        var scan = NameScan(pattern)
        var place = firstPlace { name in after.map { NameOrder.precedes($0, name) } ?? true }
        var found = 0
        var visited = 0
        while place.piece < pieces.count {
            let entry = Int(pieces[place.piece][place.place])
            let step = names.withName(of: entry) { name in
                let step = scan.step(name)
                if step == .take { body(name, names[entry]) }
                return step
            }
            if step == .stop { return nil }
            visited += 1
            if step == .take { found += 1 }
            if found >= limit || visited >= effort { return names.withName(of: entry) { Array($0) } }
            place.place += 1
            if place.place == pieces[place.piece].count { place = Place(piece: place.piece + 1, place: 0) }
            if step == .search, place.piece < pieces.count {
                place = firstPlace(from: place) { scan.isReached($0) }
            }
        }
        return nil
    }
}
