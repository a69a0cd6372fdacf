internal import MessageModel
internal import StorageService

/// Segments that nothing live points into are given back, see `ReclaimWork` for the steps.
extension Shard {
    // MARK: What points where

    /// Finds out what recovery did not keep: which segments hold messages that wait, and where entries in memory point.
    func noteReferences() {
        reclaiming.held = [:]
        let withdrawn = state.held.withdrawn
        state.held.timers.forEach { entry in
            let id = ScheduledID(position: LogPosition(rawValue: entry.payload), record: entry.detail)
            if !withdrawn.isEmpty, withdrawn.contains(id) { return }
            if let segment = firstSegment(of: entry.payload) { reclaiming.held[segment, default: 0] += 1 }
        }
        reclaiming.foreign = [:]
        for (number, sequences) in state.touched {
            let own = log.segments.first { $0.number == number }.map { $0.base..<$0.end } ?? 0..<0
            var found: [UInt64] = []
            for sequence in sequences {
                let index = sequence.index
                let start =
                    index.boundaries.first { $0.segment == number }
                    .map { max($0.ordinal, index.entries.startIndex) } ?? index.entries.endIndex
                for entry in index.entries[start..<max(start, index.end(of: number))]
                where !own.contains(entry.position) {
                    found.append(entry.position)
                }
            }
            if !found.isEmpty { reclaiming.foreign[number] = found }
        }
    }

    /// The segments that the records of entries were stored in first.
    func firstSegments(of parts: [ArraySlice<IndexEntry>]) -> Set<UInt64> {
        var found = Set<UInt64>()
        var last = 0..<UInt64(0)
        for part in parts {
            for entry in part where !last.contains(entry.position) {
                if let (segment, _) = log.locate(entry.position) {
                    last = segment.base..<segment.end
                    found.insert(segment.number)
                } else if let segment = firstSegment(of: entry.position) {
                    found.insert(segment)
                }
            }
        }
        return found
    }

    /// The segment in which a record was stored first; nil where that is gone and nothing of it was kept.
    func firstSegment(of position: UInt64) -> UInt64? {
        log.locate(position)?.segment.number ?? state.relocations.originSegment(of: position)
    }

    /// Held messages were published: they wait no more, and entries point to them.
    func notePublished(_ publication: Publication) {
        for item in publication.items {
            if publication.reason == .due { noteUnheld(item.position) }
            if item.traces.contains(where: \.isRetained), let segment = firstSegment(of: item.position) {
                reclaiming.retained.insert(segment)
            }
            noteEntry(pointingTo: item.position)
        }
        if publication.reason == .committed { reclaiming.isWanted = true }
    }

    /// An entry was made for a record that stands in the log since before.
    func noteEntry(pointingTo position: UInt64) {
        guard position < log.active.base, reclaiming.foreign[log.active.number]?.last != position else { return }
        reclaiming.foreign[log.active.number, default: []].append(position)
    }

    /// A message does not wait for its time any more.
    func noteUnheld(_ position: UInt64) {
        guard let segment = firstSegment(of: position), let count = reclaiming.held[segment] else { return }
        reclaiming.held[segment] = count > 1 ? count - 1 : nil
        if count <= 1 { reclaiming.isWanted = true }
    }

    /// The entries of a segment are in a file.
    func indexWritten(
        _ segment: UInt64,
        part: UInt32,
        _ spilled: [(sequence: IndexedSequence, run: IndexRun)],
        _ pointsTo: Set<UInt64>
    ) {
        let key = IndexFile.Key(segment: IndexFile.number(segment: segment, part: part), epoch: log.epoch)
        state.files.insert(key, segments: pointsTo.sorted())
        for part in spilled where !part.sequence.isDeleted {
            if part.sequence.index.spill(upTo: part.run.nextOffset, as: part.run) { state.files.added(key) }
        }
        if part == 0 { reclaiming.foreign[segment] = nil }
        compaction.isWanted = true
    }

    /// The sealed segments that nothing live is in.
    func freeSegments() -> [CommitLog.Segment] {
        // What was stored first in these is needed, besides what index files point to.
        var named = Set(reclaiming.held.keys)
        for (made, positions) in reclaiming.foreign {
            named.insert(made)
            for position in positions { if let segment = firstSegment(of: position) { named.insert(segment) } }
        }
        let pointers = state.files.pointers
        func isFree(_ segment: CommitLog.Segment) -> Bool {
            let number = segment.number
            func isNamed(_ segment: UInt64) -> Bool { pointers[segment] != nil || named.contains(segment) }
            if segment.end > log.durable || state.touched[number] != nil || state.files.copied[number] != nil {
                return false
            }
            if isNamed(number), reclaiming.evacuated[number] == nil { return false }
            return state.relocations.incoming[number].map { !$0.keys.contains(where: isNamed) } ?? true
        }
        let candidates = log.segments.dropLast().filter(isFree)
        guard !candidates.isEmpty else { return [] }
        // There may be many of these: they are asked only where it depends on them.
        for transaction in state.transactions.values {
            for held in transaction.held { if let segment = firstSegment(of: held.position) { named.insert(segment) } }
        }
        noteRetained()
        named.formUnion(reclaiming.retained)
        let free = candidates.filter { isFree($0) && $0.end <= reclaiming.retainedEnd }
        if free.count < candidates.count, clock < reclaiming.retainedUntil {
            reclaiming.wakeAt = reclaiming.wakeAt.map { min($0, reclaiming.retainedUntil) } ?? reclaiming.retainedUntil
            reclaiming.isWanted = true
        }
        return free
    }

