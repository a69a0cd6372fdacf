internal import DequeModule
internal import MessageModel

/// The message ids that a topic stored in the last while, so that a message that comes again is known.
///
/// Not the ids are kept, but 80 bits of their keyed hash, about 32 bytes an id with everything. Two different ids have the
/// same 80 bits with a probability of 2⁻⁸⁰: with a million ids in the window, the chance that a message is wrongly taken
/// for one of them is 10⁻¹⁸, and with a hundred thousand messages a second it happens once in 300,000 years. (Two CRCs would
/// not do: those of different seeds differ by a constant, and collisions are easily made.)
///
/// Ids leave in the order in which they came, by age or because there are too many. An id is known for the whole window
/// and up to 2 ms longer.
struct DeduplicationWindow {
    /// Where a message was stored.
    struct Place: Equatable {
        var partition: UInt16
        var offset: UInt64
    }

    /// What is kept of an id.
    struct Hash: Hashable {
        var low: UInt64
        var more: UInt16
    }

    private struct Entry: Equatable {
        var hash: UInt64
        var offset: UInt64
        /// The low bits of the time in ticks.
        var time: UInt32
        var moreHash: UInt16
        var partition: UInt16
    }

    /// Times are kept in units of 1,024 µs, of which 32 bits are enough for 50 days.
    private static let tickShift: UInt64 = 10
    /// 30 days, so that the low bits of a time tell all of it.
    static let maxMicroseconds: UInt64 = 30 * 86_400 * 1_000_000
    static let maxEntries = 1 << 28
    private static let chunkEntries = 1_024
    private static let encodedEntryBytes = 24

    private let hash: KeyedHash
    /// How long an id is known, in µs.
    private(set) var microseconds: UInt64
    /// How many ids are known at most.
    private(set) var limit: Int

    /// Oldest first, in chunks: growing never copies.
    private var chunks: Deque<[Entry]> = []
    /// Entries of the first chunk that have left.
    private var left = 0
    private(set) var count = 0
    /// The number of the oldest entry; they are numbered in their order.
    private var firstNumber: UInt32 = 0
    /// The time of the newest entry, in ticks.
    private var newest: UInt64 = 0
    /// One while there are few entries, then `manyTables` by the first bits of the hash: each grows by itself, so that no
    /// single insertion has to move everything.
    private var tables: [Table] = [Table()]
    private static let manyTables = 256
    private static let entriesInOneTable = 4_096

    /// Where the entries are, by their hashes: open addressing with linear probing.
    private struct Table {
        /// For each entry the low 31 bits of its number with `occupied`, at the place that its hash says or behind it; zero
        /// where there is none. The count is a power of two, and at most three quarters of it are used.
        var slots: [UInt32] = []
        var used = 0
    }

    private static let occupied: UInt32 = 1 << 31

    /// - Parameters:
    ///   - microseconds: how long an id is known; at most `maxMicroseconds`.
    ///   - limit: how many are known; at most `maxEntries`.
    init(microseconds: UInt64, limit: Int, hash: KeyedHash) {
        self.hash = hash
        self.microseconds = min(microseconds, Self.maxMicroseconds)
        self.limit = max(0, min(limit, Self.maxEntries))
    }

    var isEmpty: Bool { count == 0 }

    /// The memory that it holds.
    var byteCount: Int {
        chunks.reduce(0) { $0 + $1.capacity * MemoryLayout<Entry>.stride }
            + tables.reduce(0) { $0 + $1.slots.capacity * 4 + MemoryLayout<Table>.stride }
    }

    static func hash(_ id: UnsafeRawBufferPointer, _ keyed: KeyedHash) -> Hash {
        let (low, high) = keyed.hash(id)
        return Hash(low: low, more: UInt16(truncatingIfNeeded: high))
    }

    /// Where the message with this id was stored; nil where the id is not known.
    func check(_ id: UnsafeRawBufferPointer, now: UInt64) -> Place? {
        count > 0 ? check(Self.hash(id, hash), now: now) : nil
    }

