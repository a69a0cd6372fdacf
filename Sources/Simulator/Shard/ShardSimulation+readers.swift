internal import MessageModel
internal import StorageEngine
internal import StorageService

/// What the readers among the clients do.
extension ShardSimulation {
    private static let filterTexts = [
        "#", "t0/#", "+/a", "t1/+/b", "t2/deep/#", "+/+/a", "t3", "t0/a/b", "+/b/c/d", "$absolute/#", "t1/a",
        "other/name",
    ]

    func attach(_ shard: Shard) {
        guard let topic = usableTopic(), let id = model.topics[topic].id else { return }
        let session = anySession(shard)
        guard session.readers.count < 6 else { return }
        let number = UInt32.random(in: 0...7, using: &random)
        guard session.readers[number] == nil else { return }
        let filter = random.percent(30) ? Array((pick(Self.filterTexts) ?? "#").utf8) : []
        var request = AttachRequest(
            source: .topic(id, .first),
            filter: filter,
            creditMessages: .random(in: 0...30, using: &random),
            creditBytes: .random(in: 0...8_000, using: &random)
        )
        let all = (0..<model.topics[topic].partitions).map { PartitionID(topic: id, index: UInt16($0)) }
        var partitions = all
        var place: (PartitionID) -> SimulatedReader.Place = { _ in SimulatedReader.Place(next: 0) }
        var start = StartPosition.first
        var subscription: Int?
        switch Int.random(in: 0..<5, using: &random) {
        case 0: break
        case 1:
            start = .next
            place = { [model] in SimulatedReader.Place(low: model.knownEnd[$0] ?? 0) }
        case 2:
            let offset = UInt64.random(in: 0...60, using: &random)
            start = .offset(offset)
            place = { _ in SimulatedReader.Place(next: offset) }
        case 3:
            let time = someTime()
            start = .time(time)
            place = { [model] in SimulatedReader.Place(time: time.rawValue, end: model.knownEnd[$0] ?? 0) }
        default:
            subscription = usableSubscription()
        }
        if let subscription {
            attach(session, number, to: subscription, request)
            return
        }
        if random.percent(30) { partitions = [all[Int.random(in: all.indices, using: &random)]] }
        request.source = partitions.count == all.count ? .topic(id, start) : .partition(partitions[0], start)
        let reader = SimulatedReader(
            id: number,
            topic: topic,
            filter: filter,
            subscription: nil,
            places: Dictionary(uniqueKeysWithValues: partitions.map { ($0, place($0)) }),
            creditMessages: Int64(request.creditMessages),
            creditBytes: Int64(request.creditBytes),
            since: model.submissions,
            startsAtEnd: start == .next
        )
        session.readers[number] = reader
        note("attach \(session.id)/\(number) to \(request.source), filter \(String(decoding: filter, as: UTF8.self))")
        shard.attach(session: session.id, request, attachment: number, now: scheduler.now)
    }

    private func attach(_ session: SimulatedSession, _ number: UInt32, to subscription: Int, _ base: AttachRequest) {
        guard let shard else { return }
        let known = model.subscriptions[subscription]
        let topic = model.topics[known.topic]
        guard let id = topic.id else { return }
        var request = base
        request.source = .subscription(name: known.name)
        request.consumer = random.percent(70) ? "c" : ""
        var places: [PartitionID: SimulatedReader.Place] = [:]
        for index in 0..<topic.partitions {
            let low = known.floor(index, model.stamp)
            let high = known.ceiling(index, model.stamp) ?? .max
            places[PartitionID(topic: id, index: UInt16(index))] =
                SimulatedReader.Place(next: low == high ? low : nil, low: low, high: high)
        }
        session.readers[number] = SimulatedReader(
            id: number,
            topic: known.topic,
            filter: request.filter,
            subscription: subscription,
            places: places,
            creditMessages: Int64(request.creditMessages),
            creditBytes: Int64(request.creditBytes),
            since: model.submissions,
            startsAtEnd: false
        )
        note("attach \(session.id)/\(number) to subscription \(known.name) as '\(request.consumer)'")
        shard.attach(session: session.id, request, attachment: number, now: scheduler.now)
    }

