import Simulator
import StorageEngine
import TestSupport
import Testing

@Suite("Simulated disk")
struct SimulatedDiskTests {
    /// A disk with a segment of that size, ready.
    func disk(segmentBytes: Int = 64 << 10, order: SimulatedDisk.CompletionOrder = .fifo) -> SimulatedDisk {
        let disk = SimulatedDisk(seed: 1, order: order)
        disk.createSegment(1, size: segmentBytes, isAhead: false)
        #expect(disk.completeNext()?.readySegment == 1)
        return disk
    }

    func write(_ byte: UInt8, count: Int, at offset: Int, segment: UInt64 = 1, to disk: SimulatedDisk) throws {
        let bytes = [UInt8](repeating: byte, count: count)
        try bytes.withUnsafeBytes { try disk.write($0, segment: segment, offset: offset) }
    }

    func sync(_ disk: SimulatedDisk, token: UInt64 = 1) {
        disk.sync(token: token)
        #expect(disk.completeAll().contains { $0.syncedToken == token })
    }

    func content(_ disk: SimulatedDisk, segment: UInt64 = 1) throws -> [UInt8] {
        try disk.bytes(of: segment, offset: 0, length: 1 << 20)
    }

    @Test("writes are visible at once, and durable only after their sync", arguments: [CrashStyle.losesAll, .keepsAll])
    func durability(style: CrashStyle) throws {
        let disk = disk()
        try write(1, count: 5_000, at: 100, to: disk)
        disk.sync(token: 1)
        try write(2, count: 5_000, at: 10_000, to: disk)
        #expect(try disk.bytes(of: 1, offset: 10_000, length: 1) == [2])
        let before = try disk.crashed(seed: 3, style: style).bytes(of: 1, offset: 100, length: 1)
        #expect(before == [style == .keepsAll ? 1 : 0])
        #expect(disk.completeNext()?.syncedToken == 1)
        let after = disk.crashed(seed: 3, style: style)
        #expect(try after.bytes(of: 1, offset: 100, length: 5_000) == [UInt8](repeating: 1, count: 5_000))
        #expect(try after.bytes(of: 1, offset: 10_000, length: 1) == [style == .keepsAll ? 2 : 0])
    }

    @Test("what is synced survives every crash, and each sector is in one of the states it was written in")
    func crashStates() throws {
        for seed in 0..<300 as Range<UInt64> {
            var generator = SeededGenerator(seed: seed)
            let disk = disk(segmentBytes: 16 << 10, order: .shuffled)
            // What each sector has been, from its durable state on.
            var states = Array(repeating: [[UInt8](repeating: 0, count: 512)], count: 32)
            for step in 1...30 {
                let offset = Int.random(in: 0..<15_000, using: &generator)
                try write(UInt8(step), count: Int.random(in: 1...1_300, using: &generator), at: offset, to: disk)
                let visible = try content(disk)
                for sector in states.indices {
                    let now = Array(visible[sector * 512..<(sector + 1) * 512])
                    if states[sector].last != now { states[sector].append(now) }
                }
                if generator.percent(20) {
                    sync(disk)
                    states = states.map { Array($0.suffix(1)) }
                }
            }
            let crashed = try content(disk.crashed(seed: seed))
            for sector in states.indices {
                let found = Array(crashed[sector * 512..<(sector + 1) * 512])
                let isPossible = states[sector].contains(found)
                try #require(isPossible, "seed \(seed), sector \(sector)")
            }
        }
    }

    @Test("the same seed gives the same crash, other seeds give others")
    func determinism() throws {
        let disk = disk()
        for step in 0..<60 { try write(UInt8(step + 1), count: 1_000, at: step * 1_000, to: disk) }
        var found: Set<[UInt8]> = []
        for seed in 0..<50 as Range<UInt64> {
            let first = try content(disk.crashed(seed: seed, style: .scatters))
            let isSame = try content(disk.crashed(seed: seed, style: .scatters)) == first
            try #require(isSame, "seed \(seed)")
            found.insert(first)
        }
        #expect(found.count == 50)
    }

    @Test("writes are torn between sectors and never within one", arguments: [CrashStyle.scatters, .keepsPrefix])
    func tornWrites(style: CrashStyle) throws {
        let disk = disk()
        try write(7, count: 4_096, at: 256, to: disk)
        var tornCrashes = 0
        for seed in 0..<100 as Range<UInt64> {
            let bytes = try content(disk.crashed(seed: seed, style: style))[256..<4_352]
            let sectors = Set(bytes.indices.filter { bytes[$0] == 7 }.map { $0 / 512 })
            let isWhole = sectors.allSatisfy { sector in
                bytes.indices.filter { $0 / 512 == sector }.allSatisfy { bytes[$0] == 7 }
            }
            try #require(isWhole, "seed \(seed)")
            if !sectors.isEmpty && sectors.count < 9 { tornCrashes += 1 }
        }
        #expect(tornCrashes > 50)
    }

