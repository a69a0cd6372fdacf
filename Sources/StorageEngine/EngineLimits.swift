package import MessageModel
package import StorageService

/// Limits and defaults of a shard, with the reason for each.
package struct ShardOptions: Sendable, Equatable {
    /// Size of a segment: the unit in which disk space is reserved, freed and recycled. A snapshot is taken for each,
    /// so this also bounds what is read again after a crash.
    package var segmentBytes = 256 << 20
    /// Memory for the newest part of the log, from which readers that keep up are served.
    package var tailCacheBytes = 64 << 20
    /// Memory for index entries of the newest messages; what is more goes into files before the segment is full. 32 bytes
    /// for each inbox that a message went to.
    package var indexMemoryBytes = 64 << 20
    /// Of a sequence with fewer entries in memory, they stay there: what is kept of each that is in a file takes 72 bytes.
    package var entriesPerRun = 16
    /// Memory for messages that never reach the log, and of that for one lane of an inbox: what is more goes into it.
    package var memoryRecordBytes = 256 << 20
    package var memoryLaneBytes = 8 << 20
    /// Memory is taken in blocks of this size.
    package var blockBytes = 1 << 20
    /// Larger batches are refused.
    package var batchBytes = Limits.batchBytes
    /// What nobody waits for is synced this long after it was written, in µs: readers see it then.
    package var lazySyncMicroseconds: UInt64 = 10_000
    /// Or as soon as so much of it has come together.
    package var lazySyncBytes = 1 << 20
    /// Appends that arrive while the next segment is being made wait in memory; beyond this they are refused as busy.
    package var deferredBytes = 64 << 20
    /// A full disk is tried again after this time, in µs.
    package var fullRetryMicroseconds: UInt64 = 1_000_000
    /// What one reader is sent before the others have their turn.
    package var deliveryBytesPerRound = 1 << 20
    /// Read at once where a reader is behind the tail cache: enough to make the disk stream.
    package var coldReadBytes = 256 << 10
    /// Producers whose last sequence is remembered; the least recently used are forgotten beyond it.
    package var producersRemembered = 100_000
    /// Leases and delays end at whole multiples of this, in µs: those that are close together are one timer.
    package var timerTickMicroseconds: UInt64 = 5_000
    /// Changes of delivery states that nobody waits for are written when they have come to so much.
    package var journalBytes = 64 << 10
    /// Due messages that are published in one record, and read together.
    package var publishedAtOnce = 256
    /// Messages that were due long ago are published no faster than this in a second, so that a backlog does not hold up
    /// what is new.
    package var overduePerSecond = 100_000
    /// How long what a topic may let go waits for more, in µs, so that it goes with few records.
    package var trimPauseMicroseconds: UInt64 = 1_000_000
    /// Compaction begins where what is dead in sealed segments is more than this part of what is live.
    package var compactionDeadPercent = 15
    /// Segments of which more is live are left as they are.
    package var compactionLivePercent = 80
    /// What compaction moves in a second beside what comes in, of which it may move twice as much.
    package var compactionBytesPerSecond = 32 << 20
    /// What it moves in a round, so that it holds nobody up.
    package var compactionBytesPerRound = 256 << 10
    /// A segment of which something died is looked at again after this time, in µs.
    package var surveyPauseMicroseconds: UInt64 = 1_000_000
    /// How full the disk is, in percent, when compaction moves more; when the oldest messages of topics with limits go
    /// before their time; and when no messages are taken any more.
    package var diskTightPercent = 70
    package var diskTrimPercent = 85
    package var diskFullPercent = 95
    /// How often the device is asked for its room, in µs, while something happens.
    package var diskLookMicroseconds: UInt64 = 1_000_000
    /// What the topic keeps that holds every name that no other captures: a day.
    package var builtInTopic = {
        var policy = TopicPolicy()
        policy.maxAgeMicroseconds = 86_400 * 1_000_000
        return policy
    }()
    /// Transactions that may be open at a time.
    package var openTransactions = 100_000
    /// Message ids that one topic with a window for them knows at most: 32 MiB of memory. Beyond it the oldest are
    /// forgotten before their time.
    package var deduplicationEntries = 1 << 20
    /// Last values that a tenant may have, about 150 bytes of memory each with their names, and what they may take in
    /// the log, which they keep from being freed.
    package var retainedValues = 1_000_000
    package var retainedBytes: UInt64 = 1 << 30
    /// Keys of a compacted partition whose last messages are known, about 60 bytes of memory each. Messages with other
    /// keys, and all that follow the first of those, are not let go.
    package var compactedKeys = 1 << 18
    /// The newest messages of a compacted partition, which stay in any case; and so many must be replaced before it is
    /// compacted.
    package var compactionTail: UInt64 = 1_000
    /// Keys of a sealed segment that are sorted in a round: a few milliseconds.
    package var keysPerStep = 1 << 16
    /// Look-ups that run at a time: each may read every key file.
    package var lookUpsAtOnce = 16
    /// The secret of this store, under which message ids and keys are hashed: who does not know it cannot make
    /// different ones that are taken for the same. It stays with the data: under another one nothing is found again.
    package var hash = KeyedHash(key0: 0, key1: 0)
    /// The random number of this log: seeds every record's checksum, so that the records of another log, or bytes made
    /// to look like a record, do not pass.
    package var logIdentity: UInt32 = 0

    package init() {}

    /// The smallest segment that holds the largest batch.
    package static let smallestSegmentBytes = 1 << 20
}
