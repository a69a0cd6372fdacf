internal import DequeModule
internal import MessageModel
internal import StorageService

/// Segments that are mostly dead are emptied: what is live in them is appended again, and they are given back.
extension Shard {
    // MARK: What is live

    /// The index of a segment was written: what is live in it is known without reading anything.
    func noteUsage(of number: UInt64, _ parts: [IndexFile.Partition]) {
        compaction.isWanted = true
        // What was moved into it is found out by looking, and what is in earlier files.
        guard let segment = log.segments.first(where: { $0.number == number }),
            state.relocations.incoming[number] == nil, state.files.pointers[number] == nil,
            !state.keys.mayPublish(number, epoch: log.epoch)
        else { return }
        var map = SegmentMap(segment)
        for part in parts {
            let owner = owner(part.id)
            for entry in part.entries where owner.needs(entry) { insert(entry, into: &map) }
        }
        markHolders(in: &map, origins: [])
        let held = (reclaiming.held[number] ?? 0) * Int(Self.unknownBytes)
        let live = min(segment.size, map.liveBytes + held)
        compaction.usage[number] = CompactionWork.Usage(live: live, at: clock, end: log.end, changedAt: clock)
    }

    private func insert(_ entry: IndexEntry, into map: inout SegmentMap) {
        let home = log.home(of: entry.position, recordBytes: entry.recordBytes)
        map.insert(home.position, recordBytes: home.recordBytes)
    }

    /// Whose entries they are.
    private enum Owner {
        case partition(IndexedSequence)
        case lane(Lane)
        case nobody

        /// Whether a message of an entry is still needed.
        func needs(_ entry: IndexEntry) -> Bool {
            switch self {
            case .partition(let sequence):
                return sequence.isLive(entry)
            case .lane(let lane):
                guard entry.nextOffset > lane.delivery.watermark else { return false }
                let rest = max(entry.baseOffset, lane.delivery.watermark)..<entry.nextOffset
                return lane.delivery.done.isEmpty
                    || lane.delivery.done.count(in: rest) < rest.upperBound - rest.lowerBound
            case .nobody:
                return false
            }
        }
    }

    private func owner(_ id: SequenceID) -> Owner {
        switch id.kind {
        case .partition: state.sequence(id).map(Owner.partition) ?? .nobody
        case .inbox:
            state.lane(LaneKey(subscription: SubscriptionID(rawValue: id.number), lane: id.index)).map(Owner.lane)
                ?? .nobody
        }
    }

    /// Marks what is needed besides what index files point to.
    private func markHolders(in map: inout SegmentMap, origins: Set<UInt64>) {
        func mark(_ position: UInt64, _ recordBytes: UInt32) {
            let home = log.home(of: position, recordBytes: recordBytes)
            map.insert(home.position, recordBytes: home.recordBytes)
        }
        for positions in reclaiming.foreign.values { for position in positions { mark(position, Self.unknownBytes) } }
        if origins.contains(where: { reclaiming.held[$0] != nil }) {
            state.held.timers.forEach { mark($0.payload, Self.unknownBytes) }
            for entry in state.held.leaving { mark(entry.payload, Self.unknownBytes) }
        }
        for transaction in state.transactions.values {
            for held in transaction.held { mark(held.position, held.recordBytes) }
        }
        state.forEachLivePosition(mark)
        for key in state.files.copied[map.segment] ?? [] {
            for copy in state.files.files[key]?.copies ?? [] {
                map.insert(copy.position, recordBytes: Int(copy.recordBytes))
            }
        }
    }

    /// What a record whose length is not known counts for.
    private static let unknownBytes: UInt32 = 512

    // MARK: Steps

    /// Goes on with looking and moving, as far as it may now.
    func advanceCompaction(now: Timestamp) {
        takeCredit(now: now)
        if compaction.firstSegment == nil { compaction.firstSegment = log.active.number }
        let others = log.appendedBytes - compaction.ownBytes
        allow(Int(others - min(others, compaction.otherBytes)))
        compaction.otherBytes = others
        if compaction.survey != nil { return advanceSurvey(now: now) }
        if compaction.move != nil { return advanceMove(now: now) }
        if compaction.active != log.active.number {
            compaction.active = log.active.number
            compaction.isWanted = true
        }
        guard compaction.isWanted || !compaction.stale.isEmpty || state.files.hasShrunk else { return }
        guard now >= compaction.notBefore else { return wake(at: compaction.notBefore) }
        noteDeaths()
        guard state.touched.keys.allSatisfy({ $0 >= log.active.number }) else { return }
        chooseSegment(now: now)
    }

