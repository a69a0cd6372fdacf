internal import Gateway
internal import MessageModel
internal import StorageService

/// Reading stored messages, with a wait for the first.
extension HTTPService {
    enum ReadAddress: Sendable {
        case topic(String)
        /// The topic that holds the names of the filter.
        case name
    }

    func read(_ address: ReadAddress, _ target: RequestTarget, _ call: HTTPCall) async throws -> Reply {
        let query = try ReadQuery(target, fields: call.fields, now: WallClock.now())
        let topic = try await resolve(address, query)
        guard query.wait > 0 else { return try await read(topic, query) }
        return try await call.untilGone { [self] in try await read(topic, query) }
    }

    private func resolve(_ address: ReadAddress, _ query: ReadQuery) async throws -> TopicInfo {
        switch address {
        case .topic(let name):
            return try await bridge.withSession { session in
                guard let topic = session.topic(named: name) else {
                    throw Problem(.topicNotFound, "there is no topic '\(name)'", hint: "sluice topic create \(name)")
                }
                return topic
            }
        case .name:
            guard let filter = query.filter else {
                throw Problem(.invalidArgument, "the name is missing", hint: "?name=NAME or ?name=FILTER with + and #")
            }
            return try await bridge.withSession { session in
                try session.resolve(String(decoding: filter, as: UTF8.self)).topic
            }
        }
    }

    private func read(_ topic: TopicInfo, _ query: ReadQuery) async throws -> Reply {
        let description = try await self.topic(topic.name)
        let index = try Self.partition(query.partition, of: description)
        let partition = PartitionID(topic: topic.id, index: UInt16(index))
        var first = description.partitions[index].firstOffset
        var end = description.partitions[index].nextOffset
        let start = try await offset(query.start, partition, first: first, end: end)
        let deadline = ContinuousClock.now + .microseconds(Int64(clamping: query.wait))
        var collector = ReadCollector(topic: topic, partition: index, query: query, from: start)
        repeat {
            let left = collector.count == 0 ? max(.zero, deadline - ContinuousClock.now) : .zero
            let request = FetchRequest(
                partition: partition,
                offset: collector.next,
                maxBytes: query.fetchBytes,
                waitMicroseconds: left.wholeMicroseconds
            )
            do {
                // Nothing comes where the time is over, the caller has gone or the server stops.
                guard let reply = try await bridge.fetch(request) else { break }
                first = reply.firstOffset
                end = reply.nextOffset
                guard !reply.batches.isEmpty else { break }
                collector.add(reply.batches)
            } catch {
                // What was found before a damaged place is worth having; the next read meets the error.
                guard collector.count > 0 else { throw error }
                break
            }
        } while !collector.isFull && collector.scanned < HTTPLimits.scanBytes
            && (collector.count == 0 || collector.next < end)
        if query.isPlain { return Self.plain(collector) }
        return collector.reply(firstOffset: first, endOffset: end)
    }

    private static func plain(_ collector: ReadCollector) -> Reply {
        var reply = collector.plain?.reply ?? .noContent
        reply.setSluiceHeader("next-offset", String(collector.next))
        return reply
    }

    private static func partition(_ asked: Int?, of topic: TopicDescription) throws(Problem) -> Int {
        let count = topic.partitions.count
        guard let index = asked ?? (count == 1 ? 0 : nil) else {
            throw Problem(
                .invalidArgument,
                "topic '\(topic.name)' has \(count) partitions: which one is to be read?",
                hint: "?partition=0 to \(count - 1)"
            )
        }
        guard topic.partitions.indices.contains(index) else {
            throw Problem(.notFound, "topic '\(topic.name)' has the partitions 0 to \(count - 1)")
        }
        return index
    }

    private func offset(
        _ start: ReadQuery.Start,
        _ partition: PartitionID,
        first: UInt64,
        end: UInt64
    ) async throws -> UInt64 {
        switch start {
        case .first: return first
        case .next: return end
        case .offset(let offset): return offset
        case .time(let time):
            let request = StorageRequest.findOffset(partition, .time(time))
            guard case .offset(let offset, _) = try await bridge.perform(request) else { throw unexpectedReply() }
            return offset
        }
    }
}

extension Duration {
    /// Not below zero.
    fileprivate var wholeMicroseconds: UInt64 {
        let (seconds, attoseconds) = components
        return UInt64(clamping: seconds) * 1_000_000 + UInt64(clamping: attoseconds / 1_000_000_000_000)
    }
}
