internal import MessageModel

/// The index files that there are: how many runs of sequences are still in each, into which segments of the log they
/// point, and where the log itself has a copy of them.
///
/// A class, because a copy of it is never meant.
final class IndexFileTable {
    /// A part of an index file that stands in the log as a record.
    struct Copy: Equatable {
        var position: UInt64
        /// The segment that it is in.
        var segment: UInt64
        var recordBytes: UInt32
        var fileOffset: UInt64
        var length: UInt32
    }

    struct File: Equatable {
        /// Runs that sequences still have in it.
        var runs = 0
        /// The numbers of the segments that its entries point into, ascending. Where messages were moved since, it is still
        /// the segment that they were stored in first.
        var segments: [UInt64] = []
        var copies: [Copy] = []
        /// Every part that was needed when it was copied is among `copies`.
        var isCopied = false
    }

    private(set) var files: [IndexFile.Key: File] = [:]
    /// The files that are in use, by the segments that they point into.
    private(set) var pointers: [UInt64: Set<IndexFile.Key>] = [:]
    /// The files in use whose copies are in a segment.
    private(set) var copied: [UInt64: Set<IndexFile.Key>] = [:]
    /// Files in use that the log has no copy of.
    private(set) var uncopied = Set<IndexFile.Key>()
    /// Files that no run is in.
    private var unused = Set<IndexFile.Key>()
    /// Files that runs left since this was last asked.
    private var shrunk = Set<IndexFile.Key>()
    /// A file was left by its last run since this was last looked at.
    var hasUnused = false

    /// A file was written.
    func insert(_ key: IndexFile.Key, segments: [UInt64]) { restore(key, File(segments: segments)) }

    func restore(_ key: IndexFile.Key, _ file: File) {
        files[key] = file
        unused.insert(key)
    }

    /// A sequence has a run in a file.
    func added(_ key: IndexFile.Key) {
        var file = files[key] ?? File()
        file.runs += 1
        files[key] = file
        guard file.runs == 1 else { return }
        unused.remove(key)
        for segment in file.segments { pointers[segment, default: []].insert(key) }
        for copy in file.copies { copied[copy.segment, default: []].insert(key) }
        if !file.isCopied { uncopied.insert(key) }
    }

    /// Sequences let runs go.
    func dropped(_ runs: [IndexRun]) {
        for run in runs {
            let key = run.file
            guard let place = files.index(forKey: key) else { continue }
            files.values[place].runs -= 1
            shrunk.insert(key)
            guard files.values[place].runs == 0 else { continue }
            let file = files.values[place]
            for segment in file.segments { Self.remove(key, of: segment, in: &pointers) }
            for copy in file.copies { Self.remove(key, of: copy.segment, in: &copied) }
            uncopied.remove(key)
            unused.insert(key)
            hasUnused = true
        }
    }

    /// Messages of a run are not there any more, though the run is.
    func thinned(_ run: IndexRun) { shrunk.insert(run.file) }

    private static func remove(_ key: IndexFile.Key, of segment: UInt64, in table: inout [UInt64: Set<IndexFile.Key>]) {
        table[segment]?.remove(key)
        if table[segment]?.isEmpty == true { table[segment] = nil }
    }

    var hasShrunk: Bool { !shrunk.isEmpty }

    /// The files that runs left since this was last asked, with the segments that they point into.
    func takeShrunk() -> [UInt64] {
        guard !shrunk.isEmpty else { return [] }
        defer { shrunk.removeAll() }
        return shrunk.flatMap { files[$0]?.segments ?? [] }
    }

    /// Forgets the files that no run is in.
    /// - Returns: their names.
    func removeUnused() -> [String] {
        let names = unused.map { IndexFile.name(segment: $0.segment, epoch: $0.epoch) }.sorted()
        for key in unused { files[key] = nil }
        unused.removeAll()
        hasUnused = false
        return names
    }

    /// A part of a file stands in the log.
    func noteCopy(_ key: IndexFile.Key, _ copy: Copy, isLast: Bool) {
        guard var file = files[key] else { return }
        if let old = file.copies.firstIndex(where: { $0.fileOffset == copy.fileOffset }) {
            let segment = file.copies.remove(at: old).segment
            if !file.copies.contains(where: { $0.segment == segment }) { Self.remove(key, of: segment, in: &copied) }
        }
        file.copies.append(copy)
        if isLast { file.isCopied = true }
        files[key] = file
        guard file.runs > 0 else { return }
        copied[copy.segment, default: []].insert(key)
        if isLast { uncopied.remove(key) }
    }

