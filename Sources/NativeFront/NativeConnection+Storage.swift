package import MessageModel
package import StorageService

/// What storage reports to the connection. All of it is gathered and written when the round ends.
extension NativeConnection: StorageSessionDelegate {
    package func appendCompleted(token: UInt64, result: AppendResult) { appendDone(token: token, result: result) }

    package func batchDelivered(_ delivery: BatchDelivery) { deliver(delivery) }

    /// Live filters are not offered by this protocol yet (WATCH), so none was added.
    package func messageRouted(_ message: RoutedMessage) {}

    package func attachmentEnded(attachment: UInt32, error: SluiceError) { attachmentDone(attachment, error) }

    package func requestCompleted(token: UInt64, result: Result<StorageReply, SluiceError>) {
        answer(token: token, result: result)
    }

    package func storageRoundEnded() {
        writeOutput()
        resumeReading()
    }
}
