internal import MessageModel

/// The layout of a record in the commit log. Little-endian; records begin at multiples of eight.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | u32 | length of the whole record, a multiple of 8 |
/// | 4 | u32 | CRC32C over bytes 0..<4 and 8..<length, seeded with the log's identity |
/// | 8 | u64 | position of this record in the log |
/// | 16 | u32 | epoch: how often the log had been opened when it was written |
/// | 20 | u32 | lag: how far behind its position the log was fsynced then, in units of 8 bytes; all ones for farther |
/// | 24 | u8 | kind |
/// | 25 | u8 | version of the layout, 1 |
/// | 26 | u16 | bytes of padding at the end |
/// | 28 | u32 | zero |
/// | 32 | … | payload |
///
/// Position and epoch tell a record from what an earlier use of the same disk blocks left; the lag tells, behind a
/// damaged record, whether that had been fsynced: then it is corruption, otherwise a torn write.
package enum LogRecord {
    package static let headerBytes = 32
    package static let version: UInt8 = 1

    package enum Kind: UInt8, Sendable {
        /// Topic u32, partition u16, traits u16, then a batch, then changes of session states as a `StateJournal` writes
        /// them.
        case batch = 1
        case topicCreated = 2
        case topicDeleted = 3
        case subscriptionCreated = 4
        case subscriptionDeleted = 5
        /// Subscription u32, partition u16, zero u16, offset u64.
        case commit = 6
        /// The log was opened: the first record of each epoch. Time u64.
        case opened = 7
        /// Nothing follows in this segment.
        case segmentEnd = 8
        /// Changes of delivery states, as a `DeliveryJournal` writes them.
        case delivery = 9
        /// A batch that is not published yet, see `StoredBatch`.
        case held = 10
        /// Publishes held messages, with what happens together with that, see `Publication`.
        case published = 11
        /// A subscription's policy, pause, bindings or place changed, see `SubscriptionChange`.
        case subscriptionChanged = 12
        /// What a topic lets go, see `TopicTrim`.
        case topicTrimmed = 13
        /// A transaction was begun, rolled back or checked, see `TransactionChange`.
        case transactionChanged = 14
        /// Held messages were withdrawn, see `Withdrawal`.
        case withdrawn = 15
        /// What a topic asks for changed: its id u32, and the policy.
        case topicChanged = 20
        /// A part of an index file, see `IndexCopyPart`.
        case indexCopy = 21
        /// A part of a snapshot, see `CheckpointPart`.
        case checkpoint = 22
        /// A record that holds a batch, or that published some, moved here, see `MovedRecord`.
        case moved = 23
        /// Changes of session states, as a `StateJournal` writes them.
        case sessionState = 26
        /// Stored messages go to an inbox, see `Queueing`.
        case queued = 27
        /// Messages go from one inbox to another, see `HandedOver`.
        case handedOver = 28
        /// A batch of a producer of which nothing was stored, see `ProducerSkip`.
        case producerSkipped = 24
        /// What a partition of a compacted topic lets go, see `PartitionCompaction`.
        case partitionCompacted = 25
    }

    /// What a batch record has before the batch.
    package static let batchPrefixBytes = 8

    package static func roundUp(_ length: Int) -> Int { (length + 7) & ~7 }

    /// Completes a record whose payload is in place.
    package static func seal(
        _ record: UnsafeMutableRawBufferPointer,
        kind: Kind,
        payloadBytes: Int,
        position: UInt64,
        epoch: UInt32,
        durable: UInt64,
        identity: UInt32
    ) {
        let padding = record.count - headerBytes - payloadBytes
        for offset in record.count - padding..<record.count { record[offset] = 0 }
        record.store32(UInt32(record.count), at: 0)
        record.store64(position, at: 8)
        record.store32(epoch, at: 16)
        record.store32(UInt32(min((position - durable) / 8, UInt64(UInt32.max))), at: 20)
        record[24] = kind.rawValue
        record[25] = version
        record.store16(UInt16(padding), at: 26)
        record.store32(0, at: 28)
        record.store32(checksum(UnsafeRawBufferPointer(record), identity: identity), at: 4)
    }

    static func checksum(_ record: UnsafeRawBufferPointer, identity: UInt32) -> UInt32 {
        let start = Checksum.crc32c(record.slice(0..<4), continuing: identity)
        return Checksum.crc32c(record.slice(8..<record.count), continuing: start)
    }

    /// A record whose checksum is right.
    package struct View {
        package let bytes: UnsafeRawBufferPointer
        package let kind: Kind

        package var position: UInt64 { bytes.load64(8) }
        package var epoch: UInt32 { bytes.load32(16) }
        package var padding: Int { Int(bytes.load16(26)) }
        package var payload: UnsafeRawBufferPointer { bytes.slice(headerBytes..<bytes.count - padding) }

        /// The log before this position was fsynced when the record was written; zero where that is not known.
        package var durable: UInt64 {
            let lag = bytes.load32(20)
            guard lag != .max else { return 0 }
            let distance = UInt64(lag) * 8
            return distance <= position ? position - distance : 0
        }

        /// The record at the beginning of `bytes`; nil unless it is whole, of this log, and written for `position`.
        package init?(prefixOf bytes: UnsafeRawBufferPointer, position: UInt64, identity: UInt32) {
            guard bytes.count >= headerBytes, bytes.load64(8) == position else { return nil }
            let length = Int(bytes.load32(0))
            guard length >= headerBytes, length & 7 == 0, length <= bytes.count else { return nil }
            let record = bytes.slice(0..<length)
            guard record[25] == version, let kind = Kind(rawValue: record[24]),
                Int(record.load16(26)) <= min(7, length - headerBytes),
                checksum(record, identity: identity) == record.load32(4)
            else { return nil }
            self.bytes = record
            self.kind = kind
        }
    }
}