    func check(_ id: Hash, now: UInt64) -> Place? {
        guard count > 0 else { return nil }
        let table = table(of: id.low)
        guard let slot = slot(of: id.low, moreHash: id.more, in: table) else { return nil }
        let entry = entry(numbered: tables[table].slots[slot])
        guard !hasExpired(entry, now: now >> Self.tickShift) else { return nil }
        return Place(partition: entry.partition, offset: entry.offset)
    }

    /// Makes an id known. One that is there already counts from now on, with its new place.
    mutating func insert(_ id: UnsafeRawBufferPointer, at place: Place, now: UInt64) {
        insert(Self.hash(id, hash), at: place, now: now)
    }

    mutating func insert(_ id: Hash, at place: Place, now: UInt64) {
        guard limit > 0 else { return }
        // The order of entries is that of their times, also where a clock steps back.
        let time = max(now >> Self.tickShift, newest)
        expire(tick: time)
        while count >= limit { removeOldest() }
        newest = time
        append(
            Entry(
                hash: id.low,
                offset: place.offset,
                time: UInt32(truncatingIfNeeded: time),
                moreHash: id.more,
                partition: place.partition
            )
        )
    }

    /// Forgets what is too old, and gives memory back.
    mutating func expire(now: UInt64) { expire(tick: now >> Self.tickShift) }

    /// Other limits from now on.
    mutating func configure(microseconds: UInt64, limit: Int) {
        self.microseconds = min(microseconds, Self.maxMicroseconds)
        self.limit = max(0, min(limit, Self.maxEntries))
        while count > self.limit { removeOldest() }
    }

    private mutating func expire(tick: UInt64) {
        while count > 0, hasExpired(chunks[0][left], now: tick) { removeOldest() }
    }

    private func hasExpired(_ entry: Entry, now: UInt64) -> Bool {
        let behind = UInt32(truncatingIfNeeded: newest) &- entry.time
        let time = newest - min(newest, UInt64(behind))
        return now > time && now - time > microseconds >> Self.tickShift + 1
    }

    // MARK: Entries

    private func entry(numbered slot: UInt32) -> Entry {
        let index = left + Int((slot &- firstNumber) & ~Self.occupied)
        return chunks[index / Self.chunkEntries][index % Self.chunkEntries]
    }

    private mutating func append(_ entry: Entry) {
        if count == Self.entriesInOneTable, tables.count == 1 { spread() }
        if chunks.last.map({ $0.count == Self.chunkEntries }) ?? true {
            // Only the first one grows from nothing: a topic with a few ids needs little memory.
            let isFirst = chunks.isEmpty
            chunks.append([])
            if !isFirst { chunks[chunks.count - 1].reserveCapacity(Self.chunkEntries) }
        }
        let number = (firstNumber &+ UInt32(count)) | Self.occupied
        chunks[chunks.count - 1].append(entry)
        count += 1
        let table = table(of: entry.hash)
        if let slot = slot(of: entry.hash, moreHash: entry.moreHash, in: table) {
            // The older one with the same id stays until it leaves, but is not found any more.
            tables[table].slots[slot] = number
        } else {
            add(number, hash: entry.hash)
        }
    }

    private mutating func removeOldest() {
        let entry = chunks[0][left]
        let number = firstNumber | Self.occupied
        let table = table(of: entry.hash)
        if let slot = slot(of: entry.hash, moreHash: entry.moreHash, in: table), tables[table].slots[slot] == number {
            clear(slot, in: table)
        }
        firstNumber &+= 1
        count -= 1
        left += 1
        if left == chunks[0].count {
            chunks.removeFirst()
            left = 0
        }
        if count == 0 {
            chunks = []
            tables = [Table()]
        }
    }

    // MARK: Tables

    /// The table for a hash: its first bits choose, its last bits are the place in it.
    @inline(__always)
    private func table(of hash: UInt64) -> Int {
        tables.count == 1 ? 0 : Int(truncatingIfNeeded: hash >> 56)
    }

