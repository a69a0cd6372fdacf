internal import MessageModel
internal import StorageEngine

/// Every crash point of a short history of deliveries: the disk as it can be found behind each of its first operations,
/// opened and checked.
package struct DeliveryCrashPoints {
    package struct Report: Sendable, CustomStringConvertible {
        package var operations = 0
        package var openings = 0
        package var messages = 0
        package var description: String {
            "\(operations) disk operations, \(openings) openings, \(messages) waiting messages checked"
        }
        package static func += (left: inout Report, right: Report) {
            left.operations += right.operations
            left.openings += right.openings
            left.messages += right.messages
        }
        package init() {}
    }

    let seed: UInt64
    /// How many ways to lose what was not synced are tried at each point.
    let variants: Int

    package init(seed: UInt64, variants: Int = 1) {
        self.seed = seed
        self.variants = variants
    }

    /// Makes a history of so many client steps and goes through all of its crash points.
    package func run(steps: Int) throws(ShardHost.Violation) -> Report {
        var options = DeliverySimulation.Options()
        options.keepsHistory = true
        options.hasFaults = false
        let simulation = DeliverySimulation(seed: seed, options: options)
        try simulation.runWithoutRest(steps: steps)
        var report = Report()
        report.operations = simulation.disk.history.count
        var random = SeededGenerator(seed: seed)
        for prefix in 0...simulation.disk.history.count {
            for _ in 0..<variants { try simulation.checkCrashPoint(prefix, &random, &report) }
        }
        return report
    }
}

extension DeliverySimulation {
    /// A history for crash points: what was done is not looked at afterwards.
    fileprivate func runWithoutRest(steps: Int) throws(Violation) {
        try open()
        for _ in 0..<steps { try clientStep() }
    }

    fileprivate func checkCrashPoint(
        _ prefix: Int,
        _ random: inout SeededGenerator,
        _ report: inout DeliveryCrashPoints.Report
    ) throws(Violation) {
        let disk = disk.diskAfter(prefix: prefix, seed: random.next())
        var text = "crash behind operation \(prefix)"
        if random.percent(30), let files = try? disk.listFilesNow() {
            let losesAll = random.percent(50)
            text += losesAll ? ", side files lost" : ", snapshots lost"
            for file in files where losesAll || file.hasPrefix("snapshot") { disk.lose(file: file) }
        }
        let check = DeliverySimulation(
            seed: seed,
            options: options,
            shard: shardOptions,
            model: model,
            disk: disk,
            schedulerSeed: random.next()
        )
        check.scheduler.advance(to: scheduler.now)
        check.isRecovering = true
        do throws(Violation) {
            try check.open()
            try check.runUntilReady()
            let found = try check.observe()
            // Time has passed since: what was due in between may be there.
            model.now = max(model.now, check.scheduler.now)
            model.verify(found, stamp: prefix, isCrash: true)
            try check.throwViolation()
            report.openings += 1
            report.messages += found.waiting.values.reduce(0) { $0 + $1.count }
        } catch {
            throw Violation(seed: seed, message: "\(text): \(error.message)", trace: trace + ["--"] + error.trace)
        }
    }
}
