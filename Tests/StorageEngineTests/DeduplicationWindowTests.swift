import MessageModel
import TestSupport
import Testing

@testable import StorageEngine

@Suite("Deduplication window")
struct DeduplicationWindowTests {
    private typealias Place = DeduplicationWindow.Place
    private static let hash = KeyedHash(key0: 1, key1: 2)

    private func window(milliseconds: UInt64 = 1_000, limit: Int = 100) -> DeduplicationWindow {
        DeduplicationWindow(microseconds: milliseconds * 1_000, limit: limit, hash: Self.hash)
    }

    private func check(_ window: DeduplicationWindow, _ id: UInt64, at milliseconds: UInt64) -> Place? {
        withUnsafeBytes(of: id) { window.check($0, now: milliseconds * 1_000) }
    }

    private func insert(_ window: inout DeduplicationWindow, _ id: UInt64, _ offset: UInt64, at milliseconds: UInt64) {
        let place = Place(partition: UInt16(offset % 7), offset: offset)
        withUnsafeBytes(of: id) { window.insert($0, at: place, now: milliseconds * 1_000) }
    }

    @Test("an id is known for the window, and forgotten soon after it")
    func age() {
        var window = window()
        #expect(check(window, 1, at: 5_000) == nil)
        insert(&window, 1, 17, at: 5_000)
        #expect(check(window, 1, at: 5_000) == Place(partition: 3, offset: 17))
        #expect(check(window, 1, at: 6_000) == Place(partition: 3, offset: 17))
        #expect(check(window, 2, at: 5_000) == nil)
        #expect(check(window, 1, at: 6_003) == nil)
        #expect(window.count == 1)
        window.expire(now: 6_003_000)
        #expect(window.isEmpty && window.byteCount < 100)
    }

    @Test("no more ids are known than allowed, and the oldest go first")
    func limit() {
        var window = window(limit: 3)
        for id in 1...5 as ClosedRange<UInt64> { insert(&window, id, id * 10, at: 100) }
        #expect(window.count == 3)
        #expect((1...5).map { check(window, $0, at: 100)?.offset } == [nil, nil, 30, 40, 50])
        window.configure(microseconds: 1_000_000, limit: 1)
        #expect((1...5).map { check(window, $0, at: 100)?.offset } == [nil, nil, nil, nil, 50])
        var none = self.window(limit: 0)
        insert(&none, 1, 1, at: 1)
        #expect(check(none, 1, at: 1) == nil && none.isEmpty)
    }

    @Test("an id that is stored again counts from then on, with its new place")
    func again() {
        var window = window(limit: 4)
        insert(&window, 1, 10, at: 0)
        insert(&window, 2, 20, at: 0)
        insert(&window, 1, 30, at: 800)
        window.expire(now: 1_500_000)
        #expect(window.count == 1)
        #expect(check(window, 1, at: 1_500)?.offset == 30 && check(window, 2, at: 1_500) == nil)
    }

    @Test("a clock that steps back, or stands for months, does not confuse it")
    func clocks() {
        var window = window()
        insert(&window, 1, 10, at: 10_000)
        insert(&window, 2, 20, at: 1)
        #expect(check(window, 2, at: 1)?.offset == 20 && check(window, 1, at: 1)?.offset == 10)
        // The low bits of the time are the same again after 2^32 ticks.
        let wrap = UInt64(1) << 42
        #expect(withUnsafeBytes(of: UInt64(1)) { window.check($0, now: 10_000_000 + wrap) } == nil)
        withUnsafeBytes(of: UInt64(3)) {
            window.insert($0, at: Place(partition: 0, offset: 30), now: 10_000_000 + wrap)
        }
        #expect(window.count == 1)
    }

