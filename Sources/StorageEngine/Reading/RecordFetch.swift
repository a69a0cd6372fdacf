internal import DequeModule
internal import MessageModel

/// Reads batches at known places of the log, one after the other: from memory where they are there, from the device
/// otherwise.
final class RecordFetch: ColdClient {
    /// Positions of records.
    let wanted: [UInt64]
    private var next = 0
    /// How much the device is asked for, for the next record.
    private var length: Int
    private var bytes: [UInt8] = []
    private var isOutstanding = false
    /// Called with each record's place in `wanted`, in order; nil for one that cannot be read. Lent.
    private let visit: (Shard, Int, LogRecord.View?) -> Void
    private let completion: (Shard) -> Void
    var isQueued = false

    /// Reads records of any kind.
    init(
        records wanted: [UInt64],
        readBytes: Int,
        visit: @escaping (Shard, Int, LogRecord.View?) -> Void,
        completion: @escaping (Shard) -> Void
    ) {
        self.wanted = wanted
        length = readBytes
        self.visit = visit
        self.completion = completion
    }

    /// Reads records with batches; one of another kind is as good as one that cannot be read.
    convenience init(
        _ wanted: [UInt64],
        readBytes: Int,
        visit: @escaping (Shard, Int, StoredBatch?) -> Void,
        completion: @escaping (Shard) -> Void
    ) {
        self.init(records: wanted, readBytes: readBytes) { shard, place, view in
            visit(shard, place, view.flatMap { StoredBatch($0) })
        } completion: {
            completion($0)
        }
    }

    /// Goes on until the device has to be asked.
    func advance(_ shard: Shard) {
        guard !isOutstanding else { return }
        let log = shard.log
        while next < wanted.count {
            let position = wanted[next]
            if let cached = log.cached(position) {
                pass(shard, cached)
                continue
            }
            let isRead = bytes.withUnsafeBytes { read -> Bool in
                guard read.count >= LogRecord.headerBytes, read.load64(8) == position else { return false }
                let recordBytes = Int(read.load32(0))
                if recordBytes > read.count, recordBytes <= log.options.segmentBytes, recordBytes > length {
                    length = recordBytes
                    return false
                }
                pass(shard, read)
                return true
            }
            if isRead { continue }
            guard position < log.written, let (segment, offset) = log.locate(position) else {
                pass(shard, nil)
                continue
            }
            let end = min(segment.size, offset + Int(min(log.written - position, UInt64(segment.size))))
            isOutstanding = true
            shard.coldRequests.readLog(self, segment: segment.number, offset: offset, length: min(length, end - offset))
            return
        }
        completion(shard)
    }

    private func pass(_ shard: Shard, _ bytes: UnsafeRawBufferPointer?) {
        let position = wanted[next]
        let place = next
        next += 1
        length = shard.options.coldReadBytes
        let identity = shard.options.logIdentity
        visit(shard, place, bytes.flatMap { LogRecord.View(prefixOf: $0, position: position, identity: identity) })
    }

    func received(_ result: Result<[UInt8], DeviceError>, shard: Shard) {
        isOutstanding = false
        switch result {
        case .success(let bytes) where bytes.count >= LogRecord.headerBytes:
            self.bytes = bytes
            // What is not the record that was asked for is damaged.
            let isRight = bytes.withUnsafeBytes { $0.load64(8) == wanted[next] }
            if !isRight { pass(shard, nil) }
        case .success, .failure:
            pass(shard, nil)
        }
        shard.enqueue(self)
    }
}

extension Shard {
    func enqueue(_ fetch: RecordFetch) {
        guard !fetch.isQueued else { return }
        fetch.isQueued = true
        readyFetchesOfRecords.append(fetch)
    }

    func runRecordFetches() {
        for _ in 0..<readyFetchesOfRecords.count {
            guard let fetch = readyFetchesOfRecords.popFirst() else { return }
            fetch.isQueued = false
            fetch.advance(self)
        }
    }
}
