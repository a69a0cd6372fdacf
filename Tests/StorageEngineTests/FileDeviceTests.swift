import FileLog
import Glibc
import StorageEngine
import TestSupport
import Testing

@Suite("File device")
struct FileDeviceTests {
    let directory: TemporaryDirectory
    let answers = DeviceAnswers()

    init() throws {
        directory = try TemporaryDirectory()
    }

    func open() throws -> FileDevice {
        let answers = answers
        return try FileDevice(directory: directory.path + "/shard", onEvents: { answers.add($0) })
    }

    static let pattern = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }

    @Test("what was written is read back at once and by a read that is asked for", arguments: [false, true])
    func writesAndReads(isAhead: Bool) throws {
        let device = try open()
        device.createSegment(7, size: 2_500_000, isAhead: isAhead)
        #expect(answers.next().readySegment == 7)
        try Self.pattern.withUnsafeBytes { try device.write($0, segment: 7, offset: 123) }
        #expect(try device.bytes(of: 7, offset: 123, length: 100_000) == Self.pattern)
        device.read(segment: 7, offset: 99_123, length: 2_000, token: 9)
        #expect(answers.next().readBytes == Array(Self.pattern[99_000...]) + [UInt8](repeating: 0, count: 1_000))
    }

    @Test("a segment has its full size from the beginning and is zero", arguments: [false, true])
    func segmentsAreZero(isAhead: Bool) throws {
        let device = try open()
        device.createSegment(1, size: 3_000_001, isAhead: isAhead)
        #expect(answers.next().readySegment == 1)
        #expect(try device.listSegmentsNow() == [DeviceSegment(number: 1, size: 3_000_001)])
        #expect(try device.bytes(of: 1, offset: 0, length: 4_000_000) == [UInt8](repeating: 0, count: 3_000_001))
    }

    @Test("syncs are answered, each once, in the order in which they were asked for")
    func syncs() throws {
        let device = try open()
        device.createSegment(1, size: 100_000, isAhead: false)
        #expect(answers.next().readySegment == 1)
        for token in 0..<200 as Range<UInt64> {
            try [1, 2, 3].withUnsafeBytes { try device.write($0, segment: 1, offset: Int(token) * 10) }
            device.sync(token: token)
        }
        #expect(answers.take(200).map(\.syncedToken) == (0..<200).map { .some($0) })
    }

    @Test("what is written in small unaligned pieces stays whole")
    func smallPieces() throws {
        let device = try open()
        device.createSegment(1, size: 100_100, isAhead: true)
        #expect(answers.next().readySegment == 1)
        var offset = 0
        while offset < Self.pattern.count {
            let end = min(offset + 997, Self.pattern.count)
            try Self.pattern[offset..<end].withUnsafeBytes { try device.write($0, segment: 1, offset: offset) }
            offset = end
        }
        // Overwriting what is behind the end of the log leaves what follows alone.
        try Self.pattern[0..<10].withUnsafeBytes { try device.write($0, segment: 1, offset: 0) }
        #expect(try device.bytes(of: 1, offset: 0, length: 100_000) == Self.pattern)
    }

    @Test("writes and reads outside of a segment are refused")
    func bounds() throws {
        let device = try open()
        device.createSegment(1, size: 1_000, isAhead: false)
        #expect(answers.next().readySegment == 1)
        for offset in [-1, 999, 5_000, Int.max] {
            #expect(throws: DeviceError.self) {
                try [1, 2].withUnsafeBytes { try device.write($0, segment: 1, offset: offset) }
            }
        }
        #expect(try device.bytes(of: 1, offset: 990, length: 100).count == 10)
        #expect(try device.bytes(of: 1, offset: 2_000, length: 100).isEmpty)
        device.read(segment: 1, offset: Int.max, length: Int.max, token: 1)
        #expect(answers.next().readBytes == [])
        device.read(segment: 1, offset: -1, length: 1, token: 2)
        #expect(answers.next().failure?.kind == .failed)
        device.read(segment: 2, offset: 0, length: 1, token: 3)
        #expect(answers.next().failure?.kind == .notFound)
        #expect(throws: DeviceError.self) { try device.bytes(of: 2, offset: 0, length: 1) }
    }

    @Test("a device that is opened again shows what was there, in the order of the numbers")
    func reopening() throws {
        do {
            let device = try open()
            for number in [300, 2, 41] as [UInt64] { device.createSegment(number, size: 4_096, isAhead: false) }
            #expect(answers.take(3).compactMap(\.readySegment) == [300, 2, 41])
            try Self.pattern[..<4_096].withUnsafeBytes { try device.write($0, segment: 41, offset: 0) }
            device.sync(token: 1)
            #expect(answers.next().syncedToken == 1)
            device.shutdown()
        }
        directory.write("half", to: "shard/log/00000000000000000042.new")
        directory.write("not ours", to: "shard/log/notes.txt")
        let device = try open()
        #expect(try device.listSegmentsNow().map(\.number) == [2, 41, 300])
        #expect(try device.bytes(of: 41, offset: 0, length: 4_096) == Array(Self.pattern[..<4_096]))
        #expect(!directory.names(in: "shard/log").contains("00000000000000000042.new"))
        // A segment of an earlier run can be written on.
        try Self.pattern[..<100].withUnsafeBytes { try device.write($0, segment: 41, offset: 1_000) }
        #expect(
            try device.bytes(of: 41, offset: 1_000, length: 101) == Array(Self.pattern[..<100] + [Self.pattern[1_100]])
        )
    }

    @Test("a removed segment is gone, and its blocks are used for the next one of that size")
    func recycling() throws {
        let device = try open()
        for number in 1...4 as ClosedRange<UInt64> { device.createSegment(number, size: 8_192, isAhead: true) }
        #expect(answers.take(4).compactMap(\.readySegment) == [1, 2, 3, 4])
        try Self.pattern[..<8_192].withUnsafeBytes { try device.write($0, segment: 3, offset: 0) }
        for number in 1...3 as ClosedRange<UInt64> { device.removeSegment(number) }
        #expect(throws: DeviceError.self) { try device.bytes(of: 1, offset: 0, length: 1) }
        #expect(try device.listSegmentsNow().map(\.number) == [4])
        device.createSegment(5, size: 8_192, isAhead: false)
        #expect(answers.next().readySegment == 5)
        #expect(directory.names(in: "shard/log").filter { $0.hasPrefix("spare") }.count == 1)
        #expect(try device.listSegmentsNow() == [4, 5].map { DeviceSegment(number: $0, size: 8_192) })
        try Self.pattern[..<5_000].withUnsafeBytes { try device.write($0, segment: 5, offset: 0) }
        #expect(try device.bytes(of: 5, offset: 0, length: 5_000) == Array(Self.pattern[..<5_000]))
        // Another size has no use for them.
        device.createSegment(6, size: 4_096, isAhead: false)
        #expect(answers.next().readySegment == 6)
        #expect(directory.names(in: "shard/log").allSatisfy { !$0.hasPrefix("spare") })
    }

    @Test("more segments than are kept open can be written and read")
    func manySegments() throws {
        let device = try open()
        for number in 0..<150 as Range<UInt64> { device.createSegment(number, size: 512, isAhead: false) }
        #expect(answers.take(150).count == 150)
        for number in 0..<150 as Range<UInt64> {
            try [UInt8(number)].withUnsafeBytes { try device.write($0, segment: number, offset: 5) }
        }
        device.sync(token: 1)
        #expect(answers.next().syncedToken == 1)
        for number in 0..<150 as Range<UInt64> {
            #expect(try device.bytes(of: number, offset: 5, length: 1) == [UInt8(number)])
        }
        #expect(answers.next(after: { device.read(segment: 3, offset: 5, length: 1, token: 2) }).readBytes == [3])
    }

    @Test("a segment that does not fit is refused as full, and nothing of it stays")
    func full() throws {
        let device = try open()
        device.createSegment(1, size: 1 << 60, isAhead: true)
        #expect(answers.next().failure?.kind == .full)
        #expect(try device.listSegmentsNow().isEmpty)
        #expect(directory.names(in: "shard/log").isEmpty)
        device.createSegment(1, size: 0, isAhead: true)
        #expect(answers.next().failure?.kind == .failed)
        device.createSegment(1, size: 4_096, isAhead: true)
        #expect(answers.next().readySegment == 1)
        device.createSegment(1, size: 4_096, isAhead: true)
        #expect(answers.next().failure?.kind == .failed)
    }

    @Test("after one failed sync every later one fails, and writes are refused")
    func poisonedSync() throws {
        let device = try open()
        device.createSegment(1, size: 4_096, isAhead: false)
        #expect(answers.next().readySegment == 1)
        try [1].withUnsafeBytes { try device.write($0, segment: 1, offset: 0) }
        // A pipe in the file's place: it cannot be synced.
        let descriptor = try #require(openDescriptor(endingWith: "/00000000000000000001"))
        let original = dup(descriptor)
        var pipes: [Int32] = [0, 0]
        #expect(pipe(&pipes) == 0 && dup2(pipes[1], descriptor) == descriptor)
        device.sync(token: 1)
        let failure = try #require(answers.next().failure)
        #expect(failure.kind == .failed)
        #expect(failure.description.hasPrefix("cannot sync \(directory.path)/shard/log/00000000000000000001: "))
        #expect(dup2(original, descriptor) == descriptor)
        device.sync(token: 2)
        #expect(answers.next().failure == failure)
        #expect(throws: DeviceError.self) {
            try [1].withUnsafeBytes { try device.write($0, segment: 1, offset: 0) }
        }
        device.removeSegment(1)
        device.shutdown()
        #expect(directory.names(in: "shard/log").isEmpty)
        for open in pipes + [original] { close(open) }
    }

    /// The descriptor of this process for a file of this test's directory.
    private func openDescriptor(endingWith suffix: String) -> Int32? {
        for descriptor in 3..<1_024 as Range<Int32> {
            var target = [UInt8](repeating: 0, count: 4_096)
            let count = target.withUnsafeMutableBytes { buffer in
                buffer.baseAddress.map { readlink("/proc/self/fd/\(descriptor)", $0, buffer.count) } ?? 0
            }
            guard count > 0 else { continue }
            let path = String(decoding: target[..<count], as: UTF8.self)
            if path.hasPrefix(directory.path), path.hasSuffix(suffix) { return descriptor }
        }
        return nil
    }
}

