internal import DequeModule
internal import MessageModel

/// A side file on its way to the device.
enum PendingFile {
    /// - Parameters:
    ///   - part: as in `IndexFile.number`.
    ///   - pointsTo: the segments that its entries point into.
    case index(segment: UInt64, part: UInt32, [(sequence: IndexedSequence, run: IndexRun)], pointsTo: Set<UInt64>)
    case keys(KeyTable.File)
    /// - Parameter isLast: taken when everything else was done: the shard is closed with it.
    case snapshot(position: UInt64, isLast: Bool)
}

/// Where the shard is with its index files and snapshots.
struct SnapshotWork {
    /// A segment's index or a snapshot is being written.
    var isWriting = false
    /// Something was sealed since the last snapshot, or the shard is being closed.
    var isWanted = false
    /// A key file that is being made, a part in each round.
    var keys: (file: KeyTable.File, encoder: KeyFile.Encoder)?
    /// Taken, and waiting until the log is durable up to its position.
    var taken: (position: UInt64, bytes: [UInt8], isLast: Bool)?
    /// Index files of the newest segment that were written since the shard was opened.
    var indexParts: UInt32 = 0
    /// What was written into them since the last snapshot: made again from the log after a crash.
    var spilledBytes = 0
    /// The positions of the snapshots that are there, oldest first.
    var kept: [UInt64] = []
    /// The last attempt failed; not tried again before.
    var retryAt: Timestamp?
    var isClosing = false
    /// The last snapshot was taken while closing: nothing is to come behind it.
    var isSealed: Bool { isClosing && (taken?.isLast == true || isWritingLast) }
    var isWritingLast = false
    /// A side file was refused while closing: it is done without.
    var isRefused = false
    /// How often the journal was refused while closing.
    var refusals = 0
    var isClosed = false
}

extension Shard {
    /// No index entry was moved to a file before its segment was full, since the shard was opened.
    package var indexIsInMemory: Bool { snapshotWork.indexParts == 0 }

    /// Ends the work of this shard: what it has is written and synced, and a snapshot taken. New appends are to be kept
    /// away by the owner. Rounds go on until `isClosed`.
    package func close() {
        snapshotWork.isClosing = true
        snapshotWork.isWanted = true
        snapshotWork.retryAt = nil
        log.wantDurable()
    }

    /// Everything is on the device; also where it refuses the last snapshot, which only makes the next start longer.
    package var isClosed: Bool { snapshotWork.isClosed }

    /// Moves the indexes of sealed segments to files, and takes a snapshot behind each.
    func advanceSnapshots(now: Timestamp, output: any ShardOutput) {
        if log.failure != nil {
            snapshotWork.isClosed = snapshotWork.isClosing
            return
        }
        guard hasOpened else {
            // Nothing was written since the shard was opened, and perhaps nothing can be.
            snapshotWork.isClosed = snapshotWork.isClosing
            return
        }
        guard !snapshotWork.isWriting else { return }
        if snapshotWork.isClosing {
            // What waits for a segment is written before the end is taken, or refused.
            guard deferred.isEmpty else { return }
            if snapshotWork.isRefused {
                // What was settled and is not in a snapshot is to be in the log.
                let isGivenUp = snapshotWork.refusals > Self.refusalsWhileClosing
                guard isGivenUp || flushJournalForSnapshot(now: now) else { return }
                log.wantDurable()
                log.flush(writesNow: false)
                snapshotWork.isClosed = log.durable >= log.end
                return
            }
        }
        if let retryAt = snapshotWork.retryAt, now < retryAt { return }
        if let taken = snapshotWork.taken {
            guard log.durable >= taken.position else { return }
            snapshotWork.isWritingLast = taken.isLast
            writeFile(
                Snapshot.name(position: taken.position),
                taken.bytes,
                .snapshot(position: taken.position, isLast: taken.isLast)
            )
            snapshotWork.taken = nil
            return
        }
        if writeKeys() { return }
        if let segment = state.touched.keys.min(), segment < log.active.number {
            writeIndex(segment)
            return
        }
        if spillIndex() { return }
        // A checkpoint brings a snapshot with it.
        if snapshotWork.isWanted, !snapshotWork.isClosing, isCheckpointing || beginReclaiming(now: now) {
            snapshotWork.isWanted = false
            return
        }
        if snapshotWork.isWanted {
            // What the state has must not come a second time with records behind the snapshot.
            guard flushJournalForSnapshot(now: now) else { return }
            snapshotWork.isWanted = false
            snapshotWork.spilledBytes = 0
            state.expireTraces()
            let bytes = Snapshot.encode(
                state,
                position: log.end,
                isClean: snapshotWork.isClosing,
                identity: options.logIdentity
            )
            snapshotWork.taken = (log.end, bytes, snapshotWork.isClosing)
            log.wantDurable()
            if log.durable >= log.end {
                advanceSnapshots(now: now, output: output)
            } else {
                log.flush(writesNow: false)
            }
        }
    }

    /// Settlements that nobody was told of are worth a few attempts.
    private static let refusalsWhileClosing = 3

    /// - Returns: false where it could not be written, and is tried again, or given up while closing.
    private func flushJournalForSnapshot(now: Timestamp) -> Bool {
        do throws(CommitLog.AppendRefusal) {
            try flushJournal()
            return true
        } catch {
            if case .waitsForSegment = error { return false }
            // While closing there may never be room again: it is done without the snapshot.
            guard snapshotWork.isClosing, retryDeadline == nil else { return false }
            snapshotWork.refusals += 1
            if snapshotWork.refusals > Self.refusalsWhileClosing {
                snapshotWork.isRefused = true
            } else {
                retryDeadline = now.advanced(byMicroseconds: options.fullRetryMicroseconds)
            }
            return false
        }
    }

