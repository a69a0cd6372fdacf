package import MessageModel
package import StorageService

/// What a shard tells its owner, during `Shard.runRound` only. Sessions are named as `Shard.openSession` named them.
///
/// The owner may call the shard from inside; what that causes is reported later in the same round or in the next.
package protocol ShardOutput: AnyObject {
    func appendCompleted(session: UInt64, token: UInt64, result: AppendResult)
    func batchDelivered(session: UInt64, _ delivery: BatchDelivery)
    func messageRouted(session: UInt64, _ message: RoutedMessage)
    func messagesRouted(session: UInt64, _ run: RoutedRun)
    func consumerChanged(session: UInt64, attachment: UInt32, isActive: Bool)
    func transactionNeedsResolution(session: UInt64, _ transaction: TransactionID, owner: String)
    func attachmentEnded(session: UInt64, attachment: UInt32, error: SluiceError)
    func requestCompleted(session: UInt64, token: UInt64, result: Result<StorageReply, SluiceError>)
    /// Something that an operator must hear of.
    func warning(_ text: String)
}

extension ShardOutput {
    package func messagesRouted(session: UInt64, _ run: RoutedRun) {
        for index in run.records.indices { messageRouted(session: session, run[index]) }
    }
}
