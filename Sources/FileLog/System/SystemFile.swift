import CSluiceShims
import Glibc

/// An open file or directory, closed with its last reference. Every call may be made from any thread.
final class SystemFile: Sendable {
    let descriptor: Int32
    let path: String

    private init(descriptor: Int32, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit {
        // Nothing to do about an error: what had to be durable was synced, and that was answered.
        _ = close(descriptor)
    }

    static func open(_ path: String, _ flags: Int32, mode: mode_t = 0o640) throws(SystemError) -> SystemFile {
        while true {
            let descriptor = Glibc.open(path, flags | O_CLOEXEC, mode)
            if descriptor >= 0 { return SystemFile(descriptor: descriptor, path: path) }
            if errno != EINTR { throw SystemError("cannot open", path) }
        }
    }

    /// Opens a file for writing past the page cache; nil where its file system does not do that.
    static func openDirect(_ path: String) -> SystemFile? {
        let descriptor = sluice_open_direct(path)
        return descriptor >= 0 ? SystemFile(descriptor: descriptor, path: path) : nil
    }

    static func openDirectory(_ path: String) throws(SystemError) -> SystemFile {
        try open(path, O_RDONLY | O_DIRECTORY)
    }

    /// Its length in bytes.
    func size() throws(SystemError) -> Int {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw SystemError("cannot examine", path) }
        return Int(status.st_size)
    }

    /// Writes everything, however many calls that takes.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(SystemError) {
        guard let start = bytes.baseAddress else { return }
        var done = 0
        while done < bytes.count {
            let count = pwrite(descriptor, start + done, bytes.count - done, off_t(offset + done))
            if count > 0 {
                done += count
            } else if count == 0 || errno != EINTR {
                // No file system writes nothing and calls it success; taking it for one would never end.
                let number = count == 0 ? EIO : errno
                throw SystemError("cannot write \(bytes.count) bytes at \(offset) to", path, number: number)
            }
        }
    }

    /// Writes an array at the beginning.
    func write(_ bytes: [UInt8]) throws(SystemError) {
        var failure: SystemError?
        bytes.withUnsafeBytes { buffer in
            do throws(SystemError) {
                try write(buffer, at: 0)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    func replaceContent(_ bytes: [UInt8]) throws(SystemError) {
        guard ftruncate(descriptor, 0) == 0 else { throw SystemError("cannot empty", path) }
        try write(bytes)
    }

    /// Locks the file for this object alone, until it goes.
    /// - Returns: false where somebody else has it, in this process or another one.
    func tryLock() throws(SystemError) -> Bool {
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            switch errno {
            case EINTR: continue
            case EWOULDBLOCK: return false
            default: throw SystemError("cannot lock", path)
            }
        }
        return true
    }

    /// Writes everything and so many zeros behind it, all in one call where the system does.
    /// - Parameter zeros: less than a block. They are not promised: after a short write they are left out.
    func write(_ bytes: UnsafeRawBufferPointer, zeros: Int, at offset: Int) throws(SystemError) {
        guard zeros > 0, let start = bytes.baseAddress else { return try write(bytes, at: offset) }
        let done = withUnsafeTemporaryAllocation(of: iovec.self, capacity: 2) { parts -> Int in
            parts[0] = iovec(iov_base: UnsafeMutableRawPointer(mutating: start), iov_len: bytes.count)
            parts[1] = iovec(iov_base: UnsafeMutableRawPointer(mutating: Self.zeros), iov_len: zeros)
            return pwritev(descriptor, parts.baseAddress, 2, off_t(offset))
        }
        // A failure is met again, and reported, by the plain write.
        let written = max(done, 0)
        if written < bytes.count {
            try write(UnsafeRawBufferPointer(rebasing: bytes[written...]), at: offset + written)
        }
    }

    /// A block of zeros; never written to.
    private nonisolated(unsafe) static let zeros: UnsafeRawPointer = {
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: SegmentFile.blockBytes, alignment: 64)
        block.initializeMemory(as: UInt8.self, repeating: 0)
        return UnsafeRawPointer(block.baseAddress.unsafelyUnwrapped)
    }()

    /// Reads until the buffer is full or the file ends.
    /// - Returns: the number of bytes read.
    func read(into bytes: UnsafeMutableRawBufferPointer, at offset: Int) throws(SystemError) -> Int {
        guard let start = bytes.baseAddress else { return 0 }
        var done = 0
        while done < bytes.count {
            let count = pread(descriptor, start + done, bytes.count - done, off_t(offset + done))
            if count > 0 {
                done += count
            } else if count == 0 {
                break
            } else if errno != EINTR {
                throw SystemError("cannot read \(bytes.count) bytes at \(offset) from", path)
            }
        }
        return done
    }

    /// Reads up to `length` bytes; fewer only where the file ends.
    func read(at offset: Int, length: Int) throws(SystemError) -> [UInt8] {
        var failure: SystemError?
        let bytes = [UInt8](unsafeUninitializedCapacity: length) { buffer, count in
            do throws(SystemError) {
                count = try read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Makes the content durable, and the metadata that is needed to read it.
    func syncData() throws(SystemError) {
        // Not repeated after EINTR or anything else: the kernel reports a lost write once and then forgets it.
        guard fdatasync(descriptor) == 0 else { throw SystemError("cannot sync", path) }
    }

    /// Makes content and metadata durable; for a directory, its names.
    func sync() throws(SystemError) {
        guard fsync(descriptor) == 0 else { throw SystemError("cannot sync", path) }
    }

    /// Drops what the page cache holds of it, so that the next read sees what is really on the disk.
    func forgetCache() {
        posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
    }

    /// Asks the system to have a range in the page cache soon.
    func warmCache(from offset: Int, length: Int) {
        posix_fadvise(descriptor, off_t(offset), off_t(length), POSIX_FADV_WILLNEED)
    }
}
