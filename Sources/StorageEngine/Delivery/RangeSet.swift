/// A set of numbers, kept as ascending ranges that do not touch.
///
/// Made for sequences of messages: what is added mostly follows what is there, and what is taken out mostly stands at
/// the beginning. Both cost little then; in the middle they cost a search and a move of what lies behind.
struct RangeSet: Equatable {
    /// Ascending, not empty, with gaps between them.
    private var storage: [Range<UInt64>] = []
    /// Ranges before this one were taken out.
    private var head = 0
    /// How many numbers are in the set.
    private(set) var count: UInt64 = 0

    init() {}

    var isEmpty: Bool { count == 0 }
    var first: UInt64? { isEmpty ? nil : storage[head].lowerBound }
    var firstRange: Range<UInt64>? { isEmpty ? nil : storage[head] }
    var last: UInt64? { isEmpty ? nil : storage[storage.count - 1].upperBound - 1 }
    var ranges: ArraySlice<Range<UInt64>> { storage[head...] }

    static func == (left: RangeSet, right: RangeSet) -> Bool { left.ranges == right.ranges }

    /// The place of the first range that ends behind `number`.
    private func place(endingBehind number: UInt64) -> Int {
        if let last = storage.last, head < storage.count, last.upperBound <= number { return storage.count }
        return PartitionIndex.firstIndex(in: head..<storage.count) { storage[$0].upperBound > number }
    }

    func contains(_ number: UInt64) -> Bool {
        let place = place(endingBehind: number)
        return place < storage.count && storage[place].contains(number)
    }

    /// The range that holds a number; nil where none does.
    func range(holding number: UInt64) -> Range<UInt64>? {
        let place = place(endingBehind: number)
        return place < storage.count && storage[place].contains(number) ? storage[place] : nil
    }

    /// The first range with numbers from this one on, without what stands before it.
    func firstRange(from number: UInt64) -> Range<UInt64>? {
        let place = place(endingBehind: number)
        guard place < storage.count else { return nil }
        return max(storage[place].lowerBound, number)..<storage[place].upperBound
    }

    /// How many numbers of a range are in the set.
    func count(in range: Range<UInt64>) -> UInt64 {
        var place = place(endingBehind: range.lowerBound)
        var sum: UInt64 = 0
        while place < storage.count, storage[place].lowerBound < range.upperBound {
            let part = storage[place].clamped(to: range)
            sum += part.upperBound - part.lowerBound
            place += 1
        }
        return sum
    }

    /// - Returns: how many were not there before.
    @discardableResult
    mutating func insert(_ range: Range<UInt64>) -> UInt64 {
        guard !range.isEmpty else { return 0 }
        let before = count
        // The first that touches it or lies behind it.
        let first = PartitionIndex.firstIndex(in: head..<storage.count) {
            storage[$0].upperBound >= range.lowerBound
        }
        var merged = range
        var end = first
        while end < storage.count, storage[end].lowerBound <= range.upperBound {
            merged = min(merged.lowerBound, storage[end].lowerBound)..<max(merged.upperBound, storage[end].upperBound)
            count -= storage[end].upperBound - storage[end].lowerBound
            end += 1
        }
        count += merged.upperBound - merged.lowerBound
        if end - first == 1 {
            storage[first] = merged
        } else {
            storage.replaceSubrange(first..<end, with: CollectionOfOne(merged))
        }
        return count - before
    }

    /// - Returns: how many were there.
    @discardableResult
    mutating func remove(_ range: Range<UInt64>) -> UInt64 {
        guard !range.isEmpty, !isEmpty else { return 0 }
        let before = count
        let first = place(endingBehind: range.lowerBound)
        guard first < storage.count, storage[first].lowerBound < range.upperBound else { return 0 }
        var left: Range<UInt64>?
        var right: Range<UInt64>?
        var end = first
        while end < storage.count, storage[end].lowerBound < range.upperBound {
            let part = storage[end]
            if part.lowerBound < range.lowerBound { left = part.lowerBound..<range.lowerBound }
            if part.upperBound > range.upperBound { right = range.upperBound..<part.upperBound }
            let cut = part.clamped(to: range)
            count -= cut.upperBound - cut.lowerBound
            end += 1
        }
        switch (left, right) {
        case (nil, nil):
            if first == head { head = end } else { storage.removeSubrange(first..<end) }
        case (let part?, nil), (nil, let part?):
            storage[first] = part
            if end - first > 1 { storage.removeSubrange(first + 1..<end) }
        case (let left?, let right?):
            storage.replaceSubrange(first..<end, with: [left, right])
        }
        trim()
        return before - count
    }

    mutating func removeAll() { self = RangeSet() }

    /// Gives room back that stands before the first range.
    private mutating func trim() {
        if head == storage.count {
            storage.removeAll(keepingCapacity: storage.capacity <= 64)
            head = 0
        } else if head > 32, head * 2 > storage.count {
            storage.removeFirst(head)
            head = 0
        }
    }
}
