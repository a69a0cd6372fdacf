internal import MessageModel

/// Who is told when a reader can go on.
protocol ReaderOwner: AnyObject {
    /// Something that this reader waited for is there.
    func readerBecameReady(_ reader: SequenceReader)
}

/// Who asked the device for something.
protocol ColdClient: AnyObject {
    func received(_ result: Result<[UInt8], DeviceError>, shard: Shard)
}

/// Walks the messages of one sequence from an offset on, batch by batch: from memory where they are there, from the device otherwise.
///
/// Cold reads take several steps, each a request to the device: find the index run, search its file by halves for the
/// entry, read the entries from there, read the log. What was read is kept for the batches that follow.
final class SequenceReader: ColdClient {
    enum Outcome {
        /// A stored batch that holds `offset` or is the next one behind it, and its place. Lent until the reader is used
        /// again.
        case batch(BatchView, Place)
        /// Everything visible has been read.
        case atEnd
        /// The device was asked; the owner will be told.
        case pending
        /// These messages are damaged on the device.
        case damaged(Range<UInt64>)
        /// These messages cannot be read now, which says nothing of them: the device failed, or the index that leads to
        /// them is damaged. They can be tried again.
        case failed(Range<UInt64>)
    }

    /// Messages of a sequence in a batch.
    struct Place: Equatable {
        /// The partition that they were published to.
        var partition: PartitionID
        /// The first one's offset in the sequence, and its place in the batch.
        var baseOffset: UInt64
        var first: Int
        var count: Int
        var appendTime: UInt64
        var traits: UInt16
        var nextOffset: UInt64 { baseOffset &+ UInt64(count) }
    }

    enum ColdRequest: Equatable {
        /// Entries of an index file from this one on; what is searched for is one of `low...high`.
        case entries(run: IndexRun, first: Int, low: Int, high: Int)
        case log(position: UInt64)
    }

    let sequence: IndexedSequence
    /// Told when it can go on. It lets go of this reader, or ends this, before it goes.
    @exclusivity(unchecked) var owner: (any ReaderOwner)?
    /// The offset that is read next.
    @exclusivity(unchecked) private(set) var offset: UInt64
    /// What the device was asked for and has not answered.
    @exclusivity(unchecked) private(set) var outstanding: ColdRequest?

    /// Entries from an index file: those of `coldRun` from `coldFirst` on.
    private var coldEntries: [IndexEntry] = []
    @exclusivity(unchecked) private var coldRun: IndexRun?
    /// A part of the log as it is on the device.
    private var coldLog: ColdLog?
    /// What is asked for at once.
    private var coldBytes = 0
    /// The place in the index's memory part that was used last.
    @exclusivity(unchecked) private var hint = 0
    /// What could not be read: a record, or a run of the index.
    private var failedPosition: UInt64?
    private var unreadRun: IndexRun?
    /// The part of the sequence that such a run leads to.
    private var failedRun: Range<UInt64>?
    /// A record that was not right when it was last read: it is damaged if it is the same again.
    private var suspect: (position: UInt64, checksum: UInt32)?
    /// A batch with other stamps than it was stored with.
    private var restamped: [UInt8] = []
    private var restampedMemory: UnsafeMutableRawBufferPointer?

    /// Entries that one read of an index file brings: 64 KiB.
    static let entriesPerRead = 2_048

    init(_ sequence: IndexedSequence, offset: UInt64, owner: (any ReaderOwner)?) {
        self.sequence = sequence
        self.offset = offset
        self.owner = owner
    }

    /// Goes to another offset.
    func seek(_ offset: UInt64) {
        self.offset = offset
        hint = 0
    }

    /// The batch is done; the next one follows.
    func advance(behind place: Place) { offset = max(offset, place.nextOffset) }

    /// Reads the batch at `offset`.
    func next(log: CommitLog, requests: inout ColdRequests) -> Outcome {
        guard outstanding == nil else { return .pending }
        while true {
            // What was let go is not read, though some of it may still be found.
            if offset < sequence.trimmedOffset { seek(sequence.trimmedOffset) }
            if let gap = sequence.dropped.range(holding: offset) { seek(gap.upperBound) }
            let start = offset
            let outcome = read(log: log, requests: &requests)
            // Nothing of what was found is there any more.
            if case .pending = outcome, outstanding == nil, offset > start { continue }
            return outcome
        }
    }

