internal import MessageModel

/// The keys of one sealed segment, sorted by their hashes.
///
/// Header of 64 bytes: magic u64, version u32, CRC32C of bytes 16..<64 u32, segment u64, base position u64, epoch u32,
/// number of entries u32, first time u64, last time u64, CRC32C of the fences u32, entries in a block u32. Then a fence
/// for each block of entries: hash u64 and time u64 of its first entry, CRC32C of the block u32. Then the entries, sorted:
/// hash u64, time u64, place u64 as in `KeyEntry`. Little-endian. Version 2 where one of them leads to a record that
/// published messages which had been stored before, version 1 otherwise. Derived from the log, and never replaced: made again,
/// it has the new epoch in its name, as index files have.
enum KeyFile {
    static let version: UInt32 = 1
    static let publishingVersion: UInt32 = 2
    static let headerBytes = 64
    static let fenceBytes = 20
    static let entriesPerBlock = 128
    static let blockBytes = entriesPerBlock * KeyEntry.bytes
    /// "SLUICEKY" in ASCII.
    static let magic: UInt64 = 0x594B_4543_4955_4C53

    static let prefix = "keys-"

    static func name(segment: UInt64, epoch: UInt32) -> String {
        "\(prefix)\(IndexFile.padded(segment))-\(epoch)"
    }

    /// Why a file cannot be used.
    enum Problem: Error, Equatable {
        /// Shorter than it says.
        case length
        /// Not a key file, of another version, or damaged in its header.
        case header
        /// It belongs to another segment or epoch.
        case wrongSegment
        case fences
        /// A block of entries; others may be good.
        case block(Int)
    }

    struct Header: Equatable {
        var segment: UInt64
        var base: UInt64
        var epoch: UInt32
        var count: UInt32
        var firstTime: UInt64
        var lastTime: UInt64
        var fenceChecksum: UInt32
        /// One of its entries is a publication's.
        var hasPublications: Bool

        var blockCount: Int { (Int(count) + entriesPerBlock - 1) / entriesPerBlock }
        var entriesOffset: Int { headerBytes + blockCount * fenceBytes }
        var fileBytes: Int { entriesOffset + Int(count) * KeyEntry.bytes }

        /// Bytes of a block: the last one may be shorter.
        func blockBytes(_ block: Int) -> Int {
            min(entriesPerBlock, Int(count) - block * entriesPerBlock) * KeyEntry.bytes
        }

        fileprivate func write(to file: UnsafeMutableRawBufferPointer) {
            file.store64(magic, at: 0)
            file.store32(hasPublications ? publishingVersion : version, at: 8)
            file.store64(segment, at: 16)
            file.store64(base, at: 24)
            file.store32(epoch, at: 32)
            file.store32(count, at: 36)
            file.store64(firstTime, at: 40)
            file.store64(lastTime, at: 48)
            file.store32(fenceChecksum, at: 56)
            file.store32(UInt32(entriesPerBlock), at: 60)
            file.store32(Checksum.crc32c(UnsafeRawBufferPointer(file).slice(16..<headerBytes)), at: 12)
        }

        init(
            segment: UInt64,
            base: UInt64,
            epoch: UInt32,
            count: UInt32,
            firstTime: UInt64,
            lastTime: UInt64,
            fenceChecksum: UInt32,
            hasPublications: Bool
        ) {
            self.segment = segment
            self.base = base
            self.epoch = epoch
            self.count = count
            self.firstTime = firstTime
            self.lastTime = lastTime
            self.fenceChecksum = fenceChecksum
            self.hasPublications = hasPublications
        }

        /// Reads the beginning of a file; nil where that is not a header, or not an intact one.
        init?(_ file: UnsafeRawBufferPointer) {
            guard file.count >= headerBytes, file.load64(0) == magic,
                file.load32(8) == version || file.load32(8) == publishingVersion,
                file.load32(12) == Checksum.crc32c(file.slice(16..<headerBytes)),
                file.load32(60) == UInt32(entriesPerBlock), file.load32(36) <= KeyIndex.maxEntries
            else { return nil }
            self.init(
                segment: file.load64(16),
                base: file.load64(24),
                epoch: file.load32(32),
                count: file.load32(36),
                firstTime: file.load64(40),
                lastTime: file.load64(48),
                fenceChecksum: file.load32(56),
                hasPublications: file.load32(8) == publishingVersion
            )
        }
    }

    /// A block's first entry, and its checksum.
    struct Fence: Equatable {
        var hash: UInt64
        var time: UInt64
        var checksum: UInt32
    }

