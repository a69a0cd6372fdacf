internal import DequeModule
internal import MessageModel

/// The one sequence of records from which everything that a shard knows can be made again.
///
/// Records are built in memory, handed to the device in one write for all that came together, and synced in the same
/// way: while one sync runs, what arrives waits for the next. The newest part stays in memory for readers.
final class CommitLog {
    struct Segment: Equatable {
        var number: UInt64
        var base: UInt64
        var size: Int
        /// Its header is as it was written; otherwise the base follows from its neighbours.
        var hasHeader = true
        var end: UInt64 { base + UInt64(size) }
    }

    /// Whether the segment behind the active one is there.
    enum NextSegment: Equatable {
        /// Not needed yet: until the active one is filled in part, what is let go may make room for it.
        case unneeded
        case requested
        case ready
        case refused(DeviceError)
    }

    enum AppendRefusal: Error {
        /// The next segment is being made: try again when it is there.
        case waitsForSegment
        case full(DeviceError)
        case failed(DeviceError)
    }

    let device: any LogDevice
    let options: ShardOptions
    /// What never reaches the device, read in the same ways.
    let memory: MemoryRecords
    /// How often this log has been opened.
    let epoch: UInt32
    /// All segments that hold records, oldest first; the last is the active one.
    private(set) var segments: [Segment]
    /// Where records stand that were moved.
    private let relocations: Relocations
    private(set) var next = NextSegment.unneeded
    /// The end of what was appended, of what the device has, and of what is fsynced.
    @exclusivity(unchecked) private(set) var end: UInt64
    /// What records took that were appended since the log was opened.
    @exclusivity(unchecked) private(set) var appendedBytes: UInt64 = 0
    @exclusivity(unchecked) private(set) var written: UInt64
    @exclusivity(unchecked) private(set) var durable: UInt64
    /// Set by the first failed write or sync; nothing is written after it.
    @exclusivity(unchecked) private(set) var failure: DeviceError?
    /// What somebody waits for; a sync is asked for up to here.
    private var wanted: UInt64 = 0
    /// The end of the running sync.
    private var syncing: UInt64?
    private var syncToken: UInt64 = 0
    private var gathering = SyncGathering()

    @exclusivity(unchecked) private var blocks: Deque<LogBlock> = []
    private var spare: [LogBlock] = []
    private var cachedBytes = 0
    /// What was read from memory since it was last trimmed, each in the place of its position.
    @exclusivity(unchecked) private var lent: [Lent?] = Array(repeating: nil, count: 256)
    private var hasLent = false

    /// Opens the log behind its last good record, as recovery found it.
    init(
        device: any LogDevice,
        options: ShardOptions,
        segments: [Segment],
        end: UInt64,
        epoch: UInt32,
        relocations: Relocations = Relocations()
    ) {
        self.relocations = relocations
        self.device = device
        self.options = options
        self.segments = segments
        self.end = end
        self.epoch = epoch
        memory = MemoryRecords(epoch: epoch, identity: options.logIdentity)
        written = end
        durable = 0
        requestNextSegmentIfNeeded()
    }

    var active: Segment { segments[segments.count - 1] }

    /// What arrived and nobody waits for.
    var unsyncedBytes: UInt64 { end - durable }

    // MARK: Appending

    /// Appends a record; `fill` writes the payload.
    /// - Returns: the record's position.
    /// - Throws: where there is no room, or the log has failed. Nothing has been appended then.
    func append(
        _ kind: LogRecord.Kind,
        payloadBytes: Int,
        _ fill: (UnsafeMutableRawBufferPointer) -> Void
    ) throws(AppendRefusal) -> UInt64 {
        if let failure { throw .failed(failure) }
        guard canHold(payloadBytes: payloadBytes) else {
            throw .failed(DeviceError(.failed, "a record of \(payloadBytes) bytes is larger than a segment"))
        }
        let length = LogRecord.roundUp(LogRecord.headerBytes + payloadBytes)
        if end + UInt64(length + LogRecord.headerBytes) > active.end { try rollOver() }
        return write(kind, length: length, payloadBytes: payloadBytes, fill)
    }

    /// Whether a payload of this size could ever be appended.
    func canHold(payloadBytes: Int) -> Bool {
        LogRecord.roundUp(2 * LogRecord.headerBytes + payloadBytes) + SegmentHeader.bytes <= options.segmentBytes
    }