    /// Files that lost runs tell where something died.
    private func noteDeaths() {
        let shrunk = Set(state.files.takeShrunk())
        guard !shrunk.isEmpty else { return }
        compaction.stale.formUnion(shrunk)
        for (target, origins) in state.relocations.incoming where origins.keys.contains(where: shrunk.contains) {
            compaction.stale.insert(target)
        }
    }

    /// So many bytes may have to be moved to gain what was appended, or what has died.
    private func allow(_ bytes: Int) {
        guard bytes > 0 else { return }
        let most = log.segments.reduce(0) { $0 + $1.size } * 4
        compaction.allowance = min(most, compaction.allowance + 12 * min(bytes, most))
    }

    private struct Balance {
        var sealed = 0
        var live = 0
        /// Can be emptied, least live first.
        var candidates: [CommitLog.Segment] = []
        /// When the next one can be.
        var nextCandidate = Timestamp.never
    }

    private func balance(now: Timestamp) -> Balance {
        var balance = Balance()
        for segment in log.segments.dropLast() where reclaiming.evacuated[segment.number] == nil {
            balance.sealed += segment.size
            guard let usage = compaction.usage[segment.number] else {
                balance.live += segment.size
                continue
            }
            balance.live += usage.live
            let limit = segment.size / 100 * (isDiskTight ? 90 : options.compactionLivePercent)
            guard usage.live < limit, !usage.isUnmovable, segment.end <= log.durable else { continue }
            // What is dying is left to die, so that it need not be moved.
            let ripe = usage.changedAt.advanced(byMicroseconds: options.surveyPauseMicroseconds * 60)
            if usage.live < segment.size / 4 || ripe <= now || isDiskTight {
                balance.candidates.append(segment)
            } else {
                balance.nextCandidate = min(balance.nextCandidate, ripe)
            }
        }
        balance.candidates.sort {
            let left = compaction.usage[$0.number]?.live ?? 0
            let right = compaction.usage[$1.number]?.live ?? 0
            return (left, $0.number) < (right, $1.number)
        }
        return balance
    }

    /// What died is still on its way to be given back.
    var canReclaimMore: Bool {
        isWorthwhile(freeSegments()) || next(in: balance(now: .never)) != nil
    }

    /// So much is dead that segments are to be emptied.
    private func isTooDead(_ balance: Balance, share: Int = 1) -> Bool {
        let percent = isDiskTight ? 10 : options.compactionDeadPercent
        // A checkpoint is written for what comes free.
        let limit = balance.live / 100 * percent / share + reclaiming.checkpointBytes
        return balance.sealed - balance.live > limit
    }

    /// The segment that is to be emptied next.
    private func next(in balance: Balance) -> CommitLog.Segment? {
        guard compaction.allowance > 0, let segment = balance.candidates.first else { return nil }
        if isTooDead(balance) { return segment }
        // Once it has begun it goes on with what is mostly dead, so that what lives long comes together.
        let isMostlyDead = compaction.usage[segment.number].map { $0.live < segment.size / 2 } ?? false
        return compaction.isRunning && isMostlyDead && isTooDead(balance, share: 2) ? segment : nil
    }

    private func chooseSegment(now: Timestamp) {
        compaction.isWanted = false
        let known = Set(log.segments.dropLast().map(\.number))
        compaction.usage = compaction.usage.filter { known.contains($0.key) }
        compaction.stale.formIntersection(known)
        compaction.stale.subtract(reclaiming.evacuated.keys)
        let balance = balance(now: now)
        if let segment = next(in: balance) {
            compaction.isRunning = true
            return survey(segment)
        }
        if isTooDead(balance), balance.nextCandidate != .never { wake(at: balance.nextCandidate) }
        compaction.isRunning = false
        compaction.notBefore = now.advanced(byMicroseconds: options.surveyPauseMicroseconds / 10)
        // What died may make another one worth it.
        if let number = compaction.stale.min(by: { usageTime($0) < usageTime($1) }) {
            let due = usageTime(number).advanced(byMicroseconds: options.surveyPauseMicroseconds)
            guard due <= now else { return wake(at: due) }
            guard let segment = log.segments.first(where: { $0.number == number }) else { return }
            return survey(segment)
        }
        surveyOldest(now: now)
    }

    private func usageTime(_ segment: UInt64) -> Timestamp { compaction.usage[segment]?.at ?? .zero }

    /// What dies within a run is not told: segments are looked at again now and then, as long as something happens.
    private func surveyOldest(now: Timestamp) {
        // All of them once while the log grows by a quarter.
        let pause = options.surveyPauseMicroseconds * 60
        let growth = max(options.segmentBytes, log.segments.reduce(0) { $0 + $1.size } / 4)
        for segment in log.segments.dropLast() where reclaiming.evacuated[segment.number] == nil {
            guard let usage = compaction.usage[segment.number] else { return survey(segment) }
            guard usage.at.advanced(byMicroseconds: pause) <= now,
                isDiskTight || log.end - usage.end >= UInt64(growth)
            else { continue }
            return survey(segment)
        }
    }

