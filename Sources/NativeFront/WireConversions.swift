internal import MessageModel
internal import NativeProtocol
internal import StorageService

/// Between the words of the wire and those of the storage boundary.

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

extension SeekTarget {
    init(_ target: WireStart, partition: UInt16) {
        switch target {
        case .first: self = .first
        case .next: self = .next
        case .offset(let offset): self = .offset(partition: partition, offset)
        case .time(let time): self = .time(time)
        }
    }
}

extension Settlement {
    init(_ settlement: WireSettlement) {
        switch settlement {
        case .accept: self = .accept
        case .release(let delay, let countsAttempt):
            self = .release(delayMicroseconds: delay, countsAttempt: countsAttempt)
        case .extend(let duration): self = .extend(byMicroseconds: duration)
        case .reject(let reason): self = .reject(reason: reason)
        }
    }
}

extension SignedReceipt {
    init(_ receipt: WireReceipt) {
        self.init(
            Receipt(
                subscription: SubscriptionID(rawValue: receipt.subscription),
                lane: receipt.lane,
                sequence: receipt.sequence,
                generation: receipt.generation
            ),
            first: receipt.first,
            last: receipt.last,
            signature: receipt.signature
        )
    }
}

extension WireLease {
    init(_ lease: BatchDelivery.Lease, topic: TopicID, creditBytes: Int) {
        self.init(
            subscription: lease.subscription.rawValue,
            topic: topic.rawValue,
            lane: lease.lane,
            attempt: lease.attempt,
            firstSequence: lease.firstSequence,
            deadline: lease.deadline.rawValue,
            creditBytes: UInt32(clamping: creditBytes),
            generation: lease.generation,
            lastSequence: lease.lastSequence,
            signature: lease.signature
        )
    }
}

extension Binding {
    init(_ binding: WireBinding) throws(SluiceError) {
        guard let kind = Kind(rawValue: binding.kind) else {
            throw SluiceError(.invalidArgument, "bindings of the kind \(binding.kind) are not known")
        }
        self.init(
            kind: kind,
            topic: binding.topic,
            pattern: binding.pattern,
            arguments: binding.arguments.map { Argument(name: $0.name, value: $0.value) }
        )
    }
}

extension WireBinding {
    init(_ binding: Binding) {
        self.init(
            kind: binding.kind.rawValue,
            topic: binding.topic,
            pattern: binding.pattern,
            arguments: binding.arguments.map { Argument(name: $0.name, value: $0.value) }
        )
    }
}

extension SubscriptionPolicy {
    /// What was not said has its default.
    init(_ wire: WireSubscriptionPolicy) throws(SluiceError) {
        self.init()
        if let field = wire.unknownField {
            throw SluiceError(.notSupported, "field \(field) of a subscription's policy is not known")
        }
        if let number = wire.consumers {
            guard let value = Consumers(rawValue: number) else {
                throw SluiceError(.invalidArgument, "consumers of the kind \(number) are not known")
            }
            consumers = value
        }
        if let number = wire.overflow {
            guard let value = Overflow(rawValue: number) else {
                throw SluiceError(.invalidArgument, "overflow of the kind \(number) is not known")
            }
            overflow = value
        }
        leaseMicroseconds = wire.leaseMicroseconds ?? leaseMicroseconds
        maxAttempts = wire.maxAttempts ?? maxAttempts
        if let text = wire.backoff, !text.isEmpty { backoff = try Backoff(text) }
        if let topic = wire.deadLetterTopic, !topic.isEmpty { deadLetterTopic = topic }
        selector = wire.selector ?? selector
        tags = wire.tags ?? tags
        nameFilter = wire.nameFilter ?? nameFilter
        window = wire.window ?? window
        isDurable = wire.isDurable ?? isDurable
        expiresUnusedMicroseconds = wire.expiresUnusedMicroseconds ?? expiresUnusedMicroseconds
        maxMessages = wire.maxMessages ?? maxMessages
        maxBytes = wire.maxBytes ?? maxBytes
        messageTTLMicroseconds = wire.messageTTLMicroseconds ?? messageTTLMicroseconds
        maxPriority = wire.maxPriority ?? maxPriority
        takesAtMostOnce = wire.takesAtMostOnce ?? takesAtMostOnce
    }
}

