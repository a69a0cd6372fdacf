internal import MessageModel
internal import StorageService

/// What an inbox that refuses messages when it is full has room for.
struct InboxRoom {
    private var messages: UInt64
    private var bytes: UInt64

    init(of subscription: Subscription) {
        let rules = subscription.rules
        let (waiting, waitingBytes) = (subscription.waiting, subscription.waitingBytes)
        messages = rules.maxMessages > 0 ? rules.maxMessages - min(rules.maxMessages, waiting) : .max
        bytes = rules.maxBytes > 0 ? rules.maxBytes - min(rules.maxBytes, waitingBytes) : .max
    }

    /// - Returns: false where there is no room for all of it; then it is as it was.
    mutating func take(messages: UInt64, bytes: UInt64) -> Bool {
        guard self.messages >= messages, self.bytes >= bytes else { return false }
        self.messages -= messages
        self.bytes -= bytes
        return true
    }
}

/// Messages of a batch that inboxes had no room for. They are routed there all the same, because what is routed follows from
/// the bindings when the log is read again, and are done at once, which stands in the log behind the batch.
struct Refusals {
    private struct Place: Equatable {
        /// Which of the routes, and the message's place in the batch.
        var route: Int
        var record: UInt16
    }

    private var places: [Place] = []
    fileprivate var messages: [(lane: LaneKey, sequence: UInt64)] = []

    var isEmpty: Bool { places.isEmpty }

    /// The places of the messages in the batch, ascending, each once.
    var records: [UInt32] {
        places.isEmpty ? [] : Set(places.map { UInt32($0.record) }).sorted()
    }

    fileprivate mutating func append(route: Int, record: UInt16) { places.append(Place(route: route, record: record)) }

    /// The messages of a route have their sequences.
    /// - Parameter next: that of the next message in the lane.
    mutating func note(_ route: InboxRoute, _ number: Int, next: UInt64) {
        for place in places where place.route == number {
            let sequence = next &- UInt64(route.count) &+ UInt64(place.record - route.first)
            messages.append((route.lane, sequence))
        }
    }
}

/// What became of single messages of a batch.
struct AppendReport {
    /// The places of those that nobody took.
    var unrouted: [UInt32]
    var refusals: Refusals
    /// The places of its records in the batch that was sent, where that had others besides.
    var places: [UInt32]?

    func write(to result: inout AppendResult) {
        result.unrouted = unrouted.map { places?[Int($0)] ?? $0 }
        result.refused = refusals.records.map { places?[Int($0)] ?? $0 }
    }
}

extension Shard {
    /// Finds the messages that inboxes have no room for, in their order: a later one may fit where it is smaller.
    func refusals(of batch: BatchView, _ routes: [InboxRoute]) -> Refusals {
        var sizes: [UInt64] = []
        sizes.reserveCapacity(batch.recordCount)
        var cursor = batch.records
        while let record = cursor.next() { sizes.append(UInt64(record.body.count + record.properties.count)) }
        var rooms: [SubscriptionID: InboxRoom] = [:]
        var refusals = Refusals()
        for (number, route) in routes.enumerated() {
            guard let subscription = state.subscriptions[route.lane.subscription],
                subscription.rules.overflow == .reject
            else { continue }
            var room = rooms[subscription.id] ?? InboxRoom(of: subscription)
            for record in route.first..<route.first + route.count {
                if !room.take(messages: 1, bytes: sizes[Int(record)]) { refusals.append(route: number, record: record) }
            }
            rooms[subscription.id] = room
        }
        return refusals
    }

    /// What was refused is done, with the batch on the disk.
    func refuse(_ refusals: Refusals) {
        guard !refusals.isEmpty else { return }
        for (key, sequence) in refusals.messages {
            guard let subscription = state.subscriptions[key.subscription], let lane = subscription.lane(key.lane)
            else {
                continue
            }
            finish(sequence..<sequence + 1, of: lane, subscription)
        }
        do throws(CommitLog.AppendRefusal) { try flushJournal() } catch { retryLater(error) }
    }

    /// The places of messages in a batch that neither inboxes nor live filters take.
    func unrouted(_ batch: BatchView, _ topic: TopicState, _ routes: [InboxRoute]) -> [UInt32] {
        var isTaken = [Bool](repeating: false, count: batch.recordCount)
        for route in routes {
            for record in route.first..<route.first + route.count { isTaken[Int(record)] = true }
        }
        var left: [UInt32] = []
        guard isTaken.contains(false) else { return left }
        let live = filters[topic.tenant]
        topic.info.nameBytes.withUnsafeBytes { topicName in
            var cursor = batch.records
            while let record = cursor.next() {
                let place = cursor.index - 1
                guard !isTaken[place] else { continue }
                let isWanted = withName(of: record, topic: topicName) { live?.table.hasMatch($0) ?? false }
                if !isWanted { left.append(UInt32(place)) }
            }
        }
        return left
    }
}
