import FileLog
import Foundation
import MessageModel
import StorageEngine
import StorageService
import Synchronization

/// Runs a shard on a file device on the calling thread, as an event loop would: calls, then a round, then what the
/// device has answered.
final class EngineDriver: ShardOutput {
    private let device: FileDevice
    private let mailbox: Mailbox
    let shard: Shard
    let session: UInt64
    var whenAppended: (UInt64, AppendResult) -> Void = { _, _ in }
    var whenDelivered: (BatchDelivery) -> Void = { _ in }
    private var reply: Result<StorageReply, SluiceError>?

    /// Opens the shard in a directory and waits until it takes writes.
    init(directory: String, tailCacheBytes: Int) throws {
        let mailbox = Mailbox()
        device = try FileDevice(directory: directory) { mailbox.put($0) }
        self.mailbox = mailbox
        var options = ShardOptions()
        options.tailCacheBytes = tailCacheBytes
        shard = try Shard.open(device: device, options: options)
        session = shard.openSession(tenant: .default)
        while !shard.isReady { turn() }
    }

    /// One round, and the device's answers; waits for one where nothing else is to be done.
    func turn() {
        let hasMore = shard.runRound(now: .now, output: self)
        for event in mailbox.take(waits: !hasMore) { shard.deviceCompleted(event) }
    }

    func perform(_ request: StorageRequest) throws -> StorageReply {
        reply = nil
        shard.perform(session: session, request, token: 0, now: .now)
        while reply == nil { turn() }
        guard let reply else { throw BenchmarkError("no reply") }
        return try reply.get()
    }

    func close() {
        shard.closeSession(session)
        shard.close()
        while !shard.isClosed { turn() }
        device.shutdown()
    }

    func appendCompleted(session: UInt64, token: UInt64, result: AppendResult) { whenAppended(token, result) }
    func batchDelivered(session: UInt64, _ delivery: BatchDelivery) { whenDelivered(delivery) }
    func messageRouted(session: UInt64, _ message: RoutedMessage) {}
    func consumerChanged(session: UInt64, attachment: UInt32, isActive: Bool) {}
    func transactionNeedsResolution(session: UInt64, _ transaction: TransactionID, owner: String) {}
    func attachmentEnded(session: UInt64, attachment: UInt32, error: SluiceError) {
        progress("the reader ended: \(error)")
    }
    func requestCompleted(session: UInt64, token: UInt64, result: Result<StorageReply, SluiceError>) { reply = result }
    func warning(_ text: String) { progress("warning: \(text)") }
}

/// What the device's threads answered and nobody has taken.
private final class Mailbox: Sendable {
    private let events = Mutex<[DeviceEvent]>([])
    private let arrival = DispatchSemaphore(value: 0)

    func put(_ more: [DeviceEvent]) {
        let wasEmpty = events.withLock { events in
            defer { events += more }
            return events.isEmpty
        }
        if wasEmpty { arrival.signal() }
    }

    /// - Parameter waits: for the first event, but no longer than the shard's shortest deadline.
    func take(waits: Bool) -> [DeviceEvent] {
        if waits { _ = arrival.wait(timeout: .now() + .milliseconds(1)) }
        return events.withLock { events in
            defer { events = [] }
            return events
        }
    }
}

extension Timestamp {
    static var now: Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(rawValue: UInt64(time.tv_sec) * 1_000_000 + UInt64(time.tv_nsec) / 1_000)
    }
}
