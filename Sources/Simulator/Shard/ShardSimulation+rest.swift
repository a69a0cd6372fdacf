internal import MessageModel
internal import StorageEngine

/// Bringing everything to rest, and what must be true then.
extension ShardSimulation {
    /// Gives every reader all the credit it could want and lets time pass until nothing happens any more. Then every
    /// request is answered, and everybody has everything.
    func rest() throws(Violation) {
        if faults.isFull || faults.hasFailedLog || faults.hasFailedSync || !isServing { return }
        isResting = true
        defer { isResting = false }
        report.rests += 1
        note("everything comes to rest")
        disk.faults = DiskFaults()
        guard let shard else { return }
        for session in sessions {
            for reader in session.readers.values.sorted(by: { $0.id < $1.id }) {
                grant(shard, session, reader, messages: 1 << 40, bytes: 1 << 40)
            }
        }
        called()
        // Nothing that a shard waits for takes a second.
        _ = try run { (scheduler.nextTime ?? .never) > scheduler.now.advanced(byMicroseconds: 1_000_000) }
        note("at rest: \(shard.health)")
        checkAnswered()
        try throwViolation()
        // Nobody is told of appends without acknowledgement: what is there is what was read.
        let found = try observe()
        model.verify(found, stamp: model.stamp, after: .none)
        try throwViolation()
        takePlaces(found)
        for session in sessions {
            for reader in session.readers.values { checkComplete(reader, session, found) }
            checkRouted(session, found)
        }
        try throwViolation()
        // Not all of them, so that there are readers with and without credit afterwards.
        for session in sessions {
            for reader in session.readers.values.sorted(by: { $0.id < $1.id }) where random.percent(70) {
                session.readers[reader.id] = nil
                shard.detach(session: session.id, attachment: reader.id)
            }
        }
    }

    /// Every request is answered that was not withdrawn; an append without acknowledgement is only when it is refused.
    func checkAllAnswered() {
        for token in pending.keys where cancelled.contains(token) { pending[token] = nil }
        cancelled = []
        for (token, request) in pending.sorted(by: { $0.key < $1.key }) {
            if case .append(_, _, .none) = request.kind {
                pending[token] = nil
            } else {
                model.fail("request \(token) is not answered: \(request.kind)")
            }
        }
    }

    private func takePlaces(_ found: ShardObservation) {
        for topic in found.topics.values {
            for seen in topic.partitions.joined() {
                model.place(seen.id, at: seen.base, appendTime: seen.appendTime)
                model.madeDurable(seen.id)
            }
        }
    }

    private func checkComplete(_ reader: SimulatedReader, _ session: SimulatedSession, _ found: ShardObservation) {
        guard model.topics[reader.topic].isUsable, let seen = found.topics[model.topics[reader.topic].name] else {
            return
        }
        for (partition, known) in reader.places {
            var place = known
            let text = "reader \(session.id)/\(reader.id) of \(ShardModel.text(partition))"
            let batches = seen.partitions[Int(partition.index)]
            let end = seen.ends[Int(partition.index)]
            let from: UInt64
            if let next = reader.filter.isEmpty ? place.next : place.from ?? place.next {
                from = next
            } else {
                // Nothing was delivered: then there was nothing behind the start.
                let first = batches.first {
                    $0.base >= place.high || place.high == .max && $0.appendTime >= place.time && place.time > 0
                        || reader.startsAtEnd && (model.batches[$0.id].submissions.first?.number ?? 0) > reader.since
                }
                from = first?.base ?? end
            }
            let wanted = batches.flatMap { batch in
                (0..<batch.count).filter { reader.wants(model.batches[batch.id].names[$0]) }
                    .map { batch.base + UInt64($0) }
            }.filter { $0 >= from }
            if reader.filter.isEmpty {
                model.check(wanted.isEmpty, "\(text) has not been given \(wanted.prefix(5)), up to \(end)")
            } else {
                model.check(
                    wanted == place.filtered,
                    "\(text) was given \(place.filtered) instead of \(wanted) since the last rest"
                )
                place.filtered = []
                place.from = max(end, place.next ?? 0)
            }
            place.next = max(place.next ?? end, from)
            if place.next ?? 0 < end { place.next = end }
            reader.places[partition] = place
        }
    }

    /// Everything that was stored since a filter was there has been routed.
    private func checkRouted(_ session: SimulatedSession, _ found: ShardObservation) {
        for topic in found.topics.values {
            for seen in topic.partitions.joined() {
                let batch = model.batches[seen.id]
                guard let first = batch.submissions.first?.number, first > model.lifeBegan else { continue }
                for index in 0..<batch.count {
                    let isWanted = session.filters.values.contains {
                        first > $0.since && NameFilter.matches($0.bytes, name: batch.names[index])
                    }
                    let key = SimulatedSession.RoutedKey(batch: batch.id, index: index)
                    model.check(
                        !isWanted || session.routed.contains(key),
                        "message \(index) of batch \(batch.id) was not routed to session \(session.id)"
                    )
                }
            }
        }
    }
}
