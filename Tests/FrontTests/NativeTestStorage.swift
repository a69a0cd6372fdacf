import MessageModel
import StorageService

/// The simplest storage that keeps the promises of `StorageService`: in memory, one event loop, results in rounds that
/// the test runs.
final class NativeTestStorage: StorageService {
    final class Partition {
        var batches: [[UInt8]] = []
        var nextOffset: UInt64 = 0
        var producers: [UInt64: (next: UInt32, stored: [UInt32: UInt64])] = [:]
    }

    let topics = TopicDirectory()
    var partitions: [PartitionID: Partition] = [:]
    var subscriptions: [String: (topic: TopicID, acknowledged: [UInt16: UInt64])] = [:]
    /// What is answered to SCAN_RETAINED and LOOK_UP.
    var retained: [RetainedMessage] = []
    /// Answers the next appends with these instead of storing them.
    var refusals: [ErrorCode] = []
    var nextProducer: UInt64 = 1
    var appends = 0
    var sessions: [NativeTestSession] = []
    private var queue: [() -> Void] = []
    /// Asks the owner to call `runRound` soon.
    var wake: () -> Void = {}
    private var isWoken = false

    init() { add(TopicDirectory.builtInTopic) }

    @discardableResult
    func add(_ name: String, partitions count: Int = 1) -> TopicInfo {
        let id = TopicID(rawValue: UInt32(topics.names(tenant: .default).count + 1))
        let topic = TopicInfo(id: id, name: name, partitions: count, captures: [])
        topics.insert(topic, tenant: .default)
        for index in 0..<count { partitions[PartitionID(topic: id, index: UInt16(index))] = Partition() }
        return topic
    }

    /// Makes up so many retained messages of a topic, each the second of its batch.
    func retain(_ count: Int, of topic: TopicInfo) {
        retained = (0..<count).map { number in
            let key = Array("n\(1_000 + number)".utf8)
            var builder = BatchBuilder()
            builder.begin()
            for body in ["other", "value \(number)"] {
                Array(body.utf8).withUnsafeBytes { body in
                    key.withUnsafeBytes { key in
                        var fields = RecordFields()
                        fields.body = body
                        fields.routingKey = key
                        builder.append(fields)
                    }
                }
            }
            let message = FoundMessage(
                partition: PartitionID(topic: topic.id, index: 0),
                offset: UInt64(number),
                record: 1,
                batch: builder.finish { Array($0) },
                sequence: 7,
                attempts: 3
            )
            return RetainedMessage(name: topic.nameBytes + [NameRules.separator] + key, message: message)
        }
    }

    func openSession(tenant: TenantID, delegate: any StorageSessionDelegate) -> any StorageSession {
        let session = NativeTestSession(storage: self, delegate: delegate)
        sessions.append(session)
        return session
    }

    func later(_ work: @escaping () -> Void) {
        queue.append(work)
        guard !isWoken else { return }
        isWoken = true
        wake()
    }

    /// Runs what waits, delivers what may be delivered, and ends the round.
    func runRound() {
        isWoken = false
        let work = queue
        queue = []
        for item in work { item() }
        for session in sessions where !session.isClosed {
            session.deliver()
            session.delegate?.storageRoundEnded()
        }
    }

    func append(_ batch: BatchView, to id: PartitionID) -> AppendResult {
        appends += 1
        if !refusals.isEmpty { return AppendResult(error: refusals.removeFirst()) }
        guard let partition = partitions[id] else { return AppendResult(error: .topicNotFound) }
        let producer = batch.producer.rawValue
        let count = UInt32(batch.recordCount)
        if producer != 0, let state = partition.producers[producer] {
            if let offset = state.stored[batch.baseSequence] {
                return AppendResult(baseOffset: offset, recordCount: count, isDuplicate: true)
            }
            if batch.baseSequence != state.next { return AppendResult(error: .sequenceGap) }
        }
        let offset = partition.nextOffset
        var bytes = Array(batch.bytes)
        bytes.withUnsafeMutableBytes {
            BatchView.stamp($0, baseOffset: offset, appendTime: Timestamp(rawValue: 1_000 + offset), epoch: 1)
        }
        partition.batches.append(bytes)
        partition.nextOffset += UInt64(count)
        var state = partition.producers[producer] ?? (0, [:])
        state.next = batch.baseSequence &+ count
        state.stored[batch.baseSequence] = offset
        partition.producers[producer] = state
        return AppendResult(baseOffset: offset, recordCount: count, position: LogPosition(rawValue: 100 + offset))
    }
}

