internal import MessageModel
internal import NIOCore
internal import NativeProtocol

/// A consumer's half on the event loop: attaches on each connection where it was, and brings what is delivered to the
/// queue. Everything but `init` belongs to the event loop.
final class ConsumerDriver: LinkParticipant, @unchecked Sendable {
    struct Opened {
        var topic: String
        var partitions: Int
    }

    /// One SUBSCRIBE: a partition, or all of a subscription's.
    private struct Attachment {
        var partition: UInt16
        var handle: UInt32?
    }

    private let core: ClientCore
    private let address: String
    private let options: ConsumerOptions
    let queue: DeliveryQueue
    private var topic: String?
    private var topicBytes: [UInt8] = []
    /// What is attached on this connection, by an index that no other connection had.
    private var attachments: [Int: Attachment] = [:]
    private var nextAttachment = 0
    private var byHandle: [UInt32: Int] = [:]
    /// The next offset of each partition that was not delivered yet.
    private var positions: [Int: UInt64] = [:]
    private var committed: [Int: UInt64] = [:]
    private var gathered: [ConsumedBatch] = []
    private var firstOpen: ((Result<Opened, SluiceClientError>) -> Void)?
    private var isEnded = false
    private var commitTask: Scheduled<Void>?
    private var backoff = Backoff(smallest: .milliseconds(50), largest: .seconds(5))

    init(core: ClientCore, address: String, options: ConsumerOptions, queue: DeliveryQueue) {
        self.core = core
        self.address = address
        self.options = options
        self.queue = queue
    }

    func start(_ completion: @escaping (Result<Opened, SluiceClientError>) -> Void) {
        firstOpen = completion
        core.add(self)
        core.link?.flush()
    }

    // MARK: - Attaching

    func linkReady(_ link: Link) {
        guard !isEnded else { return }
        if options.subscription != nil {
            attach(partition: SubscribeRequest.allPartitions, start: options.start.wire)
        } else if topic == nil {
            findPositions()
        } else {
            attachPartitions()
        }
        link.flush()
    }

    /// Without a subscription the client keeps the positions: the start is turned into offsets once, so that nothing is
    /// left out when the connection is lost before the first delivery.
    private func findPositions() {
        core.perform(.describeTopic, isRepeatable: false) { buffer in
            DescribeTopicBody(resolvesAddress: true, name: address).write(to: &buffer)
        } completion: { result in
            switch result.decoded(
                .describeTopic,
                { WireTopicDescription(&$0, version: self.core.version(.describeTopic)) }
            ) {
            case .failure(let error): self.openFailed(error)
            case .success(let description): self.found(description)
            }
        }
    }

    private func found(_ description: WireTopicDescription) {
        let all = Array(description.partitions.indices)
        if let partition = options.partition, !all.contains(partition) {
            let message = "the topic '\(description.name)' has \(all.count) partitions"
            return openFailed(SluiceClientError(.invalidArgument, message))
        }
        let wanted = options.partition.map { [$0] } ?? all
        switch options.start {
        case .first: for index in wanted { positions[index] = description.partitions[index].from }
        case .next: for index in wanted { positions[index] = description.partitions[index].next }
        case .offset(let offset): for index in wanted { positions[index] = offset }
        case .time:
            var waiting = wanted.count
            for index in wanted {
                core.perform(.findOffset, isRepeatable: false) { buffer in
                    FindOffsetBody(
                        partition: UInt16(truncatingIfNeeded: index),
                        query: options.start.wire,
                        topic: .id(description.id)
                    ).write(to: &buffer)
                } completion: { result in
                    switch result.decoded(.findOffset, { FoundOffset(&$0) }) {
                    case .failure(let error): self.openFailed(error)
                    case .success(let found):
                        self.positions[index] = found.offset
                        waiting -= 1
                        if waiting == 0 { self.opened(description) }
                    }
                }
            }
            core.link?.flush()
            return
        }
        opened(description)
    }

    private func opened(_ description: WireTopicDescription) {
        guard !isEnded else { return }
        setTopic(description.name)
        attachPartitions()
        core.link?.flush()
        finishOpen(Opened(topic: description.name, partitions: description.partitions.count))
    }