    private func read(log: CommitLog, requests: inout ColdRequests) -> Outcome {
        guard offset < sequence.visibleOffset else {
            // It has caught up.
            coldLog = nil
            coldEntries = []
            return .atEnd
        }
        guard let entry = entry(for: .offset(offset), log: log, requests: &requests) else {
            if let failedRun {
                self.failedRun = nil
                return .failed(failedRun)
            }
            return outstanding == nil ? .atEnd : .pending
        }
        if entry.baseOffset >= sequence.visibleOffset { return .atEnd }
        let (position, length) = log.home(of: entry.position, recordBytes: entry.recordBytes)
        if let stored = log.lent(position, recordBytes: UInt32(length)) { return batch(stored, entry) }
        if let bytes = log.cached(position), bytes.count >= length {
            guard let stored = stored(in: bytes.slice(0..<length), position, entry, log: log) else {
                return .damaged(entry.baseOffset..<entry.nextOffset)
            }
            log.lend(stored, position, recordBytes: UInt32(length))
            return batch(stored, entry)
        }
        if failedPosition == position {
            failedPosition = nil
            return .failed(entry.baseOffset..<entry.nextOffset)
        }
        if let record = coldLog?.record(at: position, length: length) {
            let outcome = batch(in: record, position, entry, log: log)
            guard case .damaged = outcome else {
                suspect = nil
                return outcome
            }
            if let verdict = verdict(of: record, position, entry) { return verdict }
        } else if let coldLog, coldLog.position == position {
            // The segment ends within the record.
            if let verdict = verdict(of: coldLog.bytes, position, entry) { return verdict }
        }
        guard position < log.written, let (segment, segmentOffset) = log.locate(position) else {
            return .damaged(entry.baseOffset..<entry.nextOffset)
        }
        // Who reads on gets more at once: each read is a wait.
        let goesOn = coldLog.map { $0.covers(position) } ?? false
        coldBytes = goesOn ? min(coldBytes * 2, log.options.coldReadBytes * 4) : log.options.coldReadBytes
        outstanding = .log(position: position)
        // What is behind the end now is written later: what is read of it would be taken for damage then.
        let end = min(segment.size, segmentOffset + Int(min(log.written - position, UInt64(segment.size))))
        requests.readLog(
            self,
            segment: segment.number,
            offset: segmentOffset,
            length: min(max(length, coldBytes), end - segmentOffset)
        )
        return .pending
    }

    private func batch(
        in record: UnsafeRawBufferPointer,
        _ position: UInt64,
        _ entry: IndexEntry,
        log: CommitLog
    ) -> Outcome {
        guard let stored = stored(in: record, position, entry, log: log) else {
            return .damaged(entry.baseOffset..<entry.nextOffset)
        }
        return batch(stored, entry)
    }

    private func stored(
        in record: UnsafeRawBufferPointer,
        _ position: UInt64,
        _ entry: IndexEntry,
        log: CommitLog
    ) -> StoredBatch? {
        LogRecord.View(prefixOf: record, position: position, identity: log.options.logIdentity)
            .flatMap { StoredBatch($0, named: entry.position) }
    }

    private func batch(_ stored: StoredBatch, _ entry: IndexEntry) -> Outcome {
        let damaged = Outcome.damaged(entry.baseOffset..<entry.nextOffset)
        // An index file is not checked as a whole: what it leads to must be what it says.
        guard Int(entry.first) + Int(entry.count) <= stored.batch.recordCount else { return damaged }
        var place = Place(
            partition: stored.partition,
            baseOffset: entry.baseOffset,
            first: Int(entry.first),
            count: Int(entry.count),
            appendTime: entry.appendTime,
            traits: stored.traits
        )
        guard sequence.id.kind == .partition else { return .batch(stored.batch, place) }
        guard stored.partition == sequence.partition else { return damaged }
        if stored.isPublished {
            guard stored.batch.baseOffset == entry.baseOffset, stored.batch.recordCount == Int(entry.count) else {
                return damaged
            }
            guard hasGaps(entry) else { return .batch(stored.batch, place) }
        }
        var entry = entry
        if hasGaps(entry) {
            guard let rest = part(of: entry) else {
                seek(entry.nextOffset)
                return .pending
            }
            entry = rest
            place.baseOffset = entry.baseOffset
            place.count = Int(entry.count)
        }
        // It became visible later than it was stored, and got its offset then.
        guard let batch = restamp(stored.batch, entry) else { return damaged }
        place.first = 0
        return .batch(batch, place)
    }

