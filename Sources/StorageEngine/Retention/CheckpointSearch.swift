internal import MessageModel

/// Recovery from the log alone, where no snapshot file can be used: the newest checkpoint in it, and the copies of the
/// index files that it names.
struct CheckpointSearch {
    struct Found {
        var state: ShardState
        var position: UInt64
        /// Copies of index files that are damaged: what they led to is not found any more.
        var damaged: [DamagedRegion] = []
    }

    let device: any LogDevice
    let options: ShardOptions
    let segments: [CommitLog.Segment]

    /// Reads the whole log. One of whose index files a copy is damaged is taken where there is no other.
    /// - Parameters:
    ///   - position: older ones are of no use.
    ///   - indexFiles: the names of those that are there.
    func newest(
        behind position: UInt64,
        indexFiles: Set<String>
    ) throws(DeviceError) -> Found? {
        var partial: Found?
        // Nothing may prove that damage close to the end is none that a crash left: a whole checkpoint behind it counts
        // where there is no other.
        let whole = try wholeCheckpoints(isLenient: false)
        let others = try wholeCheckpoints(isLenient: true).filter { other in
            !whole.contains { $0.position == other.position }
        }
        for (snapshotPosition, bytes) in Array(whole.reversed()) + others.reversed() {
            guard snapshotPosition > position, segments.areContiguous(from: snapshotPosition),
                case .read(var state, snapshotPosition, _) = Snapshot.decode(bytes, options: options)
            else { continue }
            let keys = KeyRestoration(device: device, options: options, segments: segments)
            try keys.restore(&state, at: snapshotPosition, files: indexFiles)
            var found = Found(state: state, position: snapshotPosition)
            if !state.indexFiles.isSubset(of: indexFiles) {
                guard let damaged = try restoreIndexes(of: &found.state) else { continue }
                found.damaged = damaged
                guard damaged.isEmpty else {
                    partial = partial ?? found
                    continue
                }
            }
            return found
        }
        return partial
    }

    /// In the order of their positions; the newest few, since older ones are needed only where these are damaged.
    private func wholeCheckpoints(isLenient: Bool) throws(DeviceError) -> [(position: UInt64, bytes: [UInt8])] {
        var whole: [(position: UInt64, bytes: [UInt8])] = []
        var partial: (position: UInt64, total: UInt64, bytes: [UInt8])?
        guard let start = segments.first?.base else { return [] }
        var scanner = LogScanner(device: device, identity: options.logIdentity, segments: segments)
        _ = try scanner.scan(from: start, epoch: 0, endsHere: false, isLenient: isLenient) { record, _ in
            guard record.kind == .checkpoint, let part = CheckpointPart(record.payload) else { return }
            if part.offset == 0 { partial = (part.snapshotPosition, part.totalBytes, []) }
            guard let open = partial, open.position == part.snapshotPosition, open.total == part.totalBytes,
                UInt64(open.bytes.count) == part.offset, part.offset + UInt64(part.bytes.count) <= part.totalBytes
            else { return }
            partial?.bytes.append(contentsOf: part.bytes)
            guard part.offset + UInt64(part.bytes.count) == part.totalBytes else { return }
            whole.append((open.position, open.bytes + part.bytes))
            partial = nil
            if whole.count > 2 { whole.removeFirst() }
        }
        return whole
    }

