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
        init(target: Target) { self.target = target }
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
    /// Buffers that grew beyond this are given back after their flush.
    private static let keptBufferBytes = 1 << 20

    /// - Parameter firstToken: tokens of this gatherer's appends count up from here, so that an owner that appends by
    ///   other ways as well can tell them apart.
    package init(firstToken: UInt64 = 1, batchLimit: Int = 1 << 20) {
        nextToken = firstToken
        self.batchLimit = min(batchLimit, Limits.batchBytes)
    }

    package var isEmpty: Bool { used == 0 }

    /// Adds one message.
    /// - Parameters:
    ///   - record: `routingKey` and `hasAbsoluteName` already say its place in `topic`.
    ///   - partition: where it goes, see `TopicInfo.partition(for:)`.
    /// - Returns: the token with which the append of its batch is answered (`atMostOnce` messages: only if refused).
    package func add(_ record: RecordFields, to partition: PartitionID, session: GatewaySession) -> UInt64 {
        let target = Target(partition: partition, isAtMostOnce: record.deliveryClass == .atMostOnce)
        if let last, last.target == target, last.builder.recordCount < Limits.recordsPerBatch,
            last.builder.byteCount + BatchBuilder.sizeBound(record) <= batchLimit
        {
            last.builder.append(record)
            return last.token
        }
        return addBehind(record, to: target, session: session)
    }

    /// Adds a message to another batch than the last one went to.
    private func addBehind(_ record: RecordFields, to target: Target, session: GatewaySession) -> UInt64 {
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
            nextToken += 1
            used += 1
        }
        let batch = open[index]
        batch.builder.append(record)
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
                session.storage.append(
                    view,
                    to: batch.target.partition,
                    options: AppendOptions(
                        acknowledgement: isAtMostOnce ? .none : session.acknowledgement,
                        state: batch.state
                    ),
                    token: batch.token
                )
            }
            batch.builder.begin()
            batch.builder.shrink(to: Self.keptBufferBytes)
        }
        last = nil
        used = 0
    }
}
