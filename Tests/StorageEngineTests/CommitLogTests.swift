import MessageModel
import Simulator
import TestSupport
import Testing

@testable import StorageEngine

/// A commit log on a device in memory, for tests of it and of the scanner.
struct LogBench {
    let device = MemoryDevice()
    var options = ShardOptions()
    var log: CommitLog

    init(segmentBytes: Int = 4_096, identity: UInt32 = 7) {
        options.segmentBytes = segmentBytes
        options.blockBytes = 1_024
        options.tailCacheBytes = 2_048
        options.logIdentity = identity
        log = CommitLog(device: device, options: options, segments: [.beforeFirst], end: 0, epoch: 1)
        answer()
    }

    func answer() {
        for event in device.drainEvents() {
            switch event {
            case .segmentReady(let segment, let error): log.segmentReady(segment, error)
            case .synced(let token, let error): log.synced(token: token, error)
            default: break
            }
        }
    }

    /// Appends a record of so many payload bytes; makes room where a segment is full.
    @discardableResult
    func append(_ bytes: Int, of byte: UInt8 = 0xAB) throws -> UInt64 {
        for _ in 0..<3 {
            do {
                return try log.append(.commit, payloadBytes: bytes) {
                    $0.copyBytes(from: [UInt8](repeating: byte, count: bytes))
                }
            } catch CommitLog.AppendRefusal.waitsForSegment {
                answer()
            }
        }
        throw DeviceError(.full, "no segment came")
    }

    func sync() {
        log.wantDurable()
        log.flush(writesNow: true)
        answer()
    }

    /// What a scan finds: the positions of its records, and its result.
    func scan(from start: UInt64 = 0, epoch: UInt32 = 0) throws -> (positions: [UInt64], result: LogScanner.Result) {
        let segments = try LogScanner.usedSegments(device, identity: options.logIdentity)
        var scanner = LogScanner(device: device, identity: options.logIdentity, segments: segments)
        var positions: [UInt64] = []
        let result = try scanner.scan(from: start, epoch: epoch, endsHere: false) { record, _ in
            if record.kind != .segmentEnd { positions.append(record.position) }
        }
        return (positions, result)
    }

    func change(segment: UInt64, offset: Int, _ bytes: [UInt8]) throws {
        try bytes.withUnsafeBytes { try device.write($0, segment: segment, offset: offset) }
    }

    func flip(segment: UInt64, offset: Int) throws {
        let byte = try device.bytes(of: segment, offset: offset, length: 1)
        try change(segment: segment, offset: offset, [byte[0] ^ 0x10])
    }
}

@Suite("Commit log")
struct CommitLogTests {
    @Test("positions go on from segment to segment, and each leads back to its record")
    func positions() throws {
        let bench = LogBench()
        var positions: [UInt64] = []
        for index in 0..<40 { positions.append(try bench.append(100 + index * 7, of: UInt8(index))) }
        bench.sync()
        #expect(positions == positions.sorted() && positions.first == 64)
        #expect(positions.allSatisfy { $0 % 8 == 0 })
        #expect(bench.log.segments.count > 2)
        #expect(bench.log.durable == bench.log.end && bench.log.written == bench.log.end)
        for (index, position) in positions.enumerated() {
            let (segment, offset) = try #require(bench.log.locate(position))
            let bytes = try bench.device.bytes(of: segment.number, offset: offset, length: 1_024)
            try bytes.withUnsafeBytes { bytes in
                let record = try #require(LogRecord.View(prefixOf: bytes, position: position, identity: 7))
                #expect(record.kind == .commit && record.payload.count == 100 + index * 7)
                #expect(record.payload.allSatisfy { $0 == UInt8(index) })
            }
        }
        #expect(try bench.scan().positions == positions)
    }

    @Test("a record never spans two segments, and none is larger than one")
    func rollover() throws {
        let bench = LogBench()
        #expect(bench.log.canHold(payloadBytes: 4_096 - 64 - 64))
        #expect(!bench.log.canHold(payloadBytes: 4_096 - 64 - 63))
        for size in [4_096 - 64 - 64, 10, 4_096 - 64 - 64, 3_000, 1_000] {
            let position = try bench.append(size)
            let (segment, offset) = try #require(bench.log.locate(position))
            #expect(offset + LogRecord.roundUp(32 + size) <= segment.size)
        }
        bench.sync()
        #expect(try bench.scan().positions.count == 5)
    }

