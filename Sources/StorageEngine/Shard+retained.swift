internal import MessageModel
internal import StorageService

/// Last values: the message of each name that was published last with the retain flag.
extension Shard {
    /// What a page may hold besides its first value.
    private static let pageBytes = 1 << 20
    /// Each looks at some thousand names.
    private static let searchesPerPage = 4

    struct WantedValue {
        var name: [UInt8]
        var place: RetainedValues.Place
    }

    /// Answers a page of the values whose names match a filter, once they are durable.
    func scanRetained(
        _ filter: [UInt8],
        after: [UInt8]?,
        limit: Int,
        _ tenant: TenantID,
        _ session: UInt64,
        _ token: UInt64,
        _ now: Timestamp
    ) throws(Refusal) {
        let page: (values: [WantedValue], next: [UInt8]?)
        do throws(SluiceError) {
            page = try retainedPage(filter, after: after, limit: max(1, min(limit, 1_000)), tenant, now)
        } catch {
            throw .error(error)
        }
        // What is read is durable when the log is durable so far.
        let end = log.end
        // By name, as they are answered.
        let values = page.values
        var found = [RetainedMessage?](repeating: nil, count: values.count)
        // They are read in the order in which they stand: many are in one batch.
        let order = values.indices.sorted {
            let (left, right) = (values[$0].place, values[$1].place)
            return (left.position, left.record) < (right.position, right.record)
        }
        var walk = BatchWalk()
        var walked: UInt64?
        let fetch = RecordFetch(order.map { values[$0].place.position }, readBytes: 4_096) { shard, index, stored in
            let wanted = values[order[index]]
            guard let stored, stored.partition.topic.rawValue == wanted.place.topic else { return }
            if walked != wanted.place.position {
                walked = wanted.place.position
                walk = BatchWalk()
            }
            var excerpt: [UInt8] = []
            guard
                BatchExcerpt.write(
                    stored.batch,
                    first: Int(wanted.place.record),
                    count: 1,
                    baseOffset: wanted.place.offset,
                    appendTime: Timestamp(rawValue: wanted.place.time),
                    after: &walk,
                    into: &excerpt
                )
            else { return }
            let message = FoundMessage(
                partition: stored.partition,
                offset: wanted.place.offset,
                record: 0,
                batch: excerpt
            )
            found[order[index]] = RetainedMessage(name: wanted.name, message: message)
        } completion: { shard in
            let reply = StorageReply.retained(found.compactMap(\.self), next: page.next)
            if shard.log.durable >= end {
                shard.answer(session, token, reply)
            } else {
                shard.answerDurably(session, token, reply)
            }
        } failure: { shard in
            shard.reply(session, token, .request(.failure(shard.unreadable())))
        }
        enqueue(fetch)
    }

    func retainedPage(
        _ filter: [UInt8],
        after: [UInt8]?,
        limit: Int,
        _ tenant: TenantID,
        _ now: Timestamp
    ) throws(SluiceError) -> (values: [WantedValue], next: [UInt8]?) {
        var wanted: [WantedValue] = []
        var bytes = 0
        var isFull = false
        let values = state.retained[tenant] ?? RetainedValues()
        var next = after
        // A filter that matches few of many names must not hold up everything else: an empty page is one, too.
        for _ in 0..<Self.searchesPerPage {
            var problem: SluiceError?
            var end: [UInt8]?
            filter.withUnsafeBytes { filter in
                func scan(_ after: UnsafeRawBufferPointer?) {
                    do throws(SluiceError) {
                        end = try values.names.forEach(
                            matching: filter,
                            after: after,
                            limit: limit - wanted.count
                        ) { name, place in
                            guard place.expiry > now.rawValue, !isFull else { return }
                            wanted.append(WantedValue(name: Array(name), place: place))
                            bytes += name.count + Int(place.bytes)
                            isFull = bytes >= Self.pageBytes || wanted.count == limit
                        }
                    } catch {
                        problem = error
                    }
                }
                if let next { next.withUnsafeBytes { scan($0) } } else { scan(nil) }
            }
            if let problem { throw problem }
            next = end
            if next == nil || isFull { break }
        }
        // Behind the last one that is on the page: those that came behind it were passed over.
        if isFull, let last = wanted.last { return (wanted, last.name) }
        return (wanted, next)
    }

    /// Warns, once a minute, of last values that there was no room for.
    func reportRetainedRefusals(output: any ShardOutput) {
        guard state.retainedRefusals > retainedWarning.count, clock >= retainedWarning.next else { return }
        output.warning(
            """
            \(state.retainedRefusals - retainedWarning.count) retained messages were published but not kept as last \
            values: a tenant has \(options.retainedValues) values or \(options.retainedBytes) bytes of them
            """
        )
        retainedWarning = (state.retainedRefusals, clock.advanced(byMicroseconds: 60_000_000))
    }
}