    private func write(
        _ kind: LogRecord.Kind,
        length: Int,
        payloadBytes: Int,
        _ fill: (UnsafeMutableRawBufferPointer) -> Void
    ) -> UInt64 {
        let position = end
        let block = room(for: length)
        let record = UnsafeMutableRawBufferPointer(rebasing: block.memory[block.count..<block.count + length])
        fill(
            UnsafeMutableRawBufferPointer(
                rebasing: record[LogRecord.headerBytes..<LogRecord.headerBytes + payloadBytes]
            )
        )
        LogRecord.seal(
            record,
            kind: kind,
            payloadBytes: payloadBytes,
            position: position,
            epoch: epoch,
            durable: durable,
            identity: options.logIdentity
        )
        block.count += length
        end += UInt64(length)
        appendedBytes += UInt64(length)
        requestNextSegmentIfNeeded()
        return position
    }

    /// A block with room behind `end`.
    private func room(for length: Int) -> LogBlock {
        if let last = blocks.last, last.room >= length, last.end == end, last.segment == active.number { return last }
        let block: LogBlock
        if length <= options.blockBytes, let reused = spare.popLast() {
            block = reused
        } else {
            block = LogBlock(capacity: max(length, options.blockBytes))
        }
        block.reuse(base: end, segment: active.number, segmentOffset: Int(end - active.base))
        blocks.append(block)
        cachedBytes += block.memory.count
        return block
    }

    // MARK: Segments

    private func requestNextSegmentIfNeeded() {
        guard case .unneeded = next, end - active.base >= UInt64(active.size / 4) else { return }
        requestNextSegment()
    }

    private func requestNextSegment() {
        next = .requested
        // The very first is waited for: there is no time to write its blocks.
        let isFirst = active.size == 0
        device.createSegment(active.number &+ 1, size: options.segmentBytes, isAhead: !isFirst)
    }

    /// A segment that was asked for is there, or not.
    func segmentReady(_ number: UInt64, _ error: DeviceError?) {
        guard number == active.number &+ 1 else { return }
        next = error.map(NextSegment.refused) ?? .ready
    }

    /// Asks again for a segment that was refused.
    func retrySegment() {
        if case .refused = next { requestNextSegment() }
    }

    /// Lets segments go that hold nothing any more.
    func remove(_ numbers: Set<UInt64>) {
        let numbers = numbers.subtracting([active.number])
        segments.removeAll { numbers.contains($0.number) }
        for number in numbers.sorted() { device.removeSegment(number) }
    }

    private func rollOver() throws(AppendRefusal) {
        switch next {
        case .unneeded:
            requestNextSegment()
            throw .waitsForSegment
        case .requested: throw .waitsForSegment
        case .refused(let error): throw error.kind == .full ? .full(error) : .failed(error)
        case .ready: break
        }
        let old = active
        if end + UInt64(LogRecord.headerBytes) <= old.end {
            _ = write(.segmentEnd, length: LogRecord.headerBytes, payloadBytes: 0) { _ in }
        }
        segments.append(Segment(number: old.number &+ 1, base: old.end, size: options.segmentBytes))
        end = old.end
        next = .unneeded
        startSegment()
        requestNextSegmentIfNeeded()
    }

    /// Writes the header of the active segment, which is empty.
    func startSegment() {
        let block = room(for: SegmentHeader.bytes)
        let header = UnsafeMutableRawBufferPointer(
            rebasing: block.memory[block.count..<block.count + SegmentHeader.bytes]
        )
        SegmentHeader.write(
            header,
            number: active.number,
            base: active.base,
            size: active.size,
            identity: options.logIdentity
        )
        block.count += SegmentHeader.bytes
        end += UInt64(SegmentHeader.bytes)
    }

    // MARK: Writing and syncing

    /// Somebody waits until everything so far is durable.
    func wantDurable() { wanted = end }

    /// Somebody waits for a sync that has not begun, and not for more to come with it: the next flush begins it.
    var needsFlush: Bool { failure == nil && syncing == nil && wanted > durable && gathering.deadline == nil }

    /// When a sync that waits for more to come begins at the latest.
    var gatheringDeadline: Timestamp? { failure == nil ? gathering.deadline : nil }

    /// Whether somebody waits for a sync that begins now.
    func isSyncDue(now: Timestamp) -> Bool {
        guard failure == nil, syncing == nil else { return false }
        gathering.syncEnded(at: now, waiting: end - durable)
        return wanted > durable && !gathering.waits(for: end - durable, now: now)
    }

