internal import MessageModel

/// Where the shard is with giving segments back.
///
/// A segment that nothing live points into goes in these steps, so that a crash at any point leaves what recovery needs:
/// the index files that are needed are copied into the log; a checkpoint is written into the log and made durable; the
/// snapshot file of the same position is written; older snapshots and index files that nothing names are removed; the
/// segment is removed.
struct ReclaimWork {
    enum Stage {
        case idle
        /// Index files are being copied into the log.
        case copying
        /// The parts of a checkpoint are being appended.
        case appending(Checkpoint)
        /// They are to be durable.
        case syncing(Checkpoint)
        /// The snapshot file is being written.
        case snapshot(Checkpoint)
    }

    struct Checkpoint {
        var position: UInt64
        var bytes: [UInt8]
        /// How much of it is in the log, and where that ends.
        var appended = 0
        var end: UInt64 = 0
        /// Nothing pointed into these segments when it was taken.
        var free: Set<UInt64>
        /// Nothing needed these files.
        var unusedFiles: [String]
    }

    var stage = Stage.idle
    /// Something may have become free since this was last looked at.
    var isWanted = true
    /// Another round should follow.
    var hasMore = false
    var wakeAt: Timestamp?
    /// Messages that wait for their times, by the segment in which they were stored first.
    var held: [UInt64: Int] = [:]
    /// Entries in memory, by the segment during which they were made, that point to records of earlier segments.
    var foreign: [UInt64: [UInt64]] = [:]
    /// The segments with last values, as of a while ago; found out again behind this time.
    var retained = Set<UInt64>()
    var retainedUntil = Timestamp.zero
    /// Where the log ended then.
    var retainedEnd: UInt64 = 0
    /// Segments whose live records were all moved, with what that gains.
    var evacuated: [UInt64: Int] = [:]
    /// The copy that is being made.
    var copy: IndexFileReading?
    /// How many bytes the last checkpoint had.
    var checkpointBytes = 0
}