    /// Finds out which segments last values were stored in first. Many take time: then it is what it was a while ago, and
    /// segments that were sealed since then wait.
    private func noteRetained() {
        guard clock >= reclaiming.retainedUntil else { return }
        reclaiming.retained = []
        var count: UInt64 = 0
        state.forEachLivePosition { position, _ in
            count += 1
            if let segment = firstSegment(of: position) { reclaiming.retained.insert(segment) }
        }
        reclaiming.retainedEnd = log.end
        reclaiming.retainedUntil = clock.advanced(byMicroseconds: count > 1_000 ? count * 20 : 0)
    }

    // MARK: Steps

    var isCheckpointing: Bool { if case .idle = reclaiming.stage { false } else { true } }

    /// Begins to give segments back, where enough of them are free.
    /// - Returns: whether a checkpoint will follow.
    func beginReclaiming(now: Timestamp) -> Bool {
        guard case .idle = reclaiming.stage, isReady, canReclaim(now: now) else { return false }
        guard reclaiming.isWanted || state.files.hasUnused else { return false }
        // What is not in index files yet comes first.
        guard state.touched.keys.allSatisfy({ $0 >= log.active.number }) else { return false }
        reclaiming.isWanted = false
        state.files.hasUnused = false
        guard isWorthwhile(freeSegments()) else { return false }
        reclaiming.stage = .copying
        reclaiming.hasMore = true
        return true
    }

    private func canReclaim(now: Timestamp) -> Bool {
        log.failure == nil && hasOpened && !snapshotWork.isClosing && retryDeadline == nil
            && snapshotWork.retryAt.map { now >= $0 } ?? true
    }

    /// Whether what comes free is more than what the checkpoint takes.
    func isWorthwhile(_ segments: [CommitLog.Segment]) -> Bool {
        // What was moved out of them is not gained. The checkpoint before it comes free too, so that as much again would
        // never end.
        let bytes = segments.reduce(0) { $0 + (reclaiming.evacuated[$1.number] ?? $1.size) }
        if diskWatch.level >= .early, compaction.allowance > 0 { return bytes >= max(1, reclaiming.checkpointBytes) }
        return bytes > 0 && bytes >= 2 * reclaiming.checkpointBytes
    }

    func advanceReclaiming(now: Timestamp, output: any ShardOutput) {
        reclaiming.hasMore = false
        reclaiming.wakeAt = nil
        guard canReclaim(now: now) else { return }
        switch reclaiming.stage {
        case .idle:
            guard !snapshotWork.isWriting, snapshotWork.taken == nil else { return }
            if !beginReclaiming(now: now) { advanceCompaction(now: now) }
        case .copying:
            copyIndexFiles()
        case .appending(let checkpoint):
            append(checkpoint)
        case .syncing(let checkpoint):
            guard log.durable >= checkpoint.end else {
                log.wantDurable()
                return log.flush(writesNow: false)
            }
            reclaiming.stage = .snapshot(checkpoint)
            writeSnapshot(of: checkpoint)
        case .snapshot(let checkpoint):
            guard let newest = snapshotWork.kept.last, newest >= checkpoint.position else {
                return writeSnapshot(of: checkpoint)
            }
            free(checkpoint)
        }
    }

    private func writeSnapshot(of checkpoint: ReclaimWork.Checkpoint) {
        // One that failed is tried again.
        guard !snapshotWork.isWriting, snapshotWork.taken == nil else { return }
        snapshotWork.taken = (checkpoint.position, checkpoint.bytes, false)
        reclaiming.hasMore = true
    }

    // MARK: Copies of index files

    private func copyIndexFiles() {
        if reclaiming.copy == nil {
            guard let key = state.files.uncopied.min(by: { ($0.segment, $0.epoch) < ($1.segment, $1.epoch) }) else {
                return takeCheckpoint(Set(freeSegments().map(\.number)))
            }
            state.files.forgetCopies(of: key)
            reclaiming.copy = reading(of: key)
        }
        guard let copy = reclaiming.copy else { return }
        switch copy.step(requests: &coldRequests) {
        case .waits:
            return
        case .piece(let isLast):
            guard append(copy, isLast: isLast) else { return }
            copy.taken()
            reclaiming.hasMore = true
        case .done:
            reclaiming.copy = nil
            // Without a copy nothing can be let go: it is tried again when something else changes.
            if copy.hasFailed {
                reclaiming.stage = .idle
                snapshotWork.isWanted = true
            } else {
                reclaiming.hasMore = true
            }
        }
    }