    @Test("the newest part stays in memory, and what was not written is never given up")
    func cache() throws {
        let bench = LogBench()
        let first = try bench.append(500)
        let second = try bench.append(500)
        #expect(bench.log.cached(first) != nil)
        for _ in 0..<10 { try bench.append(700) }
        bench.log.trimCache(settled: bench.log.durable)
        #expect(bench.log.cached(second) != nil)
        bench.sync()
        bench.log.trimCache(settled: bench.log.durable)
        #expect(bench.log.cached(first) == nil)
        #expect(bench.log.cached(bench.log.end) == nil)
        #expect(bench.log.locate(bench.log.end + 1 << 20) == nil)
    }

    @Test("after a failed sync nothing becomes durable and nothing is taken")
    func failedSync() throws {
        let bench = LogBench()
        try bench.append(10)
        bench.log.wantDurable()
        bench.log.flush(writesNow: true)
        bench.log.synced(token: 1, DeviceError(.failed, "EIO"))
        #expect(bench.log.durable == 0 && bench.log.failure != nil)
        #expect(throws: CommitLog.AppendRefusal.self) { try bench.log.append(.commit, payloadBytes: 1) { _ in } }
        bench.log.synced(token: 1, nil)
        #expect(bench.log.durable == 0)
    }

    @Test("a refused segment is asked for again")
    func refusedSegment() throws {
        let bench = LogBench()
        try bench.append(3_000)
        bench.log.segmentReady(1, DeviceError(.full, "ENOSPC"))
        #expect(throws: CommitLog.AppendRefusal.self) { try bench.log.append(.commit, payloadBytes: 3_000) { _ in } }
        bench.device.removeSegment(1)
        bench.log.retrySegment()
        bench.answer()
        try bench.append(3_000)
        #expect(bench.log.segments.count == 3)
    }
}

@Suite("Log scanner")
struct LogScannerTests {
    /// A log of several segments, all of it synced after each record.
    private func syncedLog(records: Int = 70) throws -> (bench: LogBench, positions: [UInt64]) {
        let bench = LogBench()
        var positions: [UInt64] = []
        for index in 0..<records {
            positions.append(try bench.append(100 + index))
            bench.sync()
        }
        return (bench, positions)
    }

    @Test("a torn record at the end is cut, with everything behind it that was not synced before")
    func tornTail() throws {
        let bench = LogBench()
        try bench.append(50)
        bench.sync()
        let torn = try bench.append(200)
        try bench.append(50)
        bench.log.flush(writesNow: true)
        let (segment, offset) = try #require(bench.log.locate(torn))
        try bench.flip(segment: segment.number, offset: offset + 100)
        let (positions, result) = try bench.scan()
        #expect(positions == [64] && result.end == torn && result.damaged.isEmpty)
    }

    @Test("a bad record with later ones that say it had been synced is damage, and only it is lost")
    func damageInside() throws {
        for hit in [0, 1, 17, 25, 38] {
            let (bench, all) = try syncedLog()
            let (segment, offset) = try #require(bench.log.locate(all[hit]))
            try bench.flip(segment: segment.number, offset: offset + 40)
            let (positions, result) = try bench.scan()
            #expect(positions == all.filter { $0 != all[hit] })
            #expect(result.damaged.count == 1 && result.damaged[0].start == all[hit])
            #expect(result.end == bench.log.end)
        }
    }

    @Test("good records before the one that proves the damage are kept, in an earlier segment too")
    func proofInLaterSegment() throws {
        let bench = LogBench()
        // One burst that ends a segment and goes on in the next, and then a record behind its sync.
        var all = try (0..<30).map { _ in try bench.append(200) }
        bench.sync()
        all.append(try bench.append(200))
        bench.sync()
        let (segment, offset) = try #require(bench.log.locate(all[2]))
        try bench.flip(segment: segment.number, offset: offset + 9)
        let (positions, result) = try bench.scan()
        #expect(positions == all.filter { $0 != all[2] })
        #expect(result.damaged == [DamagedRegion(start: all[2], end: all[3])])
    }

    @Test("a damaged segment header hides nothing, and is reported", arguments: [0, 1, 2] as [UInt64])
    func damagedHeader(segment: UInt64) throws {
        for byte in [0, 9, 13, 17, 25, 33] {
            let (bench, all) = try syncedLog()
            try bench.flip(segment: segment, offset: byte)
            let (positions, result) = try bench.scan()
            #expect(positions == all)
            #expect(result.damaged == [DamagedRegion(start: segment * 4_096, end: segment * 4_096 + 64)])
            #expect(result.segments.filter { !$0.hasHeader }.map(\.number) == [segment])
        }
    }

