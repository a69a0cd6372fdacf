/// A segment on a simulated disk: what is durable, and what was written since.
struct SimulatedSegment: Sendable {
    /// What a disk writes as a whole or not at all.
    static let sectorBytes = 512

    struct PendingWrite: Sendable {
        /// Counted from one over the whole disk.
        var number: UInt64
        var offset: Int
        var bytes: [UInt8]
        /// A sync of it failed: no later one makes it durable.
        var isAbandoned = false

        var sectors: ClosedRange<Int> {
            offset / SimulatedSegment.sectorBytes...(offset + bytes.count - 1) / SimulatedSegment.sectorBytes
        }
    }

    /// What a crash keeps, with everything decided that concerns all segments.
    enum Keeping {
        case nothing
        case everything
        /// The writes before this number, and some first sectors of that one.
        case writes(before: UInt64, sectors: Int)
        /// Each sector with this chance out of a hundred.
        case sectors(chance: Int)
    }

    private(set) var durable: PagedBytes
    /// What reads see.
    private(set) var visible: PagedBytes
    /// In their order; none is empty.
    private(set) var pending: [PendingWrite] = []
    var isReady = false

    init(content: PagedBytes) {
        durable = content
        visible = content
    }

    var size: Int { visible.count }

    mutating func write(_ bytes: [UInt8], at offset: Int, number: UInt64) {
        guard !bytes.isEmpty else { return }
        bytes.withUnsafeBytes { visible.write($0, at: offset) }
        pending.append(PendingWrite(number: number, offset: offset, bytes: bytes))
    }

    /// Makes the writes up to this number durable, except for those that are abandoned.
    mutating func sync(through number: UInt64) {
        guard let first = pending.first, first.number <= number else { return }
        for write in pending where write.number <= number && !write.isAbandoned { durable.apply(write) }
        pending.removeAll { $0.number <= number && !$0.isAbandoned }
    }

    mutating func abandon(through number: UInt64) {
        for index in pending.indices where pending[index].number <= number { pending[index].isAbandoned = true }
    }

    mutating func damage(_ bytes: [UInt8]) {
        durable = PagedBytes(bytes)
        visible = durable
        pending = []
    }

    /// This segment after the process has ended and a new one has opened it: everything is durable, except that any
    /// sector may be without its abandoned writes.
    func reopened(_ generator: inout SeededGenerator) -> SimulatedSegment {
        var content = durable
        var keeps: [Int: Bool] = [:]
        for write in pending {
            guard write.isAbandoned else {
                content.apply(write)
                continue
            }
            for sector in write.sectors {
                let isKept = keeps[sector] ?? generator.percent(50)
                keeps[sector] = isKept
                if isKept { content.apply(write, sector: sector) }
            }
        }
        return settled(content)
    }

    /// This segment after a crash of the machine.
    func crashed(_ keeping: Keeping, _ generator: inout SeededGenerator) -> SimulatedSegment {
        var content = durable
        switch keeping {
        case .nothing:
            break
        case .everything:
            for write in pending { content.apply(write) }
        case .writes(let limit, let sectors):
            for write in pending where write.number <= limit {
                if write.number < limit {
                    content.apply(write)
                } else {
                    for sector in write.sectors.prefix(sectors) { content.apply(write, sector: sector) }
                }
            }
        case .sectors(let chance):
            scatter(into: &content, chance: chance, &generator)
        }
        return settled(content)
    }

    private func settled(_ content: PagedBytes) -> SimulatedSegment {
        var segment = SimulatedSegment(content: content)
        segment.isReady = isReady
        return segment
    }

    /// A sector is written as a whole, so what is found of it is the state after one of its writes: each write that
    /// touches it counts as a version, and all writes up to the chosen one have happened to it.
    private func scatter(into content: inout PagedBytes, chance: Int, _ generator: inout SeededGenerator) {
        var versions: [Int: Int] = [:]
        for write in pending {
            for sector in write.sectors { versions[sector, default: 0] += 1 }
        }
        var left: [Int: Int] = [:]
        for write in pending {
            for sector in write.sectors {
                let remaining = left[sector] ?? Self.chooseVersion(of: versions[sector] ?? 0, chance, &generator)
                if remaining > 0 { content.apply(write, sector: sector) }
                left[sector] = remaining - 1
            }
        }
    }

    /// How many of a sector's writes have reached the disk.
    private static func chooseVersion(of count: Int, _ chance: Int, _ generator: inout SeededGenerator) -> Int {
        guard generator.percent(chance) else { return 0 }
        return generator.percent(75) ? count : Int.random(in: 1...max(count, 1), using: &generator)
    }
}

extension PagedBytes {
    fileprivate mutating func apply(_ pending: SimulatedSegment.PendingWrite) {
        pending.bytes.withUnsafeBytes { write($0, at: pending.offset) }
    }

    /// The part of a write that lies in one sector.
    fileprivate mutating func apply(_ pending: SimulatedSegment.PendingWrite, sector: Int) {
        let sectorBytes = SimulatedSegment.sectorBytes
        let start = max(sector * sectorBytes, pending.offset)
        let end = min((sector + 1) * sectorBytes, pending.offset + pending.bytes.count)
        pending.bytes.withUnsafeBytes { bytes in
            write(
                UnsafeRawBufferPointer(rebasing: bytes[start - pending.offset..<end - pending.offset]),
                at: start
            )
        }
    }
}
