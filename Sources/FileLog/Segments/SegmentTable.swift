import Glibc
import StorageEngine
import Synchronization

/// Which segments there are, and those of them that are open. Used by the shard's thread and the background thread.
final class SegmentTable: Sendable {
    /// Open segments at most: a large store has thousands, of which few are read at a time, and descriptors are needed
    /// for connections.
    private static let openFiles = 64

    fileprivate struct Entry {
        var size: Int
        var file: SegmentFile?
        var lastUse: UInt64
    }

    fileprivate struct State {
        var entries: [UInt64: Entry] = [:]
        var openCount = 0
        var uses: UInt64 = 0
    }

    private let directory: String
    private let state = Mutex(State())

    init(directory: String) {
        self.directory = directory
    }

    /// In the order of their numbers.
    func list() -> [DeviceSegment] {
        state.withLock { state in
            state.entries.map { DeviceSegment(number: $0.key, size: $0.value.size) }.sorted { $0.number < $1.number }
        }
    }

    /// Enters a segment that is on the disk and not open.
    func add(number: UInt64, size: Int) {
        state.withLock { $0.entries[number] = Entry(size: size, file: nil, lastUse: 0) }
    }

    func add(_ segment: SegmentFile) {
        state.withLock { state in
            state.entries[segment.number] = Entry(size: segment.size, file: nil, lastUse: 0)
            state.open(segment, limit: Self.openFiles)
        }
    }

    func contains(_ number: UInt64) -> Bool {
        state.withLock { $0.entries[number] != nil }
    }

    /// - Returns: its size; nil where there is no such segment.
    func remove(_ number: UInt64) -> Int? {
        state.withLock { state in
            guard let entry = state.entries.removeValue(forKey: number) else { return nil }
            if entry.file != nil { state.openCount -= 1 }
            return entry.size
        }
    }

    /// A segment, opened if need be.
    func segment(_ number: UInt64) throws(DeviceError) -> SegmentFile {
        enum Found { case open(SegmentFile), closed(size: Int), nothing }
        let found: Found = state.withLock { state in
            guard let entry = state.entries[number] else { return .nothing }
            guard let file = entry.file else { return .closed(size: entry.size) }
            state.uses += 1
            state.entries[number]?.lastUse = state.uses
            return .open(file)
        }
        switch found {
        case .open(let file):
            return file
        case .nothing:
            throw DeviceError(.notFound, "there is no segment \(number) in \(directory)")
        case .closed(let size):
            return try open(number, size: size)
        }
    }

    /// Opens outside of the lock; where both threads do so at once, the first one's file is kept.
    private func open(_ number: UInt64, size: Int) throws(DeviceError) -> SegmentFile {
        let file: SystemFile
        do throws(SystemError) {
            file = try SystemFile.open(SegmentNames.path(of: number, in: directory), O_RDWR)
        } catch {
            throw error.deviceError
        }
        let opened = SegmentFile(number: number, size: size, file: file, frontier: SegmentFile.unknownFrontier)
        return state.withLock { state in
            guard let entry = state.entries[number] else { return opened }
            if let other = entry.file { return other }
            state.open(opened, limit: Self.openFiles)
            return opened
        }
    }
}

extension SegmentTable.State {
    /// Keeps a file open for those who come next, at the cost of the one that was not used for longest. Who uses that
    /// one at this moment holds a reference, which keeps it open for them.
    fileprivate mutating func open(_ segment: SegmentFile, limit: Int) {
        if openCount >= limit {
            let oldest = entries.filter { $0.value.file != nil }.min { $0.value.lastUse < $1.value.lastUse }
            if let oldest {
                entries[oldest.key]?.file = nil
                openCount -= 1
            }
        }
        uses += 1
        entries[segment.number]?.file = segment
        entries[segment.number]?.lastUse = uses
        openCount += 1
    }
}