    /// The slot of the entry with this hash; nil where there is none.
    private func slot(of hash: UInt64, moreHash: UInt16, in table: Int) -> Int? {
        let mask = tables[table].slots.count - 1
        guard mask >= 0 else { return nil }
        var slot = Int(truncatingIfNeeded: hash) & mask
        while tables[table].slots[slot] != 0 {
            let entry = entry(numbered: tables[table].slots[slot])
            if entry.hash == hash, entry.moreHash == moreHash { return slot }
            slot = (slot + 1) & mask
        }
        return nil
    }

    private mutating func add(_ number: UInt32, hash: UInt64) {
        let table = table(of: hash)
        let used = tables[table].used + 1
        let capacity = tables[table].slots.count
        if used * 4 > capacity * 3 { resize(table, to: max(16, capacity * 2)) }
        place(number, hash: hash, in: table)
        tables[table].used = used
    }

    /// Puts a number into the first free slot from the one that the hash says.
    private mutating func place(_ number: UInt32, hash: UInt64, in table: Int) {
        let mask = tables[table].slots.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while tables[table].slots[slot] != 0 { slot = (slot + 1) & mask }
        tables[table].slots[slot] = number
    }

    /// Empties a slot, and moves those behind it forward that would not be found any more (Knuth, volume 3, 6.4 R).
    private mutating func clear(_ start: Int, in table: Int) {
        let mask = tables[table].slots.count - 1
        var free = start
        var slot = start
        while true {
            slot = (slot + 1) & mask
            let number = tables[table].slots[slot]
            guard number != 0 else { break }
            let home = Int(truncatingIfNeeded: entry(numbered: number).hash) & mask
            // What is at home between the free slot and its own stays.
            if (slot &- home) & mask < (slot &- free) & mask { continue }
            tables[table].slots[free] = number
            free = slot
        }
        tables[table].slots[free] = 0
        tables[table].used -= 1
        let capacity = tables[table].slots.count
        if capacity > 16, tables[table].used * 8 < capacity { resize(table, to: capacity / 4) }
    }

    private mutating func resize(_ table: Int, to capacity: Int) {
        let old = tables[table].slots
        tables[table].slots = [UInt32](repeating: 0, count: capacity)
        for number in old where number != 0 { place(number, hash: entry(numbered: number).hash, in: table) }
    }

    /// Goes from one table to many.
    private mutating func spread() {
        let old = tables[0].slots
        tables = [Table](repeating: Table(), count: Self.manyTables)
        for number in old where number != 0 { add(number, hash: entry(numbered: number).hash) }
    }

    // MARK: Snapshots

    /// Writes the entries, not the limits or the key: those are the topic's and the shard's.
    func encode(to writer: inout ByteWriter) {
        writer.write64(newest)
        writer.write32(UInt32(count))
        for index in left..<left + count {
            let entry = chunks[index / Self.chunkEntries][index % Self.chunkEntries]
            writer.write64(entry.hash)
            writer.write64(entry.offset)
            writer.write32(entry.time)
            writer.write16(entry.moreHash)
            writer.write16(entry.partition)
        }
    }

    /// Reads what `encode` wrote, with the same key; limits may be others. Nil where it is malformed.
    init?(from reader: inout ByteReader, microseconds: UInt64, limit: Int, hash: KeyedHash) {
        self.init(microseconds: microseconds, limit: limit, hash: hash)
        guard let newest = reader.read64(), let count = reader.read32(),
            Int(count) <= reader.remaining / Self.encodedEntryBytes, Int(count) <= Self.maxEntries
        else { return nil }
        self.newest = newest
        for _ in 0..<count {
            guard let hash = reader.read64(), let offset = reader.read64(), let time = reader.read32(),
                let moreHash = reader.read16(), let partition = reader.read16()
            else { return nil }
            append(Entry(hash: hash, offset: offset, time: time, moreHash: moreHash, partition: partition))
        }
        while self.count > self.limit { removeOldest() }
    }
}
