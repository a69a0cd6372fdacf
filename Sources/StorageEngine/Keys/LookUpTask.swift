internal import MessageModel
internal import StorageService

extension Shard {
    /// Finds messages by what they carry, the newest first.
    func lookUp(_ query: LookUpQuery, _ tenant: TenantID, _ session: UInt64, _ token: UInt64) throws(Refusal) {
        guard query.from <= query.to else { return answer(session, token, .found([])) }
        guard lookUps.count < options.lookUpsAtOnce else {
            throw .error(SluiceError(.busy, "\(lookUps.count) look-ups run already"))
        }
        let task = LookUpTask(query, tenant: tenant, session: session, token: token, shard: self)
        lookUps[ObjectIdentifier(task)] = task
        task.advance(self)
    }
}

/// A search for messages with a key or an id: segment by segment, the newest first; where the hash of a message is the
/// right one, the message is read and compared.
final class LookUpTask: ColdClient {
    private let query: LookUpQuery
    private let tenant: TenantID
    private let session: UInt64
    private let token: UInt64
    private let kind: KeyKind
    private let wanted: [UInt8]
    private let hash: UInt64
    private let limit: Int
    /// Only what was durable when the search began.
    private let end: UInt64

    /// What is in memory, and the files that were not searched yet: the newest last.
    private var inMemory: [[KeyMatch]]
    private var files: [KeyTable.File]
    /// The file that is being searched.
    private var search: (file: KeyTable.File, search: KeySearch)?
    private var matches: [KeyMatch] = []
    /// Places of one segment that were not looked at yet, the newest last.
    private var candidates: ArraySlice<KeyMatch> = []
    private var found: [FoundMessage] = []
    private var foundBytes = 0

    /// Of one segment, only so many of the newest with the same key are looked at.
    private static let matchesPerSegment = 1 << 16
    /// Read and compared at a time.
    private static let candidatesAtOnce = 64
    private static let replyBytes = 4 << 20

    init(_ query: LookUpQuery, tenant: TenantID, session: UInt64, token: UInt64, shard: Shard) {
        self.query = query
        self.tenant = tenant
        self.session = session
        self.token = token
        switch query.criterion {
        case .key(let key): (kind, wanted) = (.key, key)
        case .messageID(let id): (kind, wanted) = (.messageID, id)
        }
        let (kind, hashKey) = (kind, shard.options.hash)
        let hash = wanted.withUnsafeBytes { KeyIndex.hash(kind, $0, tenant: tenant, hashKey) }
        self.hash = hash
        limit = max(1, min(query.limit, 1_000))
        end = shard.log.durable
        let times = query.from.rawValue...query.to.rawValue
        let keys = shard.state.keys
        inMemory = keys.open.sorted { $0.key < $1.key }.map { _, index in
            index.matches(of: hash, in: times, limit: .max)
        }
        files = keys.files.filter { $0.firstTime <= times.upperBound && $0.lastTime >= times.lowerBound }
    }

    private var isFull: Bool { found.count >= limit || foundBytes >= Self.replyBytes }

    /// Goes on until something has to be read.
    func advance(_ shard: Shard) {
        while true {
            guard !isFull, shard.slot(session) != nil else { return finish(shard, nil) }
            if !candidates.isEmpty { return compare(shard) }
            if let places = inMemory.popLast() {
                take(places)
            } else if search != nil {
                guard goOn(shard) else { return }
            } else if let file = files.popLast() {
                let times = query.from.rawValue...query.to.rawValue
                search = (file, KeySearch(segment: file.segment, epoch: file.epoch, hash: hash, times: times))
            } else {
                return finish(shard, nil)
            }
        }
    }

    /// Takes what a segment has, each place once: items of a publication stand there once for each of their messages.
    private func take(_ places: [KeyMatch]) {
        var once: [KeyMatch] = []
        for match in places where match.position < end && match != once.last { once.append(match) }
        candidates = once.suffix(Self.matchesPerSegment)
    }

    /// A step of the search in a file.
    /// - Returns: false where it waits for the device, or the task ended.
    private func goOn(_ shard: Shard) -> Bool {
        guard let file = search?.file, let step = search?.search.next() else { return true }
        switch step {
        case .read(let offset, let length):
            shard.coldRequests.readKeys(self, file, offset: offset, length: length)
            return false
        case .found(let some):
            matches += some
            if matches.count > 2 * Self.matchesPerSegment {
                matches.removeFirst(matches.count - Self.matchesPerSegment)
            }
        case .refused:
            // The segment may have been freed meanwhile, with its file.
            guard shard.state.keys.files.contains(file) else { break }
            let error = SluiceError(
                .storageUnavailable,
                "the file '\(file.name)' is damaged",
                hint: "stop the server and remove the snapshots and this file: they are made again"
            )
            finish(shard, error)
            return false
        case .done:
            search = nil
            take(matches)
            matches = []
        }
        return true
    }

