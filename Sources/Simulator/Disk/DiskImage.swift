/// The state of a simulated disk as a value.
struct DiskImage: Sendable {
    /// A side file whose replacement has begun.
    private struct FileWrite: Sendable {
        var name: String
        var bytes: [UInt8]
    }

    /// Removed segments that may be found again after a crash, at most: older removals count as durable.
    private static let removedSegments = 4

    private(set) var segments: [UInt64: SimulatedSegment] = [:]
    /// A removal is not synced: a crash may undo it. In the order of removal.
    private var removed: [(number: UInt64, segment: SimulatedSegment)] = []
    /// The segments that are being made from removed ones, and from which.
    private var reusing: [UInt64: UInt64] = [:]
    private(set) var files: [String: [UInt8]] = [:]
    private var removedFiles: [String: [UInt8]] = [:]
    /// In the order in which they began.
    private var fileWrites: [FileWrite] = []
    /// How many writes there were.
    private(set) var writes: UInt64 = 0

    /// The size of everything, as far as it takes blocks.
    var usedBytes: Int {
        segments.values.reduce(0) { $0 + $1.size } + files.values.reduce(0) { $0 + $1.count }
    }

    /// A removed segment whose blocks a new one can take.
    func reusableSegment(size: Int) -> UInt64? {
        let taken = Set(reusing.values)
        return removed.first { $0.segment.size == size && !taken.contains($0.number) }?.number
    }

    mutating func apply(_ operation: DiskOperation) {
        switch operation {
        case .startedSegment(let number, let size, let reused):
            let old = reused.flatMap { reused in removed.first { $0.number == reused } }
            segments[number] = SimulatedSegment(content: old?.segment.visible ?? PagedBytes(zeros: size))
            if let old { reusing[number] = old.number }
        case .finishedSegment(let number):
            segments[number]?.isReady = true
            if let old = reusing.removeValue(forKey: number) { removed.removeAll { $0.number == old } }
            // The directory was synced: what had this number before is gone for good.
            removed.removeAll { $0.number == number }
        case .failedSegment(let number):
            segments[number] = nil
            reusing[number] = nil
        case .removedSegment(let number):
            guard let segment = segments.removeValue(forKey: number) else { return }
            removed.append((number, segment))
            forgetOldRemovals()
        case .wrote(let number, let offset, let bytes):
            writes += 1
            segments[number]?.write(bytes, at: offset, number: writes)
        case .synced(let writes):
            for number in Array(segments.keys) { segments[number]?.sync(through: writes) }
        case .failedSync(let writes):
            for number in Array(segments.keys) { segments[number]?.abandon(through: writes) }
        case .startedFile(let name, let bytes):
            fileWrites.append(FileWrite(name: name, bytes: bytes))
        case .finishedFile(let name):
            guard let index = fileWrites.firstIndex(where: { $0.name == name }) else { return }
            files[name] = fileWrites.remove(at: index).bytes
            removedFiles[name] = nil
        case .failedFile(let name):
            guard let index = fileWrites.firstIndex(where: { $0.name == name }) else { return }
            fileWrites.remove(at: index)
        case .removedFile(let name):
            removedFiles[name] = files.removeValue(forKey: name)
        case .damagedSegment(let number, let bytes):
            if let bytes { segments[number]?.damage(bytes) } else { segments[number] = nil }
        case .damagedFile(let name, let bytes):
            files[name] = bytes
        }
    }

    private mutating func forgetOldRemovals() {
        let taken = Set(reusing.values)
        while removed.count > Self.removedSegments,
            let index = removed.firstIndex(where: { !taken.contains($0.number) })
        {
            removed.remove(at: index)
        }
    }
}

// MARK: - Ends

extension DiskImage {
    /// What a new process finds after this one has been killed, the machine running on.
    func afterKill(_ generator: inout SeededGenerator) -> DiskImage {
        var image = withUnfinishedWorkDecided(&generator)
        for number in image.segments.keys.sorted() {
            image.segments[number] = image.segments[number]?.reopened(&generator)
        }
        return image
    }

    /// What is found after the machine has lost its power.
    func afterCrash(_ style: CrashStyle, _ generator: inout SeededGenerator) -> DiskImage {
        var image = withUnfinishedWorkDecided(&generator)
        for (number, segment) in removed where image.segments[number] == nil {
            let isTaken = reusing.contains { $0.value == number && image.segments[$0.key] != nil }
            if !isTaken && generator.percent(50) { image.segments[number] = segment }
        }
        for (name, bytes) in removedFiles.sorted(by: { $0.key < $1.key }) where image.files[name] == nil {
            if generator.percent(50) { image.files[name] = bytes }
        }
        let keeping = image.keeping(style, &generator)
        for number in image.segments.keys.sorted() {
            image.segments[number] = image.segments[number]?.crashed(keeping, &generator)
        }
        return image
    }

    /// Segments that were being made are there or not; side files that were being written are old or new.
    private func withUnfinishedWorkDecided(_ generator: inout SeededGenerator) -> DiskImage {
        var image = self
        image.removed = []
        image.reusing = [:]
        image.removedFiles = [:]
        image.fileWrites = []
        for (number, segment) in segments.sorted(by: { $0.key < $1.key }) where !segment.isReady {
            if generator.percent(50) {
                image.segments[number]?.isReady = true
            } else {
                image.segments[number] = nil
            }
        }
        // They are carried out in their order: that a later one has happened means that an earlier one has.
        for write in fileWrites.prefix(Int.random(in: 0...fileWrites.count, using: &generator)) {
            image.files[write.name] = write.bytes
        }
        return image
    }

    private func keeping(_ style: CrashStyle, _ generator: inout SeededGenerator) -> SimulatedSegment.Keeping {
        switch style {
        case .any:
            let styles = CrashStyle.allCases.filter { $0 != .any }
            return keeping(styles.randomElement(using: &generator) ?? .losesAll, &generator)
        case .losesAll:
            return .nothing
        case .keepsAll:
            return .everything
        case .keepsPrefix:
            let pending = segments.values.flatMap(\.pending).sorted { $0.number < $1.number }
            guard let last = pending.randomElement(using: &generator) else { return .nothing }
            return .writes(before: last.number, sectors: Int.random(in: 0...last.sectors.count, using: &generator))
        case .scatters:
            return .sectors(chance: Int.random(in: 10...90, using: &generator))
        }
    }
}
