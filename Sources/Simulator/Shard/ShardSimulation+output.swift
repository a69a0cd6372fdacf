package import MessageModel
internal import StorageEngine
package import StorageService

/// What the shard says, checked against what may be said.
extension ShardSimulation: ShardOutput {
    package func warning(_ text: String) {
        note("warning: \(text)")
        model.check(faults.hasFailedLog, "the log failed although nothing had happened to the disk: \(text)")
    }

    private func session(_ id: UInt64) -> SimulatedSession? {
        if let session = sessions.first(where: { $0.id == id }) { return session }
        model.fail("something was reported to session \(id), which is closed")
        return nil
    }

    // MARK: Appends

    package func appendCompleted(session id: UInt64, token: UInt64, result: AppendResult) {
        guard session(id) != nil, let request = pending.removeValue(forKey: token),
            case .append(let batch, let submission, let acknowledgement) = request.kind, request.session == id
        else {
            model.fail("append \(token) was answered twice, or never asked for")
            return
        }
        guard let error = result.error else {
            appended(batch, acknowledgement, result, token: token)
            return
        }
        note("append \(token) refused: \(error)")
        report.refused += 1
        sendAgain(from: batch)
        if error != .indeterminate { model.refused(batch, submission: submission) }
        switch error {
        case .storageUnavailable: checkFault(faults.hasFailedLog || faults.wasFull, error)
        case .indeterminate: checkFault(faults.hasFailedLog, error)
        case .storageFull: checkFault(faults.wasFull, error)
        case .topicNotFound: checkFault(!model.topics[model.batches[batch].topic].isUsable, error)
        case .busy: checkFault(faults.wasFull || shardOptions.deferredBytes < 1 << 20, error)
        case .tooLarge:
            checkFault(model.batches[batch].bytes.count + 256 > shardOptions.segmentBytes, error)
            forget(batch)
        case .sequenceGap: checkGap(batch)
        default: model.fail("append \(token) was refused: \(error)")
        }
    }

    private func checkFault(_ isPossible: Bool, _ error: ErrorCode) {
        model.check(isPossible, "\(error) was reported without a reason")
    }

    /// A batch that fits into no segment: its producer goes on without it.
    private func forget(_ batch: Int) {
        for index in model.producers.indices {
            guard let place = model.producers[index].batches.firstIndex(of: batch) else { continue }
            // Those behind it have sequences that will never be accepted.
            model.producers[index].batches.removeSubrange(place...)
            model.producers[index].nextSequence = model.batches[batch].sequence
            model.producers[index].sendNext = min(model.producers[index].sendNext, place)
        }
    }

    private func checkGap(_ batch: Int) {
        guard let producer = model.producers.first(where: { $0.batches.contains(batch) }),
            let place = producer.batches.firstIndex(of: batch)
        else { return }
        let isExpected = place == 0 || model.batches[producer.batches[place - 1]].isKnownDurable
        model.check(!isExpected, "batch \(batch) was refused as out of order, and is the next")
    }

    private func appended(_ batch: Int, _ acknowledgement: Acknowledgement, _ result: AppendResult, token: UInt64) {
        note("append \(token): batch \(batch) at \(result.baseOffset)\(result.isDuplicate ? ", known" : "")")
        model.check(acknowledgement != .none, "append \(token) was answered, which was not asked for")
        model.check(Int(result.recordCount) == model.batches[batch].count, "append \(token) counts other messages")
        if result.isDuplicate {
            report.duplicates += 1
            let isRepeated = model.batches[batch].submissions.count > 1 || model.batches[batch].isKnownDurable
            model.check(isRepeated, "batch \(batch) was called a repeated one, and was sent once")
            if result.baseOffset == .max { return }
        } else {
            model.check(
                !model.batches[batch].isKnownDurable || model.batches[batch].base == result.baseOffset,
                "batch \(batch) was stored twice"
            )
        }
        model.place(batch, at: result.baseOffset)
        if acknowledgement == .durable || result.isDuplicate {
            if !model.batches[batch].isKnownDurable { report.durable += 1 }
            model.madeDurable(batch)
        } else {
            model.batches[batch].receivedAt = min(model.batches[batch].receivedAt, model.stamp)
        }
    }

    // MARK: Readers