    func received(_ result: Result<[UInt8], DeviceError>, shard: Shard) {
        switch result {
        case .success(let bytes): search?.search.received(bytes)
        case .failure:
            // The segment may have been freed meanwhile, with its file.
            guard let file = search?.file, !shard.state.keys.files.contains(file) else {
                return finish(shard, shard.unreadable())
            }
            search?.search.received([])
        }
        advance(shard)
    }

    private func finish(_ shard: Shard, _ error: SluiceError?) {
        shard.lookUps[ObjectIdentifier(self)] = nil
        if let error {
            shard.reply(session, token, .request(.failure(error)))
        } else {
            shard.answer(session, token, .found(Array(found.prefix(limit))))
        }
    }

    // MARK: Comparing

    /// Messages of a batch, one of which may be what is looked for.
    private struct Part {
        /// The candidate that led here: newer ones have smaller numbers.
        var number: Int
        var position: UInt64
        var first: Int
        var count: Int
        /// The offset of the first; nil where it is what the batch says.
        var baseOffset: UInt64?
        var time: UInt64
    }

    /// Reads the newest candidates. Those that were stored before they were published need two steps: the record that
    /// published them, and the one with their batch.
    private func compare(_ shard: Shard) {
        let some = Array(candidates.suffix(Self.candidatesAtOnce).reversed())
        candidates.removeLast(some.count)
        var parts: [Part] = []
        let fetch = RecordFetch(records: some.map(\.position), readBytes: 4_096) { [self] shard, number, view in
            guard let view else { return }
            let match = some[number]
            if let publication = Publication(view, named: match.position) {
                guard Int(match.record) < publication.items.count else { return }
                let item = publication.items[Int(match.record)]
                parts.append(
                    Part(
                        number: number,
                        position: item.position,
                        first: Int(item.first),
                        count: Int(item.count),
                        baseOffset: item.baseOffset,
                        time: publication.time.rawValue
                    )
                )
            } else if let stored = StoredBatch(view, named: match.position), stored.isPublished {
                let record = Int(match.record)
                let part = Part(number: number, position: match.position, first: record, count: 1, time: match.time)
                take(stored, part, shard)
            }
        } completion: { [self] shard in
            readParts(parts, shard)
        } failure: { [self] shard in
            finish(shard, shard.unreadable())
        }
        shard.enqueue(fetch)
    }

    private var batch: [(number: Int, FoundMessage)] = []

    private func readParts(_ parts: [Part], _ shard: Shard) {
        let fetch = RecordFetch(parts.map(\.position), readBytes: 4_096) { [self] shard, place, stored in
            if let stored { take(stored, parts[place], shard) }
        } completion: { [self] shard in
            batch.sort { $0.number == $1.number ? $0.1.offset > $1.1.offset : $0.number < $1.number }
            for (_, message) in batch {
                found.append(message)
                foundBytes += message.batch.count
            }
            batch = []
            advance(shard)
        } failure: { [self] shard in
            finish(shard, shard.unreadable())
        }
        shard.enqueue(fetch)
    }

    private func take(_ stored: StoredBatch, _ part: Part, _ shard: Shard) {
        guard query.topic == nil || query.topic == stored.partition.topic,
            let (topic, partition) = shard.state.partition(stored.partition), topic.tenant == tenant
        else { return }
        var cursor = stored.batch.records
        while let record = cursor.next() {
            let index = cursor.index - 1
            guard index >= part.first else { continue }
            guard index < part.first + part.count else { return }
            guard isWanted(record) else { continue }
            let base = part.baseOffset ?? stored.batch.baseOffset &+ UInt64(part.first)
            let offset = base &+ UInt64(index - part.first)
            // What the topic has let go is not there any more, though the log may still hold it.
            guard offset >= partition.firstOffset, !partition.dropped.contains(offset) else { continue }
            var excerpt: [UInt8] = []
            guard
                BatchExcerpt.write(
                    stored.batch,
                    first: index,
                    count: 1,
                    baseOffset: offset,
                    appendTime: Timestamp(rawValue: part.time),
                    into: &excerpt
                )
            else { continue }
            let message = FoundMessage(partition: stored.partition, offset: offset, record: 0, batch: excerpt)
            batch.append((part.number, message))
        }
    }

    private func isWanted(_ record: RecordView) -> Bool {
        let id = kind == .key ? PropertyID.key : .messageID
        var properties = PropertyCursor(record.properties)
        while let (found, value) = properties.next() {
            if found == id.rawValue, wanted.withUnsafeBytes({ bytesEqual($0, value) }) { return true }
        }
        return false
    }
}