extension WireSubscriptionPolicy {
    init(_ policy: SubscriptionPolicy) {
        self.init()
        consumers = policy.consumers.rawValue
        leaseMicroseconds = policy.leaseMicroseconds
        maxAttempts = policy.maxAttempts
        backoff = policy.backoff?.description
        deadLetterTopic = policy.deadLetterTopic
        selector = policy.selector
        tags = policy.tags
        nameFilter = policy.nameFilter
        window = policy.window
        isDurable = policy.isDurable
        expiresUnusedMicroseconds = policy.expiresUnusedMicroseconds
        maxMessages = policy.maxMessages
        maxBytes = policy.maxBytes
        messageTTLMicroseconds = policy.messageTTLMicroseconds
        overflow = policy.overflow.rawValue
        maxPriority = policy.maxPriority
        takesAtMostOnce = policy.takesAtMostOnce
    }
}

extension TopicPolicy {
    init(_ wire: WireTopicPolicy) throws(SluiceError) {
        self.init()
        if let field = wire.unknownField {
            throw SluiceError(.notSupported, "field \(field) of a topic's policy is not known")
        }
        if let number = wire.retention {
            guard let value = Retention(rawValue: number) else {
                throw SluiceError(.invalidArgument, "retention of the kind \(number) is not known")
            }
            retention = value
        }
        maxAgeMicroseconds = wire.maxAgeMicroseconds ?? maxAgeMicroseconds
        maxBytes = wire.maxBytes ?? maxBytes
        deduplicationMicroseconds = wire.deduplicationMicroseconds ?? deduplicationMicroseconds
        maxDelayMicroseconds = wire.maxDelayMicroseconds ?? maxDelayMicroseconds
    }
}

extension WireTopicPolicy {
    init(_ policy: TopicPolicy) {
        self.init()
        retention = policy.retention.rawValue
        maxAgeMicroseconds = policy.maxAgeMicroseconds
        maxBytes = policy.maxBytes
        deduplicationMicroseconds = policy.deduplicationMicroseconds
        maxDelayMicroseconds = policy.maxDelayMicroseconds
    }
}

extension WireTopicDescription {
    init(_ topic: TopicDescription) {
        self.init(
            id: topic.id.rawValue,
            createdAt: topic.createdAt,
            name: topic.name,
            captures: topic.captures,
            partitions: topic.partitions.map { WireBounds(from: $0.firstOffset, next: $0.nextOffset) },
            policy: WireTopicPolicy(topic.policy)
        )
    }
}

extension WireSubscriptionDescription {
    init(_ subscription: SubscriptionDescription) {
        var flags: Flags = []
        if subscription.topic == nil { flags.insert(.inbox) }
        if subscription.isPaused { flags.insert(.paused) }
        self.init(
            topic: subscription.topic?.rawValue ?? 0,
            createdAt: subscription.createdAt,
            isAttached: subscription.isAttached,
            name: subscription.name,
            topicName: subscription.topicName,
            lanes: subscription.lanes.map { lane in
                WireLane(
                    acknowledged: lane.acknowledged,
                    next: lane.nextOffset,
                    backlog: lane.backlog,
                    leased: lane.leased,
                    retrying: lane.retrying,
                    oldest: lane.oldest?.rawValue ?? 0
                )
            },
            id: subscription.id.rawValue,
            flags: flags,
            consumers: UInt32(clamping: subscription.consumers),
            policy: WireSubscriptionPolicy(subscription.policy)
        )
    }
}
