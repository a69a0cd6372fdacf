/// What changes a simulated disk. A disk is a function of the operations so far, which is how it is rebuilt as it was
/// after any of them.
package enum DiskOperation: Sendable {
    /// A segment is being made; after a crash it may be there or not.
    /// - Parameter reused: the removed segment whose blocks it takes, with what they hold.
    case startedSegment(UInt64, size: Int, reused: UInt64?)
    case finishedSegment(UInt64)
    case failedSegment(UInt64)
    case removedSegment(UInt64)
    case wrote(segment: UInt64, offset: Int, bytes: [UInt8])
    /// Everything is durable that the first so many `wrote` operations wrote.
    case synced(writes: UInt64)
    /// The same writes will never become durable by a later sync, although they can be read.
    case failedSync(writes: UInt64)
    case startedFile(String, bytes: [UInt8])
    case finishedFile(String)
    case failedFile(String)
    case removedFile(String)
    /// A fault of the medium: a segment holds something else, or, with nil, is no more.
    case damagedSegment(UInt64, bytes: [UInt8]?)
    case damagedFile(String, bytes: [UInt8]?)
}
