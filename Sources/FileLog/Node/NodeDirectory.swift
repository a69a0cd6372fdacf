import Glibc
package import MessageModel

/// The directory in which a node keeps everything, held by this process alone for as long as this object lives.
///
///     LOCK       locked while a server runs; holds its process id
///     NODE       whose directory this is, see `NodeIdentity`
///     shards/0   one directory for each shard
package final class NodeDirectory: Sendable {
    package let path: String
    package let identity: NodeIdentity
    /// Its lock goes with its last reference.
    private let lock: SystemFile

    private static let nodeFile = "NODE"
    private static let lockFile = "LOCK"
    private static let shardsDirectory = "shards"
    /// A `NODE` file is a few lines; more is something else.
    private static let nodeFileBytes = 64 << 10

    /// Opens a node's directory, and makes it where there is none or an empty one.
    /// - Parameters:
    ///   - nodeName: what the node is configured to be called; nil to take any directory's own name, and `defaultName`
    ///     for a new one.
    ///   - nodeID: refuse a directory of another id.
    ///   - now: the time of creation of a new directory.
    /// - Throws: a sentence for the operator: another server uses it, it belongs to another node, a newer version wrote
    ///   it, it holds something else, or the system refuses.
    package static func open(
        path: String,
        nodeName: String? = nil,
        nodeID: String? = nil,
        defaultName: String = "sluice",
        now: Timestamp
    ) throws(SluiceError) -> NodeDirectory {
        do throws(SystemError) {
            try makeDirectories(path)
        } catch {
            throw sluiceError(error)
        }
        // Before the lock, so that nothing is left in a directory that is not ours.
        try refuseForeignContent(path)
        let lock = try takeLock(path)
        let identity: NodeIdentity
        let newSecret = NodeIdentity.Secret.random()
        if let found = try readIdentity(path, newSecret: newSecret) {
            identity = found
            try check(found, path: path, nodeName: nodeName, nodeID: nodeID)
            if found.secret == newSecret {
                // An older version made the directory.
                do throws(SystemError) { try write(found, path: path) } catch { throw sluiceError(error) }
            }
        } else {
            let name = nodeName ?? defaultName
            guard !name.isEmpty, !name.utf8.contains(where: { $0 < 0x20 }) else {
                throw SluiceError(
                    .invalidArgument,
                    "a node cannot be called '\(name)'",
                    hint: "use printable characters"
                )
            }
            identity = NodeIdentity(
                id: nodeID ?? NodeIdentity.randomID(),
                name: name,
                created: now,
                secret: newSecret
            )
            do throws(SystemError) {
                try write(identity, path: path)
            } catch {
                throw sluiceError(error)
            }
        }
        return NodeDirectory(path: path, identity: identity, lock: lock)
    }

    private init(path: String, identity: NodeIdentity, lock: SystemFile) {
        self.path = path
        self.identity = identity
        self.lock = lock
    }

    /// The directory of a shard, made if it is not there: for `FileDevice.init(directory:onEvents:)`.
    package func shardPath(_ index: Int) throws(SluiceError) -> String {
        let shard = "\(path)/\(Self.shardsDirectory)/\(index)"
        do throws(SystemError) {
            try Self.makeDirectories(shard)
        } catch {
            throw Self.sluiceError(error)
        }
        return shard
    }

    /// The room on the file system of the directory.
    package func diskSpace() throws(SluiceError) -> DiskSpace {
        do throws(SystemError) {
            return try DiskSpace.query(path)
        } catch {
            throw Self.sluiceError(error)
        }
    }
}

// MARK: - Whose directory it is