final class NativeTestSession: StorageSession {
    final class Reader {
        var request: AttachRequest
        var positions: [PartitionID: UInt64]
        var messages: Int64
        var bytes: Int64
        init(_ request: AttachRequest, _ positions: [PartitionID: UInt64]) {
            self.request = request
            self.positions = positions
            messages = Int64(clamping: request.creditMessages)
            bytes = Int64(clamping: request.creditBytes)
        }
    }

    let storage: NativeTestStorage
    weak var delegate: (any StorageSessionDelegate)?
    var isClosed = false
    var readers: [UInt32: Reader] = [:]
    var waitingFetches: [(token: UInt64, request: FetchRequest)] = []
    var cancelled: [UInt64] = []
    var isStopped = false
    var grants: [(attachment: UInt32, messages: UInt64, bytes: UInt64)] = []

    init(storage: NativeTestStorage, delegate: any StorageSessionDelegate) {
        self.storage = storage
        self.delegate = delegate
    }

    func settle(
        attachment: UInt32,
        lane: UInt16,
        first: UInt64,
        last: UInt64,
        _ settlement: Settlement,
        token: UInt64?
    ) {}

    func append(_ batch: BatchView, to partition: PartitionID, options: AppendOptions, token: UInt64) {
        let acknowledgement = options.acknowledgement
        let result = storage.append(batch, to: partition)
        storage.later { [self] in
            guard !isClosed, acknowledgement != .none || result.error != nil else { return }
            delegate?.appendCompleted(token: token, result: result)
        }
    }

    func attach(_ request: AttachRequest, attachment: UInt32) {
        var positions: [PartitionID: UInt64] = [:]
        switch request.source {
        case .partition(let partition, let start): positions[partition] = position(start, partition)
        case .topic(let topic, let start):
            for id in storage.partitions.keys where id.topic == topic { positions[id] = position(start, id) }
        case .subscription(let name), .consumer(let name, _), .getter(let name):
            guard let subscription = storage.subscriptions[name] else {
                return storage.later { [self] in
                    delegate?.attachmentEnded(attachment: attachment, error: SluiceError(.subscriptionNotFound, "none"))
                }
            }
            for id in storage.partitions.keys where id.topic == subscription.topic {
                positions[id] = subscription.acknowledged[id.index] ?? 0
            }
        }
        readers[attachment] = Reader(request, positions)
        storage.later {}
    }

    private func position(_ start: StartPosition, _ partition: PartitionID) -> UInt64 {
        switch start {
        case .first, .time: 0
        case .next: storage.partitions[partition]?.nextOffset ?? 0
        case .offset(let offset): offset
        }
    }

    func grantCredit(attachment: UInt32, messages: UInt64, bytes: UInt64) {
        grants.append((attachment, messages, bytes))
        guard let reader = readers[attachment] else { return }
        reader.messages += Int64(clamping: messages)
        reader.bytes += Int64(clamping: bytes)
        storage.later {}
    }

    func detach(attachment: UInt32) { readers[attachment] = nil }

    func retire(attachment: UInt32) {}
    func grantCredit(group: UInt32, messages: UInt64) {}

    func stopDelivering() { isStopped = true }
    func addFilter(_ filter: UnsafeRawBufferPointer, id: UInt32, group: UInt64?) -> SluiceError? { nil }
    func removeFilter(id: UInt32) -> Bool { false }
    func putState(_ changes: StateChanges, token: UInt64?) {}
    func close() {
        isClosed = true
        readers = [:]
    }

    func cancel(token: UInt64) {
        cancelled.append(token)
        waitingFetches.removeAll { $0.token == token }
    }

    func deliver() {
        for (attachment, reader) in readers {
            for (id, position) in reader.positions.sorted(by: { $0.key.index < $1.key.index }) {
                deliver(id, from: position, attachment, reader)
            }
        }
        for (token, request) in waitingFetches where storage.partitions[request.partition]!.nextOffset > request.offset
        {
            waitingFetches.removeAll { $0.token == token }
            delegate?.requestCompleted(token: token, result: .success(fetch(request)))
        }
    }