    private func anyReader(_ shard: Shard) -> (SimulatedSession, SimulatedReader)? {
        let session = anySession(shard)
        guard let id = session.readers.keys.sorted().randomElement(using: &random), let reader = session.readers[id]
        else {
            return nil
        }
        return (session, reader)
    }

    func grant(_ shard: Shard) {
        guard let (session, reader) = anyReader(shard) else { return }
        let messages = UInt64.random(in: 0...60, using: &random)
        let bytes = UInt64.random(in: 0...20_000, using: &random)
        grant(shard, session, reader, messages: messages, bytes: bytes)
    }

    func grant(_ shard: Shard, _ session: SimulatedSession, _ reader: SimulatedReader, messages: UInt64, bytes: UInt64)
    {
        reader.creditMessages += Int64(messages)
        reader.creditBytes += Int64(bytes)
        note("grant \(session.id)/\(reader.id) \(messages) messages, \(bytes) bytes")
        shard.grantCredit(session: session.id, attachment: reader.id, messages: messages, bytes: bytes)
    }

    func detach(_ shard: Shard) {
        guard let (session, reader) = anyReader(shard) else { return }
        session.readers[reader.id] = nil
        note("detach \(session.id)/\(reader.id)")
        shard.detach(session: session.id, attachment: reader.id)
    }

    func fetch(_ shard: Shard) {
        guard let topic = usableTopic() else { return }
        let session = anySession(shard)
        let partition = partition(of: topic)
        let end = model.knownEnd[partition] ?? 0
        let offset = random.percent(40) ? end : UInt64.random(in: 0...end, using: &random)
        let wait = random.percent(60) ? UInt64.random(in: 0...80_000, using: &random) : 0
        report.fetches += 1
        note("fetch \(nextToken) \(ShardModel.text(partition)) from \(offset), waits \(wait)")
        send(
            .fetch(
                FetchRequest(
                    partition: partition,
                    offset: offset,
                    maxBytes: .random(in: 1...20_000, using: &random),
                    waitMicroseconds: wait
                )
            ),
            .fetch(partition, offset: offset, deadline: scheduler.now.advanced(byMicroseconds: wait)),
            session: session.id
        )
        if random.percent(10) {
            let token = nextToken - 1
            note("cancel \(token)")
            shard.cancel(session: session.id, token: token)
            // It may have been answered with an error already, on its way in the next round.
            pending[token]?.kind = .look
            cancelled.insert(token)
        }
    }

    func find(_ shard: Shard) {
        guard let topic = usableTopic() else { return }
        let session = anySession(shard)
        let partition = partition(of: topic)
        let time = someTime()
        note("find \(nextToken) \(ShardModel.text(partition)) at \(time.rawValue)")
        send(.findOffset(partition, .time(time)), .find(partition, time), session: session.id)
    }

    func changeFilters(_ shard: Shard) {
        let session = anySession(shard)
        let id = UInt32.random(in: 0...4, using: &random)
        if random.percent(30) {
            let wasThere = session.filters.removeValue(forKey: id) != nil
            note("remove filter \(session.id)/\(id)")
            model.check(
                shard.removeFilter(session: session.id, id: id) == wasThere,
                "removing a filter was answered wrongly"
            )
            return
        }
        let filter = Array((pick(Self.filterTexts) ?? "#").utf8)
        note("add filter \(session.id)/\(id) \(String(decoding: filter, as: UTF8.self))")
        session.filters[id] = SimulatedSession.Filter(bytes: filter, since: model.submissions)
        let error = filter.withUnsafeBytes { shard.addFilter(session: session.id, $0, id: id) }
        model.check(error == nil, "a filter was refused")
    }
}