extension NodeDirectory {
    private static func readIdentity(
        _ path: String,
        newSecret: NodeIdentity.Secret
    ) throws(SluiceError) -> NodeIdentity? {
        let filePath = "\(path)/\(nodeFile)"
        let bytes: [UInt8]
        do throws(SystemError) {
            guard try FileSystem.size(of: filePath) != nil else { return nil }
            bytes = try SystemFile.open(filePath, O_RDONLY).read(at: 0, length: nodeFileBytes)
        } catch {
            throw sluiceError(error)
        }
        do throws(NodeIdentity.ReadingError) {
            return try NodeIdentity(text: String(decoding: bytes, as: UTF8.self), newSecret: newSecret)
        } catch {
            switch error {
            case .newer(let format):
                throw SluiceError(
                    .versionNotSupported,
                    "\(path) has format \(format); this version reads up to format \(NodeIdentity.currentFormat)",
                    hint: "start it with the version that wrote it, or a newer one"
                )
            case .damaged(let reason):
                throw SluiceError(
                    .storageUnavailable,
                    "\(filePath) is damaged: \(reason)",
                    hint: "restore this file from a backup; it says whose directory this is"
                )
            }
        }
    }

    private static func check(
        _ found: NodeIdentity,
        path: String,
        nodeName: String?,
        nodeID: String?
    ) throws(SluiceError) {
        let hint = "point the data directory to this node's own, or configure the node as the one that owns it"
        if let nodeName, nodeName != found.name {
            throw SluiceError(.alreadyExists, "\(path) belongs to node '\(found.name)', not '\(nodeName)'", hint: hint)
        }
        if let nodeID, nodeID != found.id {
            throw SluiceError(.alreadyExists, "\(path) belongs to node id \(found.id), not \(nodeID)", hint: hint)
        }
    }

    private static func write(_ identity: NodeIdentity, path: String) throws(SystemError) {
        let directory = try SystemFile.openDirectory(path)
        let final = "\(path)/\(nodeFile)"
        let temporary = final + ".new"
        let file = try SystemFile.open(temporary, O_WRONLY | O_CREAT | O_TRUNC)
        try file.write(Array(identity.text.utf8))
        try file.sync()
        try FileSystem.rename(temporary, to: final)
        try directory.sync()
    }

    /// A directory without a `NODE` file must hold nothing but what an interrupted start leaves.
    private static func refuseForeignContent(_ path: String) throws(SluiceError) {
        let expected: Set<String> = [lockFile, nodeFile + ".new", "lost+found"]
        let names: [String]
        do throws(SystemError) {
            names = try FileSystem.names(in: path)
        } catch {
            throw sluiceError(error)
        }
        guard !names.contains(nodeFile) else { return }
        guard let foreign = names.filter({ !expected.contains($0) }).min() else { return }
        throw SluiceError(
            .invalidArgument,
            "\(path) is not empty and not a Sluice data directory: it holds '\(foreign)' and no \(nodeFile) file",
            hint: "choose an empty or a new directory"
        )
    }
}

// MARK: - One server at a time

extension NodeDirectory {
    private static func takeLock(_ path: String) throws(SluiceError) -> SystemFile {
        let inUse: String
        do throws(SystemError) {
            let file = try SystemFile.open("\(path)/\(lockFile)", O_RDWR | O_CREAT)
            if try file.tryLock() {
                try file.replaceContent(Array("\(getpid())\n".utf8))
                return file
            }
            let holder = String(decoding: try file.read(at: 0, length: 32).prefix { $0 != 0x0A }, as: UTF8.self)
            inUse = holder.isEmpty ? "another process" : "process \(holder)"
        } catch {
            throw sluiceError(error)
        }
        throw SluiceError(
            .storageUnavailable,
            "\(path) is in use by \(inUse)",
            hint: "stop that server first, or give this one a directory of its own"
        )
    }

    private static func makeDirectories(_ path: String) throws(SystemError) {
        if try FileSystem.size(of: path) != nil { return }
        let parent = FileSystem.parent(of: path)
        if parent != path { try makeDirectories(parent) }
        if try FileSystem.makeDirectory(path) { try SystemFile.openDirectory(parent).sync() }
    }

    private static func sluiceError(_ error: SystemError) -> SluiceError {
        switch error.number {
        case EACCES, EPERM, EROFS:
            return SluiceError(.denied, error.text, hint: "give the server's user the right to write there")
        case ENOSPC, EDQUOT:
            return SluiceError(.storageFull, error.text, hint: "free some space on that file system")
        case ENOTDIR:
            return SluiceError(.invalidArgument, error.text, hint: "a part of the path is a file, not a directory")
        default:
            return SluiceError(.storageUnavailable, error.text)
        }
    }
}
