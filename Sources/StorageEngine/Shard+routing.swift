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

    private func route(
        _ view: BatchView,
        of batch: RoutableBatch,
        _ live: LiveFilters,
        output: any ShardOutput
    ) {
        let appendTime = view.appendTime
        var found = matches
        matches = []
        var ids: [UInt32] = []
        batch.topic.info.nameBytes.withUnsafeBytes { topicName in
            var cursor = view.records
            while let message = cursor.next() {
                withName(of: message, topic: topicName) { name in
                    live.table.match(name, into: &found)
                }
                guard !found.isEmpty else { continue }
                let serial = nextSerial
                nextSerial += 1
                var first = 0
                while first < found.count {
                    let session = found[first].owner
                    let isFirst = first == 0
                    ids.removeAll(keepingCapacity: true)
                    while first < found.count, found[first].owner == session {
                        ids.append(found[first].id)
                        first += 1
                    }
                    guard slot(session) != nil else { continue }
                    ids.withUnsafeBufferPointer { ids in
                        var routed = RoutedMessage(
                            topic: batch.topic.info.id,
                            topicName: topicName,
                            record: message,
                            appendTime: appendTime,
                            filters: ids,
                            isOwn: session == batch.session,
                            serial: serial
                        )
                        routed.isAlone = isFirst && first == found.count
                        output.messageRouted(session: session, routed)
                    }
                }
            }
        }
        matches = found
    }
}
