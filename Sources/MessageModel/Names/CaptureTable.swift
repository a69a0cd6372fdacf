/// Which topic a name belongs to.
///
/// A topic captures its own name and everything below it; it may declare more captures: an exact name, or a subtree
/// (`factory/#`). Where several captures hold a name, the longest wins. The empty prefix belongs to the built-in topic.
package struct CaptureTable<Value> {
    private struct Entry {
        var prefix: [UInt8]
        var includesSubtree: Bool
        var value: Value
    }

    private var entries: [Entry?] = []
    private var free: [Int] = []
    /// Entries by the CRC32C of their prefix.
    private var buckets: [UInt32: [Int]] = [:]
    /// What a name belongs to that nothing captures.
    package var fallback: Value?

    package init() {}

    /// Adds a capture: `orders` with its subtree, or a single name.
    /// - Returns: the value that already has just this capture, which then is left as it was; nil where it was added.
    package mutating func insert(_ prefix: [UInt8], includesSubtree: Bool, value: Value) -> Value? {
        let hash = prefix.withUnsafeBytes { Checksum.crc32c($0) }
        for index in buckets[hash] ?? [] {
            if let entry = entries[index], entry.prefix == prefix, entry.includesSubtree == includesSubtree {
                return entry.value
            }
        }
        let entry = Entry(prefix: prefix, includesSubtree: includesSubtree, value: value)
        if let index = free.popLast() {
            entries[index] = entry
            buckets[hash, default: []].append(index)
        } else {
            buckets[hash, default: []].append(entries.count)
            entries.append(entry)
        }
        return nil
    }

    /// Removes a capture; nothing happens where it is not there.
    package mutating func remove(_ prefix: [UInt8], includesSubtree: Bool) {
        let hash = prefix.withUnsafeBytes { Checksum.crc32c($0) }
        guard var bucket = buckets[hash] else { return }
        for (place, index) in bucket.enumerated() {
            guard let entry = entries[index], entry.prefix == prefix, entry.includesSubtree == includesSubtree else {
                continue
            }
            entries[index] = nil
            free.append(index)
            bucket.remove(at: place)
            break
        }
        buckets[hash] = bucket.isEmpty ? nil : bucket
    }

    /// What `name` belongs to: one hash look-up for each of its levels.
    package func lookup(_ name: UnsafeRawBufferPointer) -> Value? {
        var found: Value?
        var hash: UInt32 = 0
        var hashedTo = 0
        var position = 0
        while position <= name.count {
            while position < name.count, name[position] != NameRules.separator { position += 1 }
            hash = Checksum.crc32c(name.slice(hashedTo..<position), continuing: hash)
            hashedTo = position
            if let bucket = buckets[hash] {
                let isWhole = position == name.count
                for index in bucket {
                    guard let entry = entries[index], entry.includesSubtree || isWhole,
                        entry.prefix.withUnsafeBytes({ bytesEqual($0, name.slice(0..<position)) })
                    else { continue }
                    // A capture of just this name is closer than one of the subtree at the same place.
                    if !entry.includesSubtree || found == nil || !isExact(at: position, in: name, bucket: bucket) {
                        found = entry.value
                    }
                }
            }
            position += 1
        }
        return found ?? fallback
    }

    private func isExact(at position: Int, in name: UnsafeRawBufferPointer, bucket: [Int]) -> Bool {
        guard position == name.count else { return false }
        return bucket.contains { index in
            guard let entry = entries[index], !entry.includesSubtree else { return false }
            return entry.prefix.withUnsafeBytes { bytesEqual($0, name) }
        }
    }
}
