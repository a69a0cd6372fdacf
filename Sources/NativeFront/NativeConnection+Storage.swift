package import MessageModel
internal import NIOCore
internal import NativeProtocol
package import StorageService

/// What storage reports to the connection. All of it is gathered and written when the round ends.
extension NativeConnection: StorageSessionDelegate {
    package func appendCompleted(token: UInt64, result: AppendResult) { appendDone(token: token, result: result) }

    package func batchDelivered(_ delivery: BatchDelivery) { deliver(delivery) }

    /// Live filters are not offered by this protocol yet (WATCH), so none was added.
    package func messageRouted(_ message: RoutedMessage) {}

    package func attachmentEnded(attachment: UInt32, error: SluiceError) { attachmentDone(attachment, error) }

    package func consumerChanged(attachment: UInt32, isActive: Bool) {
        guard handles.place(attachment) != nil else { return }
        out.writeFrame(FrameHeader(.push, .consumerChanged, handle: attachment)) { $0.writeU8(isActive ? 1 : 0) }
    }

    package func transactionNeedsResolution(_ transaction: TransactionID, owner: String) {
        out.writeFrame(FrameHeader(.push, .transactionCheck)) {
            TransactionCheckBody(transaction: transaction.rawValue, owner: owner).write(to: &$0)
        }
    }

    package func requestCompleted(token: UInt64, result: Result<StorageReply, SluiceError>) {
        answer(token: token, result: result)
    }

    package func storageRoundEnded() {
        writeOutput()
        resumeReading()
    }
}