    private func writeFile(_ name: String, _ bytes: [UInt8], _ file: PendingFile) {
        let token = takeToken()
        pendingFiles[token] = file
        snapshotWork.isWriting = true
        device.writeFile(name, bytes: bytes, token: token)
    }

    /// Goes on with the key file of the oldest sealed segment that has none.
    /// - Returns: false where there is none.
    private func writeKeys() -> Bool {
        if snapshotWork.keys == nil {
            guard let segment = state.keys.oldestOpen(before: log.active.number), let index = state.keys.open[segment]
            else { return false }
            let file = KeyTable.File(
                segment: segment,
                epoch: log.epoch,
                firstTime: index.firstTime,
                lastTime: index.lastTime
            )
            snapshotWork.keys = (file, KeyFile.Encoder(index, segment: segment, epoch: log.epoch))
        }
        guard let file = snapshotWork.keys?.file,
            let bytes = snapshotWork.keys?.encoder.step(entries: options.keysPerStep)
        else { return true }
        snapshotWork.keys = nil
        writeFile(file.name, bytes, .keys(file))
        return true
    }

    /// Removes the key files of segments of which nothing is there any more.
    private func removeOldKeys() {
        guard !state.keys.files.isEmpty else { return }
        let there = Set(log.segments.map(\.number))
        let relocations = state.relocations
        let names = state.keys.forget { there.contains($0) || relocations.origin($0) != nil }
        for name in names { device.removeFile(name) }
    }

    /// Writes entries of the newest segment into a file of their own where they take more memory than they may: those of
    /// the sequences that have many.
    /// - Returns: false where that is not so.
    private func spillIndex() -> Bool {
        // Looking costs something for each sequence: once for many entries.
        guard !snapshotWork.isClosing, state.newEntries * IndexEntry.bytes * 2 >= options.indexMemoryBytes else {
            return false
        }
        let sequences = (state.touched[log.active.number] ?? []).filter { !$0.isDeleted }
        let entries = sequences.reduce(0) { $0 + $1.index.entries.count }
        guard entries * IndexEntry.bytes * 2 > options.indexMemoryBytes else {
            state.newEntries = 0
            return false
        }
        // A quarter at a time: encoding a file takes a few milliseconds.
        var room = max(1, options.indexMemoryBytes / IndexEntry.bytes / 4)
        var chosen: [IndexedSequence] = []
        for sequence in sequences where sequence.index.entries.count >= options.entriesPerRun {
            chosen.append(sequence)
            room -= sequence.index.entries.count
            if room <= 0 { break }
        }
        if room > 0 { state.newEntries = 0 }
        guard !chosen.isEmpty else { return false }
        snapshotWork.indexParts += 1
        writeIndex(log.active.number, part: snapshotWork.indexParts, of: chosen)
        return true
    }

    private func writeIndex(_ segment: UInt64, part: UInt32 = 0, of chosen: [IndexedSequence]? = nil) {
        let sequences = (chosen ?? state.touched[segment] ?? []).filter { !$0.isDeleted }
        var parts: [IndexFile.Partition] = []
        for sequence in sequences {
            let entries = sequence.index.entries[..<sequence.index.end(of: segment)]
            if !entries.isEmpty { parts.append(IndexFile.Partition(id: sequence.id, entries: entries)) }
        }
        if part == 0 { noteUsage(of: segment, parts) }
        let number = IndexFile.number(segment: segment, part: part)
        let (bytes, runs) = IndexFile.encode(segment: number, epoch: log.epoch, partitions: parts)
        let byID = Dictionary(sequences.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        let spilled = zip(parts, runs).compactMap { part, run in byID[part.id].map { (sequence: $0, run: run) } }
        if part > 0 { snapshotWork.spilledBytes += bytes.count }
        var pointsTo = firstSegments(of: parts.map(\.entries))
        // Messages that were stored elsewhere are found through the records that published them, which are here.
        if state.keys.mayPublish(segment, epoch: log.epoch) { pointsTo.insert(segment) }
        writeFile(
            IndexFile.name(segment: number, epoch: log.epoch),
            bytes,
            .index(segment: segment, part: part, spilled, pointsTo: pointsTo)
        )
    }

    func fileWritten(_ file: PendingFile, _ error: DeviceError?) {
        snapshotWork.isWriting = false
        if error != nil {
            snapshotWork.isWritingLast = false
            // The memory it would have freed stays in use; the log itself is not concerned.
            snapshotWork.isWanted = true
            snapshotWork.retryAt = state.lastTime.advanced(byMicroseconds: options.fullRetryMicroseconds)
            snapshotWork.isRefused = snapshotWork.isClosing
            return
        }
        snapshotWork.retryAt = nil
        switch file {
        case .index(let segment, let part, let spilled, let pointsTo):
            indexWritten(segment, part: part, spilled, pointsTo)
            if part == 0 { state.touched[segment] = nil }
            reclaiming.isWanted = true
            // A part counts only with a snapshot that names it, which is not worth while for each.
            if part == 0 || snapshotWork.spilledBytes > 4 * options.indexMemoryBytes { snapshotWork.isWanted = true }
        case .keys(let file):
            state.keys.spilled(file)
            snapshotWork.isWanted = true
        case .snapshot(let position, let isLast):
            removeOldKeys()
            snapshotWork.kept.append(position)
            while snapshotWork.kept.count > 2 {
                device.removeFile(Snapshot.name(position: snapshotWork.kept.removeFirst()))
            }
            if isLast { snapshotWork.isClosed = true }
        }
    }
}
