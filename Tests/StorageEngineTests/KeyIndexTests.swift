import MessageModel
import TestSupport
import Testing

@testable import StorageEngine

@Suite("Key index and key files")
struct KeyIndexTests {
    private struct Entry: Equatable {
        var hash: UInt64
        var match: KeyMatch
    }

    /// Entries as a segment gets them: times and positions ascend, a few hashes come often.
    private func entries(_ count: Int, base: UInt64, _ random: inout SeededRandom) -> [Entry] {
        let few = (0..<5).map { _ in UInt64.random(in: 0 ... .max, using: &random) } + [0, .max]
        var time: UInt64 = 1_000
        var position = base + 64
        return (0..<count).map { _ in
            time += .random(in: 0...3, using: &random)
            position += 8 * .random(in: 0...2, using: &random)
            let isFew = Int.random(in: 0..<3, using: &random) == 0
            let hash = isFew ? few.randomElement(using: &random) ?? 0 : .random(in: 0 ... .max, using: &random)
            let record = UInt16.random(in: 0 ... .max, using: &random)
            return Entry(hash: hash, match: KeyMatch(position: position, record: record, time: time))
        }
    }

    private func index(_ entries: [Entry], base: UInt64) -> KeyIndex {
        var index = KeyIndex(base: base)
        for entry in entries {
            index.append(
                hash: entry.hash,
                time: entry.match.time,
                position: entry.match.position,
                record: entry.match.record
            )
        }
        return index
    }

    /// Runs a search over a file in memory.
    private func run(_ search: inout KeySearch, _ file: [UInt8]) -> (matches: [KeyMatch], problems: [KeyFile.Problem]) {
        var matches: [KeyMatch] = []
        var problems: [KeyFile.Problem] = []
        for _ in 0..<10_000 {
            switch search.next() {
            case .read(let offset, let length):
                search.received(Array(file.dropFirst(offset).prefix(length)))
            case .found(let found): matches += found
            case .refused(let problem): problems.append(problem)
            case .done: return (matches, problems)
            }
        }
        Issue.record("the search does not end")
        return (matches, problems)
    }

    @Test("find what was added, in memory and in the file, in any span of time", arguments: 0..<20)
    func finds(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let base = UInt64.random(in: 0...1 << 60, using: &random) & ~7
        let entries = entries([0, 1, 127, 128, 129, 5_000][Int(seed) % 6], base: base, &random)
        let index = index(entries, base: base)
        let file = KeyFile.encode(index, segment: 7, epoch: 3)
        #expect(index.count == entries.count)
        let last = entries.last?.match.time ?? 1_000
        for _ in 0..<60 {
            let hash = entries.randomElement(using: &random)?.hash ?? 5
            let from = UInt64.random(in: 900...last, using: &random)
            let times = from...UInt64.random(in: from...last + 50, using: &random)
            let expected = entries.filter { $0.hash == hash && times.contains($0.match.time) }.map(\.match)
            #expect(index.matches(of: hash, in: times, limit: .max) == expected, "seed \(seed)")
            #expect(index.matches(of: hash, in: times, limit: 2) == Array(expected.prefix(2)), "seed \(seed)")
            var search = KeySearch(segment: 7, epoch: 3, hash: hash, times: times)
            let found = run(&search, file)
            #expect(found.problems.isEmpty, "seed \(seed)")
            // Of one time, the order is that of the places.
            #expect(Set(found.matches) == Set(expected) && found.matches.count == expected.count, "seed \(seed)")
            #expect(found.matches.map(\.time) == expected.map(\.time), "seed \(seed)")
        }
    }

    @Test("a search reads no more than it needs, and nothing where the times say so")
    func reads() throws {
        var random = SeededRandom(seed: 1)
        let entries = entries(20_000, base: 0, &random)
        let file = KeyFile.encode(index(entries, base: 0), segment: 1, epoch: 1)
        let rare = try #require(entries.first { entry in entries.count { $0.hash == entry.hash } == 1 })
        var search = KeySearch(segment: 1, epoch: 1, hash: rare.hash, times: 0 ... .max)
        #expect(search.next() == .read(offset: 0, length: 64))
        #expect(search.next() == .read(offset: 0, length: 64))
        search.received(Array(file[..<64]))
        let fences = 157 * KeyFile.fenceBytes
        #expect(search.next() == .read(offset: 64, length: fences))
        #expect(search.directory == nil)
        search.received(Array(file[64..<64 + fences]))
        guard case .read(let offset, let length) = search.next() else {
            Issue.record("no block is read")
            return
        }
        #expect(length <= 2 * KeyFile.blockBytes)
        search.received(Array(file[offset..<offset + length]))
        #expect(search.next() == .found([rare.match]))
        #expect(search.next() == .done)
        // The next search in the same file goes straight to the block.
        var second = KeySearch(
            segment: 1,
            epoch: 1,
            hash: rare.hash,
            times: 0 ... .max,
            directory: search.directory
        )
        #expect(second.next() == .read(offset: offset, length: length))
        var other = KeySearch(segment: 2, epoch: 1, hash: 0, times: 0 ... .max, directory: search.directory)
        #expect(other.next() == .read(offset: 0, length: 64))
        var early = KeySearch(segment: 1, epoch: 1, hash: rare.hash, times: 0...10)
        _ = early.next()
        early.received(Array(file[..<64]))
        #expect(early.next() == .done)
    }

