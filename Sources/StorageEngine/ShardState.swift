internal import DequeModule
internal import MessageModel
internal import StorageService

/// Everything that the records of the log add up to: made by applying them in order, from the beginning or from a
/// snapshot on.
///
/// Applying a record decides nothing that could be decided otherwise later: what is routed follows from the bindings at
/// that place of the log, and everything else (what is dropped, expired, dead, due) stands in a record of its own.
struct ShardState {
    /// The tenants' topics by name and capture; shared with the owner of the shard.
    let directory: TopicDirectory
    var topics: [TopicID: TopicState] = [:]
    /// Topics that were deleted, and whose messages may wait in inboxes.
    var former = FormerTopics()
    var subscriptions = SubscriptionTable()
    var subscriptionsByName: [SubscriptionKey: Subscription] = [:]
    /// What fronts keep for their own use.
    var families: [String: FamilyCount] = [:]
    /// The bindings of each tenant's inboxes: owners are subscriptions, ids those of their bindings.
    var inboxRouting: [TenantID: RoutingTable] = [:]
    /// The predicates of bindings, by the numbers that the tables carry; zero is none.
    private var predicates: [UInt32: RoutingPredicate] = [:]
    private var nextPredicate: UInt32 = 1
    var producers: ProducerTable
    var held = HeldMessages()
    /// The message ids that topics with a deduplication window know.
    var windows: [TopicID: DeduplicationWindow] = [:]
    /// The last values of each tenant's names.
    var retained: [TenantID: RetainedValues] = [:]
    /// Values that there was no room for, counted since the shard was opened.
    var retainedRefusals: UInt64 = 0
    /// What messages can be looked up by.
    var keys = KeyTable()
    let hash: KeyedHash
    let deduplicationEntries: Int
    let retainedLimits: RetainedValues.Limits
    /// The last messages of keys, in partitions of compacted topics.
    var compactions: [PartitionID: KeyCompaction] = [:]
    /// Those of which much can be let go.
    var compactable = Set<PartitionID>()
    let compactedKeys: Int
    let compactionTail: UInt64
    var traceScratch: [MessageTrace] = []
    var transactions: [TransactionID: OpenTransaction] = [:]
    var nextTopic: UInt32 = 1
    var nextSubscription: UInt32 = 1
    /// The epoch of the newest record.
    var epoch: UInt32 = 0
    /// The newest time in the log: times never go back.
    var lastTime = Timestamp.zero
    /// The sequences that got messages during each segment whose index is not in a file yet.
    var touched: [UInt64: [IndexedSequence]] = [:]
    let files = IndexFileTable()
    let relocations = Relocations()
    /// Entries that were made since somebody last looked at how many there are.
    var newEntries = 0
    /// Counts batches, to tell what this one routed already.
    private var routeSerial: UInt64 = 0
    private var matches: [RoutingTarget] = []
    private var name: [UInt8] = []

    struct SubscriptionKey: Hashable {
        var tenant: TenantID
        var name: String
    }

    init(options: ShardOptions) {
        directory = TopicDirectory()
        producers = ProducerTable(limit: options.producersRemembered)
        hash = options.hash
        deduplicationEntries = options.deduplicationEntries
        compactedKeys = options.compactedKeys
        compactionTail = max(1, options.compactionTail)
        retainedLimits = RetainedValues.Limits(values: options.retainedValues, bytes: options.retainedBytes)
    }

    func partition(_ id: PartitionID) -> (topic: TopicState, partition: IndexedSequence)? {
        guard let topic = topics[id.topic], Int(id.index) < topic.partitions.count else { return nil }
        return (topic, topic.partitions[Int(id.index)])
    }

    func topic(named name: String, tenant: TenantID) -> TopicState? {
        directory.topic(named: name, tenant: tenant).flatMap { topics[$0.id] }
    }

    func subscription(named name: String, tenant: TenantID) -> Subscription? {
        subscriptionsByName[SubscriptionKey(tenant: tenant, name: name)]
    }

    func lane(_ key: LaneKey) -> Lane? { subscriptions[key.subscription]?.lane(key.lane) }

    /// Every sequence that has an index.
    func forEachSequence(_ body: (IndexedSequence) -> Void) {
        for topic in topics.values { for partition in topic.partitions { body(partition) } }
        for subscription in subscriptions.values where subscription.isInbox {
            for lane in subscription.lanes { if let lane { body(lane.sequence) } }
        }
    }