    private func wake(at time: Timestamp) {
        reclaiming.wakeAt = reclaiming.wakeAt.map { min($0, time) } ?? time
        compaction.isWanted = true
    }

    // MARK: Surveys

    private func survey(_ segment: CommitLog.Segment) {
        var origins = Set(state.relocations.incoming[segment.number]?.keys.map { $0 } ?? [])
        origins.insert(segment.number)
        let files = filesPointing(into: origins)
        compaction.stale.remove(segment.number)
        compaction.surveys += 1
        compaction.survey = SegmentSurvey(
            segment,
            origins: origins,
            files: files.sorted { ($0.segment, $0.epoch) < ($1.segment, $1.epoch) }
        )
        reclaiming.hasMore = true
    }

    private func filesPointing(into origins: Set<UInt64>) -> Set<IndexFile.Key> {
        origins.reduce(into: []) { $0.formUnion(state.files.pointers[$1] ?? []) }
    }

    private func advanceSurvey(now: Timestamp) {
        guard let survey = compaction.survey else { return }
        var last: (id: SequenceID, owner: Owner)?
        while true {
            if survey.reading == nil {
                if survey.files.isEmpty {
                    // What waited when this began may have been published since, and be in a new file.
                    survey.files = filesPointing(into: survey.origins).subtracting(survey.seen).sorted {
                        ($0.segment, $0.epoch) < ($1.segment, $1.epoch)
                    }
                    survey.seen.formUnion(survey.files)
                }
                guard let key = survey.files.popLast() else {
                    if surveyPublications(survey) { finish(survey, now: now) }
                    return
                }
                survey.reading = reading(of: key)
            }
            guard let reading = survey.reading else { return }
            switch reading.step(requests: &coldRequests) {
            case .waits:
                return
            case .piece:
                reading.forEachEntry { id, entry in
                    if last?.id != id { last = (id, owner(id)) }
                    if last?.owner.needs(entry) == true { insert(entry, into: &survey.map) }
                }
                reading.taken()
            case .done:
                survey.hasFailed = survey.hasFailed || reading.hasFailed
                survey.reading = nil
            }
        }
    }

    /// Reads what is needed of an index file.
    func reading(of key: IndexFile.Key) -> IndexFileReading {
        IndexFileReading(key, pieceBytes: min(64 << 10, options.segmentBytes / 8)) { [unowned self] id, place in
            guard let runs = self.state.sequence(id)?.index.runs else { return false }
            let segment = IndexFile.segment(ofNumber: key.segment)
            let first = PartitionIndex.firstIndex(in: 0..<runs.count) { runs[$0].logSegment >= segment }
            for run in runs[first...] {
                guard run.logSegment == segment else { return false }
                if run.file == key, Int(run.fileOffset) == place { return true }
            }
            return false
        }
    }

    private func finish(_ survey: SegmentSurvey, now: Timestamp) {
        reclaiming.hasMore = true
        compaction.survey = nil
        let number = survey.segment.number
        compaction.isWanted = true
        guard !survey.hasFailed else {
            // Its index cannot be read: what is live in it is not known.
            compaction.usage[number] = CompactionWork.Usage(
                live: survey.segment.size,
                at: now,
                end: log.end,
                changedAt: now,
                isUnmovable: true
            )
            return
        }
        markHolders(in: &survey.map, origins: survey.origins)
        let map = survey.map
        let before = compaction.usage[number]
        // What was there at the beginning may have died in earlier lives.
        let isOld = number < compaction.firstSegment ?? 0
        allow((before?.live ?? (isOld ? survey.segment.size : 0)) - map.liveBytes)
        var usage = CompactionWork.Usage(live: map.liveBytes, at: now, end: log.end, changedAt: now)
        if let before, map.liveBytes >= before.live / 100 * 95 { usage.changedAt = before.changedAt }
        compaction.usage[number] = usage
        for origin in survey.origins {
            state.relocations.prune(origin) { _, home in home.segment != number || map.contains(home.position) }
        }
        if map.count == 0 {
            evacuated(survey.segment, moved: 0)
        } else if compaction.isRunning, balance(now: now).candidates.contains(survey.segment) {
            compaction.move = SegmentMove(survey.segment, map)
        }
    }

    // MARK: Moving

