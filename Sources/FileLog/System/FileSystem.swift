import Glibc

/// Calls on paths. None of them makes anything durable: that takes a sync of the directory.
enum FileSystem {
    /// The names in a directory, without `.` and `..`, in no order.
    static func names(in path: String) throws(SystemError) -> [String] {
        guard let directory = opendir(path) else { throw SystemError("cannot list", path) }
        defer { closedir(directory) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(directory) else {
                guard errno == 0 else { throw SystemError("cannot list", path) }
                return names
            }
            let name = withUnsafePointer(to: &entry.pointee.d_name) { field in
                field.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: field.pointee)) {
                    String(cString: $0)
                }
            }
            if name != "." && name != ".." { names.append(name) }
        }
    }

    /// The length of a file in bytes; nil where there is none.
    static func size(of path: String) throws(SystemError) -> Int? {
        var status = stat()
        guard stat(path, &status) == 0 else {
            if errno == ENOENT { return nil }
            throw SystemError("cannot examine", path)
        }
        return Int(status.st_size)
    }

    /// - Returns: false where there is something under that path already.
    @discardableResult
    static func makeDirectory(_ path: String) throws(SystemError) -> Bool {
        if mkdir(path, 0o750) == 0 { return true }
        if errno == EEXIST { return false }
        throw SystemError("cannot make directory", path)
    }

    static func rename(_ old: String, to new: String) throws(SystemError) {
        guard Glibc.rename(old, new) == 0 else { throw SystemError("cannot rename to \(new) the file", old) }
    }

    /// Removes a file; one that is not there is as good as removed.
    static func remove(_ path: String) throws(SystemError) {
        if unlink(path) != 0 && errno != ENOENT { throw SystemError("cannot remove", path) }
    }

    /// The directory that holds a path.
    static func parent(of path: String) -> String {
        let trimmed = path.utf8.last == UInt8(ascii: "/") ? path.dropLast() : path[...]
        guard let slash = trimmed.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
        return slash == trimmed.startIndex ? "/" : String(trimmed[..<slash])
    }
}
