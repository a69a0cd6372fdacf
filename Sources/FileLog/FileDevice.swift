import Glibc
package import StorageEngine
import Synchronization

/// A shard's log in a directory of a file system.
///
///     log/     segments, made at their full size and written in place
///     files/   side files, replaced as a whole
///
/// Writes go into the page cache on the caller's thread. A sync thread does nothing but `fdatasync`; a background
/// thread makes and removes segments, reads what is cold, and writes side files, so that none of that delays a sync.
/// One process uses a directory at a time; `NodeDirectory` sees to that.
package final class FileDevice: LogDevice {
    private let table: SegmentTable
    private let sideFiles: SideFiles
    private let hasFailed: FailureFlag
    private let logPath: String
    private let spareBytes: SpareBytes
    private let syncs = Handover<SyncRequest>()
    private let background = Handover<BackgroundRequest>()
    private var threads: [SystemThread] = []
    /// The segment that was written last: the next write is nearly always for it.
    private var current: SegmentFile?
    /// Written since the last sync was asked for.
    private var dirty: [SegmentFile] = []

    /// Opens a directory, making it where it is not there (the one that holds it must be).
    ///
    /// Everything is synced and dropped from the page cache first: after a failed sync the cache may show data that
    /// never reached the disk, and a new run must not build on that.
    /// - Parameter onEvents: called on one of the device's threads with what has been completed, once per wake-up. It
    ///   must not let go of the device, nor wait for it.
    package init(
        directory: String,
        onEvents: @escaping @Sendable ([DeviceEvent]) -> Void
    ) throws(DeviceError) {
        let layout: Layout
        do throws(SystemError) {
            layout = try Layout(opening: directory)
        } catch {
            throw error.deviceError
        }
        table = layout.table
        sideFiles = layout.sideFiles
        hasFailed = FailureFlag()
        logPath = layout.logPath
        spareBytes = layout.spareBytes
        let sync = SyncLoop(requests: syncs, hasFailed: hasFailed, onEvents: onEvents)
        let loop = BackgroundLoop(requests: background, layout: layout, hasFailed: hasFailed, onEvents: onEvents)
        do throws(SystemError) {
            threads.append(try SystemThread(name: "log-sync") { sync.run() })
            threads.append(try SystemThread(name: "log-background") { loop.run() })
        } catch {
            shutdown()
            throw error.deviceError
        }
    }

    deinit {
        shutdown()
    }

    /// Completes and answers everything that was asked for, then ends the threads. What is asked for afterwards is not
    /// answered. Must not be called on one of the device's own threads.
    package func shutdown() {
        syncs.close()
        background.close()
        for thread in threads { thread.join() }
        threads = []
    }

    package func listSegmentsNow() throws(DeviceError) -> [DeviceSegment] {
        table.list()
    }

    package func readNow(
        segment: UInt64,
        offset: Int,
        into bytes: UnsafeMutableRawBufferPointer
    ) throws(DeviceError) -> Int {
        let file = try table.segment(segment)
        guard offset >= 0 else {
            throw DeviceError(.failed, "cannot read at \(offset) of segment \(segment)")
        }
        let count = min(bytes.count, max(file.size - offset, 0))
        do throws(SystemError) {
            return try file.file.read(into: UnsafeMutableRawBufferPointer(rebasing: bytes[..<count]), at: offset)
        } catch {
            throw error.deviceError
        }
    }

    package func listFilesNow() throws(DeviceError) -> [String] {
        do throws(SystemError) {
            return try sideFiles.names()
        } catch {
            throw error.deviceError
        }
    }

    package func readFileNow(_ name: String) throws(DeviceError) -> [UInt8]? {
        do throws(SystemError) {
            return try sideFiles.read(name)
        } catch {
            throw error.deviceError
        }
    }

    package func createSegment(_ segment: UInt64, size: Int, isAhead: Bool) {
        background.put(.createSegment(segment, size: size, isAhead: isAhead))
    }

    package func removeSegment(_ segment: UInt64) {
        if current?.number == segment { current = nil }
        guard let size = table.remove(segment) else { return }
        background.put(.removeSegment(segment, size: size))
    }

    package func write(_ bytes: UnsafeRawBufferPointer, segment: UInt64, offset: Int) throws(DeviceError) {
        guard !hasFailed.value.load(ordering: .acquiring) else {
            throw DeviceError(.failed, "cannot write to segment \(segment): an earlier sync failed")
        }
        let file = try openForWriting(segment)
        let (end, overflow) = offset.addingReportingOverflow(bytes.count)
        guard offset >= 0, !overflow, end <= file.size else {
            throw DeviceError(
                .failed,
                "cannot write \(bytes.count) bytes at \(offset) of segment \(segment), which has \(file.size)"
            )
        }
        if !file.isDirty.load(ordering: .relaxed) {
            // Before the write, because one that fails may have changed something.
            file.isDirty.store(true, ordering: .relaxed)
            dirty.append(file)
        }
        do throws(SystemError) {
            switch try file.write(bytes, at: offset) {
            case .nothing: break
            case .warmCache(let start): background.put(.warmCache(file, from: start))
            case .fill(let range): background.put(.fill(file, range))
            }
        } catch {
            throw error.deviceError
        }
    }

    private func openForWriting(_ segment: UInt64) throws(DeviceError) -> SegmentFile {
        if let current, current.number == segment { return current }
        let file = try table.segment(segment)
        current = file
        return file
    }

    package func sync(token: UInt64) {
        var request = SyncRequest(token: token, file: dirty.popLast())
        request.file?.noteSync()
        if !dirty.isEmpty {
            for file in dirty { file.noteSync() }
            request.others = dirty
            dirty.removeAll()
        }
        syncs.put(request)
    }

    package func read(segment: UInt64, offset: Int, length: Int, token: UInt64) {
        do throws(DeviceError) {
            let file = try table.segment(segment)
            background.put(.read(file, offset: offset, length: length, token: token))
        } catch {
            background.put(.answer(.read(token: token, .failure(error))))
        }
    }

    package func writeFile(_ name: String, bytes: [UInt8], token: UInt64) {
        background.put(.writeFile(name, bytes, token: token))
    }

    /// A file that is being written is read as it was before, until its `fileWritten`.
    package func readFile(_ name: String, offset: Int, length: Int, token: UInt64) {
        background.put(.readFile(name, offset: offset, length: length, token: token))
    }

    package func removeFile(_ name: String) {
        background.put(.removeFile(name))
    }

    package func space() -> DeviceSpace? {
        guard let space = try? DiskSpace.query(logPath) else { return nil }
        let spares = spareBytes.value.load(ordering: .relaxed)
        return DeviceSpace(total: space.total, available: space.available + spares)
    }
}
