internal import AMQPModel
internal import AMQPProtocol
internal import Gateway
internal import MessageModel
internal import NIOCore
internal import StorageService

/// A message that waits for the end of its channel's transaction.
struct HeldMessage {
    var publish: InboundPublish
    var bytes: [UInt8]
}

extension ChannelState {
    /// - Returns: false where the transaction has more than it may.
    func hold(_ publish: InboundPublish, _ bytes: UnsafeRawBufferPointer) -> Bool {
        // Only what the message needs of the bytes that came.
        let end = max(publish.body.upperBound, publish.properties.upperBound)
        transactionBytes += end
        guard transactionBytes <= Self.maximumTransactionBytes else { return false }
        transaction.append(HeldMessage(publish: publish, bytes: Array(bytes.slice(0..<end))))
        return true
    }

    func forgetTransaction() {
        transaction = []
        transactionBytes = 0
    }

    /// What one transaction may hold, in bytes.
    private static let maximumTransactionBytes = 64 << 20
}

// Transactions of channels: storage's own, so that messages are in all their queues or in none.
extension AMQPConnectionHandler {
    func commit(_ channel: ChannelState, _ host: VirtualHost) {
        let settled = machine.settled
        let messages = channel.transaction
        channel.forgetTransaction()
        host.flush()
        guard !messages.isEmpty else {
            host.settle(settled)
            return answerCommit(channel, host)
        }
        host.ask(.beginTransaction(TransactionSpecification(checks: 1))) { result in
            guard case .success(.transaction(let transaction)) = result else {
                return self.failCommit(channel, host, settled, result)
            }
            let work = host.prepare(messages, in: transaction, of: self, channel) { isRefused in
                guard !isRefused, channel.isOpen else {
                    host.ask(.rollBackTransaction(transaction)) { self.failCommit(channel, host, settled, $0) }
                    return
                }
                host.ask(.commitTransaction(transaction)) { result in
                    guard case .success = result else { return self.failCommit(channel, host, settled, result) }
                    host.settle(settled)
                    self.answerCommit(channel, host)
                }
            }
            work.seal()
        }
    }

    /// Answers when everything before is durable: settlements are not answered by themselves.
    private func answerCommit(_ channel: ChannelState, _ host: VirtualHost) {
        host.flush()
        self.answer(channel) { self.machine[channel: channel.number]?.completed(output: &$0) }
    }

    private func failCommit(
        _ channel: ChannelState,
        _ host: VirtualHost,
        _ settled: [SettledDelivery],
        _ result: Result<StorageReply, SluiceError>
    ) {
        let error =
            if case .failure(let error) = result { AMQPError(error) } else {
                AMQPError(.internalError, "the transaction was not stored")
            }
        host.settle(settled.map(\.requeued))
        host.flush()
        answer(channel) { self.refuse(channel, error, output: &$0) }
    }
}

extension VirtualHost {
    /// Stores the messages of a transaction so that nobody sees them before its end.
    /// - Returns: to be sealed; `completion` is called when all is stored, or refused.
    func prepare(
        _ messages: [HeldMessage],
        in transaction: TransactionID,
        of handler: AMQPConnectionHandler,
        _ channel: ChannelState,
        _ completion: @escaping (_ isRefused: Bool) -> Void
    ) -> PublishGroup {
        let group = PublishGroup(completion)
        let batches = TransactionBatches(transaction: transaction, session: open) { [self] in
            group.add()
            let token = Self.firstTransactionToken | nextToken()
            waiters.wait(group, token: token)
            return token
        }
        for message in messages {
            message.bytes.withUnsafeBytes { bytes in
                let publish = message.publish
                var section = Array(bytes.slice(publish.properties))
                if publish.wantsDirectReply, let replies = channel.replies {
                    section = section.withUnsafeBytes { replies.replace($0) }
                }
                let copies = (try? handler.examine(publish, bytes)) ?? []
                section.withUnsafeBytes { section in
                    let isRouted = withRecords(
                        of: RoutedPublish(
                            exchange: ShortString(bytes.slice(publish.exchange)),
                            keys: [ShortString(bytes.slice(publish.routingKey))] + copies,
                            properties: section,
                            body: bytes.slice(publish.body)
                        )
                    ) { batches.append($0, to: $1) }
                    guard !isRouted, publish.isMandatory else { return }
                    handler.giveBack(
                        channel,
                        exchange: bytes.slice(publish.exchange),
                        routingKey: bytes.slice(publish.routingKey),
                        properties: section,
                        body: bytes.slice(publish.body)
                    )
                }
            }
        }
        batches.flush()
        return group
    }

    /// Tokens of these appends are beyond those of the gatherer's.
    private static let firstTransactionToken: UInt64 = 1 << 63
}

/// The appends of a transaction: one batch for each topic as long as it has room.
private final class TransactionBatches {
    private final class Batch {
        let partition: PartitionID
        var builder = BatchBuilder(capacity: 16 << 10)
        init(partition: PartitionID) { self.partition = partition }
    }

    private let transaction: TransactionID
    private let session: GatewaySession
    private let nextToken: () -> UInt64
    private var open: [Batch] = []

    init(transaction: TransactionID, session: GatewaySession, nextToken: @escaping () -> UInt64) {
        self.transaction = transaction
        self.session = session
        self.nextToken = nextToken
    }

    func append(_ record: RecordFields, to partition: PartitionID) {
        var batch = open.first { $0.partition == partition }
        if let full = batch,
            full.builder.byteCount + BatchBuilder.sizeBound(record) > 1 << 20
                || full.builder.recordCount == Limits.recordsPerBatch
        {
            flush(full)
            open.removeAll { $0 === full }
            batch = nil
        }
        let target = batch ?? Batch(partition: partition)
        if batch == nil { open.append(target) }
        target.builder.append(record)
    }

    func flush() {
        for batch in open { flush(batch) }
        open = []
    }

    private func flush(_ batch: Batch) {
        batch.builder.finish { bytes in
            guard let view = BatchView(prefixOf: bytes) else { return }
            var options = AppendOptions(acknowledgement: .durable, transaction: transaction)
            options.refusesSingly = true
            session.storage.append(view, to: batch.partition, options: options, token: nextToken())
        }
    }
}