    /// What a record is that was not right: what cannot be read once may be read another time, so it is damaged only if
    /// it is the same when it is read again.
    /// - Returns: nil where it is to be read again now.
    private func verdict(of bytes: UnsafeRawBufferPointer, _ position: UInt64, _ entry: IndexEntry) -> Outcome? {
        let checksum = Checksum.crc32c(bytes)
        defer { coldLog = nil }
        guard let suspect, suspect.position == position else {
            suspect = (position, checksum)
            return nil
        }
        if suspect.checksum == checksum {
            self.suspect = nil
            return .damaged(entry.baseOffset..<entry.nextOffset)
        }
        self.suspect = (position, checksum)
        return .failed(entry.baseOffset..<entry.nextOffset)
    }

    private func hasGaps(_ entry: IndexEntry) -> Bool {
        !sequence.dropped.isEmpty
            && sequence.dropped.firstRange(from: entry.baseOffset).map { $0.lowerBound < entry.nextOffset } == true
    }

    /// The messages of an entry that are still there and follow each other, from `offset` on; nil where none is.
    private func part(of entry: IndexEntry) -> IndexEntry? {
        var first = max(offset, entry.baseOffset)
        if let gap = sequence.dropped.range(holding: first) { first = gap.upperBound }
        guard first < entry.nextOffset else { return nil }
        let end = min(entry.nextOffset, sequence.dropped.firstRange(from: first)?.lowerBound ?? .max)
        var part = entry
        part.baseOffset = first
        part.first += UInt16(first - entry.baseOffset)
        part.count = UInt16(end - first)
        return part
    }

    private func restamp(_ batch: BatchView, _ entry: IndexEntry) -> BatchView? {
        guard
            BatchExcerpt.write(
                batch,
                first: Int(entry.first),
                count: Int(entry.count),
                baseOffset: entry.baseOffset,
                appendTime: Timestamp(rawValue: entry.appendTime),
                into: &restamped
            )
        else { return nil }
        restampedMemory?.deallocate()
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: restamped.count, alignment: 8)
        memory.copyBytes(from: restamped)
        restampedMemory = memory
        return BatchView(prefixOf: UnsafeRawBufferPointer(memory))
    }

    deinit { restampedMemory?.deallocate() }

    // MARK: Finding entries

    /// Whether the last search failed because the index could not be read.
    func takeFailure() -> Bool {
        defer { failedRun = nil }
        return failedRun != nil
    }

    /// The first entry that is not behind `key`; nil where there is none, or where the device was asked for it.
    func entry(for key: IndexKey, log: CommitLog, requests: inout ColdRequests) -> IndexEntry? {
        if !sequence.index.runs.isEmpty, let runIndex = sequence.index.firstRun(notBehind: key) {
            let run = sequence.index.runs[runIndex]
            if coldRun == run, let first = coldEntries.first, key == coldKey || !isBefore(first, key),
                let last = coldEntries.last, !key.isBehind(last)
            {
                let place = PartitionIndex.firstIndex(in: 0..<coldEntries.count) { !key.isBehind(coldEntries[$0]) }
                return coldEntries[place]
            }
            if unreadRun == run {
                // An index file that cannot be read: what it leads to may be whole.
                unreadRun = nil
                failedRun = run.firstOffset..<run.nextOffset
                return nil
            }
            search(run, low: 0, high: Int(run.count) - 1, key: key, requests: &requests)
            return nil
        }
        return sequence.index.entry(notBehind: key, hint: &hint)
    }

    /// Whether what is searched for may stand before this entry.
    private func isBefore(_ entry: IndexEntry, _ key: IndexKey) -> Bool {
        if coldFirst == 0 { return false }
        switch key {
        case .offset(let offset): return entry.baseOffset > offset
        case .time(let time): return entry.appendTime >= time
        }
    }

    private var coldFirst = 0
    /// What `coldEntries` were found for: nothing before them is it.
    private var coldKey: IndexKey?
    private var searchKey = IndexKey.offset(0)

    private func search(_ run: IndexRun, low: Int, high: Int, key: IndexKey, requests: inout ColdRequests) {
        searchKey = key
        // A range that one read brings is read from its beginning; a larger one is halved.
        let first = high - low < Self.entriesPerRead ? low : (low + high) / 2
        outstanding = .entries(run: run, first: first, low: low, high: high)
        let count = min(Self.entriesPerRead, Int(run.count) - first)
        requests.readIndex(
            self,
            run: run,
            offset: Int(run.fileOffset) + first * IndexEntry.bytes,
            length: count * IndexEntry.bytes
        )
    }

    // MARK: Answers

    func received(_ result: Result<[UInt8], DeviceError>, shard: Shard) {
        received(result, requests: &shard.coldRequests)
        if outstanding == nil { owner?.readerBecameReady(self) }
    }

    /// The device answered.
    func received(_ result: Result<[UInt8], DeviceError>, requests: inout ColdRequests) {
        guard let request = outstanding else { return }
        outstanding = nil
        guard case .success(let bytes) = result else {
            switch request {
            case .log(let position): failedPosition = position
            case .entries(let run, _, _, _): unreadRun = run
            }
            return
        }
        switch request {
        case .log(let position):
            coldLog = ColdLog(position: position, bytes: bytes)
            failedPosition = bytes.isEmpty ? position : nil
        case .entries(let run, let first, let low, let high):
            let entries = IndexFile.entries(in: bytes)
            guard let head = entries.first, let tail = entries.last, run.isPlausible(entries, from: first) else {
                unreadRun = run
                return
            }
            if first > low, !searchKey.isBehind(head) {
                search(run, low: low, high: first, key: searchKey, requests: &requests)
            } else if searchKey.isBehind(tail), first + entries.count <= high {
                search(run, low: first + entries.count, high: high, key: searchKey, requests: &requests)
            } else {
                coldRun = run
                coldFirst = first
                coldKey = searchKey
                coldEntries = entries
            }
        }
    }
}

