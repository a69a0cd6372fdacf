internal import MessageModel
internal import StorageEngine

/// Everything that can be read from a shard at one moment.
struct ShardObservation {
    struct Batch {
        var id: Int
        var base: UInt64
        var count: Int
        var appendTime: UInt64
    }

    struct Topic {
        var id: TopicID
        var partitions: [[Batch]]
        /// Offsets that could not be read because what holds them is damaged.
        var unreadable: [[UInt64]]
        var ends: [UInt64]
    }

    struct Subscription {
        var topic: TopicID
        var acknowledged: [UInt64]
    }

    var topics: [String: Topic] = [:]
    var subscriptions: [String: Subscription] = [:]
    /// For each of the model's producers: the sequence that is wanted next; nil where its topic is not there.
    var nextSequences: [UInt32?] = []
    /// What the shard reported damaged when it was opened.
    var damaged: [DamagedRegion] = []
}

extension ShardModel {
    /// How the shard ended before what is observed.
    enum End {
        /// It was not ended, or closed: everything that was accepted is there.
        case none
        /// The process ended: what was said to be received is there too.
        case kill
        case powerCut
    }

    /// Checks what is found after an end behind the disk operations up to `stamp`.
    /// - Parameter isDamaged: something on the disk was damaged that was durable: what is missing may be a part of it.
    func verify(_ found: ShardObservation, stamp: Int, after end: End, isDamaged: Bool = false) {
        verifyTopics(found, stamp)
        verifySubscriptions(found, stamp)
        if !isDamaged { check(found.damaged.isEmpty, "damage was reported where there is none: \(found.damaged)") }
        var present = Set<Int>()
        for (index, topic) in topics.enumerated() {
            guard let id = topic.id, let seen = found.topics[topic.name], seen.id == id else { continue }
            for (place, batches) in seen.partitions.enumerated() {
                verifyPartition(
                    batches,
                    PartitionID(topic: id, index: UInt16(place)),
                    topic: index,
                    stamp,
                    isDamaged,
                    &present
                )
                if !isDamaged {
                    check(seen.unreadable[place].isEmpty, "offsets \(seen.unreadable[place]) cannot be read")
                    let last = batches.last.map { $0.base + UInt64($0.count) } ?? 0
                    check(
                        last == seen.ends[place],
                        "partition \(place) of \(topic.name) ends at \(seen.ends[place]), not \(last)"
                    )
                }
            }
        }
        guard !isDamaged else { return }
        verifyPresence(present, found, stamp, end)
        verifyProducers(present, found)
    }

    func verifyTopics(_ found: ShardObservation, _ stamp: Int) {
        for topic in topics {
            let isThere = found.topics[topic.name].map { $0.id == topic.id } ?? false
            if topic.mustExist(stamp) {
                check(isThere, "topic \(topic.name) is lost")
                check(
                    found.topics[topic.name]?.partitions.count == topic.partitions,
                    "\(topic.name) has other partitions"
                )
            } else if isThere {
                check(topic.mayExist(stamp), "topic \(topic.name) is back")
            }
        }
        for (name, seen) in found.topics where topic(seen.id)?.name != name {
            check(topic(seen.id) == nil, "topic \(name) has the identity of another")
            let isPossible = topics.contains { $0.name == name && $0.id == nil && $0.mayExist(stamp) }
            check(isPossible, "nobody created topic \(name)")
        }
    }

    private func verifySubscriptions(_ found: ShardObservation, _ stamp: Int) {
        for subscription in subscriptions where subscription.mustExist(stamp) {
            guard topics[subscription.topic].mustExist(stamp) else { continue }
            guard let seen = found.subscriptions[subscription.name] else {
                fail("subscription \(subscription.name) is lost")
                continue
            }
            check(seen.topic == topics[subscription.topic].id, "subscription \(subscription.name) has another topic")
        }
        for (name, seen) in found.subscriptions {
            guard found.topics.values.contains(where: { $0.id == seen.topic }) else {
                fail("subscription \(name) has no topic")
                continue
            }
            let possible = subscriptions.last {
                $0.name == name && $0.mayExist(stamp) && topics[$0.topic].mayExist(stamp)
                    && (topics[$0.topic].id == nil || topics[$0.topic].id == seen.topic)
            }
            guard let possible else {
                fail("subscription \(name) is back, or nobody created it")
                continue
            }
            for (partition, position) in seen.acknowledged.enumerated() {
                let floor = possible.floor(partition, stamp)
                check(position >= floor, "subscription \(name) went back from \(floor) to \(position)")
                if let ceiling = possible.ceiling(partition, stamp) {
                    check(position <= ceiling, "subscription \(name) stands at \(position), behind \(ceiling)")
                }
            }
        }
    }

    private func verifyPartition(
        _ found: [ShardObservation.Batch],
        _ partition: PartitionID,
        topic: Int,
        _ stamp: Int,
        _ isDamaged: Bool,
        _ present: inout Set<Int>
    ) {
        var next: UInt64 = 0
        var newestSubmission = 0
        var newestTime: UInt64 = 0
        for seen in found {
            let batch = batches[seen.id]
            let text = "batch \(seen.id) at offset \(seen.base) of \(Self.text(partition))"
            check(isDamaged ? seen.base >= next : seen.base == next, "\(text) does not follow offset \(next)")
            check(present.insert(seen.id).inserted, "\(text) is there twice")
            check(batch.partition == partition, "\(text) is in another partition")
            check(batch.base == nil || batch.base == seen.base, "\(text) stood at \(batch.base ?? 0)")
            check(seen.appendTime >= newestTime, "\(text) was stored before the one before it")
            check(
                batch.durableAt <= stamp || batch.submissions.contains { $0.stamp <= stamp },
                "\(text) was not sent, was refused, or had been lost"
            )
            if !batch.submissions.isEmpty {
                if let submission = batch.submissions.map(\.number).filter({ $0 > newestSubmission }).min() {
                    newestSubmission = submission
                } else {
                    fail("\(text) was sent before the one before it")
                }
            }
            next = seen.base + UInt64(seen.count)
            newestTime = seen.appendTime
        }
    }

