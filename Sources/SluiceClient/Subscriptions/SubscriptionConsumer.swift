internal import NIOCore
internal import NativeProtocol

/// How a consumer of a subscription takes messages.
public struct SubscriptionConsumerOptions: Sendable {
    /// What the subscription is to be where there is none; nil: then opening the consumer fails.
    public var source: SubscriptionSource?
    /// Of a subscription that is made. One that is there keeps its own.
    public var policy = SubscriptionPolicy()
    /// Shown with the subscription's consumers.
    public var consumerName = ""
    /// Messages that may be out with this consumer and not settled: few where work is slow and other consumers are to
    /// have their part, many where it is fast.
    public var prefetch: UInt64 = 1_024
    /// Settling gives the prefetch back; without it the consumer takes as many messages as the prefetch says, and no more.
    public var replenishesPrefetch = true
    /// Bytes that may wait in this consumer.
    public var prefetchBytes: UInt64 = 8 << 20
    /// Leases end only by their deadline: what was delivered can be settled after the connection was lost, and from
    /// another one by its receipt. Without this they end with the connection.
    public var leasesOutliveConnection = false
    /// Of a `failover` subscription: whether this consumer is the one that has the messages. Called on another thread.
    public var onActivityChange: (@Sendable (Bool) -> Void)?

    public init() {}
}

/// Takes messages of a subscription under a lease, and settles them.
///
/// Each message is delivered to one consumer at a time. Unless it is accepted before its lease ends, it is delivered
/// again. The server sends ahead as far as the prefetch goes; settling gives it back.
///
/// ```swift
/// var options = SubscriptionConsumerOptions()
/// options.source = .topic("orders", from: .first)
/// options.policy.maxAttempts = 5
/// options.policy.deadLetterTopic = "orders-dead"
/// let consumer = try await client.consumer(subscription: "billing", options: options)
/// for try await message in consumer.messages {
///     print(message.name, message.text, message.attempt)
///     try message.accept()
/// }
/// ```
///
/// After a lost connection the consumer attaches again by itself. What it had is delivered again, to it or to another;
/// settling the old deliveries throws `leaseLost`.
public final class SubscriptionConsumer: AsyncSequence, Sendable {
    public typealias Element = Delivery

    public let subscription: String
    private let core: ClientCore
    private let driver: LeaseDriver

    init(
        core: ClientCore,
        subscription: String,
        options: SubscriptionConsumerOptions
    ) async throws(SluiceClientError) {
        let driver = LeaseDriver(core: core, subscription: subscription, options: options)
        let error: SluiceClientError? = await withCheckedContinuation { continuation in
            core.eventLoop.execute { driver.start { continuation.resume(returning: $0) } }
        }
        if let error { throw error }
        self.core = core
        self.driver = driver
        self.subscription = subscription
    }

    deinit {
        let driver = driver
        core.eventLoop.execute { driver.close {} }
    }

    public struct AsyncIterator: AsyncIteratorProtocol {
        let consumer: SubscriptionConsumer

        public func next() async throws -> Delivery? { try await consumer.next() }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(consumer: self) }

    /// The next delivery; nil when the consumer is closed or the task is cancelled.
    public func next() async throws(SluiceClientError) -> Delivery? { try await driver.queue.next() }

    /// The messages one by one.
    public var messages: Messages { Messages(consumer: self) }

    public struct Messages: AsyncSequence, Sendable {
        public typealias Element = LeasedMessage
        let consumer: SubscriptionConsumer

        public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(consumer: consumer) }

        public struct AsyncIterator: AsyncIteratorProtocol {
            let consumer: SubscriptionConsumer
            private var delivery: Delivery.Iterator?

            init(consumer: SubscriptionConsumer) { self.consumer = consumer }

            public mutating func next() async throws -> LeasedMessage? {
                while true {
                    if let message = delivery?.next() { return message }
                    guard let next = try await consumer.next() else { return nil }
                    delivery = next.makeIterator()
                }
            }
        }
    }

    /// Sends what was settled and waits until it is durable.
    /// - Throws: `indeterminate` where the connection is lost meanwhile: what is not durable comes again.
    public func flush() async throws(SluiceClientError) {
        let driver = driver
        let error: SluiceClientError? = await withCheckedContinuation { continuation in
            core.eventLoop.execute { driver.flush { continuation.resume(returning: $0) } }
        }
        if let error { throw error }
    }

    /// Waits until what was settled is durable, and ends the consumer. What it has besides is delivered again.
    public func close() async {
        let driver = driver
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            core.eventLoop.execute { driver.close { continuation.resume() } }
        }
    }
}

extension SluiceClient {
    /// Opens a consumer of a subscription, which leases messages to it.
    public func consumer(
        subscription: String,
        options: SubscriptionConsumerOptions = SubscriptionConsumerOptions()
    ) async throws(SluiceClientError) -> SubscriptionConsumer {
        try await SubscriptionConsumer(core: core, subscription: subscription, options: options)
    }
}
