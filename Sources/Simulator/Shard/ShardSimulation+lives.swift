internal import MessageModel
internal import StorageEngine
internal import StorageService

/// Openings, ends and faults.
extension ShardSimulation {
    // MARK: Opening

    /// Opens the shard that the disk holds; the first time there is nothing.
    func open() throws(Violation) {
        for attempt in 0... {
            do throws(SluiceError) {
                shard = try Shard.open(device: disk, options: shardOptions)
                break
            } catch {
                note("opening failed: \(error)")
                model.check(faults.failsReads && attempt == 0, "the shard cannot be opened: \(error)")
                try throwViolation()
            }
        }
        faults = LifeFaults()
        called()
    }

    /// A client event before the shard serves.
    func waitForService() throws(Violation) {
        if options.hasFaults, report.appends > 0, random.percent(2) {
            try endLife()
        } else if let shard, !shard.isReady, faults.isFull || faults.hasFailedLog {
            try serveFault()
        }
    }

    /// Runs until the shard serves, with faults healed.
    func runUntilReady() throws(Violation) {
        guard let shard else { return }
        let isReady = try run { shard.isReady }
        model.check(isReady, "the shard is not ready, and nothing happens any more")
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
            report.fullDisks += 1
            faults.wasFull = true
            faults.isFull = true
            disk.faults.createSegment = .always
            if random.percent(30) { disk.faults.capacity = 0 }
        case 31..<36:
            note("fault: a side file will not be written")
            disk.faults.writeFile = .once(after: Int.random(in: 0...2, using: &random))
        case 36..<40:
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
        report.failedLogs += 1
        // Nothing waits for a log that takes no more writes. Some of what is asked comes when it has failed already.
        if faults.hasFailedLog, random.percent(60) {
            _ = try run { (scheduler.nextTime ?? .never) > scheduler.now.advanced(byMicroseconds: 1_000_000) }
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
            if isKill { report.kills += 1 } else { report.powerCuts += 1 }
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
        try checkRecovery(after: end)
        model.beginHistory()
    }

    func forgetLife() {
        shard = nil
        isServing = false
        scheduler.removeAll()
        isRoundScheduled = false
        timerAt = nil
        completionsScheduled = 0
        sessions = []
        pending = [:]
        answers = [:]
        cancelled = []
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

    private func checkRecovery(after end: ShardModel.End) throws(Violation) {
        let found = try observe()
        model.verify(found, stamp: ShardModel.never - 1, after: end)
        try throwViolation()
        model.adopt(found)
        try throwViolation()
        note("recovered")
    }

    /// Closes the shard in order and opens it again on the same disk.
    func closeAndReopen() throws(Violation) {
        if faults.isFull { freeSpace() }
        guard let shard else { return }
        if faults.hasFailedLog || faults.hasFailedSync || !shard.isReady { return try endLife() }
        note("the shard is closed")
        report.closes += 1
        for session in sessions { shard.closeSession(session.id) }
        sessions = []
        dropPending { _ in true }
        shard.close()
        called()
        let isClosed = try run { shard.isClosed }
        model.check(isClosed, "the shard does not close")
        let health = shard.health
        model.check(
            health.durable == health.end,
            "the shard was closed with \(health.end.rawValue - health.durable.rawValue) bytes not synced"
        )
        try throwViolation()
        forgetLife()
        for event in disk.completeAll() { _ = event }
        let isPowerCut = random.percent(30) && !options.keepsHistory
        if isPowerCut { disk = disk.crashed(seed: random.next()) }
        try open()
        try runUntilReady()
        try checkRecovery(after: .none)
        if isPowerCut { model.beginHistory() }
    }

    // MARK: Looking

    /// Reads everything that the shard has.
    func observe() throws(Violation) -> ShardObservation {
        let wasResting = isResting
        isResting = true
        defer { isResting = wasResting }
        guard let shard else { return ShardObservation() }
        let session = SimulatedSession(id: shard.openSession(tenant: .default))
        sessions.append(session)
        var found = ShardObservation(damaged: shard.damaged)
        if case .success(.topics(let topics, _)) = try ask(.listTopics(after: nil, limit: 1_000), session) {
            for topic in topics {
                var seen = ShardObservation.Topic(id: topic.id, partitions: [], unreadable: [], ends: [])
                for index in topic.partitions.indices {
                    let partition = PartitionID(topic: topic.id, index: UInt16(index))
                    let end = topic.partitions[index].nextOffset
                    let (batches, unreadable) = try readAll(partition, end: end, session)
                    seen.partitions.append(batches)
                    seen.unreadable.append(unreadable)
                    seen.ends.append(end)
                }
                found.topics[topic.name] = seen
            }
        }
        if case .success(.subscriptions(let subscriptions, _)) = try ask(
            .listSubscriptions(after: nil, limit: 1_000),
            session
        ) {
            for seen in subscriptions {
                found.subscriptions[seen.name] = ShardObservation.Subscription(
                    topic: seen.topic ?? TopicID(rawValue: .max),
                    acknowledged: seen.lanes.map(\.acknowledged)
                )
            }
        }
        for producer in model.producers {
            let request = ProducerRequest(resume: producer.id, partition: producer.partition)
            if case .success(.producer(let reply)) = try ask(.openProducer(request), session) {
                found.nextSequences.append(reply.nextSequence)
            } else {
                found.nextSequences.append(nil)
            }
        }
        sessions.removeAll { $0 === session }
        shard.closeSession(session.id)
        called()
        return found
    }

    private func readAll(
        _ partition: PartitionID,
        end: UInt64,
        _ session: SimulatedSession
    ) throws(Violation) -> (batches: [ShardObservation.Batch], unreadable: [UInt64]) {
        var batches: [ShardObservation.Batch] = []
        var unreadable: [UInt64] = []
        var offset: UInt64 = 0
        while offset < end {
            let request = FetchRequest(partition: partition, offset: offset, maxBytes: 1 << 20)
            guard case .success(.fetched(let reply)) = try ask(.fetch(request), session), !reply.batches.isEmpty else {
                unreadable.append(offset)
                offset += 1
                continue
            }
            reply.batches.withUnsafeBytes { bytes in
                var rest = bytes
                while let view = BatchView(prefixOf: rest), let id = model.recognize(view, in: partition) {
                    batches.append(
                        ShardObservation.Batch(
                            id: id,
                            base: view.baseOffset,
                            count: view.recordCount,
                            appendTime: view.appendTime.rawValue
                        )
                    )
                    offset = max(offset + 1, view.nextOffset)
                    report.checkedBatches += 1
                    rest = rest.slice(view.byteCount..<rest.count)
                }
            }
            try throwViolation()
        }
        return (batches, unreadable)
    }

    private func ask(
        _ request: StorageRequest,
        _ session: SimulatedSession
    ) throws(Violation) -> Result<StorageReply, SluiceError>? {
        let token = nextToken
        send(request, .look, session: session.id)
        _ = try run { answers[token] != nil }
        model.check(answers[token] != nil, "\(request) is not answered")
        try throwViolation()
        return answers.removeValue(forKey: token)
    }
}
