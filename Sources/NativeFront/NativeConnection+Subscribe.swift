internal import Gateway
internal import MessageModel
internal import NIOCore
internal import NativeProtocol
internal import StorageService

/// Readers: attach, credit, delivery, progress.
extension NativeConnection {
    func subscribe(_ frame: Frame) throws(SluiceError) {
        guard let session = gatewaySession else { return }
        let request = try frame.decode { SubscribeRequest(&$0) }
        let known = SubscribeRequest.Flags.known(version: self.session.version(.subscribe))
        guard request.flags.isSubset(of: known) else {
            throw SluiceError(.notSupported, "SUBSCRIBE flags \(request.flags.rawValue) are not known")
        }
        guard !handles.isFull else { throw SluiceError(.busy, "as many handles are open as may be") }
        var topic: TopicInfo?
        var filter: [UInt8] = []
        if !request.address.isEmpty || request.subscription.isEmpty {
            let address = try session.resolve(request.address)
            topic = address.topic
            filter = address.name ?? []
        }
        if let topic, request.partition != SubscribeRequest.allPartitions, Int(request.partition) >= topic.partitions {
            throw SluiceError(.invalidArgument, "the topic '\(topic.name)' has \(topic.partitions) partitions")
        }
        let isConsumer = request.flags.contains(.consumer)
        guard isConsumer || !request.flags.contains(.receipts) else {
            throw SluiceError(.invalidArgument, "only a consumer has receipts")
        }
        var intent = SubscribeIntent(request: request, topic: topic, filter: filter)
        if request.subscription.isEmpty {
            guard !isConsumer else {
                throw SluiceError(.invalidArgument, "a consumer needs the name of a subscription")
            }
            attach(frame.header, intent, topic: topic)
            return
        }
        guard request.partition == SubscribeRequest.allPartitions else {
            throw SluiceError(.invalidArgument, "a subscription reads all partitions of its topic")
        }
        let name = request.subscription
        if request.flags.contains(.create) {
            guard let topic else {
                throw SluiceError(.invalidArgument, "an address is needed to create the subscription '\(name)'")
            }
            var policy = SubscriptionPolicy()
            // A consumer's filter belongs to the subscription, a reader's to itself.
            if isConsumer { policy.nameFilter = filter }
            intent.creation = SubscriptionSpecification(
                name: name,
                topic: topic.id,
                start: StartPosition(request.start),
                policy: policy
            )
        }
        try ask(.describeSubscription(name: name), frame.header, .subscribe(intent))
    }

    /// There is none, or it could not be made.
    func subscriptionIsNotThere(_ header: FrameHeader, _ intent: SubscribeIntent, _ error: SluiceError) {
        guard error.code == .subscriptionNotFound, let specification = intent.creation else {
            return respond(to: header, error: error)
        }
        var intent = intent
        intent.creation = nil
        do throws(SluiceError) {
            try ask(.createSubscription(specification), header, .subscribe(intent))
        } catch {
            respond(to: header, error: error)
        }
    }

    /// The subscription is there: attaches to it.
    func subscriptionIsThere(_ header: FrameHeader, _ intent: SubscribeIntent, _ description: SubscriptionDescription) {
        let actual = description.topic.flatMap { gatewaySession?.topics.topic($0) }
        guard description.topic == nil || actual != nil else {
            respond(to: header, error: SluiceError(.topicNotFound, "the subscription's topic is not there any more"))
            return
        }
        if let topic = intent.topic, topic.id != actual?.id {
            let what = actual.map { "reads '\($0.name)', not '\(topic.name)'" } ?? "is an inbox"
            let message = "the subscription '\(description.name)' \(what)"
            respond(to: header, error: SluiceError(.invalidArgument, message))
            return
        }
        if intent.request.flags.contains(.consumer), !intent.filter.isEmpty,
            intent.filter != description.policy.nameFilter
        {
            respond(
                to: header,
                error: SluiceError(
                    .invalidArgument,
                    "the subscription '\(description.name)' has another filter",
                    hint: "leave the address out, or update the subscription"
                )
            )
            return
        }
        attach(header, intent, topic: actual)
    }