// MARK: - Side files and the end

extension FileDeviceTests {
    @Test("a side file is replaced as a whole and read in parts")
    func sideFiles() throws {
        let device = try open()
        #expect(try device.readFileNow("snapshot-1") == nil)
        device.writeFile("snapshot-1", bytes: Self.pattern, token: 1)
        #expect(answers.next().writtenFile == 1)
        device.writeFile("snapshot-1", bytes: [1, 2, 3], token: 2)
        #expect(answers.next().writtenFile == 2)
        device.writeFile("empty", bytes: [], token: 3)
        #expect(answers.next().writtenFile == 3)
        #expect(try device.readFileNow("snapshot-1") == [1, 2, 3])
        #expect(try device.listFilesNow().sorted() == ["empty", "snapshot-1"])
        #expect(
            answers.next(after: { device.readFile("snapshot-1", offset: 1, length: 9, token: 4) }).readBytes == [2, 3]
        )
        #expect(answers.next(after: { device.readFile("empty", offset: 5, length: 9, token: 5) }).readBytes == [])
        let missing = answers.next(after: { device.readFile("missing", offset: 0, length: 9, token: 6) })
        #expect(missing.failure?.kind == .notFound)
        device.removeFile("snapshot-1")
        device.shutdown()
        directory.write("half", to: "shard/files/snapshot-2.new")
        let again = try open()
        #expect(try again.listFilesNow() == ["empty"])
        #expect(directory.names(in: "shard/files") == ["empty"])
    }

    @Test(
        "a side file cannot lie anywhere else",
        arguments: ["", ".", "..", "../x", "a/b", "x.new", ".hidden", "a b", "ä"]
    )
    func sideFileNames(name: String) throws {
        let device = try open()
        device.writeFile(name, bytes: [1], token: 1)
        #expect(answers.next().failure?.kind == .failed)
        #expect(throws: DeviceError.self) { try device.readFileNow(name) }
    }

    @Test("shutting down completes what was asked for")
    func shutdown() throws {
        let device = try open()
        device.createSegment(1, size: 1_000_000, isAhead: true)
        device.writeFile("index", bytes: Self.pattern, token: 1)
        device.sync(token: 2)
        device.shutdown()
        #expect(answers.take(3).count == 3)
        device.sync(token: 3)
        device.shutdown()
        #expect(answers.isEmpty)
    }

    @Test("reads are answered while a segment is being filled with zeros")
    func readsDuringCreation() throws {
        let device = try open()
        device.createSegment(1, size: 4_096, isAhead: false)
        #expect(answers.next().readySegment == 1)
        device.createSegment(2, size: 256 << 20, isAhead: true)
        device.writeFile("later", bytes: [1], token: 1)
        for token in 10..<20 as Range<UInt64> { device.read(segment: 1, offset: 0, length: 10, token: token) }
        let events = answers.take(12)
        #expect(events.last?.writtenFile == 1)
        #expect(events.dropLast().last?.readySegment == 2)
    }

    @Test("zeros that are written in front of the log never come over it")
    func zerosInFront() throws {
        let size = 40 << 20
        let device = try open()
        device.createSegment(1, size: size, isAhead: false)
        #expect(answers.next().readySegment == 1)
        // Zeros are for logs that are synced often.
        for token in 0..<200 as Range<UInt64> {
            try Self.pattern[..<1].withUnsafeBytes { try device.write($0, segment: 1, offset: 0) }
            device.sync(token: token)
        }
        #expect(answers.take(200).count == 200)
        // Faster than zeros can be written, so that the two meet.
        for start in stride(from: 0, to: size, by: 50_000) {
            let count = min(50_000, size - start)
            try Self.pattern[..<count].withUnsafeBytes { try device.write($0, segment: 1, offset: start) }
        }
        device.sync(token: 200)
        #expect(answers.next().syncedToken == 200)
        for start in stride(from: 0, to: size, by: 50_000) {
            let count = min(50_000, size - start)
            #expect(try device.bytes(of: 1, offset: start, length: count) == Array(Self.pattern[..<count]))
        }
    }

    @Test("a directory that cannot be used is refused with its path and the reason")
    func unusableDirectory() throws {
        directory.write("a file", to: "shard")
        let failure = #expect(throws: DeviceError.self) { try open() }
        #expect(failure?.description.contains(directory.path) == true)
        #expect(failure?.description.contains("Not a directory") == true)
    }

    @Test("the space on the disk is known")
    func diskSpace() throws {
        let space = try DiskSpace.of(directory.path)
        #expect(space.total > 0 && space.available > 0 && space.available <= space.total)
        #expect(throws: DeviceError.self) { try DiskSpace.of(directory.path + "/missing") }
    }
}
