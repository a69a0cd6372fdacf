internal import MessageModel
internal import StorageService

/// What topics let go: by age and size, or when no subscription needs it any more.
extension Shard {
    /// A partition got messages, or its readers moved on: there may be something to let go.
    func noteRetention(_ topic: TopicState) {
        let policy = topic.policy
        guard policy.trims, topic.trimAt == .never else { return }
        // Size alone is looked at when it grows.
        if policy.retention == .limits, policy.maxAgeMicroseconds == 0 { return }
        arm(topic, at: earliestTrim(of: topic, now: clock))
    }

    /// When a topic is to be looked at.
    private func earliestTrim(of topic: TopicState, now: Timestamp) -> Timestamp {
        let policy = topic.policy
        let pause = now.advanced(byMicroseconds: options.trimPauseMicroseconds)
        guard policy.retention == .limits else { return pause }
        var due = Timestamp.never
        let plan = TrimPlan(topic.partitions)
        if policy.maxBytes > 0, plan.bytes > policy.maxBytes { due = pause }
        let isEmpty = topic.partitions.allSatisfy { $0.nextOffset == $0.trimmedOffset }
        if policy.maxAgeMicroseconds > 0, !isEmpty {
            // What comes due together goes together. What is not visible yet is new.
            let oldest = plan.oldestTime ?? now.rawValue
            let end = Timestamp(rawValue: oldest).advanced(byMicroseconds: policy.maxAgeMicroseconds)
            let step = min(policy.maxAgeMicroseconds / 64, options.trimPauseMicroseconds * 10)
            due = min(due, max(end, now.advanced(byMicroseconds: step)))
        }
        return due
    }

    /// A partition that is limited by size grew.
    func noteSize(_ topic: TopicState) {
        guard topic.policy.retention == .limits, topic.policy.maxBytes > 0 else { return }
        let due = clock.advanced(byMicroseconds: options.trimPauseMicroseconds)
        guard topic.trimAt > due, topic.partitions.reduce(0, { $0 + $1.index.bytes }) > topic.policy.maxBytes else {
            return
        }
        arm(topic, at: due)
    }

    func arm(_ topic: TopicState, at time: Timestamp) {
        guard time < topic.trimAt else { return }
        topic.trimAt = time
        timers.insert(
            TimerEntry(due: time.rawValue, payload: UInt64(topic.info.id.rawValue), kind: TimerKind.topic.rawValue)
        )
    }

    /// Its time has come: what it need not keep goes.
    func trim(_ topic: TopicState, now: Timestamp) {
        let policy = topic.policy
        var plan = TrimPlan(topic.partitions)
        switch policy.retention {
        case .limits:
            if policy.maxAgeMicroseconds > 0, now.rawValue >= policy.maxAgeMicroseconds {
                plan.trim(until: now.rawValue - policy.maxAgeMicroseconds)
            }
            // A little more than need be, so that not each message is a record.
            if policy.maxBytes > 0, plan.bytes > policy.maxBytes {
                plan.trim(toBytes: policy.maxBytes - policy.maxBytes / 64)
            }
        case .subscriptions:
            for place in topic.partitions.indices {
                plan.trim(place, before: unneeded(of: topic, partition: place))
            }
        case .compacted:
            return
        }
        guard apply(plan.offsets, to: topic) else {
            arm(topic, at: now.advanced(byMicroseconds: options.fullRetryMicroseconds))
            return
        }
        // What subscriptions keep is looked at again when they have moved on.
        guard policy.retention == .limits else { return }
        let next = earliestTrim(of: topic, now: now)
        if next != .never { arm(topic, at: next) }
    }

    /// No cursor subscription needs what stands before this offset.
    private func unneeded(of topic: TopicState, partition place: Int) -> UInt64 {
        var offset = topic.partitions[place].visibleOffset
        for id in topic.cursors {
            guard let lane = state.subscriptions[id]?.lane(UInt16(place)) else { continue }
            offset = min(offset, lane.delivery.watermark)
        }
        return offset
    }

    /// Lets go what stands before an offset of each partition.
    /// - Returns: false where the log has no room now.
    func apply(_ offsets: [UInt64], to topic: TopicState) -> Bool {
        for (partition, offset) in zip(topic.partitions, offsets) where offset > partition.trimmedOffset {
            let trim = TopicTrim(partition: partition.partition, offset: offset)
            guard hasOpened, deferred.isEmpty else { return false }
            do throws(CommitLog.AppendRefusal) {
                // What was acknowledged of it before comes before it.
                try flushJournal()
                var writer = ByteWriter()
                trim.encode(to: &writer)
                let bytes = writer.bytes
                _ = try log.append(.topicTrimmed, payloadBytes: bytes.count) { $0.copyBytes(from: bytes) }
            } catch {
                retryLater(error)
                return false
            }
            state.apply(trim)
            for id in topic.cursors {
                if let subscription = state.subscriptions[id], !subscription.consumers.isEmpty { enqueue(subscription) }
            }
        }
        return true
    }

    /// Sets the timers of topics that have something, behind the opening.
    func armTopics(now: Timestamp) {
        for topic in state.topics.values where topic.partitions.contains(where: { $0.nextOffset > $0.trimmedOffset }) {
            noteRetention(topic)
            noteSize(topic)
        }
    }
}

extension TopicPolicy {
    /// It lets messages go by time, size or use.
    var trims: Bool {
        switch retention {
        case .limits: maxAgeMicroseconds > 0 || maxBytes > 0
        case .subscriptions: true
        case .compacted: false
        }
    }
}