    @Test("the writes that a crash keeps as a prefix are the first ones")
    func prefixes() throws {
        let disk = disk()
        for step in 0..<20 { try write(UInt8(step + 1), count: 512, at: step * 512, to: disk) }
        var lengths: Set<Int> = []
        for seed in 0..<200 as Range<UInt64> {
            let bytes = try content(disk.crashed(seed: seed, style: .keepsPrefix))
            let kept = (0..<20).map { bytes[$0 * 512] == UInt8($0 + 1) }
            let length = kept.prefix { $0 }.count
            #expect(!kept[length...].contains(true), "seed \(seed)")
            lengths.insert(length)
        }
        #expect(lengths.count > 15)
    }

    @Test("the disk after any prefix of the history holds what was synced by then")
    func history() throws {
        let disk = disk(segmentBytes: 1 << 20, order: .shuffled)
        // After so many operations, so many bytes are durable.
        var durable: [(operations: Int, bytes: Int)] = [(0, 0)]
        var written = 0
        for step in 0..<1_000 as Range<UInt64> {
            try write(UInt8(truncatingIfNeeded: step % 250 + 1), count: 1_000, at: written, to: disk)
            written += 1_000
            if step % 7 == 0 {
                sync(disk, token: step)
                durable.append((disk.history.count, written))
            }
        }
        let final = try content(disk)
        for count in 0...disk.history.count {
            let crashed = disk.diskAfter(prefix: count, seed: UInt64(count))
            let expected = durable.last { $0.operations <= count }?.bytes ?? 0
            if try crashed.listSegmentsNow().isEmpty {
                #expect(count <= 1)
            } else {
                let tail = max(expected - 8_000, 0)
                let found = try crashed.bytes(of: 1, offset: tail, length: expected - tail)
                let isKept = found.elementsEqual(final[tail..<expected])
                try #require(isKept, "after \(count) operations")
            }
        }
        // The order of the questions does not matter.
        let late = try content(disk.diskAfter(prefix: 900, seed: 5))
        _ = disk.diskAfter(prefix: 100, seed: 5)
        let isSame = try content(disk.diskAfter(prefix: 900, seed: 5)) == late
        #expect(isSame)
    }

    @Test("a side file is there after a crash with its old or its new content")
    func sideFiles() throws {
        let disk = disk()
        disk.writeFile("snapshot", bytes: [1], token: 1)
        #expect(disk.completeNext()?.writtenFile == 1)
        disk.writeFile("snapshot", bytes: [2], token: 2)
        #expect(try disk.readFileNow("snapshot") == [1])
        var found: Set<[UInt8]?> = []
        for seed in 0..<40 as Range<UInt64> { found.insert(try disk.crashed(seed: seed).readFileNow("snapshot")) }
        #expect(found == [[1], [2]])
        #expect(disk.completeNext()?.writtenFile == 2)
        #expect(try disk.crashed(seed: 1).readFileNow("snapshot") == [2])
        disk.readFile("snapshot", offset: 0, length: 10, token: 3)
        #expect(disk.completeNext()?.readBytes == [2])
        disk.removeFile("snapshot")
        #expect(disk.completeNext() == nil)
        #expect(try disk.listFilesNow().isEmpty)
    }

    @Test("requests for one side file keep their order, whatever the seed")
    func sideFileOrder() throws {
        for seed in 0..<50 as Range<UInt64> {
            let disk = SimulatedDisk(seed: seed)
            disk.writeFile("index", bytes: [1], token: 1)
            disk.removeFile("index")
            disk.writeFile("index", bytes: [2], token: 2)
            disk.writeFile("other", bytes: [3], token: 3)
            let tokens = disk.completeAll().compactMap(\.writtenFile)
            #expect(tokens.filter { $0 != 3 } == [1, 2], "seed \(seed)")
            #expect(try disk.readFileNow("index") == [2], "seed \(seed)")
        }
    }

