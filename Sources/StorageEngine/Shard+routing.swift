package import MessageModel
internal import StorageService

/// Live subscriptions: messages that go to attached sessions by the filters they set.
extension Shard {
    /// Adds a live filter, see `StorageSession.addFilter`.
    package func addFilter(
        session: UInt64,
        _ filter: UnsafeRawBufferPointer,
        id: UInt32,
        group: UInt64? = nil
    ) -> SluiceError? {
        guard let slot = slot(session) else { return nil }
        let pattern: NamePattern
        do throws(SluiceError) { pattern = try NamePattern(filter: filter) } catch { return error }
        _ = removeFilter(session: session, id: id)
        sessions[slot].filters[id] = LiveFilter(pattern: pattern, group: group)
        let live = filters[sessions[slot].tenant] ?? LiveFilters()
        filters[sessions[slot].tenant] = live
        live.table.insert(pattern, group: group, RoutingTarget(owner: session, id: id))
        return nil
    }

    package func removeFilter(session: UInt64, id: UInt32) -> Bool {
        guard let slot = slot(session), let filter = sessions[slot].filters.removeValue(forKey: id) else {
            return false
        }
        filters[sessions[slot].tenant]?.table.remove(
            filter.pattern,
            group: filter.group,
            RoutingTarget(owner: session, id: id)
        )
        return true
    }

    /// Sends messages on that need not be durable before readers see them.
    func routeUndurable(output: any ShardOutput) {
        guard !routable.isEmpty else { return }
        let batches = routable
        routable.removeAll(keepingCapacity: true)
        for batch in batches { route(batch, output: output) }
    }

    /// Sends every message of a batch to the sessions that want it.
    func route(_ batch: RoutableBatch, output: any ShardOutput) {
        defer { if MemoryRecords.holds(batch.position) { log.memory.release(batch.position) } }
        guard let live = filters[batch.topic.tenant], !live.table.isEmpty else { return }
        if let copy = batch.copy {
            copy.withUnsafeBytes { bytes in
                guard let view = BatchView(prefixOf: bytes) else { return }
                route(view, of: batch, live, output: output)
            }
            return
        }
        guard let record = log.cached(batch.position),
            record.count > LogRecord.headerBytes + LogRecord.batchPrefixBytes,
            let view = BatchView(
                prefixOf: record.slice(LogRecord.headerBytes + LogRecord.batchPrefixBytes..<record.count)
            )
        else { return }
        route(view, of: batch, live, output: output)
    }

    /// Messages of one name go on together: who wants them is found once.
    private func route(
        _ view: BatchView,
        of batch: RoutableBatch,
        _ live: LiveFilters,
        output: any ShardOutput
    ) {
        let appendTime = view.appendTime
        var run = liveRun
        liveRun = LiveRun()
        batch.topic.info.nameBytes.withUnsafeBytes { topicName in
            var cursor = view.records
            var owners = OwnerCursor(batch)
            while let record = cursor.next() {
                let owner = owners.next()
                if run.continues(with: record, of: owner) {
                    if !run.targets.isEmpty { run.records.append(record) }
                    continue
                }
                emit(run, of: batch, topicName, appendTime, output: output)
                run.begin(record, of: owner)
                withName(of: record, topic: topicName) { name in
                    live.table.match(name, into: &run.targets)
                }
                run.isShared = live.table.hasMatchedGroup
            }
            emit(run, of: batch, topicName, appendTime, output: output)
        }
        run.clear()
        liveRun = run
    }

    private func emit(
        _ run: LiveRun,
        of batch: RoutableBatch,
        _ topicName: UnsafeRawBufferPointer,
        _ appendTime: Timestamp,
        output: any ShardOutput
    ) {
        guard !run.records.isEmpty, !run.targets.isEmpty else { return }
        let serial = nextSerial
        nextSerial += UInt64(run.records.count)
        run.records.withUnsafeBufferPointer { records in
            var ids = routedIDs
            routedIDs = []
            defer { routedIDs = ids }
            var first = 0
            while first < run.targets.count {
                let session = run.targets[first].owner
                let isFirst = first == 0
                ids.removeAll(keepingCapacity: true)
                while first < run.targets.count, run.targets[first].owner == session {
                    ids.append(run.targets[first].id)
                    first += 1
                }
                guard slot(session) != nil else { continue }
                ids.withUnsafeBufferPointer { ids in
                    output.messagesRouted(
                        session: session,
                        RoutedRun(
                            topic: batch.topic.info.id,
                            topicName: topicName,
                            records: records,
                            appendTime: appendTime,
                            filters: ids,
                            isOwn: session == run.owner,
                            firstSerial: serial,
                            isAlone: isFirst && first == run.targets.count
                        )
                    )
                }
            }
        }
    }
}

/// Records of one name that follow each other, and who wants them.
struct LiveRun {
    var records: [RecordView] = []
    var targets: [RoutingTarget] = []
    /// A member of a group was chosen: the next message goes to another.
    var isShared = false
    /// The session that published them.
    var owner: UInt64 = 0
    private var name: RecordView?

    /// What is gathered before it goes on.
    private static let limit = 256

    mutating func begin(_ record: RecordView, of owner: UInt64) {
        self.owner = owner
        records.removeAll(keepingCapacity: true)
        records.append(record)
        name = record
    }

    /// Whether a record goes to the same targets.
    @inline(__always)
    func continues(with record: RecordView, of owner: UInt64) -> Bool {
        guard let name, owner == self.owner, !isShared, records.count < Self.limit,
            name.hasAbsoluteName == record.hasAbsoluteName
        else {
            return false
        }
        switch (name.routingKey, record.routingKey) {
        case (nil, nil): return true
        case (let left?, let right?): return bytesEqual(left, right)
        case (nil, _?), (_?, nil): return false
        }
    }

    mutating func clear() {
        records.removeAll(keepingCapacity: true)
        name = nil
    }
}

/// Whose the records of a batch are, one after the other.
private struct OwnerCursor {
    private let session: UInt64
    private let owners: [RecordOwner]
    private var place = 0
    /// Records that are left of the owner at `place`.
    private var left: Int

    init(_ batch: Shard.RoutableBatch) {
        session = batch.session
        owners = batch.owners
        left = owners.first?.count ?? .max
    }

    @inline(__always)
    mutating func next() -> UInt64 {
        while left == 0, place + 1 < owners.count {
            place += 1
            left = owners[place].count
        }
        left -= 1
        return place < owners.count ? owners[place].session : session
    }
}
