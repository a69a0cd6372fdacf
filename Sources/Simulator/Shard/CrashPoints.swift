internal import MessageModel
internal import StorageEngine

/// Every crash point of a short history: the disk as it can be found behind each of its first operations, opened and
/// checked.
package struct CrashPoints {
    package struct Report: Sendable, CustomStringConvertible {
        package var operations = 0
        package var openings = 0
        package var batches = 0
        package var description: String {
            "\(operations) disk operations, \(openings) openings, \(batches) batches checked"
        }
        package init() {}
    }

    let seed: UInt64
    /// How many ways to lose what was not synced are tried at each point.
    let variants: Int

    package init(seed: UInt64, variants: Int = 2) {
        self.seed = seed
        self.variants = variants
    }

    /// Makes a history of so many client steps and goes through all of its crash points.
    package func run(steps: Int) throws(ShardSimulation.Violation) -> Report {
        var options = ShardSimulation.Options()
        options.keepsHistory = true
        options.hasFaults = false
        let simulation = ShardSimulation(seed: seed, options: options)
        _ = try simulation.run(steps: steps)
        var report = Report()
        report.operations = simulation.disk.history.count
        var random = SeededGenerator(seed: seed)
        for prefix in 0...simulation.disk.history.count {
            for _ in 0..<variants { try simulation.checkCrashPoint(prefix, &random, &report) }
        }
        return report
    }
}

extension ShardSimulation {
    /// What is done to a disk between a crash and the opening: derived data must not be needed.
    private enum Loss: CaseIterable {
        case nothing, everythingDerived, indexFiles, newestSnapshot
    }

    fileprivate func checkCrashPoint(
        _ prefix: Int,
        _ random: inout SeededGenerator,
        _ report: inout CrashPoints.Report
    ) throws(Violation) {
        let disk = disk.diskAfter(prefix: prefix, seed: random.next())
        let loss = random.percent(60) ? Loss.nothing : Loss.allCases.randomElement(using: &random) ?? .nothing
        lose(loss, of: disk, &random)
        var check = ShardSimulation(checking: self, disk, seed: random.next())
        try check.openAndVerify(prefix, "crash behind operation \(prefix), then \(loss)", &report)
        // And again, behind what the opening itself did: at any point of it, and when it was done.
        for _ in 0..<2 where random.percent(30) {
            let next = check.disk.diskAfter(
                prefix: Int.random(in: 0...check.disk.history.count, using: &random),
                seed: random.next()
            )
            check = ShardSimulation(checking: self, next, seed: random.next())
            try check.openAndVerify(prefix, "crash behind operation \(prefix), then \(loss), then again", &report)
        }
    }

    private func lose(_ loss: Loss, of disk: SimulatedDisk, _ random: inout SeededGenerator) {
        guard let files = try? disk.listFilesNow() else { return }
        switch loss {
        case .nothing: break
        case .everythingDerived: for file in files { disk.lose(file: file) }
        case .indexFiles: for file in files where file.hasPrefix("index") { disk.lose(file: file) }
        case .newestSnapshot:
            guard let file = files.last(where: { $0.hasPrefix("snapshot") }), let bytes = try? disk.readFileNow(file),
                !bytes.isEmpty
            else { return }
            disk.flipBit(
                file: file,
                offset: Int.random(in: bytes.indices, using: &random),
                bit: Int.random(in: 0..<8, using: &random)
            )
        }
    }

    /// A simulation that only opens a disk and looks, with the oracle of the one that made it.
    private convenience init(checking other: ShardSimulation, _ disk: SimulatedDisk, seed: UInt64) {
        var options = other.options
        options.shard = other.shardOptions
        self.init(seed: other.seed, options: options, model: other.model, disk: disk, schedulerSeed: seed)
        scheduler.advance(to: other.scheduler.now)
    }

    private func openAndVerify(_ prefix: Int, _ text: String, _ report: inout CrashPoints.Report) throws(Violation) {
        note(text)
        try open()
        try runUntilReady()
        let found = try observe()
        model.verify(found, stamp: prefix, after: .powerCut)
        report.openings += 1
        report.batches += self.report.checkedBatches
        do {
            try throwViolation()
        } catch {
            throw Violation(seed: seed, message: "\(text): \(error.message)", trace: error.trace)
        }
    }
}
