/// Where records stand that were moved to the end of the log: by their first positions, which stay their names in indexes,
/// timers and transactions.
///
/// A class, because the log reads what the state applies.
final class Relocations {
    struct Home: Equatable {
        var position: UInt64
        var recordBytes: UInt32
        /// The segment that it is in.
        var segment: UInt64
    }

    /// What was moved out of one segment. 20 bytes a record.
    struct Origin: Equatable {
        var segment: UInt64
        var base: UInt64
        /// Distances from the base in units of 8 bytes, ascending.
        fileprivate(set) var offsets: [UInt32] = []
        fileprivate(set) var positions: [UInt64] = []
        fileprivate(set) var recordBytes: [UInt32] = []
        fileprivate(set) var segments: [UInt32] = []

        var count: Int { offsets.count }

        fileprivate func place(_ position: UInt64) -> (place: Int, isThere: Bool)? {
            guard position >= base, let offset = UInt32(exactly: (position - base) / 8) else { return nil }
            if let last = offsets.last, last < offset { return (offsets.count, false) }
            let place = PartitionIndex.firstIndex(in: 0..<offsets.count) { offsets[$0] >= offset }
            return (place, place < offsets.count && offsets[place] == offset)
        }

        func home(at place: Int) -> (position: UInt64, home: Home) {
            (
                base + UInt64(offsets[place]) * 8,
                Home(
                    position: positions[place],
                    recordBytes: recordBytes[place],
                    segment: UInt64(segments[place])
                )
            )
        }
    }

    /// In the order of their places in the log.
    private(set) var origins: [Origin] = []
    /// Their bases and segments, for the search.
    private var bases: [UInt64] = []
    private var numbers: [UInt64] = []
    /// For each segment, the origins of the records that were moved into it, with how many there are.
    private(set) var incoming: [UInt64: [UInt64: Int]] = [:]
    /// Everything that was moved had its first position before this one.
    private var end: UInt64 = 0

    var isEmpty: Bool { origins.isEmpty }

    /// How many records were moved.
    var count: Int { origins.reduce(0) { $0 + $1.count } }

    private func originPlace(holding position: UInt64) -> Int? {
        guard position < end else { return nil }
        let place = PartitionIndex.firstIndex(in: 0..<bases.count) { bases[$0] > position }
        return place > 0 ? place - 1 : nil
    }

    /// Where the record stands that was first stored at a position; nil where it was not moved.
    func home(of position: UInt64) -> Home? {
        guard let place = originPlace(holding: position), let (index, isThere) = origins[place].place(position), isThere
        else { return nil }
        return origins[place].home(at: index).home
    }

    /// The segment that a record was first stored in, where that lost records to the end of the log.
    func originSegment(of position: UInt64) -> UInt64? {
        originPlace(holding: position).map { origins[$0].segment }
    }

    private func place(of segment: UInt64) -> Int? {
        let place = PartitionIndex.firstIndex(in: 0..<numbers.count) { numbers[$0] >= segment }
        return place < numbers.count && numbers[place] == segment ? place : nil
    }

    func origin(_ segment: UInt64) -> Origin? {
        self.place(of: segment).map { origins[$0] }
    }

    /// A record was moved, for the first time or again.
    func insert(_ position: UInt64, origin segment: UInt64, base: UInt64, home: Home) {
        let place = PartitionIndex.firstIndex(in: 0..<numbers.count) { numbers[$0] >= segment }
        if place == numbers.count || numbers[place] != segment {
            origins.insert(Origin(segment: segment, base: base), at: place)
            bases.insert(base, at: place)
            numbers.insert(segment, at: place)
        }
        guard let (index, isThere) = origins[place].place(position) else { return }
        end = max(end, position + 1)
        if isThere {
            let old = UInt64(origins[place].segments[index])
            release(old, of: segment)
            origins[place].positions[index] = home.position
            origins[place].recordBytes[index] = home.recordBytes
            origins[place].segments[index] = UInt32(truncatingIfNeeded: home.segment)
        } else {
            origins[place].offsets.insert(UInt32(truncatingIfNeeded: (position - base) / 8), at: index)
            origins[place].positions.insert(home.position, at: index)
            origins[place].recordBytes.insert(home.recordBytes, at: index)
            origins[place].segments.insert(UInt32(truncatingIfNeeded: home.segment), at: index)
        }
        incoming[home.segment, default: [:]][segment, default: 0] += 1
    }

