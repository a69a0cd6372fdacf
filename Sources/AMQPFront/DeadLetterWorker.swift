internal import AMQPModel
internal import AMQPProtocol
internal import Gateway
internal import Logging
internal import MessageModel
internal import StorageService

/// Takes what queues let go of from storage's dead letters, and publishes it to their dead letter exchanges. A letter
/// ends when what was made of it is durable: after a crash between the two it is published again.
final class DeadLetterWorker {
    static let subscription = "$amqp/letters"
    /// Beyond those of consumers.
    static let attachment = UInt32.max
    /// Letters that are on their way at a time.
    private static let messages: UInt64 = 1_024
    private static let bytes: UInt64 = 4 << 20

    private unowned let host: VirtualHost
    private var decoder = PropertyDecoder()

    init(host: VirtualHost) { self.host = host }

    /// Makes the topic and the subscription, and begins.
    func start(_ completion: @escaping (SluiceError?) -> Void) {
        var topic = TopicPolicy()
        topic.retention = .subscriptions
        let specification = TopicSpecification(name: StorageNames.deadLetterTopic, policy: topic, isInternal: true)
        host.ask(.createTopic(specification)) { result in
            switch result {
            case .success(.topicCreated(let topic, _)): self.subscribe(topic.id, completion)
            case .failure(let error): completion(error)
            case .success: completion(SluiceError(.internal, "storage answered another question"))
            }
        }
    }

    private func subscribe(_ topic: TopicID, _ completion: @escaping (SluiceError?) -> Void) {
        var policy = SubscriptionPolicy()
        policy.leaseMicroseconds = 0
        let specification = SubscriptionSpecification(
            name: Self.subscription,
            topic: topic,
            start: .first,
            policy: policy
        )
        host.ask(.createSubscription(specification)) { result in
            if case .failure(let error) = result { return completion(error) }
            self.host.open.storage.attach(
                AttachRequest(
                    source: .consumer(of: Self.subscription, .attachment),
                    creditMessages: Self.messages,
                    creditBytes: Self.bytes
                ),
                attachment: Self.attachment
            )
            completion(nil)
        }
    }

    func delivered(_ delivery: BatchDelivery) {
        guard let lease = delivery.lease, let first = delivery.ranges.first else { return }
        let size = delivery.batch.byteCount / max(1, delivery.batch.recordCount)
        var cursor = delivery.batch.records
        var range = 0
        while range < delivery.ranges.count, let record = cursor.next() {
            let index = UInt32(truncatingIfNeeded: cursor.index &- 1)
            guard index >= delivery.ranges[range].first else { continue }
            if index == delivery.ranges[range].last { range += 1 }
            take(record, lane: lease.lane, lease.firstSequence &+ UInt64(index &- first.first), size: size)
        }
        host.flushLater()
    }

    private func take(_ record: RecordView, lane: UInt16, _ sequence: UInt64, size: Int) {
        let group = PublishGroup { [host] isRefused in
            let storage = host.open.storage
            storage.settle(
                attachment: Self.attachment,
                lane: lane,
                first: sequence,
                last: sequence,
                // Where a queue is full the letter is lost to it, as RabbitMQ has it; where storage is, it waits.
                isRefused && host.isBlocked
                    ? .release(delayMicroseconds: 1_000_000, countsAttempt: false) : .accept,
                token: nil
            )
            storage.grantCredit(attachment: Self.attachment, messages: 1, bytes: UInt64(size))
        }
        if case .publish(let letter) = host.model.deadLetter(record, now: .wallClock, decoder: &decoder) {
            letter.properties.withUnsafeBytes { properties in
                _ = host.append(
                    RoutedPublish(
                        exchange: letter.exchange,
                        keys: letter.keys,
                        properties: properties,
                        body: record.body,
                        hasDeaths: true,
                        excluded: letter.excluded
                    ),
                    group
                )
            }
        }
        group.seal()
    }
}