    private func attach(_ header: FrameHeader, _ intent: SubscribeIntent, topic: TopicInfo?) {
        guard let session = gatewaySession else { return }
        let request = intent.request
        guard let handle = handles.insert(.retired), let place = handles.place(handle) else {
            respond(to: header, error: SluiceError(.busy, "as many handles are open as may be"))
            return
        }
        var credit = CreditLedger(
            maxMessages: configuration.limits.maxCreditMessages,
            maxBytes: configuration.limits.maxCreditBytes
        )
        credit.grant(messages: request.creditMessages, bytes: request.creditBytes)
        let portion = credit.takePortion() ?? (messages: 0, bytes: 0)
        let isConsumer = request.flags.contains(.consumer)
        let subscription = SubscriptionHandle(
            handle: handle,
            topic: topic,
            name: request.subscription,
            isConsumer: isConsumer,
            credit: credit
        )
        handles[place: place] = .subscription(subscription)
        while attached.count <= place { attached.append(nil) }
        attached[place] = subscription
        let response = SubscribeResponse(
            handle: handle,
            topic: topic?.id.rawValue ?? 0,
            partitions: UInt16(truncatingIfNeeded: topic?.partitions ?? 0),
            topicName: topic?.name ?? ""
        )
        respond(to: header) { response.write(to: &$0) }
        session.storage.attach(
            AttachRequest(
                source: Self.source(request, topic),
                filter: isConsumer ? [] : intent.filter,
                consumer: request.consumer,
                creditMessages: portion.messages,
                creditBytes: portion.bytes
            ),
            attachment: handle
        )
    }

    private static func source(_ request: SubscribeRequest, _ topic: TopicInfo?) -> AttachRequest.Source {
        if request.flags.contains(.consumer) {
            let owner: AttachRequest.LeaseOwner = request.flags.contains(.receipts) ? .receipt : .attachment
            return .consumer(of: request.subscription, owner)
        }
        guard request.subscription.isEmpty, let topic else { return .subscription(name: request.subscription) }
        let start = StartPosition(request.start)
        guard request.partition != SubscribeRequest.allPartitions else { return .topic(topic.id, start) }
        return .partition(PartitionID(topic: topic.id, index: request.partition), start)
    }

    func subscription(_ handle: UInt32) -> (place: Int, SubscriptionHandle)? {
        let place = HandlePlace.of(handle)
        guard place >= 0, place < attached.count, let subscription = attached[place], subscription.handle == handle
        else {
            return nil
        }
        return (place, subscription)
    }

    private func closeSubscription(_ place: Int) {
        handles.remove(place: place)
        attached[place] = nil
    }

    /// Credit for a subscription that has ended meanwhile is nobody's mistake.
    func credit(_ frame: Frame) {
        do throws(SluiceError) {
            let credit = try frame.decode { Credit(&$0) }
            guard let (_, subscription) = subscription(frame.header.handle) else { return }
            subscription.credit.grant(messages: credit.messages, bytes: credit.bytes)
            markCreditDue(subscription)
        } catch {
            end(with: error)
        }
    }

    private func markCreditDue(_ subscription: SubscriptionHandle) {
        guard !subscription.isCreditDue, subscription.credit.isDue else { return }
        subscription.isCreditDue = true
        creditDue.append(subscription)
    }

    /// Lets storage deliver more. Called when the channel takes bytes.
    func goOn() {
        if hasDelivered {
            hasDelivered = false
            gatewaySession?.storage.takeUp(bytes: configuration.deliveryBytes)
        }
        passCreditOn()
    }

    /// Lets storage go on where it has used most of what it had.
    private func passCreditOn() {
        guard !creditDue.isEmpty, let storage = gatewaySession?.storage else { return }
        for subscription in creditDue {
            subscription.isCreditDue = false
            guard self.subscription(subscription.handle) != nil, let portion = subscription.credit.takePortion() else {
                continue
            }
            storage.grantCredit(attachment: subscription.handle, messages: portion.messages, bytes: portion.bytes)
        }
        creditDue.removeAll(keepingCapacity: true)
    }

    func deliver(_ delivery: BatchDelivery) {
        guard let context, session.phase == .open, let (place, subscription) = subscription(delivery.attachment) else {
            return
        }
        let batch = delivery.batch
        var count = 0
        for range in delivery.ranges { count += Int(range.last) - Int(range.first) + 1 }
        let isWhole = count == batch.recordCount
        var creditBytes = batch.byteCount
        var lease: WireLease?
        if let given = delivery.lease {
            // As storage takes it: a consumer pays for its part of a batch.
            creditBytes = max(1, batch.byteCount * count / max(1, batch.recordCount))
            lease = WireLease(given, topic: delivery.partition.topic, creditBytes: creditBytes)
            if subscription.isNew(delivery.partition.topic) { nameTopic(delivery.partition.topic, subscription.handle) }
        }
        hasDelivered = true
        subscription.credit.used(messages: UInt64(max(0, count)), bytes: UInt64(creditBytes))
        markCreditDue(subscription)
        let isSent: Bool
        if lease != nil, count * 2 < batch.recordCount, delivery.ranges.count == 1, let range = delivery.ranges.first,
            makeExcerpt(of: batch, range)
        {
            isSent = excerpt.withUnsafeBytes { bytes in
                writeDelivery(subscription.handle, delivery.partition.index, lease, nil, bytes)
            }
        } else {
            isSent = writeDelivery(
                subscription.handle,
                delivery.partition.index,
                lease,
                isWhole ? nil : delivery.ranges,
                batch.bytes
            )
        }
        guard isSent else {
            gatewaySession?.storage.detach(attachment: delivery.attachment)
            let message = "a batch of \(batch.byteCount) bytes is more than the client accepts"
            detached(subscription.handle, place: place, SluiceError(.tooLarge, message))
            return
        }
        if out.readableBytes > Self.outputChunkBytes { writeChunk(context) }
    }