    /// The log's copy of a file is not wanted any more: another one is made.
    func forgetCopies(of key: IndexFile.Key) {
        guard let place = files.index(forKey: key) else { return }
        for copy in files.values[place].copies { Self.remove(key, of: copy.segment, in: &copied) }
        files.values[place].copies = []
        files.values[place].isCopied = false
        if files.values[place].runs > 0 { uncopied.insert(key) }
    }
}

extension IndexRun {
    var file: IndexFile.Key { IndexFile.Key(segment: segment, epoch: epoch) }

    /// The segment of the log during which its entries were made.
    var logSegment: UInt64 { IndexFile.segment(ofNumber: segment) }
}

/// A part of an index file, as the log keeps it: segment u64, epoch u32, flags u32 (1: the last part), place in the file
/// u64, then the bytes.
struct IndexCopyPart {
    static let prefixBytes = 24
    var key: IndexFile.Key
    var isLast: Bool
    var fileOffset: UInt64
    var bytes: UnsafeRawBufferPointer

    func write(_ payload: UnsafeMutableRawBufferPointer) {
        payload.store64(key.segment, at: 0)
        payload.store32(key.epoch, at: 8)
        payload.store32(isLast ? 1 : 0, at: 12)
        payload.store64(fileOffset, at: 16)
        UnsafeMutableRawBufferPointer(rebasing: payload[Self.prefixBytes...]).copyMemory(from: bytes)
    }

    init(key: IndexFile.Key, isLast: Bool, fileOffset: UInt64, bytes: UnsafeRawBufferPointer) {
        self.key = key
        self.isLast = isLast
        self.fileOffset = fileOffset
        self.bytes = bytes
    }

    init?(_ payload: UnsafeRawBufferPointer) {
        guard payload.count >= Self.prefixBytes else { return nil }
        key = IndexFile.Key(segment: payload.load64(0), epoch: payload.load32(8))
        isLast = payload.load32(12) & 1 != 0
        fileOffset = payload.load64(16)
        bytes = payload.slice(Self.prefixBytes..<payload.count)
    }
}

extension IndexFileTable {
    func encode(to writer: inout ByteWriter) {
        let used = files.filter { $0.value.runs > 0 }.sorted {
            ($0.key.segment, $0.key.epoch) < ($1.key.segment, $1.key.epoch)
        }
        writer.writeVarint(UInt64(used.count))
        var last: UInt64 = 0
        for (key, file) in used {
            writer.writeVarint(key.segment &- last)
            last = key.segment
            writer.writeVarint(UInt64(key.epoch))
            writer.write(file.isCopied)
            writer.writeVarint(UInt64(file.segments.count))
            for segment in file.segments { writer.writeVarint(key.segment &- segment) }
            writer.writeVarint(UInt64(file.copies.count))
            for copy in file.copies {
                writer.writeVarint(copy.position)
                writer.writeVarint(copy.segment)
                writer.writeVarint(UInt64(copy.recordBytes))
                writer.writeVarint(copy.fileOffset)
                writer.writeVarint(UInt64(copy.length))
            }
        }
    }

    /// - Returns: false where the bytes end early.
    func restore(from reader: inout ByteReader) -> Bool {
        guard let count = reader.readVarint() else { return false }
        var last: UInt64 = 0
        for _ in 0..<count {
            guard let distance = reader.readVarint(), let epoch = reader.readVarint32(),
                let isCopied = reader.readBool(), let segmentCount = reader.readVarint()
            else { return false }
            last &+= distance
            var file = File()
            file.isCopied = isCopied
            for _ in 0..<segmentCount {
                guard let behind = reader.readVarint() else { return false }
                file.segments.append(last &- behind)
            }
            guard let copyCount = reader.readVarint() else { return false }
            for _ in 0..<copyCount {
                guard let position = reader.readVarint(), let segment = reader.readVarint(),
                    let recordBytes = reader.readVarint32(),
                    let fileOffset = reader.readVarint(), let length = reader.readVarint32()
                else { return false }
                file.copies.append(
                    Copy(
                        position: position,
                        segment: segment,
                        recordBytes: recordBytes,
                        fileOffset: fileOffset,
                        length: length
                    )
                )
            }
            restore(IndexFile.Key(segment: last, epoch: epoch), file)
        }
        return true
    }
}
