/// Which records of a segment are live: a bit for each place where one can begin, and what they take.
struct SegmentMap {
    /// Its number.
    let segment: UInt64
    let base: UInt64
    let end: UInt64
    private var words: [UInt64]
    /// What the records take, as far as their lengths are known.
    private(set) var liveBytes = 0
    private(set) var count = 0

    init(_ segment: CommitLog.Segment) {
        self.segment = segment.number
        base = segment.base
        end = segment.end
        words = Array(repeating: 0, count: segment.size / 512 + 1)
    }

    mutating func insert(_ position: UInt64, recordBytes: Int) {
        guard position >= base, position < end else { return }
        let place = Int((position - base) / 8)
        let bit = UInt64(1) << UInt64(place & 63)
        guard words[place >> 6] & bit == 0 else { return }
        words[place >> 6] |= bit
        liveBytes += recordBytes
        count += 1
    }

    func contains(_ position: UInt64) -> Bool {
        guard position >= base, position < end else { return false }
        let place = Int((position - base) / 8)
        return words[place >> 6] & (1 << UInt64(place & 63)) != 0
    }

    /// The first position from this one on at which a live record stands.
    func first(from position: UInt64) -> UInt64? {
        guard position < end else { return nil }
        let place = Int((max(position, base) - base) / 8)
        var index = place >> 6
        var word = words[index] & (.max << UInt64(place & 63))
        while word == 0 {
            index += 1
            guard index < words.count else { return nil }
            word = words[index]
        }
        return base + UInt64(index * 64 + word.trailingZeroBitCount) * 8
    }
}
