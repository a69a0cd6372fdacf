/// What a crash does to what was written and not synced.
package enum CrashStyle: CaseIterable, Sendable {
    /// One of the others, as the seed decides.
    case any
    /// Nothing of it reaches the disk.
    case losesAll
    /// All of it reached the disk.
    case keepsAll
    /// It reached the disk in the order in which it was written, up to the middle of some write.
    case keepsPrefix
    /// Each sector for itself is there or not, in one of the versions that were written of it.
    case scatters
}