    @Test(
        "a damaged header of a segment that stands alone hides nothing either",
        arguments: [[0], [0, 2]] as [[UInt64]]
    )
    func damagedHeaderAlone(gone: [UInt64]) throws {
        let (bench, all) = try syncedLog()
        for segment in gone { bench.device.removeSegment(segment) }
        try bench.flip(segment: 1, offset: 25)
        let segments = try LogScanner.usedSegments(bench.device, identity: bench.options.logIdentity)
        #expect(segments.first?.number == 1 && segments.first?.base == 4_096 && segments.first?.hasHeader == false)
        let (positions, _) = try bench.scan()
        #expect(positions.filter { $0 < 8_192 } == all.filter { $0 >= 4_096 && $0 < 8_192 })
    }

    @Test("a missing segment is reported, and what is behind it is there")
    func missingSegment() throws {
        let (bench, all) = try syncedLog()
        bench.device.removeSegment(1)
        let (positions, result) = try bench.scan()
        #expect(positions == all.filter { $0 < 4_096 || $0 >= 8_192 })
        #expect(result.damaged == [DamagedRegion(start: 4_096, end: 8_192 + 64)])
        #expect(result.end == bench.log.end)
    }

    @Test("records of an earlier epoch behind the end are not the log's")
    func staleRecords() throws {
        let (bench, all) = try syncedLog(records: 10)
        // The log was cut behind the fifth record, and goes on in a new epoch with one that is shorter.
        let cut = all[5]
        let (segment, _) = try #require(bench.log.locate(cut))
        let second = CommitLog(
            device: bench.device,
            options: bench.options,
            segments: [segment],
            end: cut,
            epoch: 2
        )
        _ = try second.append(.opened, payloadBytes: 8) { _ in }
        // Ends where an old record begins, so that only its epoch tells.
        let fill = Int(all[6] - second.end) - LogRecord.headerBytes
        _ = try second.append(.commit, payloadBytes: fill) { _ in }
        #expect(second.end == all[6])
        second.flush(writesNow: true)
        let (positions, result) = try bench.scan()
        #expect(positions == Array(all[..<5]) + [cut, cut + 40])
        #expect(result.end == all[6] && result.damaged.isEmpty)
    }

    @Test("what an earlier use of the blocks left is not found: its positions and its log are others")
    func recycledContent() throws {
        let (old, _) = try syncedLog()
        for (identity, from) in [(UInt32(7), UInt64(2)), (8, 1)] {
            let bench = LogBench(identity: identity)
            try bench.append(1_100)
            bench.sync()
            // Segment 1 is prepared, from blocks of another segment of this log, or of the same of another log.
            let content = try old.device.bytes(of: from, offset: 0, length: 4_096)
            try bench.change(segment: 1, offset: 0, content)
            let (positions, result) = try bench.scan()
            #expect(positions == [64] && result.damaged.isEmpty && result.end == bench.log.end)
        }
    }

    @Test("a prepared segment is not a part of the log, and a new log has no damage")
    func prepared() throws {
        let bench = LogBench()
        let empty = try bench.scan()
        #expect(empty.positions.isEmpty && empty.result.end == 0 && empty.result.segments.isEmpty)
        #expect(empty.result.damaged.isEmpty)
        // Full to its last byte: the end is that of the segment.
        try bench.append(4_096 - 64 - 64)
        bench.sync()
        let full = try bench.scan()
        #expect(full.result.segments.map(\.number) == [0])
    }

    @Test("a log of a newer format is not opened, and a damaged version is not a newer one")
    func versions() throws {
        let (bench, all) = try syncedLog()
        try bench.flip(segment: 0, offset: 8)
        #expect(try bench.scan().positions == all)
        var header = try bench.device.bytes(of: 0, offset: 0, length: 64)
        header.withUnsafeMutableBytes { header in
            SegmentHeader.write(header, number: 0, base: 0, size: 4_096, identity: 7)
            header.store32(2, at: 8)
            let bytes = UnsafeRawBufferPointer(header)
            let version = Checksum.crc32c(bytes.slice(8..<12), continuing: 7)
            header.store32(Checksum.crc32c(bytes.slice(16..<64), continuing: version), at: 12)
        }
        try bench.change(segment: 0, offset: 0, header)
        #expect(throws: SluiceError.self) { try bench.scan() }
    }
}
