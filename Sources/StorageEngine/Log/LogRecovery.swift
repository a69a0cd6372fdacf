internal import MessageModel

/// A part of the log that is damaged although it had been fsynced: good records follow it.
package struct DamagedRegion: Equatable, Sendable {
    package var start: UInt64
    package var end: UInt64
}

/// Reads a log from a position to its end.
///
/// The log ends at the first place where no good record stands. If records behind that place were written when it had
/// already been fsynced, it is damage, not the end: the region is reported and the reading goes on behind it.
struct LogScanner {
    struct Result {
        var end: UInt64
        var damaged: [DamagedRegion] = []
        /// Segments that hold records; empty for a new log.
        var segments: [CommitLog.Segment]
    }

    private let device: any LogDevice
    private let identity: UInt32
    private let segments: [CommitLog.Segment]
    private var window: Window

    init(device: any LogDevice, identity: UInt32, segments: [CommitLog.Segment]) {
        self.device = device
        self.identity = identity
        self.segments = segments
        window = Window(device: device)
    }

    /// Reads the segments' headers; those that were only prepared are left out.
    static func usedSegments(
        _ device: any LogDevice,
        identity: UInt32
    ) throws(SluiceError) -> [CommitLog.Segment] {
        var result: [CommitLog.Segment] = []
        let header = UnsafeMutableRawBufferPointer.allocate(byteCount: SegmentHeader.bytes, alignment: 8)
        defer { header.deallocate() }
        do throws(DeviceError) {
            for segment in try device.listSegmentsNow() {
                let count = try device.readNow(segment: segment.number, offset: 0, into: header)
                let bytes = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(header)[0..<count])
                let reading = SegmentHeader.read(bytes, number: segment.number, size: segment.size, identity: identity)
                switch reading {
                case .absent: continue
                case .newerVersion(let version):
                    throw DeviceError(.notFound, "\(version)")
                case .present(let base):
                    result.append(CommitLog.Segment(number: segment.number, base: base, size: segment.size))
                }
            }
        } catch {
            if error.kind == .notFound, let version = UInt32(error.description) {
                throw SluiceError(
                    .versionNotSupported,
                    "the log was written in format \(version), this server reads formats up to \(SegmentHeader.version)",
                    hint: "start the newer version of sluice that wrote it"
                )
            }
            throw SluiceError(.storageUnavailable, "the log cannot be read: \(error.description)")
        }
        return result
    }

    /// Reads from `start` on and hands every good record to `apply`.
    /// - Parameter endsHere: the log was closed cleanly at `start`: what stands behind is of an earlier use.
    mutating func scan(
        from start: UInt64,
        epoch: UInt32,
        endsHere: Bool,
        _ apply: (LogRecord.View, CommitLog.Segment) -> Void
    ) throws(DeviceError) -> Result {
        var damaged: [DamagedRegion] = []
        var newestEpoch = epoch
        guard var index = segments.firstIndex(where: { $0.base <= start && start < $0.end }) else {
            // Nothing was written behind the end of a full segment, or the log is new.
            let used = segments.filter { $0.end <= start }
            return Result(end: start, segments: used)
        }
        var offset = max(Int(start - segments[index].base), SegmentHeader.bytes)
        while true {
            let segment = segments[index]
            if offset + LogRecord.headerBytes <= segment.size {
                let position = segment.base + UInt64(offset)
                let record = try window.record(in: segment, offset: offset, position: position, identity: identity)
                if let record, record.epoch >= newestEpoch {
                    newestEpoch = record.epoch
                    apply(record, segment)
                    if record.kind != .segmentEnd {
                        offset += record.bytes.count
                        continue
                    }
                } else {
                    // No record where one could stand: the end, unless something durable follows.
                    let found =
                        endsHere && position == start
                        ? nil : try findDurable(behind: position, segmentIndex: index, epoch: newestEpoch)
                    guard let (nextIndex, nextOffset) = found else {
                        return Result(end: position, damaged: damaged, segments: Array(segments[...index]))
                    }
                    damaged.append(
                        DamagedRegion(start: position, end: segments[nextIndex].base + UInt64(nextOffset))
                    )
                    index = nextIndex
                    offset = nextOffset
                    continue
                }
            }
            // This segment is read to its end.
            guard index + 1 < segments.count, segments[index + 1].base == segment.end else {
                return Result(end: segment.end, damaged: damaged, segments: Array(segments[...index]))
            }
            index += 1
            offset = SegmentHeader.bytes
        }
    }

    /// The first good record behind a bad one that was written when the bad one had been fsynced.
    private mutating func findDurable(
        behind bad: UInt64,
        segmentIndex: Int,
        epoch: UInt32
    ) throws(DeviceError) -> (segmentIndex: Int, offset: Int)? {
        for index in segmentIndex..<segments.count {
            let segment = segments[index]
            var offset = index == segmentIndex ? Int(bad - segment.base) + 8 : SegmentHeader.bytes
            // The first good record may be one that was written before the bad one was durable: remember it, and take
            // it once a later one proves the damage.
            var first: (segmentIndex: Int, offset: Int)?
            while offset + LogRecord.headerBytes <= segment.size {
                guard let candidate = try window.findPosition(in: segment, from: offset) else { break }
                let position = segment.base + UInt64(candidate)
                let record = try window.record(in: segment, offset: candidate, position: position, identity: identity)
                guard let record, record.epoch >= epoch else {
                    offset = candidate + 8
                    continue
                }
                if first == nil { first = (index, candidate) }
                if record.durable > bad { return first }
                offset = candidate + record.bytes.count
            }
        }
        return nil
    }

    /// A part of a segment in memory.
    private final class Window {
        private let device: any LogDevice
        private var memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4 << 20, alignment: 4_096)
        private var segment = UInt64.max
        private var start = 0
        private var count = 0

        init(device: any LogDevice) { self.device = device }

        deinit { memory.deallocate() }

        private func load(_ segment: CommitLog.Segment, offset: Int, atLeast length: Int) throws(DeviceError) {
            if length > memory.count {
                memory.deallocate()
                memory = .allocate(byteCount: length, alignment: 4_096)
            }
            let wanted = min(memory.count, segment.size - offset)
            let target = UnsafeMutableRawBufferPointer(rebasing: memory[0..<wanted])
            count = try device.readNow(segment: segment.number, offset: offset, into: target)
            self.segment = segment.number
            start = offset
        }

        private func bytes(
            _ segment: CommitLog.Segment,
            offset: Int,
            length: Int
        ) throws(DeviceError) -> UnsafeRawBufferPointer {
            if self.segment != segment.number || offset < start || offset + length > start + count {
                try load(segment, offset: offset, atLeast: length)
            }
            let from = offset - start
            return UnsafeRawBufferPointer(rebasing: memory[from..<min(count, from + length)])
        }

        func record(
            in segment: CommitLog.Segment,
            offset: Int,
            position: UInt64,
            identity: UInt32
        ) throws(DeviceError) -> LogRecord.View? {
            let header = try bytes(segment, offset: offset, length: LogRecord.headerBytes)
            guard header.count == LogRecord.headerBytes, header.load64(8) == position else { return nil }
            let length = Int(header.load32(0))
            guard length >= LogRecord.headerBytes, length <= segment.size - offset else { return nil }
            let record = try bytes(segment, offset: offset, length: length)
            return LogRecord.View(prefixOf: record, position: position, identity: identity)
        }

        /// The next place from `from` on where the position of a record stands as it would in its header.
        func findPosition(in segment: CommitLog.Segment, from: Int) throws(DeviceError) -> Int? {
            var offset = from
            while offset + LogRecord.headerBytes <= segment.size {
                let part = try bytes(
                    segment,
                    offset: offset,
                    length: min(1 << 20, segment.size - offset)
                )
                guard part.count >= LogRecord.headerBytes else { return nil }
                var place = 0
                while place + LogRecord.headerBytes <= part.count {
                    if part.load64(place + 8) == segment.base + UInt64(offset + place) { return offset + place }
                    place += 8
                }
                offset += place
            }
            return nil
        }
    }
}