    private func deliver(_ id: PartitionID, from position: UInt64, _ attachment: UInt32, _ reader: Reader) {
        var position = position
        for bytes in storage.partitions[id]?.batches ?? [] {
            guard reader.messages > 0, reader.bytes > 0 else { break }
            bytes.withUnsafeBytes { raw in
                let batch = BatchView(prefixOf: raw)!
                guard batch.nextOffset > position else { return }
                let ranges = matching(batch, from: position, reader.request.filter, id.topic)
                position = batch.nextOffset
                guard !ranges.isEmpty else { return }
                reader.messages -= ranges.reduce(0) { $0 + Int64($1.last - $1.first + 1) }
                reader.bytes -= Int64(batch.byteCount)
                ranges.withUnsafeBufferPointer { ranges in
                    delegate?.batchDelivered(
                        BatchDelivery(attachment: attachment, partition: id, batch: batch, ranges: ranges)
                    )
                }
            }
        }
        reader.positions[id] = position
    }

    private func matching(_ batch: BatchView, from: UInt64, _ filter: [UInt8], _ topic: TopicID) -> [RecordRange] {
        var ranges: [RecordRange] = []
        var cursor = batch.records
        for index in 0..<UInt32(batch.recordCount) {
            let record = cursor.next()!
            guard batch.baseOffset + UInt64(index) >= from else { continue }
            var name: [UInt8] = []
            storage.topics.topic(topic)!.nameBytes.withUnsafeBytes { record.appendName(topic: $0, to: &name) }
            let isMeant =
                filter.isEmpty
                || filter.withUnsafeBytes { filter in name.withUnsafeBytes { NameFilter.matches(filter, name: $0) } }
            guard isMeant else { continue }
            if let last = ranges.last, last.last + 1 == index {
                ranges[ranges.count - 1].last = index
            } else {
                ranges.append(RecordRange(first: index, last: index))
            }
        }
        return ranges
    }

    func perform(_ request: StorageRequest, token: UInt64) {
        if case .fetch(let fetch) = request, fetch.waitMicroseconds > 0,
            let partition = storage.partitions[fetch.partition], partition.nextOffset <= fetch.offset
        {
            waitingFetches.append((token, fetch))
            return
        }
        let result = answer(request)
        storage.later { [self] in
            guard !isClosed else { return }
            delegate?.requestCompleted(token: token, result: result)
        }
    }

    private func fetch(_ request: FetchRequest) -> StorageReply {
        let partition = storage.partitions[request.partition]!
        var bytes: [UInt8] = []
        for batch in partition.batches {
            let next = batch.withUnsafeBytes { BatchView(prefixOf: $0)!.nextOffset }
            guard next > request.offset else { continue }
            guard bytes.isEmpty || bytes.count + batch.count <= request.maxBytes else { break }
            bytes += batch
        }
        return .fetched(FetchReply(batches: bytes, firstOffset: 0, nextOffset: partition.nextOffset))
    }