    @Test("a file made in steps is the same as one made at once")
    func steps() {
        var random = SeededRandom(seed: 2)
        let index = index(entries(3_000, base: 64, &random), base: 64)
        var encoder = KeyFile.Encoder(index, segment: 4, epoch: 2)
        var file: [UInt8]?
        var steps = 0
        while file == nil, steps < 1_000 {
            file = encoder.step(entries: 100)
            steps += 1
        }
        #expect(steps > 10)
        #expect(file == KeyFile.encode(index, segment: 4, epoch: 2))
    }

    @Test(
        "a file that was cut, changed or put in another's place is refused and gives nothing wrong",
        arguments: 0..<20
    )
    func damaged(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let entries = entries(600, base: 0, &random)
        let file = KeyFile.encode(index(entries, base: 0), segment: 9, epoch: 1)
        let hash = [0, .max].randomElement(using: &random) ?? UInt64(0)
        let expected = Set(entries.filter { $0.hash == hash }.map(\.match))
        func search(_ file: [UInt8], segment: UInt64 = 9, epoch: UInt32 = 1) -> (Set<KeyMatch>, [KeyFile.Problem]) {
            var search = KeySearch(segment: segment, epoch: epoch, hash: hash, times: 0 ... .max)
            let (matches, problems) = run(&search, file)
            return (Set(matches), problems)
        }
        #expect(search(file) == (expected, []))
        #expect(search(file, segment: 8) == ([], [.wrongSegment]))
        #expect(search(file, epoch: 2) == ([], [.wrongSegment]))
        #expect(search([]) == ([], [.length]))
        for _ in 0..<100 {
            var changed = file
            let place = Int.random(in: 0..<file.count, using: &random)
            changed[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            let (found, problems) = search(changed)
            #expect(found.isSubset(of: expected), "seed \(seed) byte \(place)")
            if place < KeyFile.headerBytes {
                #expect(problems == [.header] && found.isEmpty, "seed \(seed) byte \(place)")
            } else if place < 64 + 5 * KeyFile.fenceBytes {
                #expect(problems == [.fences] && found.isEmpty, "seed \(seed) byte \(place)")
            } else if found != expected {
                #expect(problems == [.block((place - 64 - 5 * KeyFile.fenceBytes) / KeyFile.blockBytes)])
            }
            let cut = search(Array(file[..<place]))
            #expect(cut.0.isSubset(of: expected) && (cut.0 == expected || cut.1.contains(.length)), "seed \(seed)")
        }
    }

    @Test("a header that claims what it likes does not trap, also with a right checksum", arguments: 0..<50)
    func hostileHeader(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var file = KeyFile.encode(index(entries(300, base: 0, &random), base: 0), segment: 9, epoch: 1)
        for _ in 0..<3 { file[.random(in: 24..<60, using: &random)] = .random(in: .min ... .max, using: &random) }
        file.withUnsafeMutableBytes { file in
            file.store32(1, at: 32)
            let fences = UnsafeRawBufferPointer(file).slice(64..<64 + 3 * KeyFile.fenceBytes)
            if seed % 2 == 0 { file.store32(Checksum.crc32c(fences), at: 56) }
            file.store32(Checksum.crc32c(UnsafeRawBufferPointer(file).slice(16..<64)), at: 12)
        }
        var search = KeySearch(segment: 9, epoch: 1, hash: 0, times: 0 ... .max)
        _ = run(&search, file)
    }

    @Test("keys of different tenants and kinds do not meet")
    func hashes() {
        let keyed = KeyedHash(key0: 3, key1: 4)
        let hashes = [UInt8(1), 2].withUnsafeBytes { bytes in
            [
                KeyIndex.hash(.key, bytes, tenant: TenantID(rawValue: 1), keyed),
                KeyIndex.hash(.messageID, bytes, tenant: TenantID(rawValue: 1), keyed),
                KeyIndex.hash(.key, bytes, tenant: TenantID(rawValue: 2), keyed),
            ]
        }
        #expect(Set(hashes).count == 3)
    }

    @Test("an entry costs little more than its 24 bytes, and a position outside the segment is left out")
    func memory() {
        #expect(MemoryLayout<KeyEntry>.stride == KeyEntry.bytes)
        var random = SeededRandom(seed: 3)
        let entries = entries(100_000, base: 4_096, &random)
        var index = index(entries, base: 4_096)
        #expect(index.byteCount < 100_000 * 32)
        index.append(hash: 1, time: 1, position: 4_000, record: 0)
        index.append(hash: 1, time: 1, position: .max, record: 0)
        #expect(index.count == 100_000)
        #expect(KeyIndex(base: 0).byteCount == 0)
    }
}
