internal import MessageModel

/// Reads the parts of an index file that runs are in.
///
/// The directory first, then each stretch of entries that is needed; stretches that are close together are one.
final class IndexFileReading: ColdClient {
    let key: IndexFile.Key
    /// What was read last, and where it stands in the file.
    private(set) var bytes: [UInt8] = []
    private(set) var fileOffset = 0
    /// Whose entries they are, in the order of the file.
    private(set) var needed: [IndexFile.DirectoryEntry] = []
    private(set) var hasFailed = false
    private var isOutstanding = false
    /// Known once the header was read.
    private var directoryEnd: Int?
    private var directoryRead = IndexFile.headerBytes
    private var ranges: [Range<Int>] = []
    private let pieceBytes: Int
    private let isNeeded: (SequenceID, Int) -> Bool

    /// - Parameter isNeeded: whether a sequence has a run at a place of the file.
    init(_ key: IndexFile.Key, pieceBytes: Int, isNeeded: @escaping (SequenceID, Int) -> Bool) {
        self.key = key
        self.pieceBytes = max(pieceBytes / IndexEntry.bytes, 2) * IndexEntry.bytes
        self.isNeeded = isNeeded
    }

    enum Step {
        case waits
        /// `bytes` stand at `fileOffset`; `isLast` says that nothing follows.
        case piece(isLast: Bool)
        case done
    }

    /// What comes next.
    func step(requests: inout ColdRequests) -> Step {
        if isOutstanding { return .waits }
        if !bytes.isEmpty { return .piece(isLast: ranges.isEmpty) }
        guard !hasFailed else { return .done }
        guard let directoryEnd else {
            read(0, IndexFile.headerBytes, &requests)
            return .waits
        }
        if directoryRead < directoryEnd {
            let whole = pieceBytes / IndexFile.directoryEntryBytes * IndexFile.directoryEntryBytes
            read(directoryRead, min(max(whole, IndexFile.directoryEntryBytes), directoryEnd - directoryRead), &requests)
            return .waits
        }
        guard let next = ranges.first else { return .done }
        read(next.lowerBound, min(next.count, pieceBytes), &requests)
        return .waits
    }

    /// The piece was used.
    func taken() { bytes = [] }

    private func read(_ offset: Int, _ length: Int, _ requests: inout ColdRequests) {
        isOutstanding = true
        fileOffset = offset
        requests.readIndex(self, key, offset: offset, length: length)
    }

    func received(_ result: Result<[UInt8], DeviceError>, shard: Shard) {
        isOutstanding = false
        shard.reclaiming.hasMore = true
        guard case .success(let read) = result, !read.isEmpty else {
            hasFailed = true
            return
        }
        guard let directoryEnd else {
            guard read.count == IndexFile.headerBytes else {
                hasFailed = true
                return
            }
            let count = read.withUnsafeBytes { Int($0.load32(24)) }
            self.directoryEnd = IndexFile.headerBytes + count * IndexFile.directoryEntryBytes
            return
        }
        if directoryRead < directoryEnd {
            directoryRead += read.count
            for entry in IndexFile.directory(in: read) where isNeeded(entry.id, entry.fileOffset) { add(entry) }
            return
        }
        guard let first = ranges.first else { return }
        bytes = read
        let rest = first.lowerBound + read.count..<max(first.upperBound, first.lowerBound + read.count)
        if rest.isEmpty { ranges.removeFirst() } else { ranges[0] = rest }
    }

    private func add(_ entry: IndexFile.DirectoryEntry) {
        needed.append(entry)
        let range = entry.fileOffset..<entry.fileOffset + entry.count * IndexEntry.bytes
        if let last = ranges.last, last.upperBound <= range.lowerBound, range.lowerBound - last.upperBound <= 1_024 {
            ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
        } else {
            ranges.append(range)
        }
    }

    /// The entries of the piece that are needed, with whose they are.
    func forEachEntry(_ body: (SequenceID, IndexEntry) -> Void) {
        let entries = IndexFile.entries(in: bytes)
        let end = fileOffset + bytes.count
        var place = PartitionIndex.firstIndex(in: 0..<needed.count) {
            needed[$0].fileOffset + needed[$0].count * IndexEntry.bytes > fileOffset
        }
        while place < needed.count, needed[place].fileOffset < end {
            let owner = needed[place]
            let start = max(owner.fileOffset, fileOffset)
            let stop = min(owner.fileOffset + owner.count * IndexEntry.bytes, end)
            for index in (start - fileOffset) / IndexEntry.bytes..<(stop - fileOffset) / IndexEntry.bytes {
                body(owner.id, entries[index])
            }
            place += 1
        }
    }
}
