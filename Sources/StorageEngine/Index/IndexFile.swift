internal import MessageModel

/// The index of one sealed segment: for each sequence that got messages during it, its entries.
///
/// Header of 32 bytes: magic u64, version u32, CRC32C of the directory u32, segment u64, partitions u32, epoch u32. Then
/// the directory: for each sequence topic or inbox u32, partition or lane u16, kind u16 (0: a partition, 1: an inbox), first offset u64, next offset u64, first time
/// u64, last time u64, place of the first entry in the file u64, count u32, zero u32. Then the entries, as in
/// `IndexEntry`, little-endian. Derived from the log: what is missing is made again.
///
/// A file is never replaced: where recovery makes it again, which can give it another order, it has the new epoch in its
/// name. So what an older snapshot says of a file is true of it, or the file is not there.
enum IndexFile {
    static let version: UInt32 = 1
    static let headerBytes = 32
    static let directoryEntryBytes = 56
    /// "SLUICEIX" in ASCII.
    static let magic: UInt64 = 0x5849_4543_4955_4C53

    static let prefix = "index-"

    /// The number of a file: that of its segment, and in the upper 24 bits which of the files with entries that did not
    /// fit into memory until the segment was full; 0 for the one that is written then.
    static func number(segment: UInt64, part: UInt32) -> UInt64 { segment & 0xFF_FFFF_FFFF | UInt64(part) << 40 }

    /// The segment of the log that a file's number has.
    static func segment(ofNumber number: UInt64) -> UInt64 { number & 0xFF_FFFF_FFFF }

    /// - Parameter segment: the segment, or the number of a part.
    static func name(segment: UInt64, epoch: UInt32) -> String {
        let part = segment >> 40
        return "\(prefix)\(padded(Self.segment(ofNumber: segment)))-\(epoch)" + (part == 0 ? "" : ".\(part)")
    }

    /// The number in twenty digits, so that names sort as numbers do.
    static func padded(_ number: UInt64) -> String {
        let digits = String(number)
        return String(repeating: "0", count: 20 - digits.count) + digits
    }

    struct Key: Hashable {
        var segment: UInt64
        var epoch: UInt32
    }

    struct Partition {
        var id: SequenceID
        var entries: ArraySlice<IndexEntry>
    }

    /// Makes the file and says where each partition's entries stand in it.
    static func encode(
        segment: UInt64,
        epoch: UInt32,
        partitions: [Partition]
    ) -> (bytes: [UInt8], runs: [IndexRun]) {
        let directoryBytes = partitions.count * directoryEntryBytes
        let entryCount = partitions.reduce(0) { $0 + $1.entries.count }
        let size = headerBytes + directoryBytes + entryCount * IndexEntry.bytes
        var runs: [IndexRun] = []
        runs.reserveCapacity(partitions.count)
        let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            let file = UnsafeMutableRawBufferPointer(buffer)
            for index in 0..<headerBytes { file[index] = 0 }
            var place = headerBytes + directoryBytes
            for (index, partition) in partitions.enumerated() {
                guard let first = partition.entries.first, let last = partition.entries.last else { continue }
                let run = IndexRun(
                    segment: segment,
                    epoch: epoch,
                    firstOffset: first.baseOffset,
                    nextOffset: last.nextOffset,
                    firstTime: first.appendTime,
                    lastTime: last.appendTime,
                    fileOffset: UInt64(place),
                    count: UInt32(partition.entries.count),
                    bytes: partition.entries.reduce(0) { $0 + UInt64($1.recordBytes) }
                )
                write(run, of: partition.id, file, at: headerBytes + index * directoryEntryBytes)
                runs.append(run)
                for entry in partition.entries {
                    file.store64(entry.baseOffset, at: place)
                    file.store64(entry.position, at: place + 8)
                    file.store64(entry.appendTime, at: place + 16)
                    file.store32(entry.recordBytes, at: place + 24)
                    file.store16(entry.first, at: place + 28)
                    file.store16(entry.count, at: place + 30)
                    place += IndexEntry.bytes
                }
            }
            file.store64(magic, at: 0)
            file.store32(version, at: 8)
            let directory = UnsafeRawBufferPointer(file).slice(headerBytes..<headerBytes + directoryBytes)
            file.store32(Checksum.crc32c(directory), at: 12)
            file.store64(segment, at: 16)
            file.store32(UInt32(partitions.count), at: 24)
            file.store32(epoch, at: 28)
            count = size
        }
        return (bytes, runs)
    }

    private static func write(_ run: IndexRun, of id: SequenceID, _ file: UnsafeMutableRawBufferPointer, at place: Int)
    {
        file.store32(id.number, at: place)
        file.store16(id.index, at: place + 4)
        file.store16(id.kind.rawValue, at: place + 6)
        file.store64(run.firstOffset, at: place + 8)
        file.store64(run.nextOffset, at: place + 16)
        file.store64(run.firstTime, at: place + 24)
        file.store64(run.lastTime, at: place + 32)
        file.store64(run.fileOffset, at: place + 40)
        file.store32(run.count, at: place + 48)
        file.store32(0, at: place + 52)
    }

    /// Where the entries of a sequence stand, as the directory says it.
    struct DirectoryEntry {
        var id: SequenceID
        var fileOffset: Int
        var count: Int
    }

    /// The directory behind the header; what makes no sense is left out.
    static func directory(in bytes: [UInt8]) -> [DirectoryEntry] {
        bytes.withUnsafeBytes { bytes in
            (0..<bytes.count / directoryEntryBytes).compactMap { index in
                let place = index * directoryEntryBytes
                guard let kind = SequenceID.Kind(rawValue: bytes.load16(place + 6)),
                    let offset = Int(exactly: bytes.load64(place + 40))
                else { return nil }
                return DirectoryEntry(
                    id: SequenceID(kind: kind, number: bytes.load32(place), index: bytes.load16(place + 4)),
                    fileOffset: offset,
                    count: Int(bytes.load32(place + 48))
                )
            }
        }
    }

    /// The entries in a part of the file; what is left over at the end is ignored.
    static func entries(in bytes: [UInt8]) -> [IndexEntry] {
        bytes.withUnsafeBytes { bytes in
            (0..<bytes.count / IndexEntry.bytes).map { index in
                let place = index * IndexEntry.bytes
                return IndexEntry(
                    baseOffset: bytes.load64(place),
                    position: bytes.load64(place + 8),
                    appendTime: bytes.load64(place + 16),
                    recordBytes: bytes.load32(place + 24),
                    first: bytes.load16(place + 28),
                    count: bytes.load16(place + 30)
                )
            }
        }
    }
}