    private func setTopic(_ name: String) {
        topic = name
        topicBytes = Array(name.utf8)
    }

    private func finishOpen(_ opened: Opened) {
        guard let firstOpen else { return }
        self.firstOpen = nil
        scheduleCommit()
        firstOpen(.success(opened))
    }

    private func attachPartitions() {
        for (partition, position) in positions.sorted(by: { $0.key < $1.key }) {
            attach(partition: UInt16(truncatingIfNeeded: partition), start: .offset(position))
        }
    }

    private func attach(partition: UInt16, start: WireStart) {
        let index = nextAttachment
        nextAttachment += 1
        attachments[index] = Attachment(partition: partition)
        let credit = window
        let creates = options.subscription != nil && options.createsSubscription && !address.isEmpty
        queue.setReturn(at: .init(messages: max(1, credit.messages / 4), bytes: max(1, credit.bytes / 4)))
        core.perform(.subscribe, isRepeatable: false) { buffer in
            SubscribeRequest(
                flags: creates ? .create : [],
                partition: partition,
                start: start,
                creditMessages: credit.messages,
                creditBytes: credit.bytes,
                address: address,
                subscription: options.subscription ?? "",
                consumer: options.consumerName
            ).write(to: &buffer)
        } completion: { result in
            switch result.decoded(.subscribe, { SubscribeResponse(&$0) }) {
            case .failure(let error): self.openFailed(error, attachment: index)
            case .success(let response): self.attached(index, response)
            }
        }
    }

    /// Each attachment's share of the credit.
    private var window: (messages: UInt64, bytes: UInt64) {
        let shares = UInt64(max(1, options.subscription == nil ? positions.count : 1))
        return (max(1, options.creditMessages / shares), max(64 << 10, options.creditBytes / shares))
    }

    private func attached(_ index: Int, _ response: SubscribeResponse) {
        guard attachments[index] != nil else { return }
        guard !isEnded else {
            core.perform(.unsubscribe, handle: response.handle) { _ in
            } completion: { _ in
            }
            return
        }
        attachments[index]?.handle = response.handle
        byHandle[response.handle] = index
        core.route(response.handle, to: self)
        backoff.reset()
        if topic == nil { setTopic(response.topicName) }
        finishOpen(Opened(topic: response.topicName, partitions: Int(response.partitions)))
    }

    private func openFailed(_ error: SluiceClientError, attachment: Int? = nil) {
        if let attachment { attachments[attachment] = nil }
        guard !isEnded else { return }
        // The connection was lost meanwhile: the next one attaches again.
        if core.link == nil, error.class != .refused { return }
        if firstOpen == nil, error.class != .refused { return attachAgain() }
        end(error)
    }