    private func release(_ target: UInt64, of origin: UInt64) {
        guard let count = incoming[target]?[origin] else { return }
        incoming[target]?[origin] = count > 1 ? count - 1 : nil
        if incoming[target]?.isEmpty == true { incoming[target] = nil }
    }

    /// Forgets where records are that nothing needs any more.
    func prune(_ segment: UInt64, keeping isNeeded: (_ position: UInt64, Home) -> Bool) {
        guard let place = place(of: segment) else { return }
        let old = origins[place]
        var kept = Origin(segment: old.segment, base: old.base)
        for index in 0..<old.count {
            let (position, home) = old.home(at: index)
            guard isNeeded(position, home) else {
                release(home.segment, of: segment)
                continue
            }
            kept.offsets.append(old.offsets[index])
            kept.positions.append(home.position)
            kept.recordBytes.append(home.recordBytes)
            kept.segments.append(old.segments[index])
        }
        if kept.count > 0 {
            origins[place] = kept
        } else {
            origins.remove(at: place)
            bases.remove(at: place)
            numbers.remove(at: place)
        }
    }
}

extension Relocations {
    /// Varints; records follow each other in their new places as they did in the old ones, so that each takes few bytes.
    func encode(to writer: inout ByteWriter) {
        writer.writeVarint(UInt64(origins.count))
        var segment: UInt64 = 0
        for origin in origins {
            writer.writeVarint(origin.segment &- segment)
            segment = origin.segment
            writer.writeVarint(origin.base)
            writer.writeVarint(UInt64(origin.count))
            var offset: UInt32 = 0
            var expected: UInt64 = 0
            for index in 0..<origin.count {
                writer.writeVarint(UInt64(origin.offsets[index] &- offset))
                offset = origin.offsets[index]
                let distance = Int64(bitPattern: (origin.positions[index] &- expected)) / 8
                writer.writeVarint(UInt64(bitPattern: (distance << 1) ^ (distance >> 63)))
                expected = origin.positions[index] &+ UInt64(origin.recordBytes[index])
                writer.writeVarint(UInt64(origin.recordBytes[index] / 8))
                writer.writeVarint(UInt64(origin.segments[index]))
            }
        }
    }

    /// - Returns: false where the bytes end early or make no sense.
    func restore(from reader: inout ByteReader) -> Bool {
        guard let count = reader.readVarint() else { return false }
        for _ in 0..<count {
            guard let distance = reader.readVarint(), let base = reader.readVarint(), let records = reader.readVarint(),
                numbers.isEmpty || distance > 0, base >= bases.last ?? 0
            else { return false }
            var origin = Origin(segment: (numbers.last ?? 0) &+ distance, base: base)
            var expected: UInt64 = 0
            for _ in 0..<records {
                guard let step = reader.readVarint32(), let zigzag = reader.readVarint(),
                    let length = reader.readVarint32(), let home = reader.readVarint32(),
                    origin.offsets.isEmpty || step > 0, length <= .max / 8
                else { return false }
                let distance = Int64(bitPattern: zigzag >> 1) ^ -Int64(bitPattern: zigzag & 1)
                let position = expected &+ UInt64(bitPattern: distance &* 8)
                origin.offsets.append((origin.offsets.last ?? 0) &+ step)
                origin.positions.append(position)
                origin.recordBytes.append(length * 8)
                origin.segments.append(home)
                incoming[UInt64(home), default: [:]][origin.segment, default: 0] += 1
                expected = position &+ UInt64(length * 8)
                end = max(end, base + UInt64(origin.offsets[origin.offsets.count - 1]) * 8 + 1)
            }
            origins.append(origin)
            bases.append(base)
            numbers.append(origin.segment)
        }
        return true
    }
}