    /// Puts the entries of index files that are not there back into memory, from their copies in the log. They go to new
    /// files later.
    /// - Returns: the copies that are damaged, whose entries are missing; nil where a file was not copied.
    private func restoreIndexes(of state: inout ShardState) throws(DeviceError) -> [DamagedRegion]? {
        var copies: [IndexFile.Key: [(offset: Int, bytes: [UInt8])]] = [:]
        var damaged: [DamagedRegion] = []
        for (key, file) in state.files.files {
            guard file.isCopied else { return nil }
            for copy in file.copies {
                guard let bytes = try read(copy, of: key) else {
                    let end = copy.position + UInt64(copy.recordBytes)
                    damaged.append(DamagedRegion(start: copy.position, end: end))
                    continue
                }
                copies[key, default: []].append((Int(copy.fileOffset), bytes))
            }
        }
        var isPlausible = true
        var touched: [UInt64: [IndexedSequence]] = [:]
        state.forEachSequence { sequence in
            let old = sequence.index
            guard !old.runs.isEmpty else { return }
            var entries: [IndexEntry] = []
            var boundaries: [PartitionIndex.Boundary] = []
            for run in old.runs {
                let range = Int(run.fileOffset)..<Int(run.fileOffset) + Int(run.count) * IndexEntry.bytes
                // What was damaged leaves a gap.
                guard let found = Self.bytes(range, in: copies[run.file] ?? []) else {
                    isPlausible = isPlausible && !damaged.isEmpty
                    continue
                }
                let runEntries = IndexFile.entries(in: found)
                guard run.isPlausible(runEntries, from: 0) else {
                    isPlausible = false
                    return
                }
                if boundaries.last?.segment != run.logSegment {
                    boundaries.append(PartitionIndex.Boundary(segment: run.logSegment, ordinal: entries.count))
                    touched[run.logSegment, default: []].append(sequence)
                }
                entries += runEntries
            }
            let start = old.entries.startIndex
            for boundary in old.boundaries where boundary.segment != boundaries.last?.segment {
                let ordinal = entries.count + max(0, boundary.ordinal - start)
                boundaries.append(PartitionIndex.Boundary(segment: boundary.segment, ordinal: ordinal))
            }
            entries += old.entries
            state.files.dropped(old.runs)
            sequence.index = PartitionIndex()
            sequence.index.restore(entries, boundaries: boundaries)
            // What was let go of the oldest run.
            _ = sequence.index.drop(before: sequence.trimmedOffset)
        }
        for (segment, sequences) in touched {
            let known = Set((state.touched[segment] ?? []).map(ObjectIdentifier.init))
            state.touched[segment, default: []] += sequences.filter { !known.contains(ObjectIdentifier($0)) }
        }
        _ = state.files.removeUnused()
        return isPlausible ? damaged.sorted { $0.start < $1.start } : nil
    }

    /// The bytes of a range of a file, whose parts follow each other.
    private static func bytes(_ range: Range<Int>, in parts: [(offset: Int, bytes: [UInt8])]) -> [UInt8]? {
        var found: [UInt8] = []
        while found.count < range.count {
            let place = range.lowerBound + found.count
            guard let part = parts.first(where: { $0.offset <= place && place < $0.offset + $0.bytes.count }) else {
                return nil
            }
            let end = min(part.bytes.count, range.upperBound - part.offset)
            found += part.bytes[(place - part.offset)..<end]
        }
        return found
    }

    private func read(_ copy: IndexFileTable.Copy, of key: IndexFile.Key) throws(DeviceError) -> [UInt8]? {
        guard let segment = segments.first(where: { $0.base <= copy.position && copy.position < $0.end }) else {
            return nil
        }
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(copy.recordBytes), alignment: 8)
        defer { bytes.deallocate() }
        let offset = Int(copy.position - segment.base)
        let count = try device.readNow(segment: segment.number, offset: offset, into: bytes)
        guard count == bytes.count,
            let record = LogRecord.View(
                prefixOf: UnsafeRawBufferPointer(bytes),
                position: copy.position,
                identity: options.logIdentity
            ),
            record.kind == .indexCopy, let part = IndexCopyPart(record.payload), part.key == key,
            part.fileOffset == copy.fileOffset
        else { return nil }
        return Array(part.bytes)
    }
}

extension [CommitLog.Segment] {
    /// Whether no segment is missing from a position on.
    func areContiguous(from position: UInt64) -> Bool {
        guard let first = firstIndex(where: { position < $0.end }) else {
            return last.map { $0.end == position } ?? true
        }
        guard self[first].base <= position else { return false }
        return indices.dropFirst(first + 1).allSatisfy {
            self[$0].number == self[$0 - 1].number + 1 && self[$0].base == self[$0 - 1].end
        }
    }
}
