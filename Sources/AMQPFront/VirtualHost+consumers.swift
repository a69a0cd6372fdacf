internal import AMQPModel
internal import AMQPProtocol
internal import DequeModule
internal import Gateway
internal import Logging
internal import MessageModel
internal import NIOCore
internal import StorageService

// Consumers: who they are, and what becomes of their messages.
extension VirtualHost {
    /// Makes the place that deliveries come to.
    func makeSource(
        _ handler: AMQPConnectionHandler,
        _ channel: ChannelState,
        _ queue: QueueNumber,
        consumer: UInt32?,
        isAutomatic: Bool
    ) -> Source {
        // Not at once: what storage still says of an earlier one is not meant for this.
        let isReused = freeAttachments.count > Self.restingAttachments
        let attachment =
            (isReused ? freeAttachments.popFirst() : nil) ?? UInt32(truncatingIfNeeded: sources.count)
        if Int(attachment) == sources.count { sources.append(nil) }
        let source = Source(
            handler: handler,
            channel: channel,
            attachment: attachment,
            queue: queue,
            consumer: consumer,
            isAutomatic: isAutomatic
        )
        sources[Int(attachment)] = source
        attachments[queue, default: []].insert(attachment)
        channel.sources.append(source)
        handler.sourceCount += 1
        return source
    }

    private static let restingAttachments = 1_024

    @inline(__always)
    func source(_ attachment: UInt32) -> Source? {
        let index = Int(attachment)
        return index < sources.count ? sources[index] : nil
    }

    /// Ends an attachment: what it has goes back to its queue, in order.
    func detach(_ source: Source) {
        guard sources[Int(source.attachment)] === source else { return }
        handOver(source)
        open.storage.detach(attachment: source.attachment)
        forget(source)
    }

    private func forget(_ source: Source) {
        sources[Int(source.attachment)] = nil
        freeAttachments.append(source.attachment)
        source.channel.sources.removeAll { $0 === source }
        source.handler.sourceCount -= 1
        attachments[source.queue]?.remove(source.attachment)
        if attachments[source.queue]?.isEmpty == true { attachments[source.queue] = nil }
    }

    /// basic.cancel: nothing more is delivered, and what was delivered waits for its acknowledgement.
    func cancel(_ source: Source) {
        source.isCancelled = true
        // Nobody has to be told what becomes of messages of a stream.
        guard source.unsettled > 0, !source.isStream else { return detach(source) }
        open.storage.retire(attachment: source.attachment)
        source.handler.sendHeld(source.channel, self)
    }

    /// A channel is over: what its consumers have goes back to their queues.
    /// - Returns: what is to be done in storage for queues that end with their last consumer.
    func letGo(_ channel: ChannelState) -> [ModelEffect] {
        channel.isOpen = false
        channel.forgetTransaction()
        channel.replies = nil
        channel.held = []
        var effects: [ModelEffect] = []
        for source in channel.sources {
            let wasConsuming = source.consumer != nil && !source.isCancelled
            source.isCancelled = true
            detach(source)
            if wasConsuming { effects += model.removeConsumer(from: source.queue) }
        }
        channel.sources = []
        return effects
    }

    // MARK: Settling

    /// Deliveries were acknowledged, or go back.
    func settle(_ settled: [SettledDelivery]) {
        for delivery in settled {
            guard let source = source(delivery.source) else { continue }
            if !source.isStream, !source.run.append(DeliveryToken(rawValue: delivery.token), delivery.outcome) {
                handOver(source)
                _ = source.run.append(DeliveryToken(rawValue: delivery.token), delivery.outcome)
            }
            source.unsettled &-= 1
            source.returnedMessages &+= 1
            if !source.isDue {
                source.isDue = true
                dueSources.append(source)
            }
        }
    }

    /// Hands over the run of settlements of a consumer.
    private func handOver(_ source: Source) {
        guard source.run.count > 0 else { return }
        let run = source.run
        source.run = SettledRun()
        open.storage.settle(
            attachment: source.attachment,
            lane: run.lane,
            first: run.first,
            last: run.last,
            run.settlement,
            token: nil
        )
    }

    func flushSettlements() {
        guard !dueSources.isEmpty else { return }
        let due = dueSources
        dueSources.removeAll(keepingCapacity: true)
        for source in due {
            source.isDue = false
            guard sources[Int(source.attachment)] === source else { continue }
            handOver(source)
            let messages = source.returnedMessages
            source.returnedMessages = 0
            if source.isCancelled {
                if source.unsettled == 0 { detach(source) }
            } else if messages > 0, source.consumer != nil {
                open.storage.grantCredit(attachment: source.attachment, messages: UInt64(messages), bytes: 0)
            }
            if source.sharesCredit, messages > 0, let credit = source.channel.credit {
                let granted = credit.returned(messages)
                if granted > 0 { open.storage.grantCredit(group: credit.group, messages: UInt64(granted)) }
            }
            if !source.channel.held.isEmpty { source.handler.sendHeld(source.channel, self) }
        }
    }

    /// What nobody takes goes back to its place as if it had not been delivered.
    func giveBack(_ source: Source, _ token: DeliveryToken) {
        settle(source, token, .release(delayMicroseconds: 0, countsAttempt: false))
    }

    /// What nobody has to acknowledge is done.
    func accept(_ source: Source, _ token: DeliveryToken) { settle(source, token, .accept) }

    private func settle(_ source: Source, _ token: DeliveryToken, _ settlement: Settlement) {
        open.storage.settle(
            attachment: source.attachment,
            lane: token.lane,
            first: token.sequence,
            last: token.sequence,
            settlement,
            token: nil
        )
    }

    /// Clients have read what these consumers delivered.
    func returnBytes(of delivered: [Source]) {
        for source in delivered where source.deliveredBytes > 0 {
            let bytes = source.deliveredBytes
            source.deliveredBytes = 0
            guard !source.isCancelled else { continue }
            open.storage.grantCredit(attachment: source.attachment, messages: 0, bytes: UInt64(bytes))
        }
    }

    // MARK: Ends

    func attachmentEnded(attachment: UInt32, error: SluiceError) {
        guard let source = source(attachment) else { return }
        let wasConsuming = source.consumer != nil && !source.isCancelled
        source.handler.ended(source)
        forget(source)
        guard wasConsuming else { return }
        if error.code == .subscriptionNotFound, let queue = model.queue(source.queue) {
            inboxEnded(queue.storageName)
        } else {
            carryOut(model.removeConsumer(from: source.queue)) { _ in }
        }
    }

    /// The consumers of a queue are told that it is gone. Storage ends their attachments with it.
    func queueGone(_ number: QueueNumber) {
        for attachment in attachments[number] ?? [] {
            if let source = source(attachment) { source.handler.ended(source) }
        }
    }

    /// A queue's inbox is not there any more.
    func inboxEnded(_ name: String) { carryOut(model.inboxEnded(name)) { _ in } }

    /// A queue that goes when nobody uses it is used now.
    func use(_ queue: Queue) {
        let attachment = UInt32(truncatingIfNeeded: sources.count)
        // Storage counts from when the last consumer went.
        sources.append(nil)
        open.storage.attach(
            AttachRequest(source: .consumer(of: queue.storageName, .attachment)),
            attachment: attachment
        )
        open.storage.detach(attachment: attachment)
        freeAttachments.append(attachment)
    }
}