/// A part of the log that was read from the device.
private final class ColdLog {
    let position: UInt64
    private let memory: UnsafeMutableRawBufferPointer
    private let count: Int

    init(position: UInt64, bytes: [UInt8]) {
        self.position = position
        count = bytes.count
        memory = .allocate(byteCount: max(bytes.count, 1), alignment: 8)
        memory.copyBytes(from: bytes)
    }

    deinit { memory.deallocate() }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[0..<count]) }

    /// Whether a record begins here, or just behind: also at the beginning of the next segment.
    func covers(_ place: UInt64) -> Bool { place >= position && place <= position + UInt64(count) + 4_096 }

    /// The bytes of a record; nil unless all of them are here.
    func record(at place: UInt64, length: Int) -> UnsafeRawBufferPointer? {
        guard place >= position, place - position < UInt64(count) else { return nil }
        let start = Int(place - position)
        guard count - start >= length else { return nil }
        return UnsafeRawBufferPointer(rebasing: memory[start..<start + length])
    }
}

/// Where readers leave what they need of the device.
struct ColdRequests {
    struct Request {
        enum Source {
            case log(segment: UInt64)
            case index(segment: UInt64, epoch: UInt32)
            case keys(segment: UInt64, epoch: UInt32)
        }
        var client: any ColdClient
        var source: Source
        var offset: Int
        var length: Int
    }

    private(set) var pending: [Request] = []

    mutating func readLog(_ client: any ColdClient, segment: UInt64, offset: Int, length: Int) {
        pending.append(Request(client: client, source: .log(segment: segment), offset: offset, length: length))
    }

    mutating func readIndex(_ client: any ColdClient, run: IndexRun, offset: Int, length: Int) {
        readIndex(client, run.file, offset: offset, length: length)
    }

    mutating func readIndex(_ client: any ColdClient, _ file: IndexFile.Key, offset: Int, length: Int) {
        let source = Request.Source.index(segment: file.segment, epoch: file.epoch)
        pending.append(Request(client: client, source: source, offset: offset, length: length))
    }

    mutating func readKeys(_ client: any ColdClient, _ file: KeyTable.File, offset: Int, length: Int) {
        let source = Request.Source.keys(segment: file.segment, epoch: file.epoch)
        pending.append(Request(client: client, source: source, offset: offset, length: length))
    }

    mutating func take() -> [Request] {
        defer { pending.removeAll(keepingCapacity: true) }
        return pending
    }
}
