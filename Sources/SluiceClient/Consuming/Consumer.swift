internal import NIOCore

/// Reads messages, batch by batch (as this sequence) or one by one (`messages`).
///
/// The server sends ahead as far as the credit in the options goes; taking batches gives credit back. After a lost
/// connection the consumer goes on behind what it was last sent. One task reads at a time.
///
/// With a subscription, its position moves only by commits: what is not committed comes again when the next consumer
/// attaches.
public final class Consumer: AsyncSequence, Sendable {
    public typealias Element = ConsumedBatch

    /// The topic that the address or the subscription belongs to.
    public let topic: String
    /// The number of the topic's partitions.
    public let partitionCount: Int
    private let core: ClientCore
    private let driver: ConsumerDriver

    init(core: ClientCore, address: String, options: ConsumerOptions) async throws(SluiceClientError) {
        let holder = DriverHolder()
        let queue = DeliveryQueue { core.eventLoop.execute { holder.driver?.returnCredit() } }
        let driver = ConsumerDriver(core: core, address: address, options: options, queue: queue)
        let result: Result<ConsumerDriver.Opened, SluiceClientError> = await withCheckedContinuation { continuation in
            core.eventLoop.execute {
                holder.driver = driver
                driver.start { continuation.resume(returning: $0) }
            }
        }
        let opened = try result.get()
        self.core = core
        self.driver = driver
        topic = opened.topic
        partitionCount = opened.partitions
    }

    deinit {
        let driver = driver
        core.eventLoop.execute { driver.close {} }
    }

    public struct AsyncIterator: AsyncIteratorProtocol {
        let consumer: Consumer

        public func next() async throws -> ConsumedBatch? { try await consumer.next() }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(consumer: self) }

    /// The next batch; nil when the consumer is closed or the task is cancelled.
    public func next() async throws(SluiceClientError) -> ConsumedBatch? {
        while true {
            guard let batch = try await driver.queue.next() else { return nil }
            // All of it may have been delivered before the connection was lost.
            if batch.count > 0 { return batch }
        }
    }

    /// The messages one by one.
    public var messages: Messages { Messages(consumer: self) }

    public struct Messages: AsyncSequence, Sendable {
        public typealias Element = Message
        let consumer: Consumer

        public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(consumer: consumer) }

        public struct AsyncIterator: AsyncIteratorProtocol {
            let consumer: Consumer
            private var batch: ConsumedBatch.Iterator?

            init(consumer: Consumer) { self.consumer = consumer }

            public mutating func next() async throws -> Message? {
                while true {
                    if let message = batch?.next() { return message }
                    guard let next = try await consumer.next() else { return nil }
                    batch = next.makeIterator()
                }
            }
        }
    }

    // MARK: - Progress

    /// Commits that everything up to and with this message is done, in its partition.
    public func commit(_ message: Message) async throws(SluiceClientError) {
        try await commit(partition: message.partition, nextOffset: message.offset + 1)
    }

    /// Commits that everything up to the end of this batch is done, in its partition.
    public func commit(_ batch: ConsumedBatch) async throws(SluiceClientError) {
        try await commit(partition: batch.partition, nextOffset: batch.nextOffset)
    }

    /// Commits that everything of a partition before `nextOffset` is done.
    public func commit(partition: Int, nextOffset: UInt64) async throws(SluiceClientError) {
        try await commit([partition: nextOffset])
    }

    /// Commits that everything that was handed out is done.
    public func commit() async throws(SluiceClientError) { try await commit(driver.queue.handedOut) }

    private func commit(_ positions: [Int: UInt64]) async throws(SluiceClientError) {
        let driver = driver
        let error: SluiceClientError? = await withCheckedContinuation { continuation in
            core.eventLoop.execute { driver.commit(positions) { continuation.resume(returning: $0) } }
        }
        if let error { throw error }
    }

    /// Ends the consumer. With automatic commits, what was handed out before the latest batch is committed.
    public func close() async {
        let driver = driver
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            core.eventLoop.execute { driver.close { continuation.resume() } }
        }
    }
}

/// Joins the queue to its driver, which is made after it. Belongs to the event loop.
private final class DriverHolder: @unchecked Sendable {
    weak var driver: ConsumerDriver?
}

extension SluiceClient {
    /// Opens a consumer.
    /// - Parameter address: a topic's name, a name, or a filter with wildcards (`orders/+/created`, `orders/#`).
    public func consumer(
        of address: String,
        options: ConsumerOptions = ConsumerOptions()
    ) async throws(SluiceClientError) -> Consumer {
        try await Consumer(core: core, address: address, options: options)
    }
}