    package func batchDelivered(session id: UInt64, _ delivery: BatchDelivery) {
        guard let session = session(id), let reader = session.readers[delivery.attachment],
            var place = reader.places[delivery.partition]
        else {
            model.fail("a batch was delivered to \(id)/\(delivery.attachment), which is not attached there")
            return
        }
        guard let batch = model.seen(delivery.batch, in: delivery.partition) else { return }
        let text =
            "\(id)/\(delivery.attachment) was given batch \(batch) at \(delivery.batch.baseOffset) of "
            + ShardModel.text(delivery.partition)
        note(text)
        model.check(reader.creditMessages > 0 && reader.creditBytes > 0, "\(text) without credit")
        let base = delivery.batch.baseOffset
        var offsets: [UInt64] = []
        for range in delivery.ranges {
            model.check(
                range.first <= range.last && Int(range.last) < delivery.batch.recordCount,
                "\(text) with a bad range"
            )
            guard range.first <= range.last else { return }
            offsets += (range.first...range.last).map { base + UInt64($0) }
        }
        reader.creditMessages -= Int64(offsets.count)
        reader.creditBytes -= Int64(delivery.batch.byteCount)
        report.delivered += offsets.count
        checkStart(&place, batch: batch, base: base, first: offsets.first ?? base, reader, text)
        let next = place.next ?? base
        place.from = place.from ?? next
        let expected = (0..<delivery.batch.recordCount).filter {
            base + UInt64($0) >= next && reader.wants(model.batches[batch].names[$0])
        }
        model.check(
            offsets == expected.map { base + UInt64($0) },
            "\(text), messages \(offsets) instead of \(expected)"
        )
        if reader.filter.isEmpty {
            model.check(next >= base && next < delivery.batch.nextOffset, "\(text), not \(next)")
        } else {
            model.check(delivery.batch.nextOffset > next, "\(text) again, after \(next)")
            place.filtered += offsets
        }
        place.next = delivery.batch.nextOffset
        reader.places[delivery.partition] = place
    }

    /// The first batch that a reader gets says where it began.
    private func checkStart(
        _ place: inout SimulatedReader.Place,
        batch: Int,
        base: UInt64,
        first: UInt64,
        _ reader: SimulatedReader,
        _ text: String
    ) {
        guard place.next == nil else { return }
        model.check(first >= place.low, "\(text), before its start at \(place.low)")
        model.check(first <= place.high || !reader.filter.isEmpty, "\(text), behind its start at \(place.high)")
        let isOlder = first < place.end && (model.batches[batch].appendTime ?? 0) < place.time
        // Where an index cannot be read, a search ends before it.
        model.check(!isOlder || faults.failsReads, "\(text), stored before \(place.time)")
        place.next = first
    }

    package func consumerChanged(session: UInt64, attachment: UInt32, isActive: Bool) {}

    package func transactionNeedsResolution(session: UInt64, _ transaction: TransactionID, owner: String) {}

    package func attachmentEnded(session id: UInt64, attachment: UInt32, error: SluiceError) {
        guard let session = session(id), let reader = session.readers.removeValue(forKey: attachment) else {
            model.fail("attachment \(id)/\(attachment) ended, which was not there")
            return
        }
        note("attachment \(id)/\(attachment) ended: \(error)")
        switch error.code {
        case .topicNotFound: checkFault(!model.topics[reader.topic].isUsable, error.code)
        case .subscriptionNotFound:
            let isUsable = reader.subscription.map { model.subscriptions[$0].isUsable } ?? true
            checkFault(!isUsable || !model.topics[reader.topic].isUsable, error.code)
        case .attachmentFenced, .subscriptionInUse: checkFault(reader.subscription != nil, error.code)
        case .internal: checkFault(faults.failsReads, error.code)
        default: model.fail("attachment \(id)/\(attachment) ended: \(error)")
        }
    }

