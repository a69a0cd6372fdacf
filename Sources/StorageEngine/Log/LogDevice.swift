/// Where a shard's bytes are kept: a file system, memory, a simulated disk, or a plugin.
///
/// The shard calls it from one thread. What takes long is only asked for here and answered by a `DeviceEvent`, which the
/// owner of the shard hands to `Shard.deviceCompleted(_:)` on the shard's thread, in any order. What `…Now` names is for
/// opening a shard, before it serves anybody.
package protocol LogDevice: AnyObject {
    /// The segments that are there, in the order of their numbers, with their sizes in bytes.
    func listSegmentsNow() throws(DeviceError) -> [DeviceSegment]

    /// Reads from a segment; less than was asked for only where it ends.
    /// - Returns: the number of bytes read.
    func readNow(
        segment: UInt64,
        offset: Int,
        into bytes: UnsafeMutableRawBufferPointer
    ) throws(DeviceError) -> Int

    /// The side files that are there (snapshots, indexes), in any order.
    func listFilesNow() throws(DeviceError) -> [String]

    /// A whole side file; nil where there is none.
    func readFileNow(_ name: String) throws(DeviceError) -> [UInt8]?

    /// Makes a segment of just this size, its blocks reserved so that writing to it cannot run out of space. Its content
    /// is zero or what an earlier log left. Durable itself when answered by `segmentReady`.
    /// - Parameter isAhead: it is not needed yet: there is time to write its blocks once, which makes later syncs cheaper.
    func createSegment(_ segment: UInt64, size: Int, isAhead: Bool)

    /// Forgets a segment. Not answered; what goes wrong shows when the shard is opened the next time.
    func removeSegment(_ segment: UInt64)

    /// Writes into a segment: at once visible to reads, durable only with a later sync.
    func write(_ bytes: UnsafeRawBufferPointer, segment: UInt64, offset: Int) throws(DeviceError)

    /// Makes everything durable that was written before this call. Answered by `synced`.
    /// After a failed sync the shard writes no more: what was written may be lost although it can be read.
    func sync(token: UInt64)

    /// Reads from a segment. Answered by `read`.
    func read(segment: UInt64, offset: Int, length: Int, token: UInt64)

    /// Replaces a side file as a whole, durably: after a crash it is there with its old or its new content. Answered by
    /// `fileWritten`.
    func writeFile(_ name: String, bytes: [UInt8], token: UInt64)

    /// Reads a part of a side file. Answered by `read`.
    func readFile(_ name: String, offset: Int, length: Int, token: UInt64)

    /// Forgets a side file. Not answered.
    func removeFile(_ name: String)

    /// How much room there is; nil where that is not known, or not limited.
    func space() -> DeviceSpace?
}

package struct DeviceSpace: Equatable, Sendable {
    /// Bytes.
    package var total: Int
    /// What can still be used, removed segments that are kept for reuse included.
    package var available: Int
    package init(total: Int, available: Int) {
        self.total = total
        self.available = available
    }
}

package struct DeviceSegment: Equatable, Sendable {
    package var number: UInt64
    package var size: Int
    package init(number: UInt64, size: Int) {
        self.number = number
        self.size = size
    }
}

/// What a device answers.
package enum DeviceEvent: Sendable {
    case segmentReady(segment: UInt64, DeviceError?)
    case synced(token: UInt64, DeviceError?)
    /// The bytes that were asked for; fewer only at the end of the segment or file.
    case read(token: UInt64, Result<[UInt8], DeviceError>)
    case fileWritten(token: UInt64, DeviceError?)
}

package struct DeviceError: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Kind: Equatable, Sendable {
        /// No space is left (ENOSPC, EDQUOT).
        case full
        case notFound
        /// Anything else that the device reports, such as EIO.
        case failed
    }

    package var kind: Kind
    /// What was tried and what the system said, for a person.
    package var description: String
    package init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }
}
