internal import DequeModule
internal import MessageModel
internal import StorageService

/// The places of subscriptions: moved forward by a commit, or anywhere by a seek.
extension Shard {
    func commit(
        _ name: String,
        _ id: PartitionID,
        _ offset: UInt64,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64
    ) throws(Refusal) {
        let subscription = try subscription(named: name, tenant)
        guard id.topic == subscription.topic?.info.id, let lane = subscription.lane(id.index) else {
            throw .error(SluiceError(.invalidArgument, "subscription '\(name)' does not read this partition"))
        }
        guard offset <= lane.sequence.visibleOffset else {
            throw .error(
                SluiceError(
                    .offsetOutOfRange,
                    "offset \(offset) is behind the end, which is \(lane.sequence.visibleOffset)"
                )
            )
        }
        if offset > lane.delivery.watermark {
            try appendRecord(.commit) { writer in
                writer.write32(subscription.id.rawValue)
                writer.write16(id.index)
                writer.write16(0)
                writer.write64(offset)
            }
            state.applyCommit(subscription.id, partition: Int(id.index), offset: offset)
            if let topic = subscription.topic { noteRetention(topic) }
        }
        answerDurably(session, token, .done)
    }

    func seek(
        _ name: String,
        _ target: SeekTarget,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64,
        _ now: Timestamp
    ) throws(Refusal) {
        let subscription = try subscription(named: name, tenant)
        guard hasOpened, deferred.isEmpty else { throw .log(.waitsForSegment) }
        let lanes = subscription.lanes.compactMap { $0 }
        switch target {
        case .first: try move(subscription, lanes.map { ($0.key.lane, $0.sequence.firstOffset) }, session, token)
        case .next:
            // A full inbox lets go of messages that nobody sees yet: those do not come back.
            let ends = lanes.map { ($0.key.lane, max($0.sequence.visibleOffset, $0.sequence.firstOffset)) }
            try move(subscription, ends, session, token)
        case .offset(let partition, let offset):
            guard !subscription.isInbox, let lane = subscription.lane(partition) else {
                throw .error(SluiceError(.invalidArgument, "'\(name)' has no partition \(partition)"))
            }
            guard offset >= lane.sequence.firstOffset, offset <= lane.sequence.visibleOffset else {
                throw .error(
                    SluiceError(
                        .offsetOutOfRange,
                        "offset \(offset) is not in \(lane.sequence.firstOffset)...\(lane.sequence.visibleOffset)"
                    )
                )
            }
            try move(subscription, [(partition, offset)], session, token)
        case .time(let time):
            let search = TimeSearch(time: time, partitions: lanes.map(\.sequence), shard: self) { shard, found in
                guard shard.slot(session) != nil else { return }
                do throws(Refusal) {
                    guard shard.state.subscriptions[subscription.id] === subscription else {
                        throw .error(shard.unknownSubscription(name))
                    }
                    try shard.move(
                        subscription,
                        zip(lanes, found).map { ($0.key.lane, max($1.offset, $0.sequence.firstOffset)) },
                        session,
                        token
                    )
                } catch {
                    switch error {
                    case .error(let error): shard.reply(session, token, .request(.failure(error)))
                    case .log(let refusal):
                        shard.refuse(refusal, now: now) { code in
                            shard.reply(session, token, .request(.failure(SluiceError(code, code.rendering.title))))
                        } deferring: {
                            shard.deferRequest(session, .seek(name: name, target), token)
                        }
                    }
                }
            }
            enqueue(search)
        }
    }

    private func move(
        _ subscription: Subscription,
        _ places: [(lane: UInt16, sequence: UInt64)],
        _ session: UInt64,
        _ token: UInt64
    ) throws(Refusal) {
        if !places.isEmpty { try change(.seek(places), of: subscription) }
        if let topic = subscription.topic { noteRetention(topic) }
        if let reader = subscription.reader {
            for place in places where Int(place.lane) < reader.readers.count {
                reader.readers[Int(place.lane)].seek(place.sequence)
            }
            enqueue(reader)
        }
        enqueue(subscription)
        answerDurably(session, token, .subscription(describe(subscription)))
    }
}