    private func attachAgain() {
        guard let link = core.link else { return }
        core.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(backoff.pause())) {
            guard !self.isEnded, self.core.link === link else { return }
            self.detachAll()
            self.linkReady(link)
        }
    }

    private func detachAll() {
        for attachment in attachments.values {
            guard let handle = attachment.handle else { continue }
            core.unroute(handle)
            core.perform(.unsubscribe, handle: handle) { _ in
            } completion: { _ in
            }
        }
        attachments.removeAll()
        byHandle.removeAll()
    }

    func linkLost(_ error: SluiceClientError) {
        attachments.removeAll()
        byHandle.removeAll()
    }

    func gaveUp(_ error: SluiceClientError) { end(error) }

    // MARK: - Deliveries

    func received(_ opcode: Opcode, _ frame: Frame) {
        switch opcode {
        case .deliver: delivered(frame)
        case .detached: detached(frame)
        default: break
        }
    }

    private func delivered(_ frame: Frame) {
        guard !isEnded, let index = byHandle[frame.header.handle], let topic else { return }
        guard let head = DeliverHead(frame.body), head.hasValidRanges else {
            return end(SluiceClientError(.protocolViolation, "a delivery is malformed"))
        }
        if let problem = ConsumedBatch.problem(head.batch) { return end(problem) }
        let partition = Int(head.partition)
        var ranges: [Range<UInt32>]?
        if head.rangeCount > 0 {
            ranges = (0..<head.rangeCount).map {
                let (first, last) = head.range($0)
                return first..<last + 1
            }
        }
        let position = positions[partition] ?? 0
        let batch = ConsumedBatch(
            batch: head.batch,
            ranges: ranges,
            topic: topic,
            topicBytes: topicBytes,
            partition: partition,
            from: position,
            attachment: index
        )
        positions[partition] = max(position, batch.nextOffset)
        gathered.append(batch)
    }

    func readEnded(_ link: Link) {
        guard !gathered.isEmpty else { return }
        let batches = gathered
        gathered.removeAll(keepingCapacity: true)
        queue.push(batches)
    }

    /// The reader has used credit: gives it back to what is still attached.
    func returnCredit() {
        guard let link = core.link else { return }
        for (index, used) in queue.takeUsed() {
            guard let handle = attachments[index]?.handle else { continue }
            link.write(FrameHeader(.credit, .credit, handle: handle)) { buffer in
                Credit(messages: used.messages, bytes: used.bytes).write(to: &buffer)
            }
        }
        link.flush()
    }

    private func detached(_ frame: Frame) {
        guard let index = byHandle.removeValue(forKey: frame.header.handle) else { return }
        attachments[index] = nil
        core.unroute(frame.header.handle)
        var reader = WireReader(frame.body)
        let error = frame.readStatus(&reader)?.error ?? SluiceError(.internal, "the server ended the subscription")
        let failure = SluiceClientError(error)
        if failure.class == .refused { end(failure) } else { attachAgain() }
    }

    func receivedStrayError(_ error: SluiceClientError) {}
    func becameWritable(_ link: Link) {}

    // MARK: - Progress

    /// Commits positions, of those partitions where they are further than what was committed.
    func commit(_ wanted: [Int: UInt64], completion: @escaping (SluiceClientError?) -> Void) {
        guard options.subscription != nil else {
            return completion(SluiceClientError(.invalidArgument, "a consumer without a subscription has no position"))
        }
        let ahead = wanted.filter { committed[$0.key, default: 0] < $0.value }
        guard !ahead.isEmpty else { return completion(nil) }
        guard !isEnded else { return completion(.isClosed) }
        guard let handle = attachments.values.first?.handle else {
            return completion(SluiceClientError(.connectionLost, "the consumer is not attached at this moment"))
        }
        var waiting = ahead.count
        var first: SluiceClientError?
        for (partition, offset) in ahead {
            core.perform(.commit, handle: handle) { buffer in
                CommitRequest(partition: UInt16(truncatingIfNeeded: partition), offset: offset).write(to: &buffer)
            } completion: { result in
                switch result {
                case .success: self.committed[partition] = max(self.committed[partition] ?? 0, offset)
                case .failure(let error): first = first ?? error
                }
                waiting -= 1
                if waiting == 0 { completion(first) }
            }
        }
        core.link?.flush()
    }

    private func scheduleCommit() {
        guard let interval = options.autoCommitInterval, options.subscription != nil else { return }
        commitTask = core.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(interval)) { [weak self] in
            guard let self, !self.isEnded else { return }
            // What fails now is tried again with the next turn.
            self.commit(self.queue.processed) { _ in }
            self.scheduleCommit()
        }
    }

    // MARK: - The end

    private func end(_ error: SluiceClientError?) {
        guard !isEnded else { return }
        detachAll()
        isEnded = true
        commitTask?.cancel()
        core.remove(self)
        core.link?.flush()
        if !gathered.isEmpty { readEndedAtTheEnd() }
        queue.finish(error)
        if let firstOpen {
            self.firstOpen = nil
            firstOpen(.failure(error ?? .isClosed))
        }
    }

    private func readEndedAtTheEnd() {
        queue.push(gathered)
        gathered.removeAll()
    }

    func close(_ completion: @escaping () -> Void) {
        guard !isEnded else { return completion() }
        guard options.autoCommitInterval != nil, options.subscription != nil else {
            end(nil)
            return completion()
        }
        commit(queue.processed) { _ in
            self.end(nil)
            completion()
        }
    }
}