    package func messageRouted(session id: UInt64, _ message: RoutedMessage) {
        guard let session = session(id) else { return }
        guard let batch = MessageText.batch(of: message.record.body), batch < model.batches.count,
            let index = MessageText.index(of: message.record.body), index < model.batches[batch].count
        else {
            model.fail("a message was routed that nobody sent")
            return
        }
        report.routed += 1
        let text = "message \(index) of batch \(batch)"
        let known = model.batches[batch]
        model.check(!known.submissions.isEmpty, "\(text) was routed, and had been refused or lost")
        var name: [UInt8] = []
        message.record.appendName(topic: message.topicName, to: &name)
        model.check(name == known.names[index], "\(text) was routed with another name")
        let expected = session.filters.filter { NameFilter.matches($0.value.bytes, name: name) }.keys.sorted()
        model.check(
            Array(message.filters) == expected,
            "\(text) was routed for \(Array(message.filters)), not \(expected)"
        )
        let isFirst = session.routed.insert(SimulatedSession.RoutedKey(batch: batch, index: index)).inserted
        model.check(isFirst, "\(text) was routed twice to session \(id)")
        if !known.isAtMostOnce, let newest = known.submissions.map(\.number).max() {
            let before = session.routedSubmission[known.partition] ?? 0
            model.check(newest >= before, "\(text) was routed after a later one")
            if known.submissions.count == 1 { session.routedSubmission[known.partition] = newest }
        }
    }

    // MARK: Requests

    package func requestCompleted(session id: UInt64, token: UInt64, result: Result<StorageReply, SluiceError>) {
        guard let request = pending.removeValue(forKey: token), request.session == id else {
            model.fail("request \(token) was answered twice, or never asked for")
            return
        }
        if case .failure(let error) = result { note("request \(token) failed: \(error)") }
        switch request.kind {
        case .append: model.fail("append \(token) was answered as a request")
        case .createTopic(let topic): topicCreated(topic, result)
        case .deleteTopic(let topic): topicDeleted(topic, result)
        case .createSubscription(let subscription): subscriptionCreated(subscription, result)
        case .deleteSubscription(let subscription): subscriptionDeleted(subscription, result)
        case .commit(let subscription, let index): committed(subscription, index, result)
        case .fetch(let partition, let offset, let deadline):
            fetched(partition, offset, deadline, result, token: token)
        case .find(let partition, let time): found(partition, time, result)
        case .look: answers[token] = result
        }
    }

    /// What may go wrong with every request that writes.
    /// - Returns: whether it did not happen for certain.
    private func checkRefusal(_ error: SluiceError, isGone: Bool) -> Bool {
        switch error.code {
        case .storageUnavailable: checkFault(faults.hasFailedLog || faults.wasFull, error.code)
        case .storageFull: checkFault(faults.wasFull, error.code)
        case .busy: checkFault(faults.wasFull || shardOptions.deferredBytes < 1 << 20, error.code)
        case .indeterminate:
            checkFault(faults.hasFailedLog, error.code)
            return false
        case .topicNotFound, .subscriptionNotFound, .invalidArgument: checkFault(isGone, error.code)
        default: model.fail("a request was refused: \(error)")
        }
        return true
    }

    private func topicCreated(_ index: Int, _ result: Result<StorageReply, SluiceError>) {
        let name = model.topics[index].name
        switch result {
        case .success(.topicCreated(let topic, let isNew)):
            note("topic \(name) is \(topic.id.rawValue)")
            model.check(topic.name == name && topic.partitions.count == model.topics[index].partitions, "another topic")
            model.check(isNew, "topic \(name) is called known, and was not there")
            model.check(model.topic(topic.id) == nil, "topic \(name) has the identity of an earlier one")
            model.topics[index].id = topic.id
            model.topics[index].createAnswered = model.stamp
        case .success: model.fail("creating a topic was answered wrongly")
        case .failure(let error): if checkRefusal(error, isGone: false) { model.topics[index].isGone = true }
        }
    }

    private func topicDeleted(_ index: Int, _ result: Result<StorageReply, SluiceError>) {
        switch result {
        case .success(.done): model.topics[index].deleteAnswered = model.stamp
        case .success: model.fail("deleting a topic was answered wrongly")
        case .failure(let error):
            if checkRefusal(error, isGone: false) { model.topics[index].deleteSubmitted = ShardModel.never }
        }
    }

    private func subscriptionCreated(_ index: Int, _ result: Result<StorageReply, SluiceError>) {
        let known = model.subscriptions[index]
        switch result {
        case .success(.subscriptionCreated(let subscription, let isNew)):
            model.check(
                subscription.name == known.name && subscription.topic == model.topics[known.topic].id,
                "another one"
            )
            model.check(isNew, "subscription \(known.name) is called known, and was not there")
            model.subscriptions[index].start = subscription.lanes.map(\.acknowledged)
            model.subscriptions[index].createAnswered = model.stamp
        case .success: model.fail("creating a subscription was answered wrongly")
        case .failure(let error):
            if checkRefusal(error, isGone: !model.topics[known.topic].isUsable) {
                model.subscriptions[index].isGone = true
            }
        }
    }

