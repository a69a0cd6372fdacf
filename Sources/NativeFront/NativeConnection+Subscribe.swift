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
        guard request.flags.isSubset(of: .known) else {
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
        if request.subscription.isEmpty {
            guard let topic else { return }
            attach(frame.header, request, topic: topic, filter: filter)
            return
        }
        guard request.partition == SubscribeRequest.allPartitions else {
            throw SluiceError(.invalidArgument, "a subscription reads all partitions of its topic")
        }
        let name = request.subscription
        let storageRequest: StorageRequest
        if request.flags.contains(.create) {
            guard let topic else {
                throw SluiceError(.invalidArgument, "an address is needed to create the subscription '\(name)'")
            }
            storageRequest = .createSubscription(
                SubscriptionSpecification(name: name, topic: topic.id, start: StartPosition(request.start))
            )
        } else {
            storageRequest = .describeSubscription(name: name)
        }
        try ask(storageRequest, frame.header, .subscribe(request, topic: topic, filter: filter))
    }

    /// The subscription is there: attaches to it.
    func subscriptionIsThere(
        _ header: FrameHeader,
        _ request: SubscribeRequest,
        topic: TopicInfo?,
        filter: [UInt8],
        _ description: SubscriptionDescription
    ) {
        guard let actual = gatewaySession?.topics.topic(description.topic ?? TopicID(rawValue: 0)) else {
            respond(to: header, error: SluiceError(.topicNotFound, "the subscription's topic is not there any more"))
            return
        }
        if let topic, topic.id != actual.id {
            let message = "the subscription '\(description.name)' reads '\(actual.name)', not '\(topic.name)'"
            respond(to: header, error: SluiceError(.invalidArgument, message))
            return
        }
        attach(header, request, topic: actual, filter: filter)
    }

    private func attach(_ header: FrameHeader, _ request: SubscribeRequest, topic: TopicInfo, filter: [UInt8]) {
        guard let session = gatewaySession else { return }
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
        handles[place: place] = .subscription(
            SubscriptionHandle(handle: handle, topic: topic, name: request.subscription, credit: credit)
        )
        let response = SubscribeResponse(
            handle: handle,
            topic: topic.id.rawValue,
            partitions: UInt16(truncatingIfNeeded: topic.partitions),
            topicName: topic.name
        )
        respond(to: header) { response.write(to: &$0) }
        let source: AttachRequest.Source
        if !request.subscription.isEmpty {
            source = .subscription(name: request.subscription)
        } else if request.partition == SubscribeRequest.allPartitions {
            source = .topic(topic.id, StartPosition(request.start))
        } else {
            source = .partition(PartitionID(topic: topic.id, index: request.partition), StartPosition(request.start))
        }
        session.storage.attach(
            AttachRequest(
                source: source,
                filter: filter,
                consumer: request.consumer,
                creditMessages: portion.messages,
                creditBytes: portion.bytes
            ),
            attachment: handle
        )
    }

    private func subscription(_ handle: UInt32) -> (place: Int, SubscriptionHandle)? {
        guard let place = handles.place(handle), case .subscription(let subscription)? = handles[place: place] else {
            return nil
        }
        return (place, subscription)
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
        guard !subscription.isCreditDue else { return }
        subscription.isCreditDue = true
        creditDue.append(subscription)
    }

    /// Lets storage go on where it has used most of what it had. Called when the channel takes bytes.
    func passCreditOn() {
        guard !creditDue.isEmpty, let storage = gatewaySession?.storage else { return }
        for subscription in creditDue {
            subscription.isCreditDue = false
            guard handles.place(subscription.handle) != nil, let portion = subscription.credit.takePortion() else {
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
        let ranges = isWhole ? 0 : delivery.ranges.count
        let bodyBytes = DeliverHead.byteCount + ranges * DeliverHead.rangeBytes + batch.byteCount
        subscription.credit.used(messages: UInt64(max(0, count)), bytes: UInt64(batch.byteCount))
        markCreditDue(subscription)
        guard bodyBytes + FrameHeader.smallestLength <= session.clientFrameLimit else {
            gatewaySession?.storage.detach(attachment: delivery.attachment)
            let message = "a batch of \(batch.byteCount) bytes is more than the client accepts"
            detached(subscription.handle, place: place, SluiceError(.tooLarge, message))
            return
        }
        out.reserveCapacity(minimumWritableBytes: bodyBytes + FrameHeader.byteCount)
        FrameHeader(.push, .deliver, handle: subscription.handle).write(bodyBytes: bodyBytes, to: &out)
        out.writeMultipleIntegers(delivery.partition.index, UInt16(0), UInt32(ranges), endianness: .little)
        if !isWhole {
            for range in delivery.ranges { out.writeMultipleIntegers(range.first, range.last, endianness: .little) }
        }
        out.writeBytes(batch.bytes)
        if out.readableBytes > Self.outputChunkBytes { writeChunk(context) }
    }

    func attachmentDone(_ handle: UInt32, _ error: SluiceError) {
        guard let (place, _) = subscription(handle) else { return }
        detached(handle, place: place, error)
    }

    private func detached(_ handle: UInt32, place: Int, _ error: SluiceError) {
        handles.remove(place: place)
        out.writeError(error, FrameHeader(.push, .detached, handle: handle))
    }

    func unsubscribe(_ frame: Frame) throws(SluiceError) {
        try frame.decode { _ in () }
        guard let (place, subscription) = subscription(frame.header.handle) else {
            throw SluiceError(.notFound, "no subscription has this handle")
        }
        gatewaySession?.storage.detach(attachment: subscription.handle)
        handles.remove(place: place)
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
        guard Int(request.partition) < subscription.topic.partitions else {
            throw SluiceError(.invalidArgument, "the topic has \(subscription.topic.partitions) partitions")
        }
        let partition = PartitionID(topic: subscription.topic.id, index: request.partition)
        try ask(.commit(name: subscription.name, partition, offset: request.offset), frame.header)
    }
}

extension StartPosition {
    init(_ start: WireStart) {
        switch start {
        case .first: self = .first
        case .next: self = .next
        case .offset(let offset): self = .offset(offset)
        case .time(let time): self = .time(time)
        }
    }
}
