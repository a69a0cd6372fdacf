import CSluiceShims

/// A shard's log in memory, for stores that need not survive their process, and for tests.
///
/// Answers are collected in `events`, for the owner to take with `drainEvents()` after it has called the shard, and to
/// hand back to it. Everything is done at once; a sync has nothing to do.
package final class MemoryDevice: LogDevice {
    /// Answers that nobody has taken yet, in the order of the requests.
    package private(set) var events: [DeviceEvent] = []
    /// Segments and side files that need more than this together are refused as full. In bytes.
    package let capacity: Int
    /// What segments and side files need now.
    package private(set) var usedBytes = 0

    private var segments: [UInt64: Memory] = [:]
    private var files: [String: [UInt8]] = [:]

    /// Zeroed memory, taken from the system page by page as it is written.
    private final class Memory {
        let bytes: UnsafeMutableRawBufferPointer
        init?(size: Int) {
            guard let start = sluice_allocate_zeros(size) else { return nil }
            bytes = UnsafeMutableRawBufferPointer(start: start, count: size)
        }
        deinit { sluice_free(bytes.baseAddress) }

        /// The part of a range that there is; nil for a range that begins before the first byte.
        func part(offset: Int, length: Int) -> UnsafeRawBufferPointer? {
            guard offset >= 0, length >= 0 else { return nil }
            let start = min(offset, bytes.count)
            return UnsafeRawBufferPointer(rebasing: bytes[start..<start + min(length, bytes.count - start)])
        }
    }

    package init(capacity: Int = .max) {
        self.capacity = capacity
    }

    /// Takes all answers, in the order of the requests.
    package func drainEvents() -> [DeviceEvent] {
        let drained = events
        events.removeAll(keepingCapacity: true)
        return drained
    }

    private func memory(_ segment: UInt64) throws(DeviceError) -> Memory {
        guard let memory = segments[segment] else {
            throw DeviceError(.notFound, "there is no segment \(segment) in memory")
        }
        return memory
    }

    private static func outside(_ what: String) -> DeviceError {
        DeviceError(.failed, "the range lies outside of \(what)")
    }

    private static func full(_ what: String, _ size: Int) -> DeviceError {
        DeviceError(.full, "cannot keep \(size) bytes for \(what): the memory of this store is used up")
    }
}

extension MemoryDevice {
    package func space() -> DeviceSpace? {
        capacity == .max ? nil : DeviceSpace(total: capacity, available: max(0, capacity - usedBytes))
    }
}

// MARK: - Segments

extension MemoryDevice {
    package func listSegmentsNow() throws(DeviceError) -> [DeviceSegment] {
        segments.map { DeviceSegment(number: $0.key, size: $0.value.bytes.count) }.sorted { $0.number < $1.number }
    }

    package func readNow(
        segment: UInt64,
        offset: Int,
        into bytes: UnsafeMutableRawBufferPointer
    ) throws(DeviceError) -> Int {
        guard let part = try memory(segment).part(offset: offset, length: bytes.count) else {
            throw Self.outside("segment \(segment)")
        }
        bytes.copyMemory(from: part)
        return part.count
    }

    package func createSegment(_ segment: UInt64, size: Int, isAhead: Bool) {
        guard size > 0, segments[segment] == nil else {
            let error = DeviceError(.failed, "cannot make segment \(segment): it exists, or has no size")
            return events.append(.segmentReady(segment: segment, error))
        }
        guard size <= capacity - usedBytes, let memory = Memory(size: size) else {
            return events.append(.segmentReady(segment: segment, Self.full("segment \(segment)", size)))
        }
        segments[segment] = memory
        usedBytes += size
        events.append(.segmentReady(segment: segment, nil))
    }

    package func removeSegment(_ segment: UInt64) {
        if let memory = segments.removeValue(forKey: segment) { usedBytes -= memory.bytes.count }
    }

    package func write(_ bytes: UnsafeRawBufferPointer, segment: UInt64, offset: Int) throws(DeviceError) {
        let target = try memory(segment).bytes
        guard offset >= 0, offset <= target.count, bytes.count <= target.count - offset else {
            throw Self.outside("segment \(segment)")
        }
        UnsafeMutableRawBufferPointer(rebasing: target[offset...]).copyMemory(from: bytes)
    }

    package func sync(token: UInt64) {
        events.append(.synced(token: token, nil))
    }

    package func read(segment: UInt64, offset: Int, length: Int, token: UInt64) {
        do throws(DeviceError) {
            guard let part = try memory(segment).part(offset: offset, length: length) else {
                throw Self.outside("segment \(segment)")
            }
            events.append(.read(token: token, .success(Array(part))))
        } catch {
            events.append(.read(token: token, .failure(error)))
        }
    }
}

// MARK: - Side files

extension MemoryDevice {
    package func listFilesNow() throws(DeviceError) -> [String] { Array(files.keys) }

    package func readFileNow(_ name: String) throws(DeviceError) -> [UInt8]? { files[name] }

    package func writeFile(_ name: String, bytes: [UInt8], token: UInt64) {
        let freed = files[name]?.count ?? 0
        guard bytes.count <= capacity - usedBytes + freed else {
            return events.append(.fileWritten(token: token, Self.full("side file \(name)", bytes.count)))
        }
        usedBytes += bytes.count - freed
        files[name] = bytes
        events.append(.fileWritten(token: token, nil))
    }

    package func readFile(_ name: String, offset: Int, length: Int, token: UInt64) {
        guard let bytes = files[name] else {
            let error = DeviceError(.notFound, "there is no side file \(name) in memory")
            return events.append(.read(token: token, .failure(error)))
        }
        guard offset >= 0, length >= 0 else {
            return events.append(.read(token: token, .failure(Self.outside("side file \(name)"))))
        }
        events.append(.read(token: token, .success(Array(bytes.dropFirst(offset).prefix(length)))))
    }

    package func removeFile(_ name: String) {
        if let bytes = files.removeValue(forKey: name) { usedBytes -= bytes.count }
    }
}
