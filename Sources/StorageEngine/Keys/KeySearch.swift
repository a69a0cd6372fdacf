internal import MessageModel

/// Looks for a hash, or for all that leads to publications, in one key file, without touching the file: `next` says what to read, `received` takes what was read.
///
/// ```
/// loop: switch search.next() {
/// case .read(let offset, let length): /* read that part of the file, then */ search.received(bytes)
/// case .found(let matches): /* read the messages and compare their keys */
/// case .refused(let problem): /* this file, or a block of it, is damaged */
/// case .done: break loop
/// }
/// ```
struct KeySearch {
    enum Step: Equatable {
        /// A part of the file is needed, `length` bytes from `offset` on.
        case read(offset: Int, length: Int)
        /// Some places, in the order of their times; more may follow.
        case found([KeyMatch])
        /// What is damaged; after a block the search goes on behind it, otherwise it is done.
        case refused(KeyFile.Problem)
        case done
    }

    private enum State {
        case needsHeader
        case needsFences(KeyFile.Header)
        /// These blocks are still to be read.
        case needsBlocks(KeyFile.Directory, Range<Int>)
        case done
    }

    /// Blocks that are read at once: 48 KiB.
    static let blocksPerRead = 16

    let segment: UInt64
    let epoch: UInt32
    /// Nil: entries that lead to records which published messages that had been stored before.
    let hash: UInt64?
    let times: ClosedRange<UInt64>
    private var state: State
    /// What is to be told before anything more is read.
    private var pending: [Step] = []
    /// What was read of the file before the entries; nil before it was. Give it to the next search in the same file.
    private(set) var directory: KeyFile.Directory?

    /// - Parameter directory: what an earlier search left of the same file.
    init(
        segment: UInt64,
        epoch: UInt32,
        hash: UInt64?,
        times: ClosedRange<UInt64>,
        directory: KeyFile.Directory? = nil
    ) {
        self.segment = segment
        self.epoch = epoch
        self.hash = hash
        self.times = times
        state = .needsHeader
        if let directory, directory.header.segment == segment, directory.header.epoch == epoch {
            begin(directory)
        }
    }

    /// What is to be done next. The same again where a read was asked for and has not come.
    mutating func next() -> Step {
        if !pending.isEmpty { return pending.removeFirst() }
        switch state {
        case .needsHeader: return .read(offset: 0, length: KeyFile.headerBytes)
        case .needsFences(let header):
            return .read(offset: KeyFile.headerBytes, length: header.blockCount * KeyFile.fenceBytes)
        case .needsBlocks(let directory, let blocks):
            let group = blocks.prefix(Self.blocksPerRead)
            let start = directory.header.entriesOffset + group.lowerBound * KeyFile.blockBytes
            return .read(offset: start, length: group.reduce(0) { $0 + directory.header.blockBytes($1) })
        case .done: return .done
        }
    }

    /// Takes the bytes that `next` asked for; fewer mean that the file ends there.
    mutating func received(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { received($0) }
    }

    private mutating func received(_ bytes: UnsafeRawBufferPointer) {
        switch state {
        case .needsHeader:
            guard bytes.count == KeyFile.headerBytes else { return refuse(.length) }
            guard let header = KeyFile.Header(bytes) else { return refuse(.header) }
            guard header.segment == segment, header.epoch == epoch else { return refuse(.wrongSegment) }
            guard header.count > 0, header.firstTime <= times.upperBound, header.lastTime >= times.lowerBound else {
                state = .done
                return
            }
            guard hash != nil || header.hasPublications else {
                state = .done
                return
            }
            state = .needsFences(header)
        case .needsFences(let header):
            guard bytes.count == header.blockCount * KeyFile.fenceBytes else { return refuse(.length) }
            guard let directory = KeyFile.Directory(header: header, fences: bytes) else { return refuse(.fences) }
            begin(directory)
        case .needsBlocks(let directory, let blocks):
            let group = blocks.prefix(Self.blocksPerRead)
            let rest = group.upperBound..<blocks.upperBound
            state = rest.isEmpty ? .done : .needsBlocks(directory, rest)
            var place = 0
            for block in group {
                let length = directory.header.blockBytes(block)
                guard bytes.count - place >= length else { return refuse(.length) }
                read(bytes.slice(place..<place + length), block, directory)
                place += length
            }
        case .done: break
        }
    }

    private mutating func begin(_ directory: KeyFile.Directory) {
        self.directory = directory
        let blocks = hash.map { directory.blocks(of: $0, in: times) } ?? 0..<directory.fences.count
        state = blocks.isEmpty ? .done : .needsBlocks(directory, blocks)
    }

    private mutating func read(_ bytes: UnsafeRawBufferPointer, _ block: Int, _ directory: KeyFile.Directory) {
        guard Checksum.crc32c(bytes) == directory.fences[block].checksum else {
            pending.append(.refused(.block(block)))
            return
        }
        let found = KeyFile.entries(in: bytes)
            .filter { isWanted($0) && times.contains($0.time) }
            .map { $0.match(base: directory.header.base) }
        if !found.isEmpty { pending.append(.found(found)) }
    }

    private func isWanted(_ entry: KeyEntry) -> Bool { hash.map { $0 == entry.hash } ?? entry.isPublication }

    private mutating func refuse(_ problem: KeyFile.Problem) {
        state = .done
        pending.append(.refused(problem))
    }
}