    /// Hands to the device what has come together and asks for a sync where somebody waits for one.
    /// - Parameters:
    ///   - writesNow: write also where that could wait for the next sync.
    ///   - now: the sync may wait for more to come. Without it there is no time for that.
    func flush(writesNow: Bool, now: Timestamp? = nil) {
        guard failure == nil else { return }
        let isSyncDue = now.map { self.isSyncDue(now: $0) } ?? (syncing == nil && wanted > durable)
        guard isSyncDue || writesNow else { return }
        writeBlocks()
        guard failure == nil, isSyncDue else { return }
        gathering.syncBegan(at: now ?? .never, bytes: written - min(durable, written))
        syncing = written
        syncToken += 1
        device.sync(token: syncToken)
    }

    private func writeBlocks() {
        guard written < end else { return }
        // What is unwritten stands at the end.
        var first = blocks.count
        while first > 0, blocks[first - 1].written < blocks[first - 1].count { first -= 1 }
        for block in blocks[first...] {
            let bytes = UnsafeRawBufferPointer(rebasing: block.memory[block.written..<block.count])
            do throws(DeviceError) {
                try device.write(bytes, segment: block.segment, offset: block.segmentOffset + block.written)
            } catch {
                failure = error
                return
            }
            block.written = block.count
        }
        written = end
    }

    /// A sync ended.
    func synced(token: UInt64, _ error: DeviceError?) {
        guard token == syncToken, let target = syncing else { return }
        syncing = nil
        if let error {
            failure = failure ?? error
            return
        }
        durable = max(durable, target)
    }

    // MARK: Reading

    /// Where a record stands that was first stored at a position.
    @inline(__always)
    func home(of position: UInt64, recordBytes: UInt32) -> (position: UInt64, recordBytes: Int) {
        if !relocations.isEmpty, let home = relocations.home(of: position) {
            return (home.position, Int(home.recordBytes))
        }
        return (position, Int(recordBytes))
    }

    /// The bytes at a position, as far as they are together in memory; nil where they are only on the device.
    func cached(_ position: UInt64) -> UnsafeRawBufferPointer? {
        if MemoryRecords.holds(position) { return memory.bytes(at: position) }
        guard let first = blocks.first, position >= first.base, position < end else { return nil }
        var low = 0
        var high = blocks.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if blocks[middle].base <= position { low = middle } else { high = middle }
        }
        let block = blocks[low]
        return position < block.end ? block.bytes(from: position) : nil
    }

    /// A batch from memory, found and checked for one reader: many often want the same one in a row. Good until memory is
    /// given back.
    struct Lent {
        var position: UInt64
        var recordBytes: UInt32
        var stored: StoredBatch
    }

    @inline(__always)
    func lent(_ position: UInt64, recordBytes: UInt32) -> StoredBatch? {
        guard let found = lent[Self.placeOfLent(position)], found.position == position,
            found.recordBytes == recordBytes
        else { return nil }
        return found.stored
    }

    func lend(_ stored: StoredBatch, _ position: UInt64, recordBytes: UInt32) {
        hasLent = true
        lent[Self.placeOfLent(position)] = Lent(position: position, recordBytes: recordBytes, stored: stored)
    }

    /// Records stand at multiples of eight.
    private static func placeOfLent(_ position: UInt64) -> Int {
        Int(((position >> 3) &* 0x9E37_79B9_7F4A_7C15) >> 56)
    }

    /// The segment that holds a position, and where in it; nil where the log does not hold it.
    func locate(_ position: UInt64) -> (segment: Segment, offset: Int)? {
        var low = 0
        var high = segments.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if segments[middle].base <= position { low = middle } else { high = middle }
        }
        let segment = segments[low]
        guard position >= segment.base, position < segment.end else { return nil }
        return (segment, Int(position - segment.base))
    }

    /// Gives memory back beyond the cache's size.
    /// - Parameter settled: nobody in the shard still needs what stands before this position from memory.
    func trimCache(settled: UInt64) {
        if hasLent {
            hasLent = false
            for place in lent.indices { lent[place] = nil }
        }
        memory.endRound()
        while cachedBytes > options.tailCacheBytes, blocks.count > 1, let first = blocks.first,
            first.written == first.count, first.end <= settled
        {
            blocks.removeFirst()
            cachedBytes -= first.memory.count
            if first.memory.count == options.blockBytes, spare.count < 4 { spare.append(first) }
        }
    }
}