    /// The names of the index and key files that belong to this state.
    var indexFiles: Set<String> {
        var files = Set<IndexFile.Key>()
        forEachSequence { sequence in
            for run in sequence.index.runs { files.insert(IndexFile.Key(segment: run.segment, epoch: run.epoch)) }
        }
        return Set(files.map { IndexFile.name(segment: $0.segment, epoch: $0.epoch) }).union(keys.files.map(\.name))
    }

    /// A part of the log is damaged: what stood there had offsets that somebody may have seen. Every sequence goes on
    /// with one that cannot have been among them, since no message takes less than a byte, until a batch behind the damage
    /// tells the right one.
    func leaveGaps(for region: DamagedRegion) {
        forEachSequence { $0.nextOffset += region.end - region.start }
    }

    /// Everything was applied: what was leased to attachments of an earlier life is free, and everything is visible.
    mutating func beginLife() {
        forEachSequence { $0.visibleOffset = $0.nextOffset }
        restartDelivery()
        held.beginLife()
    }

    /// A life of the shard is over: what was leased to its attachments goes back, and counts as delivered.
    func restartDelivery() {
        for subscription in subscriptions.values {
            for lane in subscription.lanes { lane?.delivery.restart() }
        }
    }

    // MARK: Batches

    mutating func append(_ entry: IndexEntry, to sequence: IndexedSequence, segment: UInt64) {
        sequence.index.append(entry, segment: segment)
        sequence.nextOffset = entry.nextOffset
        newEntries += 1
        if sequence.lastSegment != segment {
            sequence.lastSegment = segment
            touched[segment, default: []].append(sequence)
        }
    }

    /// What a sequence had in memory is in the log now.
    mutating func replaceEntries(of sequence: IndexedSequence, with entries: [IndexEntry], segment: UInt64) {
        let next = sequence.nextOffset
        _ = sequence.index.removeAll()
        for entry in entries { append(entry, to: sequence, segment: segment) }
        sequence.nextOffset = next
    }

    /// A batch stands in the log, with these stamps. `batch` may be the copy that its producer sent, without them.
    mutating func applyStored(
        baseOffset: UInt64,
        appendTime: Timestamp,
        batch: BatchView,
        in partition: IndexedSequence,
        position: UInt64,
        recordBytes: Int,
        segment: UInt64
    ) {
        let count = batch.recordCount
        let entry = IndexEntry(
            baseOffset: baseOffset,
            position: position,
            appendTime: appendTime.rawValue,
            recordBytes: UInt32(recordBytes),
            count: UInt16(count)
        )
        append(entry, to: partition, segment: segment)
        lastTime = max(lastTime, appendTime)
        remember(batch, baseOffset: baseOffset, partition: partition.partition)
    }

    private mutating func remember(_ batch: BatchView, baseOffset: UInt64, partition: PartitionID) {
        guard batch.producer != .anonymous else { return }
        producers.stored(
            producer: batch.producer,
            epoch: batch.producerEpoch,
            baseSequence: batch.baseSequence,
            count: UInt32(batch.recordCount),
            baseOffset: baseOffset,
            partition: partition
        )
    }

    /// A batch stands in the log and is not published yet.
    mutating func applyHeld(
        _ hold: StoredBatch.Hold,
        transaction: TransactionID,
        batch: BatchView,
        partition: PartitionID,
        position: UInt64,
        recordBytes: Int,
        traits: BatchTraits,
        time: Timestamp
    ) {
        lastTime = max(lastTime, time)
        remember(batch, baseOffset: .max, partition: partition)
        switch hold {
        case .internalCopy, .publishedCopy:
            break
        case .prepared:
            transactions[transaction]?.held.append(
                HeldBatch(
                    partition: partition,
                    position: position,
                    recordBytes: UInt32(recordBytes),
                    count: UInt16(batch.recordCount)
                )
            )
        case .scheduled:
            held.schedule(batch, position: position, time: time)
            if traits.contains(.hasMessageIDs), let topic = topics[partition.topic] {
                rememberHeld(batch, topic: topic, partition: partition, time: time)
            }
        }
    }

