import StorageEngine
import Synchronization

/// One sync that was asked for: what was written since the one before, and who waits for it.
struct SyncRequest: Sendable {
    var token: UInt64
    /// Nearly always there is one; two when the log has just gone on to the next segment.
    var file: SegmentFile?
    var others: [SegmentFile] = []
}

/// What the sync thread does: it takes all that was asked for while it was busy, syncs each file once, answers all.
struct SyncLoop: Sendable {
    let requests: Handover<SyncRequest>
    /// Set with the first failure and never cleared.
    let hasFailed: FailureFlag
    let onEvents: @Sendable ([DeviceEvent]) -> Void

    func run() {
        var batch: [SyncRequest] = []
        var files: [SegmentFile] = []
        // The kernel reports a failed write-back once and then counts the pages as clean, so that a second sync would
        // succeed although data is lost. The first failure is therefore the answer to every later sync.
        var failure: DeviceError?
        while requests.take(into: &batch) {
            for request in batch {
                if let file = request.file { Self.add(file, to: &files) }
                for file in request.others { Self.add(file, to: &files) }
            }
            for segment in files where failure == nil {
                do throws(SystemError) {
                    try segment.file.syncData()
                } catch {
                    failure = error.deviceError
                    hasFailed.value.store(true, ordering: .releasing)
                }
            }
            let answers = batch.map { DeviceEvent.synced(token: $0.token, failure) }
            files.removeAll(keepingCapacity: true)
            batch.removeAll(keepingCapacity: true)
            onEvents(answers)
        }
    }

    private static func add(_ file: SegmentFile, to files: inout [SegmentFile]) {
        if !files.contains(where: { $0 === file }) { files.append(file) }
    }
}

/// Whether a sync has failed, for the other threads to see.
final class FailureFlag: Sendable {
    let value = Atomic(false)
}
