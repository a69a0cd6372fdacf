import CSluiceShims
import Glibc
import StorageEngine
import Synchronization

/// What removed segments that are kept for reuse take.
final class SpareBytes: Sendable {
    let value = Atomic<Int>(0)
}

/// Makes segments and takes the removed ones' blocks over. Belongs to the background thread.
struct SegmentMaker: ~Copyable {
    /// Removed segments that are kept for reuse: one to be handed out while the next one arrives.
    static let spares = 2
    /// Zeros go to the disk in pieces of this size, between which reads are served.
    static let pieceBytes = 1 << 20

    private struct Spare {
        var path: String
        var size: Int
    }

    private let path: String
    private let directory: SystemFile
    private let spareBytes: SpareBytes
    private var spares: [Spare] = [] {
        didSet { spareBytes.value.store(spares.reduce(0) { $0 + $1.size }, ordering: .relaxed) }
    }
    private var nextSpare = 0
    /// The size that was asked for last: another one's blocks are of no use.
    private var currentSize: Int?

    /// - Parameter leftSpares: names of spares of an earlier run.
    init(path: String, directory: SystemFile, leftSpares: [String], spareBytes: SpareBytes) {
        self.spareBytes = spareBytes
        self.path = path
        self.directory = directory
        for name in leftSpares {
            let spare = "\(path)/\(name)"
            if spares.count < Self.spares, let size = try? FileSystem.size(of: spare) {
                spares.append(Spare(path: spare, size: size))
            } else {
                try? FileSystem.remove(spare)
            }
        }
        spareBytes.value.store(spares.reduce(0) { $0 + $1.size }, ordering: .relaxed)
    }

    /// Makes a segment, durable under its name when this returns.
    /// - Parameters:
    ///   - isAhead: write its blocks, so that later syncs of its content need no metadata with them.
    ///   - betweenPieces: called often enough that what cannot wait gets done.
    mutating func make(
        _ number: UInt64,
        size: Int,
        isAhead: Bool,
        betweenPieces: () -> Void
    ) throws(SystemError) -> SegmentFile {
        let final = SegmentNames.path(of: number, in: path)
        currentSize = size
        let temporary = final + SegmentNames.newSuffix
        var isBlank = false
        do throws(SystemError) {
            if let spare = takeSpare(size: size) {
                try FileSystem.rename(spare, to: final)
            } else {
                let file = try SystemFile.open(temporary, O_RDWR | O_CREAT | O_TRUNC)
                let isReserved = try reserve(file, size: size)
                isBlank = !isAhead && isReserved
                if !isBlank { try fillWithZeros(file, size: size, betweenPieces: betweenPieces) }
                try file.sync()
                try FileSystem.rename(temporary, to: final)
            }
            try directory.sync()
            let file = try SystemFile.open(final, O_RDWR)
            return SegmentFile(number: number, size: size, file: file, frontier: 0, isBlank: isBlank)
        } catch {
            try? FileSystem.remove(temporary)
            try? FileSystem.remove(final)
            throw error
        }
    }

    /// Fills a part of a segment that is in use with zeros, in front of the log.
    /// - Parameter goesOn: called between pieces; false where there is no time for more.
    func fill(_ segment: SegmentFile, _ range: Range<Int>, goesOn: () -> Bool) throws(SystemError) {
        // In the page cache they would be a part of the log's next sync.
        guard let direct = SystemFile.openDirect(segment.file.path) else { return }
        let zeros = UnsafeMutableRawBufferPointer.allocate(
            byteCount: SegmentFile.zeroPieceBytes,
            alignment: SegmentFile.blockBytes
        )
        defer { zeros.deallocate() }
        zeros.initializeMemory(as: UInt8.self, repeating: 0)
        for start in stride(from: range.lowerBound, to: range.upperBound, by: zeros.count) {
            guard try segment.fillPiece(at: start, with: UnsafeRawBufferPointer(zeros), through: direct), goesOn()
            else { return }
        }
    }

    /// Takes a segment's file away, to be used again if it fits. Errors are left for the next start to meet.
    /// - Parameter isReusable: false where its disk cannot be trusted.
    mutating func remove(_ number: UInt64, size: Int, isReusable: Bool) {
        let segment = SegmentNames.path(of: number, in: path)
        if isReusable, spares.count < Self.spares, currentSize.map({ $0 == size }) ?? true {
            let spare = "\(path)/\(SegmentNames.sparePrefix)\(nextSpare)"
            let isTaken = spares.contains { $0.path == spare }
            nextSpare = (nextSpare + 1) % (Self.spares + 1)
            if !isTaken, (try? FileSystem.rename(segment, to: spare)) != nil {
                spares.append(Spare(path: spare, size: size))
                return
            }
        }
        try? FileSystem.remove(segment)
    }

    /// The path of a spare of just this size; those of other sizes are removed.
    private mutating func takeSpare(size: Int) -> String? {
        while let spare = spares.popLast() {
            if spare.size == size { return spare.path }
            try? FileSystem.remove(spare.path)
        }
        return nil
    }

    /// - Returns: false where the file system cannot reserve blocks.
    private func reserve(_ file: SystemFile, size: Int) throws(SystemError) -> Bool {
        // Asked first, because a file system may fill itself up before it finds that the rest does not fit.
        let space = try DiskSpace.query(path)
        guard size <= space.available else {
            throw SystemError("cannot reserve \(size) bytes for", file.path, number: ENOSPC)
        }
        while sluice_reserve_blocks(file.descriptor, Int64(size)) != 0 {
            switch errno {
            case EINTR: continue
            case EOPNOTSUPP, ENOSYS: return false
            default: throw SystemError("cannot reserve \(size) bytes for", file.path)
            }
        }
        return true
    }

    /// Writes zeros past the page cache, where the file system can: so much data at once in the cache would slow the
    /// log's own syncs.
    private func fillWithZeros(_ file: SystemFile, size: Int, betweenPieces: () -> Void) throws(SystemError) {
        let zeros = UnsafeMutableRawBufferPointer.allocate(
            byteCount: min(Self.pieceBytes, size),
            alignment: SegmentFile.blockBytes
        )
        defer { zeros.deallocate() }
        zeros.initializeMemory(as: UInt8.self, repeating: 0)
        var direct: SystemFile? = SystemFile.openDirect(file.path)
        var offset = 0
        while offset < size {
            let count = min(zeros.count, size - offset)
            let piece = UnsafeRawBufferPointer(rebasing: zeros[..<count])
            if let open = direct, count.isMultiple(of: SegmentFile.blockBytes) {
                do throws(SystemError) {
                    try open.write(piece, at: offset)
                } catch {
                    guard error.number == EINVAL else { throw error }
                    // The file system took the flag but not the write.
                    direct = nil
                    continue
                }
            } else {
                try file.write(piece, at: offset)
            }
            offset += count
            betweenPieces()
        }
    }
}
