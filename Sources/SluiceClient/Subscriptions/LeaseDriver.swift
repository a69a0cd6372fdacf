internal import MessageModel
internal import NIOCore
internal import NativeProtocol
internal import Synchronization

/// A leasing consumer's half on the event loop: attaches on each connection, brings deliveries to the queue, and sends
/// settlements. Everything but `init` belongs to the event loop.
final class LeaseDriver: LinkParticipant, @unchecked Sendable {
    private let core: ClientCore
    private let subscription: String
    private let options: SubscriptionConsumerOptions
    let queue: LeaseQueue
    private let settler: Settler
    /// Counts attachments, also over connections.
    private var attachment = 0
    private var handle: UInt32?
    private var isAttaching = false
    private var topics: [UInt32: (name: String, bytes: [UInt8])] = [:]
    private var gathered: [Delivery] = []
    private var firstOpen: ((SluiceClientError?) -> Void)?
    private var isEnded = false
    /// Nothing more is wanted.
    private var isClosing = false
    private var expiryTask: Scheduled<Void>?
    private var backoff = Backoff(smallest: .milliseconds(50), largest: .seconds(5))

    init(core: ClientCore, subscription: String, options: SubscriptionConsumerOptions) {
        self.core = core
        self.subscription = subscription
        self.options = options
        let holder = LeaseDriverHolder()
        let send: @Sendable () -> Void = { core.eventLoop.execute { holder.driver?.sendSettlements() } }
        queue = LeaseQueue(returnAt: options.prefetchBytes / 4, returnCredit: send)
        settler = Settler(outliveConnection: options.leasesOutliveConnection, wake: send)
        holder.driver = self
    }

    func start(_ completion: @escaping (SluiceClientError?) -> Void) {
        firstOpen = completion
        core.add(self)
        core.link?.flush()
    }

    // MARK: - Attaching

    func linkReady(_ link: Link) {
        guard !isEnded, !isAttaching, handle == nil else { return }
        guard core.version(.subscribe) > 1 else {
            return end(SluiceClientError(.notSupported, "the server does not know consumers with leases"))
        }
        isAttaching = true
        guard let source = options.source else {
            attach()
            return link.flush()
        }
        core.perform(.describeSubscription, isRepeatable: false) { buffer in
            NameBody(name: subscription).write(to: &buffer)
        } completion: { result in
            let version = self.core.version(.describeSubscription)
            switch result.decoded(.describeSubscription, { WireSubscriptionDescription(&$0, version: version) }) {
            case .success(let found): self.found(found, source)
            case .failure(let error) where error.code == .subscriptionNotFound: self.create(source)
            case .failure(let error): self.attachFailed(error)
            }
            self.core.link?.flush()
        }
        link.flush()
    }

    private func found(_ description: WireSubscriptionDescription, _ source: SubscriptionSource) {
        switch source {
        case .topic(let topic, _) where description.topicName != topic || description.flags.contains(.inbox):
            let what = description.flags.contains(.inbox) ? "is an inbox" : "reads '\(description.topicName)'"
            attachFailed(SluiceClientError(.alreadyExists, "the subscription '\(subscription)' \(what)"))
        case .inbox where !description.flags.contains(.inbox):
            let message = "the subscription '\(subscription)' reads '\(description.topicName)' and is no inbox"
            attachFailed(SluiceClientError(.alreadyExists, message))
        case .topic, .inbox: attach()
        }
    }

    private func create(_ source: SubscriptionSource) {
        let body = CreateSubscriptionBody(subscription, source, options.policy)
        let version = core.version(.createSubscription)
        core.perform(.createSubscription, isRepeatable: false) { buffer in
            body.write(to: &buffer, version: version)
        } completion: { result in
            switch result {
            case .success: self.attach()
            // Another made it meanwhile, with a policy of its own.
            case .failure(let error) where error.code == .alreadyExists: self.attach()
            case .failure(let error): self.attachFailed(error)
            }
            self.core.link?.flush()
        }
    }

    private func attach() {
        guard !isEnded, core.link != nil else {
            isAttaching = false
            return
        }
        var flags: SubscribeRequest.Flags = .consumer
        if options.leasesOutliveConnection { flags.insert(.receipts) }
        core.perform(.subscribe, isRepeatable: false) { buffer in
            SubscribeRequest(
                flags: flags,
                creditMessages: max(1, options.prefetch),
                creditBytes: max(64 << 10, options.prefetchBytes),
                address: "",
                subscription: subscription,
                consumer: options.consumerName
            ).write(to: &buffer)
        } completion: { result in
            switch result.decoded(.subscribe, { SubscribeResponse(&$0) }) {
            case .failure(let error): self.attachFailed(error)
            case .success(let response): self.attached(response)
            }
        }
    }