    /// Held messages are messages of their partition from now on.
    /// - Parameter reached: gets every sequence that grew.
    mutating func apply(
        _ publication: Publication,
        position: UInt64,
        segment: UInt64,
        reached: inout [IndexedSequence]
    ) -> Bool {
        lastTime = max(lastTime, publication.time)
        for (number, item) in publication.items.enumerated() {
            if publication.reason == .due { held.published(item) }
            guard let (topic, partition) = partition(item.partition) else { continue }
            // Behind damage the record tells the right offset, as that of a batch does.
            if item.baseOffset >= partition.indexedOffset { partition.nextOffset = item.baseOffset }
            let entry = IndexEntry(
                baseOffset: partition.nextOffset,
                position: item.position,
                appendTime: publication.time.rawValue,
                recordBytes: item.recordBytes,
                first: item.first,
                count: item.count
            )
            append(entry, to: partition, segment: segment)
            reached.append(partition)
            if !item.traces.isEmpty {
                let place = TracePlace(
                    topic: topic,
                    partition: item.partition,
                    baseOffset: entry.baseOffset,
                    first: item.first,
                    time: publication.time.rawValue,
                    position: item.position,
                    recordBytes: item.recordBytes,
                    publication: (position, UInt16(clamping: number)),
                    segment: segment
                )
                for trace in item.traces { apply(trace, place) }
            }
            for route in item.routes {
                guard let lane = apply(route, entry, segment: segment) else { continue }
                reached.append(lane.sequence)
            }
        }
        if publication.reason == .committed { transactions[TransactionID(rawValue: publication.transaction)] = nil }
        return publication.changes.withUnsafeBytes { applyDelivery($0) }
    }

    // MARK: Routing

    func hasInboxes(_ tenant: TenantID) -> Bool { inboxRouting[tenant].map { !$0.isEmpty } ?? false }

    /// Finds the inboxes that messages of a batch go to.
    mutating func collectRoutes(
        _ batch: BatchView,
        topic: TopicState,
        first: Int,
        count: Int,
        into routes: inout [InboxRoute]
    ) {
        guard hasInboxes(topic.tenant) else { return }
        routeSerial += 1
        var found = matches
        matches = []
        var isKnown = false
        var lastKey = UnsafeRawBufferPointer(start: nil, count: 0)
        var lastIsAbsolute = false
        var cursor = batch.records
        topic.info.nameBytes.withUnsafeBytes { topicName in
            while let record = cursor.next() {
                let place = cursor.index - 1
                if place < first { continue }
                if place >= first + count { break }
                // Messages that come together often have one name.
                let key = record.routingKey ?? UnsafeRawBufferPointer(start: nil, count: 0)
                if !isKnown || record.hasAbsoluteName != lastIsAbsolute || !bytesEqual(key, lastKey) {
                    found.removeAll(keepingCapacity: true)
                    if record.hasAbsoluteName {
                        inboxRouting[topic.tenant]?.match(key, into: &found)
                    } else {
                        name.removeAll(keepingCapacity: true)
                        record.appendName(topic: topicName, to: &name)
                        name.withUnsafeBytes { inboxRouting[topic.tenant]?.match($0, into: &found) }
                    }
                    isKnown = true
                    lastKey = key
                    lastIsAbsolute = record.hasAbsoluteName
                }
                var last = UInt64.max
                for target in found where target.owner != last {
                    if target.predicate != 0, !holds(target.predicate, record) { continue }
                    last = target.owner
                    route(record, place, to: target, into: &routes)
                }
            }
        }
        matches = found
    }

    /// Whether what a binding asks besides the name holds of the record whose name was matched last.
    private func holds(_ predicate: UInt32, _ record: RecordView) -> Bool {
        guard let predicate = predicates[predicate] else { return false }
        if record.hasAbsoluteName {
            return predicate.matches(record, name: record.routingKey ?? UnsafeRawBufferPointer(start: nil, count: 0))
        }
        return name.withUnsafeBytes { predicate.matches(record, name: $0) }
    }

    private func route(_ record: RecordView, _ place: Int, to target: RoutingTarget, into routes: inout [InboxRoute]) {
        guard let subscription = subscriptions[SubscriptionID(rawValue: UInt32(truncatingIfNeeded: target.owner))]
        else { return }
        if record.deliveryClass == .atMostOnce, !subscription.rules.takesAtMostOnce { return }
        var lane: UInt16 = 0
        if subscription.rules.maxPriority > 0,
            let priority = PropertyCursor.first(.priority, in: record.properties), priority.count == 1
        {
            lane = subscription.lane(forPriority: priority[0])
        }
        let bytes = UInt32(clamping: record.body.count + record.properties.count)
        let mark = subscription.routeMark
        if mark.serial == routeSerial, routes[mark.route].lane.lane == lane,
            Int(routes[mark.route].first) + Int(routes[mark.route].count) == place
        {
            routes[mark.route].count += 1
            routes[mark.route].bytes &+= bytes
            return
        }
        subscription.routeMark = (routeSerial, routes.count)
        routes.append(
            InboxRoute(
                lane: LaneKey(subscription: subscription.id, lane: lane),
                first: UInt16(place),
                count: 1,
                bytes: bytes,
                isLimited: subscription.rules.limitsInbox
            )
        )
    }

