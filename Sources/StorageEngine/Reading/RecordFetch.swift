internal import DequeModule
internal import MessageModel

/// Reads batches at known places of the log, one after the other: from memory where they are there, from the device
/// otherwise.
final class RecordFetch: ColdClient {
    /// The positions that the records were first stored at.
    let wanted: [UInt64]
    private var next = 0
    /// How much the device is asked for, for the next record.
    private var length: Int
    private var bytes: [UInt8] = []
    /// The position that the device was asked for, and that `bytes` are from.
    private var start = UInt64.max
    private var isOutstanding = false
    /// Called with each record's place in `wanted`, in order; nil for one that cannot be read. Lent. A record that is wanted
    /// several times in a row is found and checked once.
    private let visit: (Shard, Int, LogRecord.View?) -> Void
    private let completion: (Shard) -> Void
    /// Called instead of all that where the device fails, which says nothing of a record. Without it such a record is passed
    /// over.
    private let failure: ((Shard) -> Void)?
    /// What the device gave was not right: it is damaged if it is not right a second time.
    private var isSecondReading = false
    var isQueued = false

    /// Reads records of any kind.
    init(
        records wanted: [UInt64],
        readBytes: Int,
        visit: @escaping (Shard, Int, LogRecord.View?) -> Void,
        completion: @escaping (Shard) -> Void,
        failure: ((Shard) -> Void)? = nil
    ) {
        self.wanted = wanted
        length = readBytes
        self.visit = visit
        self.completion = completion
        self.failure = failure
    }

    /// Reads records with batches; one of another kind is as good as one that cannot be read.
    convenience init(
        _ wanted: [UInt64],
        readBytes: Int,
        visit: @escaping (Shard, Int, StoredBatch?) -> Void,
        completion: @escaping (Shard) -> Void,
        failure: ((Shard) -> Void)? = nil
    ) {
        self.init(
            records: wanted,
            readBytes: readBytes,
            visit: { shard, place, view in
                visit(shard, place, view.flatMap { StoredBatch($0, named: wanted[place]) })
            },
            completion: completion,
            failure: failure
        )
    }

    /// What is read from memory and checked before others have their turn: a third of a millisecond.
    private static let turnBytes = 1 << 20

    /// Goes on until the device has to be asked, or others wait.
    func advance(_ shard: Shard) {
        guard !isOutstanding else { return }
        let log = shard.log
        var spent = 0
        while next < wanted.count {
            guard spent < Self.turnBytes else { return shard.enqueue(self) }
            let name = wanted[next]
            let position = log.home(of: name, recordBytes: 0).position
            if let cached = log.cached(position) {
                spent += pass(shard, cached, at: position)
                continue
            }
            switch look(shard, at: position) {
            case .record:
                _ = bytes.withUnsafeBytes { pass(shard, $0, at: position) }
                continue
            case .longer(let recordBytes):
                length = recordBytes
            case .wrong:
                guard !isSecondReading else {
                    pass(shard, nil, at: position)
                    continue
                }
                isSecondReading = true
            case .elsewhere:
                break
            }
            guard position < log.written, let (segment, offset) = log.locate(position) else {
                pass(shard, nil, at: position)
                continue
            }
            bytes = []
            start = position
            let end = min(segment.size, offset + Int(min(log.written - position, UInt64(segment.size))))
            isOutstanding = true
            shard.coldRequests.readLog(self, segment: segment.number, offset: offset, length: min(length, end - offset))
            return
        }
        completion(shard)
    }

    private enum Reading {
        case record
        /// It has so many bytes, and not all are here.
        case longer(Int)
        case wrong
        /// What was read begins at another place.
        case elsewhere
    }

    /// What the bytes that were read are to the record at `position`.
    private func look(_ shard: Shard, at position: UInt64) -> Reading {
        guard start == position, !bytes.isEmpty else { return .elsewhere }
        return bytes.withUnsafeBytes { read in
            guard read.count >= LogRecord.headerBytes, read.load64(8) == position else { return .wrong }
            let recordBytes = Int(read.load32(0))
            if recordBytes > read.count, recordBytes <= shard.options.segmentBytes, recordBytes > length {
                return .longer(recordBytes)
            }
            return view(of: read, shard, at: position) == nil ? .wrong : .record
        }
    }

    private func view(of bytes: UnsafeRawBufferPointer, _ shard: Shard, at position: UInt64) -> LogRecord.View? {
        LogRecord.View(prefixOf: bytes, position: position, identity: shard.options.logIdentity)
    }

    /// - Returns: the bytes of the record.
    @discardableResult
    private func pass(_ shard: Shard, _ bytes: UnsafeRawBufferPointer?, at position: UInt64) -> Int {
        let record = bytes.flatMap { view(of: $0, shard, at: position) }
        length = shard.options.coldReadBytes
        isSecondReading = false
        let name = wanted[next]
        repeat {
            let place = next
            next += 1
            visit(shard, place, record)
        } while next < wanted.count && wanted[next] == name
        return record?.payload.count ?? 0
    }

    func received(_ result: Result<[UInt8], DeviceError>, shard: Shard) {
        isOutstanding = false
        switch result {
        case .success(let bytes):
            self.bytes = bytes
        case .failure:
            if let failure { return failure(shard) }
            pass(shard, nil, at: start)
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
