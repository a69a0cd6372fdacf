internal import MessageModel

/// How far a topic's partitions can be let go, whole index entries at a time; what is in index files, a run at a time, so
/// that none has to be read.
struct TrimPlan {
    /// What stands before these offsets goes; one for each partition.
    private(set) var offsets: [UInt64]
    /// What the topic keeps in the log.
    private(set) var bytes: UInt64
    private var heads: [Head]
    private let partitions: [IndexedSequence]

    private struct Head {
        var run = 0
        var entry: Int
    }

    /// The oldest piece that is left of a partition.
    private struct Piece {
        var nextOffset: UInt64
        /// When its newest message was stored.
        var time: UInt64
        var bytes: UInt64
    }

    init(_ partitions: [IndexedSequence]) {
        self.partitions = partitions
        offsets = partitions.map(\.trimmedOffset)
        bytes = partitions.reduce(0) { $0 + $1.index.bytes }
        heads = partitions.map { Head(entry: $0.index.entries.startIndex) }
    }

    private func piece(_ place: Int) -> Piece? {
        let index = partitions[place].index
        let head = heads[place]
        let piece: Piece
        if head.run < index.runs.count {
            let run = index.runs[head.run]
            piece = Piece(nextOffset: run.nextOffset, time: run.lastTime, bytes: run.bytes)
        } else if head.entry < index.entries.endIndex {
            let entry = index.entries[head.entry]
            piece = Piece(nextOffset: entry.nextOffset, time: entry.appendTime, bytes: UInt64(entry.recordBytes))
        } else {
            return nil
        }
        // What readers do not see yet stays.
        return piece.nextOffset <= partitions[place].visibleOffset ? piece : nil
    }

    private mutating func take(_ piece: Piece, of place: Int) {
        offsets[place] = max(offsets[place], piece.nextOffset)
        bytes -= min(bytes, piece.bytes)
        if heads[place].run < partitions[place].index.runs.count {
            heads[place].run += 1
        } else {
            heads[place].entry += 1
        }
    }

    /// Lets go what was stored at a time or before.
    mutating func trim(until time: UInt64) {
        for place in partitions.indices {
            while let piece = piece(place), piece.time <= time { take(piece, of: place) }
        }
    }

    /// Lets go the oldest until what is left takes no more than this.
    mutating func trim(toBytes limit: UInt64) {
        while bytes > limit {
            var oldest: (place: Int, piece: Piece)?
            for place in partitions.indices {
                guard let piece = piece(place), piece.time < oldest?.piece.time ?? .max else { continue }
                oldest = (place, piece)
            }
            guard let oldest else { return }
            take(oldest.piece, of: oldest.place)
        }
    }

    /// Lets go what stands before an offset of a partition.
    mutating func trim(_ place: Int, before offset: UInt64) {
        while let piece = piece(place), piece.nextOffset <= offset { take(piece, of: place) }
    }

    /// When the oldest that is left was stored, or the newest of the oldest run; nil where nothing is left.
    var oldestTime: UInt64? {
        var oldest: UInt64?
        for place in partitions.indices {
            guard let piece = piece(place) else { continue }
            oldest = min(oldest ?? .max, piece.time)
        }
        return oldest
    }
}
