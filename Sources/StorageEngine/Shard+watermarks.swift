internal import MessageModel
internal import StorageService

/// How full the disk is, and what follows from that.
struct DiskWatch {
    enum Level: Int, Comparable {
        case roomy
        /// Compaction does more than it would otherwise.
        case tight
        /// The oldest messages of topics with limits go before their time.
        case early
        /// No messages are taken.
        case full

        static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }
    }

    var level = Level.roomy
    /// Asked again then, in the first round behind it.
    var nextLook = Timestamp.zero
    /// Messages went before their time: what that frees is waited for until then.
    var trimmedUntil = Timestamp.zero
    /// Of the whole, in percent.
    var usedPercent = 0
    /// What is used beyond the level at which messages go before their time, in bytes.
    var excess = 0
    /// The segment that was written to when the device was asked last.
    var segment = UInt64.max
}

extension Shard {
    /// Appends of messages are refused until there is room.
    var refusesMessages: Bool { diskWatch.level == .full }

    /// Asks the device how much room there is, now and then, and acts on it.
    func watchDisk(now: Timestamp, output: any ShardOutput) {
        guard isReady, log.failure == nil, !snapshotWork.isClosing else { return }
        // What comes in fast is met before the time is over.
        let isNewSegment = diskWatch.segment != log.active.number
        if now >= diskWatch.nextLook || isNewSegment {
            diskWatch.segment = log.active.number
            if isNewSegment { diskWatch.trimmedUntil = min(diskWatch.trimmedUntil, now) }
            diskWatch.nextLook = now.advanced(byMicroseconds: options.diskLookMicroseconds)
            look(output: output)
        }
        guard diskWatch.level >= .early else { return }
        // It recovers without anybody asking.
        reclaiming.wakeAt = reclaiming.wakeAt.map { min($0, diskWatch.nextLook) } ?? diskWatch.nextLook
        if now >= diskWatch.trimmedUntil { trimEarly(now: now) }
    }

    /// What may still be written: what the device has, and what is reserved for the log already.
    private func room(of space: DeviceSpace) -> Int {
        let reserved = Int(log.active.end - log.end) + (log.next == .ready ? options.segmentBytes : 0)
        return min(space.total, space.available + reserved)
    }

    private func look(output: any ShardOutput) {
        guard let space = device.space(), space.total > 0 else {
            diskWatch.level = .roomy
            isDiskTight = false
            return
        }
        let room = room(of: space)
        let used = 100 - room / max(1, space.total / 100)
        diskWatch.usedPercent = min(100, max(0, used))
        diskWatch.excess = max(0, space.total - room - space.total / 100 * options.diskTrimPercent)
        // Compaction needs room to make room.
        let reserve = min(options.segmentBytes, space.total / 8)
        let level: DiskWatch.Level
        if used >= options.diskFullPercent || room < reserve {
            level = .full
        } else if used >= options.diskTrimPercent {
            level = .early
        } else if used >= options.diskTightPercent {
            level = .tight
        } else {
            level = .roomy
        }
        defer {
            diskWatch.level = level
            isDiskTight = level >= .tight
        }
        guard level != diskWatch.level else { return }
        compaction.isWanted = true
        let text = "the disk is \(diskWatch.usedPercent) % full"
        switch level {
        case .full: output.warning("\(text): no messages are stored until there is room")
        case .early where diskWatch.level < .early:
            output.warning("\(text): topics let their oldest messages go before their time")
        case .early: output.warning("\(text): messages are stored again")
        case .tight, .roomy:
            if diskWatch.level >= .early { output.warning("\(text): it has room again") }
        }
    }

    /// Lets the oldest messages of topics with limits go, at least a segment of them, where nothing else can make room.
    private func trimEarly(now: Timestamp) {
        guard case .idle = reclaiming.stage, compaction.survey == nil, compaction.move == nil,
            compaction.stale.isEmpty, !canReclaimMore
        else { return }
        diskWatch.trimmedUntil = now.advanced(byMicroseconds: options.diskLookMicroseconds)
        let topics = state.topics.values.filter { $0.policy.retention == .limits && $0.policy.trims }
        let partitions = topics.sorted { $0.info.id < $1.info.id }.flatMap(\.partitions)
        guard !partitions.isEmpty else { return }
        var plan = TrimPlan(partitions)
        plan.trim(toBytes: plan.bytes - min(plan.bytes, UInt64(max(options.segmentBytes, diskWatch.excess))))
        var place = 0
        for topic in topics.sorted(by: { $0.info.id < $1.info.id }) {
            let offsets = plan.offsets[place..<place + topic.partitions.count]
            place += topic.partitions.count
            guard apply(Array(offsets), to: topic) else { return }
        }
        reclaiming.hasMore = true
    }
}
