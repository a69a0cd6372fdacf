internal import MessageModel

/// Where the shard is with moving what is live out of segments that are mostly dead.
struct CompactionWork {
    struct Usage: Equatable {
        /// What live records take.
        var live: Int
        /// When it was found out, and where the log ended then.
        var at: Timestamp
        var end: UInt64
        /// When it was last seen to become less.
        var changedAt: Timestamp
        /// Something of it could not be read: it stays as it is.
        var isUnmovable = false
    }

    /// Of sealed segments whose index is in a file.
    var usage: [UInt64: Usage] = [:]
    /// Segments of which something died since they were looked at.
    var stale = Set<UInt64>()
    var survey: SegmentSurvey?
    var move: SegmentMove?
    /// Segments are being emptied until little is dead.
    var isRunning = false
    /// There may be something to do.
    var isWanted = true
    /// Nothing is looked at before, so that it costs little where there is nothing to do.
    var notBefore = Timestamp.zero
    /// The segment that was written when this was last looked at.
    var active = UInt64.max
    /// How much may be moved now, in bytes; grows with time and with what is appended.
    var credit = 0
    var creditAt: Timestamp?
    var creditEnd: UInt64 = 0
    /// What may still be written for it, in bytes: it grows with what comes in and what dies. Where records fit badly into
    /// segments much of a segment is never used, and moving them again and again would gain nothing.
    var allowance = 0
    /// What was written for it, and what was appended by others when that was last looked at.
    var ownBytes: UInt64 = 0
    var otherBytes: UInt64 = 0
    /// The segment that was written to when the shard was opened.
    var firstSegment: UInt64?
    /// What was moved in this life of the shard.
    var movedBytes: UInt64 = 0
    /// How often a segment was looked at.
    var surveys = 0
}

/// Finds out which records of a segment are live: in the index files that point into it, among what is held, in open
/// transactions and with whoever else names records.
final class SegmentSurvey {
    let segment: CommitLog.Segment
    /// Segments whose records were moved into this one, and itself.
    let origins: Set<UInt64>
    var files: [IndexFile.Key]
    /// Files that were looked at, or will be.
    var seen: Set<IndexFile.Key>
    var map: SegmentMap
    var reading: IndexFileReading?
    /// Origins whose keys were not looked at yet, and the file that is being read.
    var keyOrigins: [UInt64]
    var keys: PublicationSearch?
    /// Where records stand in the segment that published messages with keys, and who reads them: only those by which a
    /// message is found that is still there are needed.
    var publications: SegmentMap
    var publicationReading: SegmentMove?
    var hasFailed = false

    init(_ segment: CommitLog.Segment, origins: Set<UInt64>, files: [IndexFile.Key]) {
        self.segment = segment
        self.origins = origins
        self.files = files
        seen = Set(files)
        map = SegmentMap(segment)
        publications = SegmentMap(segment)
        keyOrigins = origins.sorted()
    }
}

/// Reads the live records of a segment one after the other, for the end of the log.
final class SegmentMove: ColdClient {
    let segment: CommitLog.Segment
    private let map: SegmentMap
    /// What is moved next; nil where all is.
    private(set) var next: UInt64?
    private var bytes: [UInt8] = []
    private var start: UInt64 = 0
    private var isOutstanding = false
    private var wanted = 0
    private(set) var hasFailed = false
    var movedBytes = 0

    init(_ segment: CommitLog.Segment, _ map: SegmentMap) {
        self.segment = segment
        self.map = map
        next = map.first(from: segment.base)
    }

    /// Lends the next record; nil where the device was asked for it, or where it cannot be read.
    func withRecord<Result>(_ log: CommitLog, requests: inout ColdRequests, _ body: (LogRecord.View) -> Result)
        -> Result?
    {
        guard let position = next, !isOutstanding, !hasFailed else { return nil }
        let identity = log.options.logIdentity
        if let cached = log.cached(position),
            let view = LogRecord.View(prefixOf: cached, position: position, identity: identity)
        {
            return body(view)
        }
        var length = log.options.coldReadBytes
        if position >= start, position - start < UInt64(bytes.count) {
            let offset = Int(position - start)
            let found: Result? = bytes.withUnsafeBytes { bytes in
                let rest = bytes.slice(offset..<bytes.count)
                if rest.count >= LogRecord.headerBytes, rest.load64(8) == position {
                    length = max(length, Int(rest.load32(0)))
                }
                // Records begin at multiples of eight, as the bytes that were read do.
                return LogRecord.View(prefixOf: rest, position: position, identity: identity).map(body)
            }
            if let found { return found }
            if offset == 0, bytes.count >= min(length, Int(segment.end - position)) {
                hasFailed = true
                return nil
            }
        }
        isOutstanding = true
        start = position
        length = min(length, Int(segment.end - position))
        requests.readLog(self, segment: segment.number, offset: Int(position - segment.base), length: length)
        return nil
    }

    /// The record was moved.
    func moved(recordBytes: Int) { next = next.flatMap { map.first(from: $0 + UInt64(recordBytes)) } }

    func received(_ result: Swift.Result<[UInt8], DeviceError>, shard: Shard) {
        isOutstanding = false
        shard.reclaiming.hasMore = true
        guard case .success(let read) = result, !read.isEmpty else {
            hasFailed = true
            return
        }
        bytes = read
    }
}