    private func append(_ copy: IndexFileReading, isLast: Bool) -> Bool {
        copy.bytes.withUnsafeBytes { bytes in
            let part = IndexCopyPart(key: copy.key, isLast: isLast, fileOffset: UInt64(copy.fileOffset), bytes: bytes)
            guard
                let position = appendForReclaiming(
                    .indexCopy,
                    payloadBytes: IndexCopyPart.prefixBytes + bytes.count,
                    part.write
                )
            else { return false }
            let length = Int(log.end - position)
            state.apply(part, position: position, recordBytes: length, segment: log.active.number)
            return true
        }
    }

    /// - Returns: nil where the log has no room now; what waits for it is tried again.
    func appendForReclaiming(
        _ kind: LogRecord.Kind,
        payloadBytes: Int,
        _ fill: (UnsafeMutableRawBufferPointer) -> Void
    ) -> UInt64? {
        guard deferred.isEmpty else { return nil }
        do throws(CommitLog.AppendRefusal) {
            let before = log.appendedBytes
            let position = try log.append(kind, payloadBytes: payloadBytes, fill)
            compaction.ownBytes += log.appendedBytes - before
            compaction.allowance -= Int(log.appendedBytes - before)
            return position
        } catch {
            retryLater(error)
            return nil
        }
    }

    // MARK: Checkpoints

    private func takeCheckpoint(_ free: Set<UInt64>) {
        guard !snapshotWork.isWriting, snapshotWork.taken == nil, deferred.isEmpty,
            state.touched.keys.allSatisfy({ $0 >= log.active.number })
        else { return }
        do throws(CommitLog.AppendRefusal) { try flushJournal() } catch { return retryLater(error) }
        let unused = state.files.removeUnused()
        let bytes = Snapshot.encode(state, position: log.end, isClean: false, identity: options.logIdentity)
        reclaiming.checkpointBytes = bytes.count
        reclaiming.stage = .appending(
            ReclaimWork.Checkpoint(position: log.end, bytes: bytes, free: free, unusedFiles: unused)
        )
        reclaiming.hasMore = true
    }

    private func append(_ checkpoint: ReclaimWork.Checkpoint) {
        var checkpoint = checkpoint
        let partBytes = min(256 << 10, options.segmentBytes / 8)
        var budget = options.deliveryBytesPerRound
        while checkpoint.appended < checkpoint.bytes.count, budget > 0 {
            let end = min(checkpoint.bytes.count, checkpoint.appended + partBytes)
            let position = checkpoint.bytes.withUnsafeBytes { bytes in
                let part = CheckpointPart(
                    snapshotPosition: checkpoint.position,
                    totalBytes: UInt64(bytes.count),
                    offset: UInt64(checkpoint.appended),
                    bytes: bytes.slice(checkpoint.appended..<end)
                )
                let payloadBytes = CheckpointPart.prefixBytes + part.bytes.count
                return appendForReclaiming(.checkpoint, payloadBytes: payloadBytes, part.write)
            }
            guard position != nil else {
                reclaiming.stage = .appending(checkpoint)
                return
            }
            budget -= end - checkpoint.appended
            checkpoint.appended = end
        }
        reclaiming.hasMore = true
        guard checkpoint.appended == checkpoint.bytes.count else {
            reclaiming.stage = .appending(checkpoint)
            return
        }
        checkpoint.end = log.end
        log.wantDurable()
        log.flush(writesNow: false)
        reclaiming.stage = .syncing(checkpoint)
    }

    // MARK: Freeing

    /// The checkpoint and its snapshot are durable.
    private func free(_ checkpoint: ReclaimWork.Checkpoint) {
        // What the device still reads stays until it has answered.
        guard !coldReads.values.contains(where: { reads($0.source, from: checkpoint) }),
            !coldRequests.pending.contains(where: { reads($0.source, from: checkpoint) })
        else { return }
        while let oldest = snapshotWork.kept.first, oldest < checkpoint.position {
            device.removeFile(Snapshot.name(position: oldest))
            snapshotWork.kept.removeFirst()
        }
        for name in checkpoint.unusedFiles { device.removeFile(name) }
        log.remove(checkpoint.free)
        state.forgetNames(before: log.segments[0].base)
        for segment in checkpoint.free { reclaiming.evacuated[segment] = nil }
        reclaiming.stage = .idle
        reclaiming.hasMore = true
        reclaiming.isWanted = true
    }

    private func reads(_ source: ColdRequests.Request.Source, from checkpoint: ReclaimWork.Checkpoint) -> Bool {
        switch source {
        case .log(let segment): checkpoint.free.contains(segment)
        case .index(let segment, let epoch):
            checkpoint.unusedFiles.contains(IndexFile.name(segment: segment, epoch: epoch))
        // Who reads it is told that it is gone.
        case .keys: false
        }
    }
}

extension ShardState {
    func sequence(_ id: SequenceID) -> IndexedSequence? {
        switch id.kind {
        case .partition: partition(PartitionID(topic: TopicID(rawValue: id.number), index: id.index))?.partition
        case .inbox: subscriptions[SubscriptionID(rawValue: id.number)]?.lane(id.index)?.sequence
        }
    }
}