/// The first bytes of a segment.
///
/// Magic u64, version u32, CRC32C u32 (over the version and the rest, seeded with the log's identity), segment number
/// u64, base position u64, size u64; zero up to 64 bytes.
enum SegmentHeader {
    static let bytes = 64
    static let version: UInt32 = 1
    /// "SLUICELG" in ASCII.
    private static let magic: UInt64 = 0x474C_4543_4955_4C53

    static func write(
        _ header: UnsafeMutableRawBufferPointer,
        number: UInt64,
        base: UInt64,
        size: Int,
        identity: UInt32
    ) {
        for index in 0..<bytes { header[index] = 0 }
        header.store64(magic, at: 0)
        header.store32(version, at: 8)
        header.store64(number, at: 16)
        header.store64(base, at: 24)
        header.store64(UInt64(size), at: 32)
        header.store32(checksum(UnsafeRawBufferPointer(header), identity: identity), at: 12)
    }

    private static func checksum(_ header: UnsafeRawBufferPointer, identity: UInt32) -> UInt32 {
        let version = Checksum.crc32c(header.slice(8..<12), continuing: identity)
        return Checksum.crc32c(header.slice(16..<bytes), continuing: version)
    }

    enum Reading: Equatable {
        /// Never written, or written for another use of the file.
        case absent
        case newerVersion(UInt32)
        case present(base: UInt64)
    }

    static func read(_ header: UnsafeRawBufferPointer, number: UInt64, size: Int, identity: UInt32) -> Reading {
        guard header.count >= bytes, header.load64(0) == magic else { return .absent }
        guard checksum(header, identity: identity) == header.load32(12) else { return .absent }
        guard header.load32(8) <= version else { return .newerVersion(header.load32(8)) }
        guard header.load64(16) == number, header.load64(32) == UInt64(size)
        else { return .absent }
        return .present(base: header.load64(24))
    }
}
