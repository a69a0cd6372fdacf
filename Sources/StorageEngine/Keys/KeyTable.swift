internal import MessageModel

/// The keys of all messages in the log: of sealed segments in files, of the newest ones in memory.
struct KeyTable {
    /// The keys of a sealed segment.
    struct File: Equatable {
        var segment: UInt64
        /// In which it was written.
        var epoch: UInt32
        var firstTime: UInt64
        var lastTime: UInt64

        var name: String { KeyFile.name(segment: segment, epoch: epoch) }
    }

    /// By segment.
    private(set) var open: [UInt64: KeyIndex] = [:]
    /// Oldest segment first.
    private(set) var files: [File] = []
    /// Segments whose files were written in this life of the shard and lead to publications.
    private var publishing = Set<UInt64>()

    /// A message with this key was published by a record of a segment.
    /// - Parameter isPublication: the message had been stored before.
    mutating func append(
        _ hash: UInt64,
        time: UInt64,
        position: UInt64,
        record: UInt16,
        isPublication: Bool,
        segment: UInt64
    ) {
        open[segment, default: KeyIndex(base: position)].append(
            hash: hash,
            time: time,
            position: position,
            record: record,
            isPublication: isPublication
        )
    }

    /// Whether messages that were stored in other segments may be found through records of a segment that published them.
    /// - Parameter epoch: of this life of the shard: what files of earlier ones have is not known.
    func mayPublish(_ segment: UInt64, epoch: UInt32) -> Bool {
        if let index = open[segment] { return index.publications > 0 }
        return publishing.contains(segment) || files.contains { $0.segment == segment && $0.epoch != epoch }
    }

    /// The keys of a sealed segment were found again.
    mutating func restore(_ index: KeyIndex, of segment: UInt64) { open[segment] = index }

    /// The oldest segment before this one whose keys are not in a file.
    func oldestOpen(before segment: UInt64) -> UInt64? {
        guard let oldest = open.keys.min(), oldest < segment else { return nil }
        return oldest
    }

    /// A segment's keys were written.
    mutating func spilled(_ file: File) {
        if let index = open.removeValue(forKey: file.segment), index.publications > 0 {
            publishing.insert(file.segment)
        }
        files.removeAll { $0.segment == file.segment }
        let place = PartitionIndex.firstIndex(in: 0..<files.count) { files[$0].segment > file.segment }
        files.insert(file, at: place)
    }

    /// Forgets files that are not there and cannot, or need not, be made again from the log: those of segments that were
    /// freed, and all that are missing where the log is not there as a whole any more.
    mutating func forgetMissing(files there: Set<String>, segments: [CommitLog.Segment]) {
        let numbers = Set(segments.map(\.number))
        let isWhole = segments.areContiguous(from: 0)
        files.removeAll { !there.contains($0.name) && !(isWhole && numbers.contains($0.segment)) }
    }

    /// Forgets the files of segments of which nothing is left.
    /// - Returns: their names.
    mutating func forget(unless isNeeded: (_ segment: UInt64) -> Bool) -> [String] {
        let names = files.compactMap { isNeeded($0.segment) ? nil : $0.name }
        if !names.isEmpty {
            files.removeAll { !isNeeded($0.segment) }
            publishing = publishing.filter(isNeeded)
        }
        return names
    }
}

extension KeyTable {
    func encode(to writer: inout ByteWriter) {
        writer.write32(UInt32(files.count))
        for file in files {
            writer.write64(file.segment)
            writer.write32(file.epoch)
            writer.write64(file.firstTime)
            writer.write64(file.lastTime)
        }
        writer.write32(UInt32(open.count))
        for (segment, index) in open.sorted(by: { $0.key < $1.key }) {
            writer.write64(segment)
            writer.write64(index.base)
            writer.write32(UInt32(index.count))
            index.forEach { entry in
                writer.write64(entry.hash)
                writer.write64(entry.time)
                writer.write64(entry.place)
            }
        }
    }

    /// Nil where the bytes end early or make no sense.
    init?(from reader: inout ByteReader) {
        guard let fileCount = reader.read32() else { return nil }
        for _ in 0..<fileCount {
            guard let segment = reader.read64(), let epoch = reader.read32(), let first = reader.read64(),
                let last = reader.read64(), files.last.map({ $0.segment < segment }) ?? true
            else { return nil }
            files.append(File(segment: segment, epoch: epoch, firstTime: first, lastTime: last))
        }
        guard let openCount = reader.read32() else { return nil }
        for _ in 0..<openCount {
            guard let segment = reader.read64(), let base = reader.read64(), let count = reader.read32() else {
                return nil
            }
            var index = KeyIndex(base: base)
            for _ in 0..<count {
                guard let hash = reader.read64(), let time = reader.read64(), let place = reader.read64() else {
                    return nil
                }
                index.append(KeyEntry(hash: hash, time: time, place: place))
            }
            open[segment] = index
        }
    }
}
