import StorageEngine
import Synchronization

/// What the background thread does: reads as soon as possible, between the pieces of longer work too; everything else
/// one after the other, as it was asked for.
struct BackgroundLoop: Sendable {
    let requests: Handover<BackgroundRequest>
    let layout: FileDevice.Layout
    let hasFailed: FailureFlag
    let onEvents: @Sendable ([DeviceEvent]) -> Void

    func run() {
        var inbox = BackgroundInbox(requests: requests, sideFiles: layout.sideFiles, onEvents: onEvents)
        var maker = SegmentMaker(
            path: layout.logPath,
            directory: layout.logDirectory,
            leftSpares: layout.spares,
            spareBytes: layout.spareBytes
        )
        while inbox.serve() {
            if let request = inbox.next() { perform(request, &inbox, &maker) }
            inbox.deliver()
        }
    }

    private func perform(_ request: BackgroundRequest, _ inbox: inout BackgroundInbox, _ maker: inout SegmentMaker) {
        switch request {
        case .read, .readFile, .answer:
            preconditionFailure("reads and answers are served as they arrive")
        case .warmCache(let segment, let offset):
            segment.file.warmCache(from: offset, length: segment.size - offset)
        case .fill(let segment, let range):
            // Only for speed: where it fails, syncs stay as slow as they are.
            guard !hasFailed.value.load(ordering: .acquiring) else { return }
            try? maker.fill(segment, range) {
                inbox.serveReads()
                return !requests.isEnding
            }
        case .createSegment(let number, let size, let isAhead):
            createSegment(number, size: size, isAhead: isAhead, &inbox, &maker)
        case .removeSegment(let number, let size):
            maker.remove(number, size: size, isReusable: !hasFailed.value.load(ordering: .acquiring))
        case .writeFile(let name, let bytes, let token):
            do throws(SystemError) {
                try layout.sideFiles.write(name, bytes)
                inbox.answer(.fileWritten(token: token, nil))
            } catch {
                inbox.answer(.fileWritten(token: token, error.deviceError))
            }
        case .removeFile(let name):
            // Not answered: a file that is still there is met, and removed again, after the next start.
            try? layout.sideFiles.remove(name)
        }
    }

    private func createSegment(
        _ number: UInt64,
        size: Int,
        isAhead: Bool,
        _ inbox: inout BackgroundInbox,
        _ maker: inout SegmentMaker
    ) {
        guard size > 0, !layout.table.contains(number) else {
            let reason = size > 0 ? "it exists already" : "its size is \(size)"
            let failure = DeviceError(.failed, "cannot make segment \(number): \(reason)")
            return inbox.answer(.segmentReady(segment: number, failure))
        }
        do throws(SystemError) {
            let segment = try maker.make(number, size: size, isAhead: isAhead) { inbox.serveReads() }
            layout.table.add(segment)
            inbox.answer(.segmentReady(segment: number, nil))
        } catch {
            inbox.answer(.segmentReady(segment: number, error.deviceError))
        }
    }
}