    /// Takes the records of a range out of a batch.
    private func makeExcerpt(of batch: BatchView, _ range: RecordRange) -> Bool {
        if excerpt.capacity > Self.outputChunkBytes { excerpt = [] }
        return BatchExcerpt.write(
            batch,
            first: Int(range.first),
            count: Int(range.last) - Int(range.first) + 1,
            baseOffset: batch.baseOffset &+ UInt64(range.first),
            appendTime: batch.appendTime,
            into: &excerpt
        )
    }

    /// - Parameter ranges: nil where every record is meant.
    /// - Returns: false where it is more than the client accepts; nothing is written then.
    private func writeDelivery(
        _ handle: UInt32,
        _ partition: UInt16,
        _ lease: WireLease?,
        _ ranges: UnsafeBufferPointer<RecordRange>?,
        _ batch: UnsafeRawBufferPointer
    ) -> Bool {
        let rangeCount = ranges?.count ?? 0
        let bodyBytes =
            DeliverHead.byteCount + (lease == nil ? 0 : WireLease.byteCount) + rangeCount * DeliverHead.rangeBytes
            + batch.count
        guard bodyBytes + FrameHeader.smallestLength <= session.clientFrameLimit else { return false }
        let total = FrameHeader.byteCount + bodyBytes
        // One piece, stored in place: a message to many inboxes is mostly this.
        out.writeWithUnsafeMutableBytes(minimumWritableBytes: total) { bytes in
            let frame = UnsafeMutableRawBufferPointer(rebasing: bytes[..<total])
            FrameHeader(.push, .deliver, handle: handle).store(bodyBytes: bodyBytes, frame)
            var at = FrameHeader.byteCount
            frame.store16(partition, at: at)
            frame.store16(lease == nil ? 0 : DeliverHead.hasLease, at: at + 2)
            frame.store32(UInt32(rangeCount), at: at + 4)
            at += DeliverHead.byteCount
            if let lease {
                lease.store(UnsafeMutableRawBufferPointer(rebasing: frame[at..<at + WireLease.byteCount]))
                at += WireLease.byteCount
            }
            if let ranges {
                for range in ranges {
                    frame.store32(range.first, at: at)
                    frame.store32(range.last, at: at + 4)
                    at += DeliverHead.rangeBytes
                }
            }
            UnsafeMutableRawBufferPointer(rebasing: frame[at...]).copyMemory(from: batch)
            return total
        }
        return true
    }

    private func nameTopic(_ id: TopicID, _ handle: UInt32) {
        let name = nameOfTopic(id)
        out.writeFrame(FrameHeader(.push, .topicNamed, handle: handle)) {
            TopicNamedBody(topic: id.rawValue, name: name).write(to: &$0)
        }
    }

    /// Also of one that was deleted while messages of it wait in inboxes.
    func nameOfTopic(_ id: TopicID) -> String {
        String(decoding: gatewaySession?.topics.name(of: id) ?? [], as: UTF8.self)
    }

    func attachmentDone(_ handle: UInt32, _ error: SluiceError) {
        guard let (place, _) = subscription(handle) else { return }
        detached(handle, place: place, error)
    }

    private func detached(_ handle: UInt32, place: Int, _ error: SluiceError) {
        closeSubscription(place)
        out.writeError(error, FrameHeader(.push, .detached, handle: handle))
    }

    func unsubscribe(_ frame: Frame) throws(SluiceError) {
        try frame.decode { _ in () }
        guard let (place, subscription) = subscription(frame.header.handle) else {
            throw SluiceError(.notFound, "no subscription has this handle")
        }
        gatewaySession?.storage.detach(attachment: subscription.handle)
        closeSubscription(place)
        respond(to: frame.header)
    }

    func commit(_ frame: Frame) throws(SluiceError) {
        let request = try frame.decode { CommitRequest(&$0) }
        guard let (_, subscription) = subscription(frame.header.handle) else {
            throw SluiceError(.notFound, "no subscription has this handle")
        }
        guard !subscription.name.isEmpty else {
            throw SluiceError(
                .invalidArgument,
                "a reader without a subscription has no position to commit",
                hint: "subscribe with a subscription's name"
            )
        }
        guard let topic = subscription.topic, !subscription.isConsumer else {
            throw SluiceError(.invalidArgument, "a consumer settles messages and has no position to commit")
        }
        guard Int(request.partition) < topic.partitions else {
            throw SluiceError(.invalidArgument, "the topic has \(topic.partitions) partitions")
        }
        let partition = PartitionID(topic: topic.id, index: request.partition)
        try ask(.commit(name: subscription.name, partition, offset: request.offset), frame.header)
    }
}