    /// Messages of a batch go to an inbox.
    mutating func apply(_ route: InboxRoute, _ template: IndexEntry, segment: UInt64) -> Lane? {
        guard let subscription = subscriptions[route.lane.subscription], subscription.isInbox else { return nil }
        let lane = subscription.makeLane(route.lane.lane, epoch: epoch)
        var entry = template
        entry.baseOffset = lane.sequence.nextOffset
        entry.first = route.first
        entry.count = route.count
        append(entry, to: lane.sequence, segment: segment)
        lane.added(count: Int(route.count), bytes: route.bytes, limitsBytes: subscription.rules.maxBytes > 0)
        return lane
    }

    // MARK: Definitions

    @discardableResult
    mutating func applyTopicCreated(_ definition: TopicDefinition) -> TopicState {
        let info = TopicInfo(
            id: definition.id,
            name: definition.specification.name,
            partitions: definition.specification.partitions,
            captures: definition.specification.captures
        )
        let topic = TopicState(
            info: info,
            tenant: definition.tenant,
            createdAt: definition.createdAt,
            policy: definition.specification.policy
        )
        topics[definition.id] = topic
        directory.insert(info, tenant: definition.tenant)
        nextTopic = max(nextTopic, definition.id.rawValue + 1)
        lastTime = max(lastTime, definition.createdAt)
        return topic
    }

    /// - Parameter end: that of the record that says so.
    mutating func applyTopicDeleted(_ id: TopicID, end: UInt64) {
        guard let topic = topics.removeValue(forKey: id) else { return }
        keepName(of: topic, until: end)
        directory.remove(id, tenant: topic.tenant)
        for partition in topic.partitions {
            partition.isDeleted = true
            partition.topic = nil
            files.dropped(partition.index.removeAll())
        }
        for subscription in subscriptions.values where subscription.topic === topic {
            applySubscriptionDeleted(subscription.id)
        }
        producers.forget(topic: id)
        forgetTraces(of: topic)
    }

    @discardableResult
    mutating func applySubscriptionCreated(_ definition: SubscriptionDefinition) -> Subscription {
        var topic: TopicState?
        if case .cursor(let id, _) = definition.source { topic = topics[id] }
        let subscription = Subscription(definition, topic: topic, epoch: epoch)
        topic?.cursors.append(definition.id)
        subscription.family = family(of: definition.name)
        subscription.family?.made()
        subscriptions[definition.id] = subscription
        subscriptionsByName[SubscriptionKey(tenant: definition.tenant, name: definition.name)] = subscription
        if definition.id.rawValue < SubscriptionID.firstTransient {
            nextSubscription = max(nextSubscription, definition.id.rawValue + 1)
        }
        if case .inbox(let bindings) = definition.source {
            for binding in bindings { bind(subscription, binding) }
        }
        return subscription
    }

    mutating func applySubscriptionDeleted(_ id: SubscriptionID) {
        guard let subscription = subscriptions.removeValue(forKey: id) else { return }
        for bound in subscription.bindings { unbind(subscription, bound.binding) }
        subscription.isDeleted = true
        subscription.family?.deleted(subscription.sessionState.keys)
        subscription.family = nil
        subscription.topic?.cursors.removeAll { $0 == id }
        for lane in subscription.lanes {
            guard let lane else { continue }
            if subscription.isInbox {
                lane.sequence.leaveInbox()
                lane.sequence.leaveMemory()
                files.dropped(lane.sequence.index.removeAll())
            }
            lane.endReading()
        }
        subscriptionsByName[SubscriptionKey(tenant: subscription.tenant, name: subscription.name)] = nil
    }

    private mutating func bind(_ subscription: Subscription, _ binding: Binding) {
        guard !subscription.bindings.contains(where: { $0.binding == binding }),
            let pattern = try? BindingPattern(binding)
        else { return }
        var bound = Subscription.Bound(binding: binding, pattern: pattern.names, id: subscription.nextBinding)
        subscription.nextBinding += 1
        if let predicate = pattern.predicate {
            bound.predicate = nextPredicate
            predicates[nextPredicate] = predicate
            nextPredicate = nextPredicate == RoutingTarget.largestPredicate ? 1 : nextPredicate + 1
        }
        subscription.bindings.append(bound)
        inboxRouting[subscription.tenant, default: RoutingTable()].insert(bound.pattern, bound.target(subscription))
    }

    private mutating func unbind(_ subscription: Subscription, _ binding: Binding) {
        guard let place = subscription.bindings.firstIndex(where: { $0.binding == binding }) else { return }
        let bound = subscription.bindings.remove(at: place)
        predicates[bound.predicate] = nil
        inboxRouting[subscription.tenant]?.remove(bound.pattern, bound.target(subscription))
    }

