internal import MessageModel

/// The keys of sealed segments whose files are lost, made again where the log has its beginning no more: from what is
/// left of the segments, and from the records that were moved out of them.
struct KeyRestoration {
    let device: any LogDevice
    let options: ShardOptions
    let segments: [CommitLog.Segment]

    private struct Key {
        var hash: UInt64
        var time: UInt64
        var position: UInt64
        var record: UInt16
        var isPublication = false
    }

    /// Forgets the key files that are not there, and reads the log for their keys where it must.
    /// - Parameters:
    ///   - position: the state's.
    ///   - files: the names of those that are there.
    func restore(_ state: inout ShardState, at position: UInt64, files: Set<String>) throws(DeviceError) {
        let named = state.keys.files
        state.keys.forgetMissing(files: files, segments: segments)
        let left = Set(state.keys.files.map(\.segment))
        // Where they begin.
        var lost: [UInt64: UInt64] = [:]
        for file in named where !left.contains(file.segment) {
            lost[file.segment] =
                segments.first { $0.number == file.segment }?.base ?? state.relocations.origin(file.segment)?.base
        }
        guard !lost.isEmpty, let start = segments.first?.base else { return }
        var found: [UInt64: [Key]] = [:]
        var scanner = LogScanner(device: device, identity: options.logIdentity, segments: segments)
        let known = state
        _ = try scanner.scan(from: start, epoch: 0, endsHere: false) { record, segment in
            guard record.position < position else { return }
            switch record.kind {
            case .batch, .held:
                guard lost[segment.number] != nil, let stored = StoredBatch(record), stored.isPublished else { return }
                Self.collect(stored, record.position, known, into: &found[segment.number, default: []])
            case .moved:
                guard let moved = MovedRecord(record.payload), lost[moved.originSegment] != nil,
                    known.relocations.home(of: moved.position)?.position == record.position
                else { return }
                let origin = moved.originSegment
                if let publication = Publication(record, named: moved.position) {
                    Self.collect(publication, moved.position, into: &found[origin, default: []])
                } else if let stored = StoredBatch(record, named: moved.position), stored.isPublished {
                    Self.collect(stored, moved.position, known, into: &found[origin, default: []])
                }
            case .published:
                guard lost[segment.number] != nil, let publication = Publication(record, named: record.position) else {
                    return
                }
                Self.collect(publication, record.position, into: &found[segment.number, default: []])
            default: break
            }
        }
        for (segment, keys) in found {
            guard let base = lost[segment] else { continue }
            var index = KeyIndex(base: base)
            for key in keys.sorted(by: { ($0.time, $0.position, $0.record) < ($1.time, $1.position, $1.record) }) {
                index.append(
                    hash: key.hash,
                    time: key.time,
                    position: key.position,
                    record: key.record,
                    isPublication: key.isPublication
                )
            }
            if index.count > 0 { state.keys.restore(index, of: segment) }
        }
    }

    private static func collect(_ publication: Publication, _ position: UInt64, into keys: inout [Key]) {
        let time = publication.time.rawValue
        for (number, item) in publication.items.enumerated() {
            for case .key(let hash) in item.traces.map(\.kind) {
                let place = UInt16(clamping: number)
                keys.append(Key(hash: hash, time: time, position: position, record: place, isPublication: true))
            }
        }
    }

    private static func collect(
        _ stored: StoredBatch,
        _ position: UInt64,
        _ state: ShardState,
        into keys: inout [Key]
    ) {
        guard let topic = state.topics[stored.partition.topic] else { return }
        var traces: [MessageTrace] = []
        let traits = BatchTraits(rawValue: stored.traits)
        let count = stored.batch.recordCount
        state.collectTraces(stored.batch, traits, topic: topic, first: 0, count: count, into: &traces)
        for trace in traces {
            guard case .key(let hash) = trace.kind else { continue }
            let time = stored.batch.appendTime.rawValue
            keys.append(Key(hash: hash, time: time, position: position, record: trace.record))
        }
    }
}
