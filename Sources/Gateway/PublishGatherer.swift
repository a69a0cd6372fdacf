package import MessageModel
internal import StorageService

/// Gathers the single messages that one connection published in one event-loop tick into batches.
///
/// Fronts whose clients send single messages share one gatherer for all connections of an event loop: a connection adds
/// what its read brought and flushes before the next connection has its turn.
package final class PublishGatherer {
    private struct Target: Equatable {
        var partition: PartitionID
        var isAtMostOnce: Bool

        @inline(__always)
        func isEqual(_ other: Target) -> Bool {
            partition.topic.rawValue == other.partition.topic.rawValue && partition.index == other.partition.index
                && isAtMostOnce == other.isAtMostOnce
        }
    }

    /// One open batch. The first is reused for as long as messages go to one topic, which is nearly always.
    private final class OpenBatch {
        // Used on one event loop by one caller at a time, for each message.
        @exclusivity(unchecked)
        var target: Target
        @exclusivity(unchecked)
        var builder = BatchBuilder(capacity: 16 << 10)
        @exclusivity(unchecked)
        var token: UInt64 = 0
        /// Made with it, or not at all.
        var state: StateChanges?
        /// The answer says which messages nobody took.
        @exclusivity(unchecked)
        var reportsUnrouted = false
        /// Whose the messages are, where not of the session that appends.
        @exclusivity(unchecked)
        private var owners: [RecordOwner] = []
        /// The last one of them, to which messages are added.
        @exclusivity(unchecked)
        private var last = RecordOwner(session: .max, count: 0)
        /// What they have; nil where that is not known.
        @exclusivity(unchecked)
        var traits: BatchTraits? = []

        init(target: Target) { self.target = target }

        @inline(__always)
        func append(_ record: RecordFields, _ owner: UInt64?) {
            builder.append(record)
            if !record.properties.isEmpty || record.orderingKey != nil {
                traits = nil
            } else if record.isRetained {
                traits?.insert(.hasRetained)
            }
            guard let owner else { return }
            if owner != last.session {
                closeLast()
                last.session = owner
            }
            last.count += 1
        }

        /// Whose the messages are; empty where all are of the session that appends.
        func takeOwners() -> [RecordOwner] {
            closeLast()
            defer { owners.removeAll(keepingCapacity: true) }
            return owners
        }

        private func closeLast() {
            if last.count > 0 { owners.append(last) }
            last.count = 0
        }
    }

    @exclusivity(unchecked)
    private var open: [OpenBatch] = []
    /// The one that the last message went to: the next mostly goes there, too.
    @exclusivity(unchecked)
    private var last: OpenBatch?
    /// How many of `open` are in use since the last flush.
    @exclusivity(unchecked)
    private var used = 0
    /// Tokens of the appends: unique on the event loop.
    private var nextToken: UInt64
    private let batchLimit: Int
    /// See `AppendOptions.refusesSingly`.
    private let refusesSingly: Bool
    /// Buffers that grew beyond this are given back after their flush.
    private static let keptBufferBytes = 1 << 20

    /// - Parameters:
    ///   - firstToken: tokens of this gatherer's appends count up from here, so that an owner that appends by other ways
    ///     as well can tell them apart.
    ///   - refusesSingly: where an inbox is full, only the messages that it has no room for are refused, and named.
    package init(firstToken: UInt64 = 1, batchLimit: Int = 1 << 20, refusesSingly: Bool = false) {
        nextToken = firstToken
        self.refusesSingly = refusesSingly
        self.batchLimit = min(batchLimit, Limits.batchBytes)
    }

    package var isEmpty: Bool { used == 0 }

    /// The index of the message that was added last, in its batch. That it was taken by nobody is to be said in the answer.
    package func reportUnrouted() -> UInt32 {
        guard let last else { return 0 }
        last.reportsUnrouted = true
        return UInt32(truncatingIfNeeded: last.builder.recordCount &- 1)
    }

    /// Adds one message.
    /// - Parameters:
    ///   - record: `routingKey` and `hasAbsoluteName` already say its place in `topic`.
    ///   - partition: where it goes, see `TopicInfo.partition(for:)`.
    ///   - session: appends it.
    ///   - owner: whose message it is, where several sessions' messages are gathered.
    /// - Returns: the token with which the append of its batch is answered (`atMostOnce` messages: only if refused).
    package func add(
        _ record: RecordFields,
        to partition: PartitionID,
        session: GatewaySession,
        owner: UInt64? = nil
    ) -> UInt64 {
        let target = Target(partition: partition, isAtMostOnce: record.deliveryClass.rawValue == Self.atMostOnce)
        if let last, last.target.isEqual(target), last.builder.recordCount < Limits.recordsPerBatch,
            last.builder.byteCount + BatchBuilder.sizeBound(record) <= batchLimit
        {
            last.append(record, owner)
            return last.token
        }
        return addBehind(record, to: target, session: session, owner)
    }

    /// Adds one message where the last one went; nil where it belongs elsewhere, or there is no room: then `add` takes it.
    package func addToLast(_ record: RecordFields, to partition: PartitionID, owner: UInt64) -> UInt64? {
        let target = Target(partition: partition, isAtMostOnce: record.deliveryClass.rawValue == Self.atMostOnce)
        guard let last, last.target.isEqual(target), last.builder.recordCount < Limits.recordsPerBatch,
            last.builder.byteCount + BatchBuilder.sizeBound(record) <= batchLimit
        else { return nil }
        last.append(record, owner)
        return last.token
    }

    private static let atMostOnce = DeliveryClass.atMostOnce.rawValue

    /// Adds a message to another batch than the last one went to.
    private func addBehind(
        _ record: RecordFields,
        to target: Target,
        session: GatewaySession,
        _ owner: UInt64?
    ) -> UInt64 {
        var index = 0
        while index < used, open[index].target != target { index += 1 }
        if index < used,
            open[index].builder.byteCount + BatchBuilder.sizeBound(record) > batchLimit
                || open[index].builder.recordCount == Limits.recordsPerBatch
        {
            flush(session: session)
            index = 0
        }
        if index == used {
            if used == open.count { open.append(OpenBatch(target: target)) }
            open[used].target = target
            open[used].builder.begin()
            open[used].token = nextToken
            open[used].state = nil
            open[used].reportsUnrouted = false
            _ = open[used].takeOwners()
            open[used].traits = []
            nextToken += 1
            used += 1
        }
        let batch = open[index]
        batch.append(record, owner)
        last = batch
        return batch.token
    }

    /// Puts an empty value into a session's state, together with the message that was added last.
    /// - Parameter token: as `add` returned it, since the last flush.
    package func put(_ key: UInt64, of subscription: SubscriptionID, with token: UInt64) {
        guard let index = (0..<used).first(where: { open[$0].token == token }) else { return }
        if open[index].state == nil { open[index].state = StateChanges(subscription: subscription) }
        open[index].state?.put(key)
    }

    /// Hands the open batches to storage.
    package func flush(session: GatewaySession) {
        for index in 0..<used {
            let batch = open[index]
            let isAtMostOnce = batch.target.isAtMostOnce
            batch.builder.finish(attributes: isAtMostOnce ? .atMostOnce : []) { bytes in
                guard let view = BatchView(prefixOf: bytes) else { return }
                var options = AppendOptions(
                    acknowledgement: isAtMostOnce ? .none : session.acknowledgement,
                    state: batch.state
                )
                options.owners = batch.takeOwners()
                options.traits = batch.traits
                options.reportsUnrouted = batch.reportsUnrouted
                options.refusesSingly = refusesSingly
                session.storage.append(view, to: batch.target.partition, options: options, token: batch.token)
            }
            batch.builder.begin()
            batch.builder.shrink(to: Self.keptBufferBytes)
        }
        last = nil
        used = 0
    }
}