    mutating func apply(_ change: SubscriptionChange, to id: SubscriptionID) {
        guard let subscription = subscriptions[id] else { return }
        switch change {
        case .policy(let policy): subscription.policy = policy
        case .paused(let isPaused): subscription.isPaused = isPaused
        case .redrive(let run): subscription.redrive = run
        case .bound(let binding): bind(subscription, binding)
        case .unbound(let binding): unbind(subscription, binding)
        case .seek(let places):
            for place in places {
                guard let lane = subscription.lane(place.lane) else { continue }
                // What an inbox has done may not be in the log any more.
                lane.delivery.seek(to: place.sequence, keepsDone: subscription.isInbox, epoch: epoch)
                lane.reasons = [:]
                lane.advanced(subscription, files)
            }
        }
    }

    // MARK: Delivery

    mutating func applyCommit(_ id: SubscriptionID, partition: Int, offset: UInt64) {
        guard let subscription = subscriptions[id], let lane = subscription.lane(UInt16(clamping: partition)),
            offset > lane.delivery.watermark
        else { return }
        lane.delivery.apply(.done(lane.delivery.watermark..<offset), epoch: epoch)
        lane.advanced(subscription, files)
    }

    /// - Returns: false where the bytes are malformed.
    func applyDelivery(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var reached: [LaneKey] = []
        let isWellFormed = DeliveryJournal.read(bytes) { key, change in
            guard let subscription = subscriptions[key.subscription] else { return }
            let lane =
                subscription.isInbox ? subscription.makeLane(key.lane, epoch: epoch) : subscription.lane(key.lane)
            lane?.delivery.apply(change, epoch: epoch)
            // Nobody else is done with letters that are being sent back.
            if case .done(let range) = change { subscription.redrive?.moved += range.upperBound - range.lowerBound }
            if let lane, case .condemned(let range, let reason) = change {
                for sequence in range where lane.delivery.dying.contains(sequence) { lane.reasons[sequence] = reason }
            }
            if reached.last != key { reached.append(key) }
        }
        for key in reached {
            guard let subscription = subscriptions[key.subscription] else { continue }
            subscription.lane(key.lane)?.advanced(subscription, files)
        }
        return isWellFormed
    }

    mutating func apply(_ change: TransactionChange, to id: TransactionID) {
        switch change {
        case .begun(let tenant, let specification, let time):
            transactions[id] = OpenTransaction(tenant: tenant, specification: specification, begunAt: time)
        case .rolledBack: transactions[id] = nil
        case .checked(let time):
            transactions[id]?.checks += 1
            transactions[id]?.lastCheck = time
        case .settles(let receipts): transactions[id]?.receipts += receipts
        }
    }
}

extension SubscriptionID {
    /// From here on are those that are not in the log.
    static let firstTransient: UInt32 = 0x8000_0000
}

extension Lane {
    /// Messages were routed here.
    func added(count: Int, bytes: UInt32, limitsBytes: Bool) {
        guard limitsBytes, count > 0 else { return }
        if sizes.isEmpty { sizesStart = sequence.nextOffset - UInt64(count) }
        let each = bytes / UInt32(count)
        for _ in 0..<count { sizes.append(each) }
        self.bytes += UInt64(each) * UInt64(count)
    }

    /// The watermark may have moved: what stands before it in an inbox is let go.
    func advanced(_ subscription: Subscription, _ files: IndexFileTable) {
        let watermark = delivery.watermark
        while sizesStart < watermark, let size = sizes.popFirst() {
            bytes -= UInt64(size)
            sizesStart += 1
        }
        guard subscription.isInbox else { return }
        noteDeaths(files)
        guard watermark > sequence.trimmedOffset else { return }
        sequence.trimmedOffset = watermark
        sequence.releaseMemory(before: watermark)
        files.dropped(sequence.index.drop(before: watermark))
        if sequence.index.isEmpty { sequence.memory = nil }
    }

    /// What is done in the middle of runs is told when it is much of what is left.
    private func noteDeaths(_ files: IndexFileTable) {
        let done = delivery.done.count
        guard done > notedDeaths else {
            notedDeaths = done
            return
        }
        let died = done - notedDeaths
        guard died >= 64, died >= (sequence.nextOffset - delivery.watermark - done) / 8 else { return }
        notedDeaths = done
        let end = delivery.done.last ?? 0
        for run in sequence.index.runs where run.firstOffset <= end { files.thinned(run) }
    }
}