    @Test("a segment that is not ready may be missing after a crash; a removed one may be there")
    func segmentsAfterCrash() throws {
        let disk = disk()
        sync(disk)
        disk.createSegment(2, size: 4_096, isAhead: true)
        var found: Set<[UInt64]> = []
        for seed in 0..<60 as Range<UInt64> {
            found.insert(try disk.crashed(seed: seed).listSegmentsNow().map(\.number))
        }
        #expect(found == [[1], [1, 2]])
        #expect(throws: DeviceError.self) { try write(1, count: 1, at: 0, segment: 2, to: disk) }
        #expect(disk.completeNext()?.readySegment == 2)
        disk.removeSegment(1)
        found = []
        for seed in 0..<60 as Range<UInt64> {
            found.insert(try disk.crashed(seed: seed).listSegmentsNow().map(\.number))
        }
        #expect(found == [[2], [1, 2]])
    }

    @Test("a new segment can hold what a removed one held")
    func recycling() throws {
        var found: Set<UInt8> = []
        for seed in 0..<30 as Range<UInt64> {
            let disk = SimulatedDisk(seed: seed)
            disk.createSegment(1, size: 4_096, isAhead: true)
            #expect(disk.completeNext()?.readySegment == 1)
            try write(9, count: 4_096, at: 0, to: disk)
            sync(disk)
            disk.removeSegment(1)
            disk.createSegment(2, size: 4_096, isAhead: true)
            #expect(disk.completeNext()?.readySegment == 2)
            found.insert(try content(disk, segment: 2)[0])
        }
        #expect(found == [0, 9])
    }

    @Test("a process that is killed loses nothing that it wrote")
    func kill() throws {
        let disk = disk()
        try write(1, count: 3_000, at: 50, to: disk)
        let next = disk.killed(seed: 1)
        let written = try content(disk)
        let (found, crashed) = (try content(next), try content(next.crashed(seed: 2, style: .losesAll)))
        #expect(found.elementsEqual(written) && crashed.elementsEqual(written))
    }
}

// MARK: - Faults

extension SimulatedDiskTests {
    @Test("what a failed sync lost stays lost, even when later syncs go well")
    func failedSync() throws {
        let disk = disk()
        disk.faults.sync = .once
        try write(1, count: 512, at: 0, to: disk)
        disk.sync(token: 1)
        #expect(disk.completeNext()?.failure?.kind == .failed)
        try write(2, count: 512, at: 512, to: disk)
        sync(disk, token: 2)
        #expect(try content(disk)[0] == 1)
        let crashed = try content(disk.crashed(seed: 1, style: .losesAll))
        #expect(crashed[0] == 0 && crashed[512] == 2)
    }

    @Test("faults strike once or for ever, after the count that was asked for")
    func faultCounts() throws {
        let disk = disk()
        disk.faults.write = .once(after: 1)
        try write(1, count: 10, at: 0, to: disk)
        #expect(throws: DeviceError.self) { try write(2, count: 10, at: 10, to: disk) }
        try write(3, count: 10, at: 20, to: disk)
        disk.faults.read = .always(after: 1)
        #expect(try content(disk).count == 64 << 10)
        for _ in 0..<3 {
            #expect(throws: DeviceError.self) { try content(disk) }
            disk.read(segment: 1, offset: 0, length: 1, token: 1)
            #expect(disk.completeNext()?.failure?.kind == .failed)
        }
    }

    @Test("a disk that is full refuses segments and side files")
    func full() throws {
        let disk = disk()
        disk.faults.capacity = 100 << 10
        disk.createSegment(2, size: 64 << 10, isAhead: false)
        #expect(disk.completeNext()?.failure?.kind == .full)
        disk.writeFile("big", bytes: [UInt8](repeating: 0, count: 64 << 10), token: 1)
        #expect(disk.completeNext()?.failure?.kind == .full)
        disk.removeSegment(1)
        disk.createSegment(2, size: 64 << 10, isAhead: false)
        #expect(disk.completeNext()?.readySegment == 2)
        disk.faults.createSegment = .once
        disk.createSegment(3, size: 512, isAhead: false)
        #expect(disk.completeNext()?.failure?.kind == .full)
    }

    @Test("bits flip and segments get lost where a test says so")
    func damage() throws {
        let disk = disk()
        try write(1, count: 10, at: 0, to: disk)
        sync(disk)
        disk.flipBit(segment: 1, offset: 3, bit: 7)
        #expect(try content(disk)[2...4] == [1, 0x81, 1])
        #expect(try content(disk.crashed(seed: 1))[2...4] == [1, 0x81, 1])
        disk.damage(segment: 1) { $0.removeLast(60 << 10) }
        #expect(try disk.listSegmentsNow() == [DeviceSegment(number: 1, size: 4 << 10)])
        disk.lose(segment: 1)
        #expect(try disk.crashed(seed: 1).listSegmentsNow().isEmpty)
    }
}
