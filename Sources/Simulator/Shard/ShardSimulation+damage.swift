internal import MessageModel
internal import StorageEngine

/// Damage of what is durable: found and reported, never taken for the end, and nothing else is lost with it.
extension ShardSimulation {
    /// A record of the log as it stands on the disk.
    struct FoundRecord {
        var segment: UInt64
        var offset: Int
        var bytes: Int
        var position: UInt64
        var durable: UInt64
        var kind: LogRecord.Kind
        /// The batch in it.
        var batch: Int?
    }

    /// Runs so many steps, ends the shard, inverts one bit of its log, and opens what is left: with its snapshots, or
    /// without, so that all of the log is read again.
    package func runWithDamage(steps: Int) throws(Violation) -> Report {
        try open()
        for _ in 0..<steps {
            try clientStep()
            report.steps += 1
        }
        // A read that was to fail and did not is not meant for what follows.
        disk.faults.read = .never
        try closeAndReopen()
        let isClean = random.percent(50)
        if isClean {
            // Closed in order: the newest snapshot says that nothing follows.
            shard?.close()
            called()
            _ = try run { shard?.isClosed == true }
        }
        forgetLife()
        disk = disk.killed(seed: random.next())
        let keepsSnapshots = random.percent(40)
        if !keepsSnapshots, let files = try? disk.listFilesNow() { for file in files { disk.lose(file: file) } }
        let records = findRecords()
        guard let hit = records.indices.randomElement(using: &random) else { return report }
        let record = records[hit]
        let isHeader = random.percent(10)
        let place =
            isHeader
            ? Int.random(in: 0..<40, using: &random)
            : record.offset + .random(in: 0..<record.bytes, using: &random)
        disk.flipBit(segment: record.segment, offset: place, bit: Int.random(in: 0..<8, using: &random))
        note(
            "bit flipped at \(place) of segment \(record.segment), \(isHeader ? "header" : "\(record.kind) at \(record.position)"), "
                + (keepsSnapshots ? "with snapshots" : "without snapshots")
        )
        try open()
        try runUntilReady()
        faults.failsReads = true
        let found = try observe()
        check(found, record, records, hit: isHeader ? nil : hit, keepsSnapshots: keepsSnapshots)
        try throwViolation()
        // A torn end is taken back with all that was in it; damage is not, and its offsets are not used again.
        if found.damaged.contains(where: { $0.start <= record.position && record.position < $0.end }) {
            try appendEverywhere(found)
        }
        return report
    }

    /// Appends to every partition: no offset is one that another batch has had.
    private func appendEverywhere(_ found: ShardObservation) throws(Violation) {
        guard let shard else { return }
        let session = SimulatedSession(id: shard.openSession(tenant: .default))
        sessions.append(session)
        for topic in model.topics.indices where model.topics[topic].isUsable {
            guard let id = model.topics[topic].id, found.topics[model.topics[topic].name]?.id == id else { continue }
            for index in 0..<model.topics[topic].partitions {
                let partition = PartitionID(topic: id, index: UInt16(index))
                let batch = makeBatch(topic, partition, producer: .anonymous, sequence: 0)
                submit(batch, .durable, session: session, shard)
            }
        }
        called()
        _ = try run { pending.isEmpty }
        checkAnswered()
        try throwViolation()
    }

    private func check(
        _ found: ShardObservation,
        _ record: FoundRecord,
        _ records: [FoundRecord],
        hit: Int?,
        keepsSnapshots: Bool
    ) {
        let present = Set(found.topics.values.flatMap { $0.partitions.joined().map(\.id) })
        guard let hit else {
            // Only a header is damaged: nothing may be lost, and it is reported where that part is read.
            model.verify(found, stamp: ShardModel.never - 1, after: .none, isDamaged: true)
            for record in records {
                guard let batch = record.batch else { continue }
                checkPresent(batch, present, found, "the header of segment \(record.segment) is damaged")
            }
            return
        }
        // What was moved stands in two places until its first segment is let go.
        let isElsewhere = records.indices.contains { $0 != hit && records[$0].batch == record.batch }
        if let batch = record.batch, !isElsewhere {
            model.check(!present.contains(batch), "a damaged batch was served")
        }
        let isProven = records[(hit + 1)...].contains { $0.durable > record.position }
        let isReported = found.damaged.contains { $0.start <= record.position && record.position < $0.end }
        // Where segments were let go, a checkpoint says what the records before it have said.
        let segments = (try? disk.listSegmentsNow()) ?? []
        let isScanned = !keepsSnapshots && segments.enumerated().allSatisfy { $0.offset == $0.element.number }
        if isProven, isScanned {
            model.check(isReported, "damage at \(record.position) was not reported: \(found.damaged)")
        }
        if !keepsSnapshots, !isScanned {
            // Recovery needs what the log has in place of the snapshots and index files that are lost.
            if record.kind == .checkpoint { return }
            if record.kind == .indexCopy {
                model.verifyTopics(found, ShardModel.never - 1)
                return
            }
        }
        guard isProven || !isScanned else { return }
        // The end of the log may look like a torn write; everything else is there.
        for (index, other) in records.enumerated() where index != hit {
            guard let batch = other.batch, isProven || index < hit, batch != record.batch else { continue }
            checkPresent(batch, present, found, "the record at \(record.position) is damaged")
        }
    }

    /// A batch that was not damaged is there, if its topic was created by a record that was not damaged either.
    private func checkPresent(_ batch: Int, _ present: Set<Int>, _ found: ShardObservation, _ reason: String) {
        let topic = model.topics[model.batches[batch].topic]
        guard topic.isUsable, found.topics[topic.name]?.id == topic.id else { return }
        model.check(
            present.contains(batch),
            "\(reason), and batch \(batch) at \(model.batches[batch].base ?? 0) of "
                + "\(ShardModel.text(model.batches[batch].partition)) is lost"
        )
    }

    /// The records of the log from its first segment to its end. Of those that an earlier use of a place left, the newer
    /// epoch in front of them tells.
    private func findRecords() -> [FoundRecord] {
        var records: [FoundRecord] = []
        var epoch: UInt32 = 0
        for segment in (try? disk.listSegmentsNow()) ?? [] {
            guard let bytes = disk.durableBytes(segment: segment.number) else { continue }
            bytes.withUnsafeBytes { bytes in
                // Some may have been let go before it.
                let base = bytes.load64(24)
                var offset = 64
                while offset + LogRecord.headerBytes <= bytes.count {
                    let position = base + UInt64(offset)
                    guard
                        let record = LogRecord.View(
                            prefixOf: bytes.slice(offset..<bytes.count),
                            position: position,
                            identity: shardOptions.logIdentity
                        ), record.epoch >= epoch
                    else { return }
                    epoch = record.epoch
                    records.append(
                        FoundRecord(
                            segment: segment.number,
                            offset: offset,
                            bytes: record.bytes.count,
                            position: position,
                            durable: record.durable,
                            kind: record.kind,
                            batch: batchNumber(in: record)
                        )
                    )
                    if record.kind == .segmentEnd { return }
                    offset += record.bytes.count
                }
            }
        }
        return records
    }

    private func batchNumber(in record: LogRecord.View) -> Int? {
        guard var records = record.publishedBatch?.records else { return nil }
        return records.next().flatMap { MessageText.batch(of: $0.body) }
    }
}