    /// Nothing that was promised is missing, and the log has no holes.
    private func verifyPresence(_ present: Set<Int>, _ found: ShardObservation, _ stamp: Int, _ end: End) {
        for batch in batches where !present.contains(batch.id) {
            let topic = topics[batch.topic]
            guard topic.mustExist(stamp) else { continue }
            check(
                batch.durableAt > stamp,
                "batch \(batch.id) of \(Self.text(batch.partition)) was durable at offset \(batch.base ?? 0) and is lost"
            )
            if end == .kill || end == .none {
                check(
                    batch.receivedAt > stamp,
                    "batch \(batch.id) of \(Self.text(batch.partition)) was received and is lost"
                )
            }
        }
    }

    private func verifyProducers(_ present: Set<Int>, _ found: ShardObservation) {
        for (producer, next) in zip(producers, found.nextSequences) {
            guard let next, found.topics[topics[producer.topic].name]?.id == topics[producer.topic].id else { continue }
            let last = producer.batches.last { present.contains($0) }.map { batches[$0] }
            let expected = last.map { $0.sequence &+ UInt32($0.count) } ?? 0
            check(next == expected, "producer \(producer.id.rawValue) is asked for sequence \(next), not \(expected)")
            for id in producer.batches {
                let isEarlier = last.map { $0.sequence >= batches[id].sequence } ?? false
                check(
                    !isEarlier || present.contains(id),
                    "producer \(producer.id.rawValue)'s batch \(id) is missing before a later one"
                )
            }
        }
    }

    /// Takes what was found as the truth: what is there is durable, what is not there is lost.
    func adopt(_ found: ShardObservation) {
        for index in topics.indices where topics[index].mayExist(.max - 1) {
            guard let seen = found.topics[topics[index].name], topics[index].id == nil || topics[index].id == seen.id,
                topics[index].id != nil || topic(seen.id) == nil
            else {
                // One that was there was deleted, though nobody was told.
                if topics[index].createAnswered == Self.never { topics[index].isGone = true }
                topics[index].deleteAnswered = min(topics[index].deleteAnswered, stamp)
                continue
            }
            topics[index].id = seen.id
            topics[index].createAnswered = min(topics[index].createAnswered, stamp)
            topics[index].deleteSubmitted = Self.never
        }
        adoptSubscriptions(found)
        var present = Set<Int>()
        for topic in found.topics.values {
            for seen in topic.partitions.joined() {
                present.insert(seen.id)
                place(seen.id, at: seen.base, appendTime: seen.appendTime)
                madeDurable(seen.id)
            }
        }
        for batch in batches where !present.contains(batch.id) && topics[batch.topic].mustExist(.max - 1) {
            lost(batch.id)
        }
        for index in producers.indices {
            let producer = producers[index]
            producers[index].sendNext = producer.batches.firstIndex { !present.contains($0) } ?? producer.batches.count
        }
        lifeBegan = submissions
    }

    private func adoptSubscriptions(_ found: ShardObservation) {
        for index in subscriptions.indices where !subscriptions[index].isGone {
            let subscription = subscriptions[index]
            guard let seen = found.subscriptions[subscription.name], seen.topic == topics[subscription.topic].id,
                subscription.mayExist(.max - 1),
                !subscriptions[(index + 1)...].contains(where: { $0.name == subscription.name && !$0.isGone })
            else {
                if subscription.createAnswered == Self.never { subscriptions[index].isGone = true }
                subscriptions[index].deleteAnswered = min(subscription.deleteAnswered, stamp)
                continue
            }
            subscriptions[index].createAnswered = min(subscription.createAnswered, stamp)
            subscriptions[index].deleteSubmitted = Self.never
            if subscription.start == nil { subscriptions[index].start = seen.acknowledged }
            for (partition, position) in seen.acknowledged.enumerated() {
                subscriptions[index].commits.append(
                    Commit(partition: partition, offset: position, submitted: stamp, answered: stamp)
                )
            }
        }
    }

    /// A new history of the disk begins: everything was before it.
    func beginHistory() {
        stamp = 0
        for index in batches.indices {
            if batches[index].isKnownDurable { batches[index].durableAt = 0 }
            if batches[index].receivedAt != Self.never { batches[index].receivedAt = 0 }
            for place in batches[index].submissions.indices { batches[index].submissions[place].stamp = 0 }
        }
        func reset(_ value: inout Int) { if value != Self.never { value = 0 } }
        for index in topics.indices {
            reset(&topics[index].createSubmitted)
            reset(&topics[index].createAnswered)
            reset(&topics[index].deleteSubmitted)
            reset(&topics[index].deleteAnswered)
        }
        for index in subscriptions.indices {
            reset(&subscriptions[index].createSubmitted)
            reset(&subscriptions[index].createAnswered)
            reset(&subscriptions[index].deleteSubmitted)
            reset(&subscriptions[index].deleteAnswered)
            for place in subscriptions[index].commits.indices {
                reset(&subscriptions[index].commits[place].submitted)
                reset(&subscriptions[index].commits[place].answered)
            }
        }
    }
}