    private func attached(_ response: SubscribeResponse) {
        isAttaching = false
        guard !isEnded else {
            core.perform(.unsubscribe, handle: response.handle) { _ in
            } completion: { _ in
            }
            return
        }
        attachment += 1
        handle = response.handle
        core.route(response.handle, to: self)
        topics = [:]
        if response.topic != 0 {
            topics[response.topic] = (response.topicName, Array(response.topicName.utf8))
        }
        settler.attached(attachment)
        backoff.reset()
        scheduleExpiry()
        if let firstOpen {
            self.firstOpen = nil
            firstOpen(nil)
        }
    }

    private func attachFailed(_ error: SluiceClientError) {
        isAttaching = false
        guard !isEnded else { return }
        // The connection was lost meanwhile: the next one attaches again.
        if core.link == nil, error.class != .refused { return }
        // After a lost connection an exclusive subscription may still be held by the one before, for a moment.
        let isOwn = error.code == .subscriptionInUse && attachment > 1
        let isRetried = firstOpen == nil && (error.class != .refused || isOwn)
        guard isRetried else { return end(error) }
        attachAgain()
    }

    private func attachAgain() {
        guard let link = core.link else { return }
        core.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(backoff.pause())) {
            guard !self.isEnded, self.core.link === link else { return }
            self.linkReady(link)
        }
    }

    func linkLost(_ error: SluiceClientError) { detach() }

    private func detach() {
        handle = nil
        isAttaching = false
        settler.attached(nil)
        // What nobody has taken comes again, unless its lease goes on.
        guard !options.leasesOutliveConnection else { return }
        gathered.removeAll()
        queue.drop()
    }

    func gaveUp(_ error: SluiceClientError) { end(error) }

    // MARK: - Deliveries

    func received(_ opcode: Opcode, _ frame: Frame) {
        guard frame.header.handle == handle else { return }
        switch opcode {
        case .deliver: delivered(frame)
        case .topicNamed:
            var reader = WireReader(frame.body)
            guard let named = TopicNamedBody(&reader) else { return }
            topics[named.topic] = (named.name, Array(named.name.utf8))
        case .consumerChanged:
            options.onActivityChange?(frame.body.first == 1)
        case .detached:
            core.unroute(frame.header.handle)
            detach()
            var reader = WireReader(frame.body)
            let error = frame.readStatus(&reader)?.error ?? SluiceError(.internal, "the server ended the subscription")
            attachFailed(SluiceClientError(error))
        default: break
        }
    }

    private func delivered(_ frame: Frame) {
        guard !isEnded else { return }
        guard let head = DeliverHead(frame.body), head.hasValidRanges, let lease = head.lease else {
            return end(SluiceClientError(.protocolViolation, "a delivery is malformed"))
        }
        if let problem = ConsumedBatch.problem(head.batch) { return end(problem) }
        var ranges: [Range<UInt32>]?
        if head.rangeCount > 0 {
            ranges = (0..<head.rangeCount).map {
                let (first, last) = head.range($0)
                return first..<last + 1
            }
        }
        let topic = topics[lease.topic] ?? ("", [])
        var batch = ConsumedBatch(
            batch: head.batch,
            ranges: ranges,
            topic: topic.name,
            topicBytes: topic.bytes,
            partition: Int(head.partition),
            from: 0,
            attachment: attachment
        )
        batch.creditBytes = UInt64(lease.creditBytes)
        let account = LeaseAccount(
            attachment: attachment,
            messages: UInt64(batch.count),
            deadline: lease.deadline
        )
        let terms = LeaseTerms(
            subscription: lease.subscription,
            lane: lease.lane,
            attempt: lease.attempt,
            generation: lease.generation,
            firstSequence: lease.firstSequence,
            lastSequence: lease.lastSequence,
            signature: lease.signature,
            firstIndex: ranges?.first?.lowerBound ?? 0,
            deadline: lease.deadline
        )
        settler.opened(account)
        gathered.append(Delivery(batch: batch, terms: terms, account: account, settler: settler))
    }

    func readEnded(_ link: Link) {
        guard !gathered.isEmpty else { return }
        let deliveries = gathered
        gathered.removeAll(keepingCapacity: true)
        queue.push(deliveries)
    }

    func receivedStrayError(_ error: SluiceClientError) {}
    func becameWritable(_ link: Link) {}

    // MARK: - Settlements

    /// Ranges in one frame, well below the largest frame and the list's 16 bits.
    private static let rangesPerFrame = 2_048

    /// Sends what was gathered: a frame for each kind of settlement, without an answer, and the credit that it frees.
    fileprivate func sendSettlements() {
        guard let link = core.link else { return }
        let outgoing = settler.take(now: SystemClock.microseconds())
        if let handle {
            for group in outgoing.groups { write(group, handle, link) }
            let bytes = queue.takeUsedBytes()
            let messages = options.replenishesPrefetch && !isClosing ? outgoing.credit : 0
            if messages > 0 || bytes > 0 {
                link.write(FrameHeader(.credit, .credit, handle: handle)) { buffer in
                    Credit(messages: messages, bytes: bytes).write(to: &buffer)
                }
            }
        }
        sendReceipts(outgoing.receipts)
        link.flush()
    }

    private func write(_ group: Settler.Group, _ handle: UInt32, _ link: Link) {
        var start = 0
        while start < group.ranges.count {
            let part = group.ranges[start..<min(start + Self.rangesPerFrame, group.ranges.count)]
            start += part.count
            link.write(FrameHeader(.request, group.settlement.opcode, flags: .oneWay, handle: handle)) { buffer in
                group.settlement.write(to: &buffer)
                buffer.writeU16(UInt16(part.count))
                for range in part { range.write(to: &buffer) }
            }
        }
    }

    /// Each run of the same settlement is one request; nobody waits for what the server says of it.
    private func sendReceipts(_ receipts: [(settlement: WireSettlement, receipt: WireReceipt)]) {
        var start = 0
        while start < receipts.count {
            let settlement = receipts[start].settlement
            var end = start
            while end < receipts.count, end - start < Self.rangesPerFrame, receipts[end].settlement == settlement {
                end += 1
            }
            let body = SettleReceiptsBody(settlement: settlement, receipts: receipts[start..<end].map(\.receipt))
            core.perform(.settleReceipts) {
                body.write(to: &$0)
            } completion: { _ in
            }
            start = end
        }
    }

    /// Sends what was gathered, and asks to be told when it is durable.
    func flush(_ completion: @escaping (SluiceClientError?) -> Void) {
        guard !isEnded else { return completion(.isClosed) }
        guard let handle, core.link != nil else {
            return completion(
                SluiceClientError(.connectionLost, "the consumer is not attached: what it had comes again")
            )
        }
        sendSettlements()
        core.perform(.acknowledge, handle: handle) { buffer in
            buffer.writeU16(0)
        } completion: { result in
            switch result {
            case .success: completion(nil)
            case .failure(let error): completion(error)
            }
        }
        core.link?.flush()
    }

    /// Leases that end by their deadline without a settlement give their credit back.
    private func scheduleExpiry() {
        expiryTask?.cancel()
        expiryTask = core.eventLoop.assumeIsolated().scheduleTask(in: .seconds(1)) { [weak self] in
            guard let self, !self.isEnded, self.handle != nil else { return }
            self.sendSettlements()
            self.scheduleExpiry()
        }
    }

    // MARK: - The end

    private func end(_ error: SluiceClientError?) {
        guard !isEnded else { return }
        if let handle {
            core.unroute(handle)
            core.perform(.unsubscribe, handle: handle) { _ in
            } completion: { _ in
            }
        }
        isEnded = true
        handle = nil
        expiryTask?.cancel()
        settler.attached(nil)
        core.remove(self)
        core.link?.flush()
        gathered.removeAll()
        queue.drop()
        queue.finish(error)
        if let firstOpen {
            self.firstOpen = nil
            firstOpen(error ?? .isClosed)
        }
    }

    func close(_ completion: @escaping () -> Void) {
        guard !isEnded else { return completion() }
        isClosing = true
        flush { _ in
            self.end(nil)
            completion()
        }
    }
}

/// Joins the queue and the settler to their driver, which is made after them. Belongs to the event loop.
private final class LeaseDriverHolder: @unchecked Sendable {
    weak var driver: LeaseDriver?
}

extension CreateSubscriptionBody {
    init(_ name: String, _ source: SubscriptionSource, _ policy: SubscriptionPolicy) {
        switch source {
        case .topic(let topic, let start):
            self.init(start: start.wire, name: name, address: topic, policy: policy.wire)
        case .inbox(let bindings):
            self.init(
                start: .next,
                name: name,
                address: "",
                isInbox: true,
                bindings: bindings.map(\.wire),
                policy: policy.wire
            )
        }
    }
}