    private func answer(_ request: StorageRequest) -> Result<StorageReply, SluiceError> {
        switch request {
        case .createTopic(let specification):
            if let topic = storage.topics.topic(named: specification.name, tenant: .default) {
                return .success(.topicCreated(describe(topic), isNew: false))
            }
            let topic = storage.add(specification.name, partitions: specification.partitions)
            return .success(.topicCreated(describe(topic), isNew: true))
        case .describeTopic(let name):
            guard let topic = storage.topics.topic(named: name, tenant: .default) else {
                return .failure(SluiceError(.topicNotFound, "no topic is named '\(name)'"))
            }
            return .success(.topic(describe(topic)))
        case .listTopics(let after, let limit):
            let names = storage.topics.names(tenant: .default).filter { $0 > after ?? "" }
            let page = names.prefix(limit).map { describe(storage.topics.topic(named: $0, tenant: .default)!) }
            return .success(.topics(page, next: names.count > limit ? page.last?.name : nil))
        case .openProducer(let request):
            let id: UInt64
            if let resume = request.resume {
                id = resume.rawValue
            } else {
                id = storage.nextProducer
                storage.nextProducer += 1
            }
            let next = storage.partitions[request.partition]?.producers[id]?.next ?? 0
            return .success(
                .producer(ProducerReply(producer: ProducerID(rawValue: id), epoch: 0, nextSequence: next))
            )
        case .fetch(let request): return .success(fetch(request))
        case .findOffset(let partition, let query):
            let next = storage.partitions[partition]?.nextOffset ?? 0
            if case .first = query { return .success(.offset(0, .zero)) }
            return .success(.offset(next, .zero))
        case .createSubscription(let specification):
            let isNew = storage.subscriptions[specification.name] == nil
            if isNew {
                var acknowledged: [UInt16: UInt64] = [:]
                guard case .cursor(let topic, let start) = specification.source else {
                    return .failure(SluiceError(.notSupported, "no inboxes here"))
                }
                for id in storage.partitions.keys where id.topic == topic {
                    acknowledged[id.index] = position(start, id)
                }
                storage.subscriptions[specification.name] = (topic, acknowledged)
            }
            return .success(.subscriptionCreated(describe(specification.name), isNew: isNew))
        case .describeSubscription(let name):
            guard storage.subscriptions[name] != nil else {
                return .failure(SluiceError(.subscriptionNotFound, "no subscription is named '\(name)'"))
            }
            return .success(.subscription(describe(name)))
        case .listSubscriptions:
            return .success(.subscriptions(storage.subscriptions.keys.sorted().map(describe), next: nil))
        case .commit(let name, let partition, let offset):
            guard let old = storage.subscriptions[name]?.acknowledged[partition.index] else {
                return .failure(SluiceError(.subscriptionNotFound, "no subscription is named '\(name)'"))
            }
            storage.subscriptions[name]?.acknowledged[partition.index] = max(old, offset)
            return .success(.done)
        case .health:
            return .success(.health(StorageHealth(acceptsWrites: true, reason: "", durable: .zero, end: .zero)))
        case .deleteTopic, .deleteSubscription: return .success(.done)
        case .getState, .scanState, .queueRetained, .handOver, .lease:
            return .failure(SluiceError(.notSupported, "not here"))
        case .unsupported(let verb): return .failure(SluiceError(.notSupported, verb.rawValue))
        case .updateSubscription, .bind, .unbind, .listBindings, .seek, .pause, .settle, .browse, .beginTransaction,
            .settleInTransaction, .commitTransaction, .rollBackTransaction, .adoptTransactions, .cancelScheduled,
            .redrive:
            return .failure(SluiceError(.notSupported, "not here"))
        case .scanRetained(_, let after, let limit):
            let found = storage.retained.filter { after?.lexicographicallyPrecedes($0.name) ?? true }
            let page = Array(found.prefix(limit))
            return .success(.retained(page, next: found.count > limit ? page.last?.name : nil))
        case .lookUp(let query): return .success(.found(Array(storage.retained.map(\.message).prefix(query.limit))))
        }
    }

    private func describe(_ topic: TopicInfo) -> TopicDescription {
        let partitions = (0..<topic.partitions).map { index in
            let id = PartitionID(topic: topic.id, index: UInt16(index))
            return TopicDescription.Partition(firstOffset: 0, nextOffset: storage.partitions[id]?.nextOffset ?? 0)
        }
        return TopicDescription(
            id: topic.id,
            name: topic.name,
            captures: topic.captures,
            createdAt: .zero,
            partitions: partitions
        )
    }

    private func describe(_ name: String) -> SubscriptionDescription {
        let (topic, acknowledged) = storage.subscriptions[name]!
        let info = storage.topics.topic(topic)!
        let partitions = (0..<info.partitions).map { index in
            let id = PartitionID(topic: topic, index: UInt16(index))
            return SubscriptionDescription.Lane(
                acknowledged: acknowledged[UInt16(index)] ?? 0,
                nextOffset: storage.partitions[id]?.nextOffset ?? 0
            )
        }
        return SubscriptionDescription(
            id: SubscriptionID(rawValue: 1),
            name: name,
            topic: topic,
            topicName: info.name,
            createdAt: .zero,
            isPaused: false,
            consumers: 0,
            policy: SubscriptionPolicy(),
            lanes: partitions
        )
    }
}