    @Test("does what a list of all ids does, also after a snapshot", arguments: 0..<30)
    func model(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let limit = Bool.random(using: &random) ? 5_000 : Int.random(in: 1...80, using: &random)
        var window = window(milliseconds: 400, limit: limit)
        var list: [(id: UInt64, offset: UInt64, time: UInt64)] = []
        // Whole ticks, so that the list knows when an id goes.
        var now: UInt64 = 1 << 20
        let ids: UInt64 = Bool.random(using: &random) ? 20 : 3_000
        for step in 0..<2_000 as Range<UInt64> {
            if Int.random(in: 0..<4, using: &random) == 0 { now += .random(in: 0...40, using: &random) }
            let id = UInt64.random(in: 0..<ids, using: &random)
            let fresh = list.last { $0.id == id && now - $0.time <= 400_000 >> 10 + 1 }
            let found = withUnsafeBytes(of: id) { window.check($0, now: now << 10) }
            #expect(found?.offset == fresh?.offset, "seed \(seed) step \(step)")
            if fresh == nil || Int.random(in: 0..<3, using: &random) == 0 {
                let place = Place(partition: 1, offset: step)
                withUnsafeBytes(of: id) { window.insert($0, at: place, now: now << 10) }
                list.append((id, step, now))
                list.removeAll { now - $0.time > 400_000 >> 10 + 1 }
                if list.count > limit { list.removeFirst(list.count - limit) }
                #expect(window.count == list.count, "seed \(seed) step \(step)")
            }
            if step % 500 == 499 {
                var writer = ByteWriter()
                window.encode(to: &writer)
                window = try writer.bytes.withUnsafeBytes { bytes in
                    var reader = ByteReader(bytes)
                    let restored = DeduplicationWindow(
                        from: &reader,
                        microseconds: 400_000,
                        limit: limit,
                        hash: Self.hash
                    )
                    #expect(reader.remaining == 0)
                    return try #require(restored)
                }
            }
        }
    }

    @Test("ten thousand ids are all found, and all gone again one after the other")
    func many() {
        var window = window(limit: 10_000)
        for id in 0..<20_000 as Range<UInt64> {
            insert(&window, id, id, at: 1)
            if id >= 10_000, id % 7 == 0 {
                #expect(check(window, id, at: 1)?.offset == id)
                #expect(check(window, id - 9_999, at: 1)?.offset == id - 9_999)
                #expect(check(window, id - 10_000, at: 1) == nil)
            }
        }
        for limit in stride(from: 10_000, through: 0, by: -500) {
            window.configure(microseconds: 1_000_000, limit: limit)
            #expect(window.count == limit)
            let oldest = 20_000 - UInt64(limit)
            for id in oldest..<min(oldest + 50, 20_000) { #expect(check(window, id, at: 1)?.offset == id) }
        }
        #expect(window.byteCount < 100)
    }

    @Test("a snapshot that is cut or says too much is refused")
    func damaged() {
        var window = window()
        for id in 0..<10 as Range<UInt64> { insert(&window, id, id, at: id) }
        var writer = ByteWriter()
        window.encode(to: &writer)
        func restore(_ bytes: [UInt8]) -> DeduplicationWindow? {
            bytes.withUnsafeBytes { bytes in
                var reader = ByteReader(bytes)
                return DeduplicationWindow(from: &reader, microseconds: 1_000, limit: 3, hash: Self.hash)
            }
        }
        #expect(restore(writer.bytes)?.count == 3)
        for length in 0..<writer.bytes.count { #expect(restore(Array(writer.bytes[..<length])) == nil) }
        var random = SeededRandom(seed: 1)
        for _ in 0..<200 {
            var bytes = writer.bytes
            bytes[Int.random(in: 0..<bytes.count, using: &random)] = .random(in: .min ... .max, using: &random)
            if var window = restore(bytes) {
                insert(&window, 77, 1, at: 20)
                window.expire(now: 1 << 60)
            }
        }
    }

    @Test("an id costs about 32 bytes, and memory goes back")
    func memory() {
        var window = window(limit: 100_000)
        for id in 0..<150_000 as Range<UInt64> { insert(&window, id, id, at: 1) }
        #expect(window.count == 100_000)
        #expect(window.byteCount <= 100_000 * 36)
        #expect(check(window, 149_999, at: 2)?.offset == 149_999 && check(window, 49_999, at: 2) == nil)
        for id in 0..<50 as Range<UInt64> { insert(&window, 1 << 40 + id, id, at: 800) }
        window.expire(now: 1_500_000)
        #expect(window.count == 50 && window.byteCount < 90_000)
        var small = self.window()
        for id in 0..<10 as Range<UInt64> { insert(&small, id, id, at: 1) }
        #expect(small.byteCount < 1_000)
    }
}
