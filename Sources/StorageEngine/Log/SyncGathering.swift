internal import MessageModel

/// When the next sync begins, where several write at a time.
///
/// Those whom a sync answers mostly write again at once. What is there when it ends came from others, who had to wait for
/// it; a sync for them alone would make the first wait for that one in turn, and there would be twice as many syncs as
/// need be. So the next one waits until as much has come as the last one had, but no longer than that one took, or than
/// it takes many to write much. Where only one writes, nothing is there when a sync ends, and what he writes next begins
/// the next one.
struct SyncGathering {
    /// The longest wait, in µs: what may be added to an acknowledgement.
    static let longest: UInt64 = 1_000
    /// A shorter one is not worth a timer.
    static let shortest: UInt64 = 20
    /// After a sync of so much many write at a time: their answers, and what they write then, take longer than the sync.
    static let much: UInt64 = 32 << 10

    private var began = Timestamp.zero
    private var isSyncing = false
    /// What the last sync had.
    private var bytes: UInt64 = 0
    private var ended = Timestamp.zero
    /// What is enough, and when it has been long enough.
    private var enough: UInt64 = 0
    private var end = Timestamp.zero

    /// While something waits for more to come: when that ends.
    private(set) var deadline: Timestamp?

    mutating func syncBegan(at now: Timestamp, bytes: UInt64) {
        began = now
        self.bytes = bytes
        isSyncing = true
        deadline = nil
    }

    /// The sync is over: so much has come meanwhile.
    mutating func syncEnded(at now: Timestamp, waiting: UInt64) {
        guard isSyncing else { return }
        isSyncing = false
        ended = now
        let duration = now > began ? now.rawValue - began.rawValue : 0
        enough = waiting + bytes / 8 * 7
        let wait = bytes < Self.much ? min(duration, Self.longest) : Self.longest
        end = duration < Self.shortest ? now : now.advanced(byMicroseconds: wait)
    }

    /// Whether more is to come before a sync of what waits begins.
    mutating func waits(for waiting: UInt64, now: Timestamp) -> Bool {
        // A clock that was set back makes nobody wait.
        guard waiting < enough, now >= ended, now < end else {
            deadline = nil
            return false
        }
        deadline = end
        return true
    }
}