    private func evacuated(_ segment: CommitLog.Segment, moved bytes: Int) {
        reclaiming.evacuated[segment.number] = max(0, segment.size - bytes)
        reclaiming.isWanted = true
        reclaiming.hasMore = true
        compaction.isWanted = true
    }

    /// What may be moved: so much a second, and more than what comes in.
    private func takeCredit(now: Timestamp) {
        let elapsed = compaction.creditAt.map { now > $0 ? min(now.rawValue - $0.rawValue, 1_000_000) : 0 } ?? 1_000_000
        let ingested = Int(min(log.end - min(compaction.creditEnd, log.end), 64 << 20))
        let rate = options.compactionBytesPerSecond * (isDiskTight ? 4 : 1)
        compaction.credit = min(
            compaction.credit + rate / 1_000 * Int(elapsed / 1_000) + 2 * ingested,
            max(rate / 10, 4 * options.coldReadBytes)
        )
        if elapsed >= 1_000 || compaction.creditAt == nil { compaction.creditAt = now }
        compaction.creditEnd = log.end
    }

    private func advanceMove(now: Timestamp) {
        guard let move = compaction.move else { return }
        var budget = options.compactionBytesPerRound
        while move.next != nil, budget > 0 {
            guard compaction.credit > 0 else { return wake(at: now.advanced(byMicroseconds: 10_000)) }
            let appended = move.withRecord(log, requests: &coldRequests) { append(moved: $0, of: move.segment) }
            guard let appended else {
                guard move.hasFailed else { return }
                compaction.usage[move.segment.number]?.isUnmovable = true
                compaction.move = nil
                return
            }
            guard let (recordBytes, newBytes) = appended else { return }
            move.moved(recordBytes: recordBytes)
            move.movedBytes += newBytes
            budget -= newBytes
            compaction.credit -= newBytes
            compaction.movedBytes += UInt64(newBytes)
            // What is moved does not count as coming in.
            compaction.creditEnd = log.end
        }
        reclaiming.hasMore = true
        guard move.next == nil else { return }
        compaction.move = nil
        evacuated(move.segment, moved: move.movedBytes)
    }

    /// Appends a live record again.
    /// - Returns: its length and what was appended; nil where there is no room now.
    private func append(moved record: LogRecord.View, of segment: CommitLog.Segment) -> (Int, Int)? {
        let length = record.bytes.count
        let moved: MovedRecord
        switch record.kind {
        case .batch, .held:
            moved = MovedRecord(
                position: record.position,
                originSegment: segment.number,
                originBase: segment.base,
                kind: record.kind,
                payload: record.payload
            )
        case .published:
            return append(publication: record, named: record.position, originSegment: segment.number, segment.base)
        case .moved:
            guard let known = MovedRecord(record.payload) else { return (length, 0) }
            if known.kind == .published {
                let origin = known.originSegment
                return append(publication: record, named: known.position, originSegment: origin, known.originBase)
            }
            moved = known
        case .indexCopy:
            guard let part = IndexCopyPart(record.payload) else { return (length, 0) }
            return append(part, instead: record.position) ? (length, length) : nil
        default:
            return (length, 0)
        }
        return append(moved).map { (length, $0) }
    }

    /// - Returns: what was appended; nil where there is no room now.
    private func append(_ moved: MovedRecord) -> Int? {
        let payloadBytes = MovedRecord.prefixBytes + moved.payload.count
        guard let position = appendForReclaiming(.moved, payloadBytes: payloadBytes, moved.write) else { return nil }
        state.apply(moved, position: position, recordBytes: Int(log.end - position), segment: log.active.number)
        return Int(log.end - position)
    }

    /// Appends again what messages are found by that a record published.
    private func append(
        publication record: LogRecord.View,
        named name: UInt64,
        originSegment: UInt64,
        _ originBase: UInt64
    ) -> (Int, Int)? {
        let length = record.bytes.count
        guard let payload = neededPublication(record, named: name) else { return (length, 0) }
        return payload.withUnsafeBytes { payload in
            let moved = MovedRecord(
                position: name,
                originSegment: originSegment,
                originBase: originBase,
                kind: .published,
                payload: payload
            )
            return append(moved).map { (length, $0) }
        }
    }

    /// Appends a part of an index file again, where that is still needed.
    private func append(_ part: IndexCopyPart, instead old: UInt64) -> Bool {
        guard state.files.files[part.key]?.copies.contains(where: { $0.position == old }) == true else { return true }
        guard
            let position = appendForReclaiming(
                .indexCopy,
                payloadBytes: IndexCopyPart.prefixBytes + part.bytes.count,
                part.write
            )
        else { return false }
        let length = Int(log.end - position)
        state.apply(part, position: position, recordBytes: length, segment: log.active.number)
        return true
    }
}