    private func subscriptionDeleted(_ index: Int, _ result: Result<StorageReply, SluiceError>) {
        switch result {
        case .success(.done): model.subscriptions[index].deleteAnswered = model.stamp
        case .success: model.fail("deleting a subscription was answered wrongly")
        case .failure(let error):
            let isGone = !model.topics[model.subscriptions[index].topic].isUsable
            if checkRefusal(error, isGone: isGone) { model.subscriptions[index].deleteSubmitted = ShardModel.never }
        }
    }

    private func committed(_ index: Int, _ commit: Int, _ result: Result<StorageReply, SluiceError>) {
        switch result {
        case .success(.done): model.subscriptions[index].commits[commit].answered = model.stamp
        case .success: model.fail("a commit was answered wrongly")
        case .failure(let error):
            let known = model.subscriptions[index]
            let isGone = !known.isUsable || !model.topics[known.topic].isUsable
            if checkRefusal(error, isGone: isGone) {
                model.subscriptions[index].commits[commit].submitted = ShardModel.never
            }
        }
    }

    private func fetched(
        _ partition: PartitionID,
        _ offset: UInt64,
        _ deadline: Timestamp,
        _ result: Result<StorageReply, SluiceError>,
        token: UInt64
    ) {
        let isUsable = model.topic(partition.topic)?.isUsable == true
        switch result {
        case .success(.fetched(let reply)):
            let end = readBatches(reply.batches, partition, offset, token: token)
            model.check(reply.nextOffset >= end || reply.batches.isEmpty, "fetch \(token) gave more than there is")
            guard isUsable else { return }
            model.check(reply.firstOffset == 0, "fetch \(token) says that the partition begins at \(reply.firstOffset)")
            let isEarly = reply.batches.isEmpty && scheduler.now < deadline
            model.check(!isEarly, "fetch \(token) was answered with nothing before its time")
            let lagged = reply.batches.isEmpty && reply.nextOffset > offset
            model.check(!lagged, "fetch \(token) was answered with nothing, and there is something")
        case .success: model.fail("fetch \(token) was answered wrongly")
        case .failure(let error):
            switch error.code {
            case .topicNotFound: checkFault(!isUsable, error.code)
            case .internal: checkFault(faults.failsReads, error.code)
            default: model.fail("fetch \(token) of \(ShardModel.text(partition)) from \(offset) failed: \(error)")
            }
        }
    }

    private func readBatches(_ bytes: [UInt8], _ partition: PartitionID, _ offset: UInt64, token: UInt64) -> UInt64 {
        bytes.withUnsafeBytes { bytes in
            var rest = bytes
            var next = offset
            while !rest.isEmpty {
                guard let view = BatchView(prefixOf: rest) else {
                    model.fail("fetch \(token) gave something that is no batch")
                    break
                }
                _ = model.seen(view, in: partition)
                let follows =
                    next == offset ? view.baseOffset <= next && next < view.nextOffset : view.baseOffset == next
                model.check(follows, "fetch \(token) gave offset \(view.baseOffset) for \(next)")
                next = view.nextOffset
                rest = rest.slice(view.byteCount..<rest.count)
            }
            return next
        }
    }

    private func found(_ partition: PartitionID, _ time: Timestamp, _ result: Result<StorageReply, SluiceError>) {
        let isUsable = model.topic(partition.topic)?.isUsable == true
        switch result {
        case .success(.offset(let offset, let at)):
            guard !faults.failsReads else { return }
            model.check(at == .zero || at >= time, "the message found at \(offset) is older than was asked for")
            for batch in model.batches where batch.partition == partition && batch.isKnownDurable {
                guard let base = batch.base, let stored = batch.appendTime, isUsable else { continue }
                let isOutside = base < offset && stored >= time.rawValue
                model.check(!isOutside, "offset \(offset) was found for \(time.rawValue), and \(base) is before it")
                let isInside = base == offset && stored < time.rawValue
                model.check(!isInside, "offset \(offset) was found for \(time.rawValue), and is of \(stored)")
            }
        case .success: model.fail("a search was answered wrongly")
        case .failure(let error): checkFault(!isUsable, error.code)
        }
    }
}
