import Glibc
import StorageEngine

/// The files beside the log: snapshots and indexes, each replaced as a whole.
struct SideFiles: Sendable {
    private static let newSuffix = ".new"
    /// Below what file systems allow (255), with room for the suffix.
    private static let nameBytes = 200

    let path: String
    let directory: SystemFile

    /// - Throws: for a name that could be another path or a file that is being written.
    private func path(of name: String) throws(SystemError) -> String {
        let isPlain = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
                return true
            default:
                return false
            }
        }
        guard isPlain, !name.isEmpty, name.utf8.count <= Self.nameBytes, !name.hasPrefix("."),
            !name.hasSuffix(Self.newSuffix)
        else { throw SystemError("no side file can be called", name, number: EINVAL) }
        return "\(path)/\(name)"
    }

    func names() throws(SystemError) -> [String] {
        try FileSystem.names(in: path).filter { (try? path(of: $0)) != nil }
    }

    /// Removes what a crash left half written.
    func removeUnfinished() throws(SystemError) {
        for name in try FileSystem.names(in: path) where name.hasSuffix(Self.newSuffix) {
            try FileSystem.remove("\(path)/\(name)")
        }
    }

    /// Writes beside the old file, then swaps the names: whatever happens, one of the two is there whole.
    func write(_ name: String, _ bytes: [UInt8]) throws(SystemError) {
        let final = try path(of: name)
        let temporary = final + Self.newSuffix
        do throws(SystemError) {
            let file = try SystemFile.open(temporary, O_WRONLY | O_CREAT | O_TRUNC)
            try file.write(bytes)
            try file.syncData()
            try FileSystem.rename(temporary, to: final)
        } catch {
            try? FileSystem.remove(temporary)
            throw error
        }
        try directory.sync()
    }

    /// A part of a file; fewer bytes only at its end.
    func read(_ name: String, offset: Int, length: Int) throws(SystemError) -> [UInt8] {
        let file = try SystemFile.open(path(of: name), O_RDONLY)
        guard offset >= 0, length >= 0 else { throw SystemError("cannot read outside of", file.path, number: EINVAL) }
        let rest = max(try file.size() - offset, 0)
        return try file.read(at: offset, length: min(length, rest))
    }

    /// A whole file; nil where there is none.
    func read(_ name: String) throws(SystemError) -> [UInt8]? {
        do throws(SystemError) {
            return try read(name, offset: 0, length: .max)
        } catch {
            if error.number == ENOENT { return nil }
            throw error
        }
    }

    func remove(_ name: String) throws(SystemError) {
        try FileSystem.remove(path(of: name))
    }
}