    /// What a search needs before it can go to the entries: 20 bytes for 128 keys. Worth keeping for the next search.
    struct Directory: Equatable {
        var header: Header
        var fences: [Fence]

        /// - Parameter bytes: the fences as they stand in the file, no more and no less; nil where they are damaged.
        init?(header: Header, fences bytes: UnsafeRawBufferPointer) {
            guard bytes.count == header.blockCount * fenceBytes, Checksum.crc32c(bytes) == header.fenceChecksum else {
                return nil
            }
            self.header = header
            fences = (0..<header.blockCount).map { block in
                let place = block * fenceBytes
                return Fence(
                    hash: bytes.load64(place),
                    time: bytes.load64(place + 8),
                    checksum: bytes.load32(place + 16)
                )
            }
        }

        /// The blocks that can hold entries with this hash in this span of time.
        func blocks(of hash: UInt64, in times: ClosedRange<UInt64>) -> Range<Int> {
            let all = 0..<fences.count
            // The first entry that counts may stand in the block before the first that begins with one.
            let begin = PartitionIndex.firstIndex(in: all) {
                (fences[$0].hash, fences[$0].time) >= (hash, times.lowerBound)
            }
            let end = PartitionIndex.firstIndex(in: all) {
                (fences[$0].hash, fences[$0].time) > (hash, times.upperBound)
            }
            return max(0, begin - 1)..<max(end, max(0, begin - 1))
        }
    }

    /// The entries of a block of a file.
    static func entries(in block: UnsafeRawBufferPointer) -> [KeyEntry] {
        (0..<block.count / KeyEntry.bytes).map { index in
            let place = index * KeyEntry.bytes
            return KeyEntry(hash: block.load64(place), time: block.load64(place + 8), place: block.load64(place + 16))
        }
    }

    /// Makes a file in steps, so that a segment with millions of keys does not hold up its shard.
    struct Encoder {
        private let index: KeyIndex
        private let segment: UInt64
        private let epoch: UInt32
        private var bytes: [UInt8]
        private var nextBucket = 0
        private var written = 0

        init(_ index: KeyIndex, segment: UInt64, epoch: UInt32) {
            self.index = index
            self.segment = segment
            self.epoch = epoch
            bytes = []
            bytes = [UInt8](repeating: 0, count: header(fenceChecksum: 0).fileBytes)
        }

        private func header(fenceChecksum: UInt32) -> Header {
            Header(
                segment: segment,
                base: index.base,
                epoch: epoch,
                count: UInt32(index.count),
                firstTime: index.firstTime,
                lastTime: index.lastTime,
                fenceChecksum: fenceChecksum,
                hasPublications: index.publications > 0
            )
        }

        /// Sorts and writes about so many entries more.
        /// - Returns: the whole file when it is done; nil before.
        mutating func step(entries limit: Int) -> [UInt8]? {
            let start = header(fenceChecksum: 0).entriesOffset
            let goal = written + limit
            while nextBucket < KeyIndex.buckets, written < goal {
                let bucket = index.sortedBucket(nextBucket)
                nextBucket += 1
                bytes.withUnsafeMutableBytes { file in
                    for entry in bucket {
                        let place = start + written * KeyEntry.bytes
                        file.store64(entry.hash, at: place)
                        file.store64(entry.time, at: place + 8)
                        file.store64(entry.place, at: place + 16)
                        written += 1
                    }
                }
            }
            guard nextBucket == KeyIndex.buckets else { return nil }
            finish()
            return bytes
        }

        private mutating func finish() {
            let layout = header(fenceChecksum: 0)
            let checksum = bytes.withUnsafeMutableBytes { file in
                let readable = UnsafeRawBufferPointer(file)
                for block in 0..<layout.blockCount {
                    let start = layout.entriesOffset + block * blockBytes
                    let fence = headerBytes + block * fenceBytes
                    file.store64(readable.load64(start), at: fence)
                    file.store64(readable.load64(start + 8), at: fence + 8)
                    let entries = readable.slice(start..<start + layout.blockBytes(block))
                    file.store32(Checksum.crc32c(entries), at: fence + 16)
                }
                return Checksum.crc32c(readable.slice(headerBytes..<layout.entriesOffset))
            }
            let header = header(fenceChecksum: checksum)
            bytes.withUnsafeMutableBytes { header.write(to: $0) }
        }
    }

    /// Makes the whole file at once.
    static func encode(_ index: KeyIndex, segment: UInt64, epoch: UInt32) -> [UInt8] {
        var encoder = Encoder(index, segment: segment, epoch: epoch)
        while true {
            if let bytes = encoder.step(entries: .max / 2) { return bytes }
        }
    }
}
