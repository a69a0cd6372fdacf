internal import MessageModel
internal import StorageService

/// Stored messages that go to an inbox though nothing was published: time u64, subscription u32, lane u16, zero u16, count
/// u32; for each position u64, record bytes u32, place in the batch u16, zero u16, bytes of body and properties u32.
struct Queueing: Equatable {
    struct Message: Equatable {
        var position: UInt64
        var recordBytes: UInt32
        /// Its place in the batch.
        var record: UInt16
        var bytes: UInt32
    }

    var time: Timestamp
    var lane: LaneKey
    var messages: [Message]

    func encode(to writer: inout ByteWriter) {
        writer.write64(time.rawValue)
        writer.write32(lane.subscription.rawValue)
        writer.write16(lane.lane)
        writer.write16(0)
        writer.write32(UInt32(messages.count))
        for message in messages {
            writer.write64(message.position)
            writer.write32(message.recordBytes)
            writer.write16(message.record)
            writer.write16(0)
            writer.write32(message.bytes)
        }
    }

    init(time: Timestamp, lane: LaneKey, messages: [Message]) {
        self.time = time
        self.lane = lane
        self.messages = messages
    }

    init?(from reader: inout ByteReader) {
        guard let time = reader.read64(), let subscription = reader.read32(), let lane = reader.read16(),
            reader.read16() != nil, let count = reader.read32()
        else { return nil }
        self.init(
            time: Timestamp(rawValue: time),
            lane: LaneKey(subscription: SubscriptionID(rawValue: subscription), lane: lane),
            messages: []
        )
        for _ in 0..<count {
            guard let position = reader.read64(), let recordBytes = reader.read32(), let record = reader.read16(),
                reader.read16() != nil, let bytes = reader.read32()
            else { return nil }
            messages.append(Message(position: position, recordBytes: recordBytes, record: record, bytes: bytes))
        }
    }
}

extension ShardState {
    /// - Returns: the lane that grew.
    @discardableResult
    mutating func apply(_ queueing: Queueing, segment: UInt64) -> Lane? {
        lastTime = max(lastTime, queueing.time)
        var grown: Lane?
        for message in queueing.messages {
            let route = InboxRoute(lane: queueing.lane, first: message.record, count: 1, bytes: message.bytes)
            let entry = IndexEntry(
                baseOffset: 0,
                position: message.position,
                appendTime: queueing.time.rawValue,
                recordBytes: message.recordBytes,
                count: 1
            )
            grown = apply(route, entry, segment: segment) ?? grown
        }
        return grown
    }
}

extension Shard {
    /// Puts the last values whose names match a filter into an inbox, a page of them.
    func queueRetained(
        _ name: String,
        _ filter: [UInt8],
        after: [UInt8]?,
        limit: Int,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64,
        _ now: Timestamp
    ) throws(Refusal) {
        let subscription = try subscription(named: name, tenant)
        guard subscription.isInbox, subscription.isLogged else {
            throw .error(SluiceError(.invalidArgument, "'\(name)' has no stored inbox"))
        }
        let page: (values: [WantedValue], next: [UInt8]?)
        do throws(SluiceError) {
            page = try retainedPage(filter, after: after, limit: max(1, min(limit, 1_000)), tenant, now)
        } catch {
            throw .error(error)
        }
        let lane = LaneKey(subscription: subscription.id, lane: 0)
        let first = subscription.lane(0)?.sequence.nextOffset ?? 0
        if !page.values.isEmpty {
            let queueing = Queueing(
                time: recordTime(now),
                lane: lane,
                messages: page.values.map { value in
                    Queueing.Message(
                        position: value.place.position,
                        recordBytes: value.place.recordBytes,
                        record: value.place.record,
                        bytes: value.place.bytes
                    )
                }
            )
            try appendRecord(.queued) { queueing.encode(to: &$0) }
            if let grown = state.apply(queueing, segment: log.active.number) { grew(grown.sequence) }
            for message in queueing.messages { noteEntry(pointingTo: message.position) }
            let expires = page.values.contains { $0.place.expiry != .max }
            self.limit(
                [InboxRoute(lane: lane, first: 0, count: UInt16(page.values.count), bytes: 0)],
                expires: expires,
                now: now
            )
        }
        answerDurably(session, token, .queued(first: first, count: page.values.count, next: page.next))
    }
}
