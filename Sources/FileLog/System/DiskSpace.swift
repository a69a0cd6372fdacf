import Glibc
package import StorageEngine

/// How much room there is on the file system that holds a path, in bytes.
package struct DiskSpace: Equatable, Sendable {
    package var total: Int
    /// What this process may still use; what is kept for the superuser does not count.
    package var available: Int

    /// - Throws: `notFound` where the path does not exist.
    package static func of(_ path: String) throws(DeviceError) -> DiskSpace {
        do throws(SystemError) {
            return try query(path)
        } catch {
            throw error.deviceError
        }
    }

    static func query(_ path: String) throws(SystemError) -> DiskSpace {
        var status = statvfs()
        guard statvfs(path, &status) == 0 else { throw SystemError("cannot ask for the space left at", path) }
        func bytes(_ blocks: UInt) -> Int {
            Int(clamping: blocks.multipliedReportingOverflow(by: UInt(status.f_frsize)).partialValue)
        }
        return DiskSpace(total: bytes(UInt(status.f_blocks)), available: bytes(UInt(status.f_bavail)))
    }
}
