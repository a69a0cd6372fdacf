internal import MessageModel
internal import StorageEngine
internal import StorageService

/// Openings, ends and faults.
extension ShardHost {
    // MARK: Opening

    /// Opens the shard that the disk holds; the first time there is nothing.
    func open() throws(Violation) {
        for attempt in 0... {
            do throws(SluiceError) {
                shard = try Shard.open(device: disk, options: shardOptions)
                break
            } catch {
                note("opening failed: \(error)")
                check(faults.failsReads && attempt == 0, "the shard cannot be opened: \(error)")
                try throwViolation()
            }
        }
        faults = LifeFaults()
        called()
    }

    /// A client event before the shard serves.
    func waitForService() throws(Violation) {
        if hasFaults, hasBegun, random.percent(2) {
            try endLife()
        } else if let shard, !shard.isReady, faults.isFull || faults.hasFailedLog {
            try serveFault()
        }
    }

    /// Runs until the shard serves, with faults healed.
    func runUntilReady() throws(Violation) {
        guard let shard else { return }
        let isReady = try run { shard.isReady }
        check(isReady, "the shard is not ready, and nothing happens any more")
        try throwViolation()
        isServing = true
    }

    // MARK: Faults

    /// - Returns: whether this step was used for it.
    func actOnFaults() throws(Violation) -> Bool {
        if faults.hasFailedLog || faults.hasFailedSync || faults.isFull {
            guard random.percent(faults.isFull ? 6 : 20) else { return false }
            try serveFault()
            return true
        }
        switch Int.random(in: 0..<2_000, using: &random) {
        case 0..<12:
            try endLife()
            return true
        case 12..<18:
            try closeAndReopen()
            return true
        case 18..<22:
            note("fault: a sync will fail")
            faults.hasFailedLog = true
            disk.faults.sync = .once(after: Int.random(in: 0...3, using: &random))
        case 22..<25:
            note("fault: a write will fail")
            faults.hasFailedLog = true
            disk.faults.write = .once(after: Int.random(in: 0...6, using: &random))
        case 25..<31:
            note("fault: the disk is full")
            lives.fullDisks += 1
            faults.wasFull = true
            faults.isFull = true
            disk.faults.createSegment = .always
            if random.percent(30) { disk.faults.capacity = 0 }
        case 31..<36:
            note("fault: a side file will not be written")
            disk.faults.writeFile = .once(after: Int.random(in: 0...2, using: &random))
        case 36..<40 where readsFail:
            note("fault: a read will fail")
            faults.failsReads = true
            disk.faults.read = .once(after: Int.random(in: 0...3, using: &random))
        default:
            break
        }
        return false
    }

    /// Ends a fault that does not end by itself.
    private func serveFault() throws(Violation) {
        if faults.isFull { freeSpace() }
        guard faults.hasFailedLog || faults.hasFailedSync else { return }
        lives.failedLogs += 1
        // Nothing waits for a log that takes no more writes. Some of what is asked comes when it has failed already.
        if faults.hasFailedLog, random.percent(60) {
            // Leases that nobody ends expire again and again.
            let end = scheduler.now.advanced(byMicroseconds: 2_000_000)
            _ = try run {
                (scheduler.nextTime ?? .never) > scheduler.now.advanced(byMicroseconds: 1_000_000)
                    || scheduler.now > end
            }
            if shard?.health.acceptsWrites == false {
                checkAnswered()
                try throwViolation()
            }
        }
        try endLife()
    }

    private func freeSpace() {
        note("the disk has space again")
        faults.isFull = false
        disk.faults.createSegment = .never
        disk.faults.capacity = .max
    }

    // MARK: Ends

    /// Kills the process or cuts the power, now; opens what is there and checks it.
    func endLife() throws(Violation) {
        var end = ShardModel.End.none
        var ends = 1
        while ends > 0 {
            ends -= 1
            let isKill = random.percent(40)
            let seed = random.next()
            note(isKill ? "the process is killed" : "the power is cut")
            if isKill { lives.kills += 1 } else { lives.powerCuts += 1 }
            // What the first end left must only be taken further by the next.
            let losesReceived = !isKill || faults.hasFailedSync || end == .powerCut
            end = losesReceived ? .powerCut : .kill
            forgetLife()
            disk = isKill ? disk.killed(seed: seed) : disk.crashed(seed: seed)
            try loseDerivedFiles()
            if random.percent(10) { disk.faults.read = .once(after: Int.random(in: 0...4, using: &random)) }
            faults.failsReads = true
            try open()
            disk.faults.read = .never
            if random.percent(15) {
                // And again, while it is being opened.
                let count = Int.random(in: 0...40, using: &random)
                var events = 0
                _ = try run {
                    events += 1; return events > count
                }
                ends += 1
            }
        }
        try runUntilReady()
        try lifeBegan(after: end, isClean: false)
        historyBegins()
    }

    /// Sometimes what can be made again from the log is not there.
    private func loseDerivedFiles() throws(Violation) {
        guard random.percent(25), let files = try? disk.listFilesNow() else { return }
        let snapshots = files.filter { $0.hasPrefix("snapshot") }
        switch Int.random(in: 0..<5, using: &random) {
        case 0:
            note("all side files are lost")
            for file in files { disk.lose(file: file) }
        case 1:
            note("all index files are lost")
            for file in files where !file.hasPrefix("snapshot") { disk.lose(file: file) }
        case 2:
            guard let file = files.filter({ !$0.hasPrefix("snapshot") }).randomElement(using: &random) else { return }
            note("\(file) is lost")
            disk.lose(file: file)
        case 3:
            note("all snapshots are lost")
            for file in snapshots { disk.lose(file: file) }
        default:
            guard let file = snapshots.last, let bytes = try? disk.readFileNow(file) else { return }
            let place = Int.random(in: bytes.indices, using: &random)
            note("\(file) is damaged at \(place)")
            disk.flipBit(file: file, offset: place, bit: Int.random(in: 0..<8, using: &random))
        }
    }

    /// Closes the shard in order and opens it again on the same disk.
    func closeAndReopen() throws(Violation) {
        if faults.isFull { freeSpace() }
        guard let shard else { return }
        if faults.hasFailedLog || faults.hasFailedSync || !shard.isReady { return try endLife() }
        note("the shard is closed")
        lives.closes += 1
        disk.faults.read = .never
        closeSessions(shard)
        shard.close()
        called()
        let isClosed = try run { shard.isClosed }
        check(isClosed, "the shard does not close")
        let health = shard.health
        check(
            health.durable == health.end,
            "the shard was closed with \(health.end.rawValue - health.durable.rawValue) bytes not synced"
        )
        try throwViolation()
        forgetLife()
        for event in disk.completeAll() { _ = event }
        let isPowerCut = random.percent(30) && !keepsHistory
        if isPowerCut { disk = disk.crashed(seed: random.next()) }
        try open()
        try runUntilReady()
        try lifeBegan(after: .none, isClean: true)
        if isPowerCut { historyBegins() }
    }
}
