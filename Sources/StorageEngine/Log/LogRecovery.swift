internal import CSluiceShims
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

    /// Reads the segments' headers.
    ///
    /// A segment without one was only prepared, or its header is damaged. Where its base follows from its neighbours, or
    /// from its first record, it is among the result, and what is in it decides.
    static func usedSegments(
        _ device: any LogDevice,
        identity: UInt32
    ) throws(SluiceError) -> [CommitLog.Segment] {
        var found: [FoundSegment] = []
        let header = UnsafeMutableRawBufferPointer.allocate(byteCount: SegmentHeader.bytes, alignment: 8)
        defer { header.deallocate() }
        do throws(DeviceError) {
            for segment in try device.listSegmentsNow() {
                let count = try device.readNow(segment: segment.number, offset: 0, into: header)
                let bytes = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(header)[0..<count])
                let reading = SegmentHeader.read(bytes, number: segment.number, size: segment.size, identity: identity)
                switch reading {
                case .absent:
                    let told = try baseTold(by: segment, device, identity: identity)
                    found.append(FoundSegment(segment: segment, toldBase: told))
                case .newerVersion(let version):
                    throw DeviceError(.notFound, "\(version)")
                case .present(let base): found.append(FoundSegment(segment: segment, base: base))
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
        return placed(found)
    }

    private struct FoundSegment {
        var segment: DeviceSegment
        /// As its header says.
        var base: UInt64?
        /// As its first record says, which may be left from an earlier use of the file.
        var toldBase: UInt64?
    }

    /// Where a segment begins, by the position of a good record at its beginning; nil where none stands there.
    private static func baseTold(
        by segment: DeviceSegment,
        _ device: any LogDevice,
        identity: UInt32
    ) throws(DeviceError) -> UInt64? {
        guard segment.size >= SegmentHeader.bytes + LogRecord.headerBytes else { return nil }
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: segment.size - SegmentHeader.bytes, alignment: 8)
        defer { bytes.deallocate() }
        func read(_ count: Int) throws(DeviceError) -> UnsafeRawBufferPointer {
            let target = UnsafeMutableRawBufferPointer(rebasing: bytes[0..<count])
            let read = try device.readNow(segment: segment.number, offset: SegmentHeader.bytes, into: target)
            return UnsafeRawBufferPointer(rebasing: target[0..<read])
        }
        let head = try read(LogRecord.headerBytes)
        guard head.count == LogRecord.headerBytes else { return nil }
        let length = Int(head.load32(0))
        let position = head.load64(8)
        guard length >= LogRecord.headerBytes, length <= bytes.count, position >= UInt64(SegmentHeader.bytes) else {
            return nil
        }
        let record = LogRecord.View(prefixOf: try read(length), position: position, identity: identity)
        return record.map { $0.position - UInt64(SegmentHeader.bytes) }
    }

    /// Gives those without a header the base that follows from the segment before or behind them, or from what is in
    /// them; the log's first segment is number zero and begins at zero.
    private static func placed(_ found: [FoundSegment]) -> [CommitLog.Segment] {
        var bases = found.map(\.base)
        for index in found.indices where bases[index] == nil {
            if found[index].segment.number == 0 {
                bases[index] = 0
            } else if index > 0, found[index - 1].segment.number + 1 == found[index].segment.number {
                bases[index] = bases[index - 1].map { $0 + UInt64(found[index - 1].segment.size) }
            }
        }
        for index in found.indices.dropLast().reversed() where bases[index] == nil {
            let size = UInt64(found[index].segment.size)
            guard found[index].segment.number + 1 == found[index + 1].segment.number, let next = bases[index + 1],
                next >= size
            else { continue }
            bases[index] = next - size
        }
        for index in found.indices where bases[index] == nil {
            // What an earlier use left stood further in front.
            guard let told = found[index].toldBase else { continue }
            let size = UInt64(found[index].segment.size)
            let before = found[..<index].indices.last { bases[$0] != nil }
            let isBehind = before.map { place in
                bases[place].map { $0 + UInt64(found[place].segment.size) <= told } ?? true
            }
            let isInFront = bases[(index + 1)...].lazy.compactMap { $0 }.first.map { told + size <= $0 }
            if isBehind ?? true, isInFront ?? true { bases[index] = told }
        }
        return zip(found, bases).compactMap { found, base in
            base.map {
                CommitLog.Segment(
                    number: found.segment.number,
                    base: $0,
                    size: found.segment.size,
                    hasHeader: found.base != nil
                )
            }
        }
    }

    /// Reads from `start` on and hands every good record to `apply`.
    /// - Parameters:
    ///   - endsHere: the log was closed cleanly at `start`: only a little is searched behind it.
    ///   - isLenient: goes on behind whatever is no record, though nothing proves that it had been fsynced.
    ///   - passOver: called between the records before a damaged region and those behind it.
    mutating func scan(
        from start: UInt64,
        epoch: UInt32,
        endsHere: Bool,
        isLenient: Bool = false,
        _ apply: (LogRecord.View, CommitLog.Segment) -> Void,
        passOver: (DamagedRegion) -> Void = { _ in }
    ) throws(DeviceError) -> Result {
        var damaged: [DamagedRegion] = []
        var newestEpoch = epoch
        // Where the reading goes on; nil at the end of the segment before `index`.
        var index = segments.firstIndex { start < $0.end } ?? segments.count
        var place: Int?
        if index < segments.count, segments[index].base < start {
            place = max(Int(start - segments[index].base), SegmentHeader.bytes)
        }
        var end = start
        while true {
            if let offset = place, offset + LogRecord.headerBytes <= segments[index].size {
                let segment = segments[index]
                let position = segment.base + UInt64(offset)
                end = position
                let record = try window.record(in: segment, offset: offset, position: position, identity: identity)
                if let record, record.epoch >= newestEpoch {
                    newestEpoch = record.epoch
                    apply(record, segment)
                    end = position + UInt64(record.bytes.count)
                    place = record.kind == .segmentEnd ? segment.size : offset + record.bytes.count
                    continue
                }
                // No record where one could stand: the end, unless something durable follows.
                let limit = endsHere && position == start ? Self.searchedBehindCleanEnd : Int.max
                guard
                    let found = try findDurable(
                        behind: position,
                        segmentIndex: index,
                        epoch: newestEpoch,
                        limit: limit,
                        needsProof: !isLenient
                    )
                else { return result(end: position, used: index + 1, damaged) }
                damaged.append(DamagedRegion(start: position, end: found.position))
                passOver(damaged[damaged.count - 1])
                (index, place) = (found.segmentIndex, found.offset)
                continue
            }
            // This segment is read to its end; or the reading begins with one.
            if place != nil {
                end = segments[index].end
                index += 1
                place = nil
            }
            guard index < segments.count else { return result(end: end, used: index, damaged) }
            if segments[index].base == end, try isUsed(segments[index], epoch: newestEpoch) {
                place = SegmentHeader.bytes
                continue
            }
            // The segment that belongs here is not there, or was never used.
            let limit = endsHere && end == start ? Self.searchedBehindCleanEnd : Int.max
            guard
                let found = try findDurable(
                    behind: end,
                    segmentIndex: index,
                    epoch: newestEpoch,
                    limit: limit,
                    needsProof: !isLenient
                )
            else {
                return result(end: end, used: index, damaged)
            }
            damaged.append(DamagedRegion(start: end, end: found.position))
            passOver(damaged[damaged.count - 1])
            (index, place) = (found.segmentIndex, found.offset)
        }
    }

    /// Behind a clean end stands at most what was written after the next opening.
    private static let searchedBehindCleanEnd = 1 << 20

    /// Whether records of the log can begin in a segment: its header says so, or where that is damaged, a record does.
    private mutating func isUsed(_ segment: CommitLog.Segment, epoch: UInt32) throws(DeviceError) -> Bool {
        if segment.hasHeader { return true }
        let offset = SegmentHeader.bytes
        let position = segment.base + UInt64(offset)
        let record = try window.record(in: segment, offset: offset, position: position, identity: identity)
        return record.map { $0.epoch >= epoch } ?? false
    }

    private func result(end: UInt64, used: Int, _ damaged: [DamagedRegion]) -> Result {
        let used = Array(segments[..<used])
        let headers = used.filter { !$0.hasHeader }.map {
            DamagedRegion(start: $0.base, end: $0.base + UInt64(SegmentHeader.bytes))
        }
        return Result(end: end, damaged: damaged + headers, segments: used)
    }

    /// The first good record behind a bad place, where a later one was written when the bad place had been fsynced.
    /// - Parameters:
    ///   - segmentIndex: where to begin: the segment of the bad place, or the next that there is.
    ///   - limit: bytes to search at most.
    private mutating func findDurable(
        behind bad: UInt64,
        segmentIndex: Int,
        epoch: UInt32,
        limit: Int,
        needsProof: Bool
    ) throws(DeviceError) -> (segmentIndex: Int, offset: Int, position: UInt64)? {
        // The first good record may be one that was written before the bad place was durable: remember it, and take it
        // once a later one proves the damage.
        var first: (segmentIndex: Int, offset: Int, position: UInt64)?
        var searched = 0
        for index in segmentIndex..<segments.count where searched < limit {
            let segment = segments[index]
            let start = bad >= segment.base ? Int(bad - segment.base) + 8 : SegmentHeader.bytes
            let end = min(segment.size, limit == .max ? segment.size : start + limit - searched)
            searched += max(end - start, 0)
            var offset = start
            while offset + LogRecord.headerBytes <= end {
                guard let candidate = try window.findPosition(in: segment, from: offset, to: end) else { break }
                let position = segment.base + UInt64(candidate)
                let record = try window.record(in: segment, offset: candidate, position: position, identity: identity)
                guard let record, record.epoch >= epoch else {
                    offset = candidate + 8
                    continue
                }
                if first == nil { first = (index, candidate, position) }
                if record.durable > bad || !needsProof { return first }
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

        private static let zeroBytes = 4_096

        /// Whether so many bytes are all zero. Only at every 512th place, so that it costs nothing where they are not.
        private static func isZero(_ bytes: UnsafeRawBufferPointer, from place: Int) -> Bool {
            guard place & 511 == 0, place + zeroBytes <= bytes.count, let start = bytes.baseAddress, bytes[place] == 0
            else {
                return false
            }
            return sluice_is_zero(start + place, zeroBytes) != 0
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
        func findPosition(in segment: CommitLog.Segment, from: Int, to end: Int) throws(DeviceError) -> Int? {
            var offset = from
            while offset + LogRecord.headerBytes <= end {
                let part = try bytes(segment, offset: offset, length: min(1 << 20, end - offset))
                guard part.count >= LogRecord.headerBytes else { return nil }
                var place = 0
                while place + LogRecord.headerBytes <= part.count {
                    // Most of what is searched was never written.
                    if Self.isZero(part, from: place) {
                        place += Self.zeroBytes - LogRecord.headerBytes + 8
                        continue
                    }
                    if part.load64(place + 8) == segment.base + UInt64(offset + place) { return offset + place }
                    place += 8
                }
                offset += place
            }
            return nil
        }
    }
}
