internal import MessageModel

/// What a message is looked up by.
enum KeyKind: UInt8 {
    case key = 1
    case messageID = 2
}

/// A place where a message may stand that has the key that was looked for. Hashes can be equal where keys are not:
/// whoever looks up reads the message and compares.
struct KeyMatch: Equatable, Hashable {
    /// Position of the log record.
    var position: UInt64
    /// Index in its batch.
    var record: UInt16
    /// When it was stored, µs since 1970.
    var time: UInt64
}

/// One key of one message: 24 bytes, in memory and in key files alike.
struct KeyEntry: Equatable, Comparable {
    var hash: UInt64
    var time: UInt64
    /// The uppermost bit: `isPublication`; then the distance from the segment's beginning in 47 bits, and the index in the
    /// batch, or in the publication, in 16.
    var place: UInt64

    static let bytes = 24
    static let maxDistance: UInt64 = 1 << 47 - 1
    static let publicationBit: UInt64 = 1 << 63

    /// The record published messages that had been stored before. Entries of earlier versions do not say so.
    var isPublication: Bool { place & Self.publicationBit != 0 }

    /// The order in key files.
    @inline(__always)
    static func < (left: KeyEntry, right: KeyEntry) -> Bool {
        if left.hash != right.hash { return left.hash < right.hash }
        if left.time != right.time { return left.time < right.time }
        return left.place < right.place
    }

    func match(base: UInt64) -> KeyMatch {
        KeyMatch(
            position: base &+ (place & ~Self.publicationBit) >> 16,
            record: UInt16(truncatingIfNeeded: place),
            time: time
        )
    }
}

/// The keys of the messages in one segment that is still written to.
///
/// Entries are kept in buckets by the first bits of their hash: adding one costs a few nanoseconds, a look-up reads one
/// bucket from end to end, and each bucket is sorted by itself when the segment is sealed.
struct KeyIndex {
    static let buckets = 256
    /// Far more than messages fit into a segment: bounds what a damaged file can make a reader allocate.
    static let maxEntries = 1 << 26
    private static let bucketShift: UInt64 = 56

    /// The position at which the segment begins.
    let base: UInt64
    private(set) var count = 0
    /// Entries that lead to records which published messages that had been stored before.
    private(set) var publications = 0
    /// Of the entries; the least and the greatest number where there is none.
    private(set) var firstTime = UInt64.max
    private(set) var lastTime: UInt64 = 0
    private var entries: [ContiguousArray<KeyEntry>] = []

    init(base: UInt64) { self.base = base }

    /// What a key or message id of a tenant is kept as: the same for all its topics, so that one look-up finds it in
    /// each of them.
    static func hash(_ kind: KeyKind, _ bytes: UnsafeRawBufferPointer, tenant: TenantID, _ hash: KeyedHash) -> UInt64 {
        hash.hash(bytes, domain: UInt64(tenant.rawValue) << 8 | UInt64(kind.rawValue)).low
    }

    /// The memory that it holds.
    var byteCount: Int {
        entries.reduce(entries.capacity * MemoryLayout<ContiguousArray<KeyEntry>>.stride) {
            $0 + $1.capacity * KeyEntry.bytes
        }
    }

    /// Adds a key of a message.
    /// - Parameters:
    ///   - position: of the log record, in this segment; one that is not is left out.
    ///   - record: index of the message in its batch, or of the item in the publication.
    ///   - isPublication: the record published messages that had been stored before.
    mutating func append(hash: UInt64, time: UInt64, position: UInt64, record: UInt16, isPublication: Bool = false) {
        guard position >= base, position - base <= KeyEntry.maxDistance, count < Self.maxEntries else { return }
        if entries.isEmpty { entries = Array(repeating: [], count: Self.buckets) }
        let bucket = Int(hash >> Self.bucketShift)
        // A quarter more each time: doubling would hold twice the memory for a segment's whole life.
        let used = entries[bucket].count
        if used == entries[bucket].capacity { entries[bucket].reserveCapacity(used + max(4, used / 4)) }
        var place = (position - base) << 16 | UInt64(record)
        if isPublication {
            place |= KeyEntry.publicationBit
            publications += 1
        }
        entries[bucket].append(KeyEntry(hash: hash, time: time, place: place))
        count += 1
        firstTime = min(firstTime, time)
        lastTime = max(lastTime, time)
    }

    /// The places with this hash that were stored in a span of time, in the order in which they were added.
    func matches(of hash: UInt64, in times: ClosedRange<UInt64>, limit: Int) -> [KeyMatch] {
        guard !entries.isEmpty else { return [] }
        var found: [KeyMatch] = []
        for entry in entries[Int(hash >> Self.bucketShift)] where entry.hash == hash && times.contains(entry.time) {
            guard found.count < limit else { break }
            found.append(entry.match(base: base))
        }
        return found
    }

    /// Calls `body` with every entry; adding them in this order makes the same index again.
    func forEach(_ body: (KeyEntry) -> Void) {
        for bucket in entries { bucket.forEach(body) }
    }

    mutating func append(_ entry: KeyEntry) {
        let match = entry.match(base: base)
        append(
            hash: entry.hash,
            time: entry.time,
            position: match.position,
            record: match.record,
            isPublication: entry.isPublication
        )
    }

    /// A bucket's entries in the order of key files; the buckets one after the other are in that order, too.
    func sortedBucket(_ bucket: Int) -> ContiguousArray<KeyEntry> {
        bucket < entries.count ? ContiguousArray(entries[bucket].sorted()) : []
    }
}
