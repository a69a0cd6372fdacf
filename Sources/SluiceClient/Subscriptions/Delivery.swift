internal import MessageModel
internal import NativeProtocol

/// What a delivery says about the lease of its messages.
struct LeaseTerms: Sendable {
    var subscription: UInt32
    var lane: UInt16
    var attempt: UInt32
    /// Tells this lease of a message from its others.
    var generation: UInt64
    /// Of the record with index `firstIndex` of the batch.
    var firstSequence: UInt64
    /// Of the last record that is meant.
    var lastSequence: UInt64
    var signature: UInt64
    var firstIndex: UInt32
    /// µs since 1970; the largest number where the lease ends with the attachment.
    var deadline: UInt64

    func sequence(_ index: UInt32) -> UInt64 { firstSequence &+ UInt64(index) &- UInt64(firstIndex) }

    func receipt(_ sequence: UInt64) -> DeliveryReceipt {
        DeliveryReceipt(
            WireReceipt(
                subscription: subscription,
                lane: lane,
                sequence: sequence,
                generation: generation,
                first: firstSequence,
                last: lastSequence,
                signature: signature
            )
        )
    }
}

/// Messages that were delivered together, leased to this consumer until they are settled or the lease ends.
///
/// ```swift
/// for try await delivery in consumer {
///     for message in delivery { try handle(message) }
///     try delivery.accept()
/// }
/// ```
public struct Delivery: Sendable, Sequence {
    let batch: ConsumedBatch
    let terms: LeaseTerms
    let account: LeaseAccount
    let settler: Settler

    /// The number of messages.
    public var count: Int { batch.count }
    /// Which delivery of these messages it is, from 1 on.
    public var attempt: Int { Int(terms.attempt) }
    /// When the lease ends; nil where that is with the connection.
    public var leaseEndsAt: Microseconds? { terms.deadline == .max ? nil : terms.deadline }

    /// The messages are done. Like all settlements this is gathered with others and sent at once, without waiting:
    /// `SubscriptionConsumer.flush` waits until it is durable.
    /// - Throws: `leaseLost` where the connection that the delivery came by is lost: the messages are delivered again.
    public func accept() throws(SluiceClientError) { try settle(.accept) }

    /// The messages are to be delivered again.
    /// - Parameter delay: not before; nil for what the subscription's back-off says.
    public func release(after delay: Duration? = nil, countsAttempt: Bool = true) throws(SluiceClientError) {
        try settle(.release(after: delay, countsAttempt: countsAttempt))
    }

    /// The messages go to the dead-letter topic.
    public func reject(reason: String) throws(SluiceClientError) { try settle(.reject(reason: reason)) }

    /// The lease ends so long from now.
    public func extend(by duration: Duration) throws(SluiceClientError) { try settle(.extend(by: duration)) }

    public func settle(_ settlement: Settlement) throws(SluiceClientError) {
        guard let ranges = batch.ranges else {
            let last = UInt32(truncatingIfNeeded: Swift.max(1, batch.count) - 1)
            return try settler.settle(
                account,
                terms,
                first: terms.firstIndex,
                last: terms.firstIndex + last,
                settlement
            )
        }
        for range in ranges where !range.isEmpty {
            try settler.settle(account, terms, first: range.lowerBound, last: range.upperBound - 1, settlement)
        }
    }

    public func makeIterator() -> Iterator { Iterator(self) }

    public struct Iterator: IteratorProtocol {
        private let delivery: Delivery
        private var messages: ConsumedBatch.Iterator

        init(_ delivery: Delivery) {
            self.delivery = delivery
            messages = delivery.batch.makeIterator()
        }

        public mutating func next() -> LeasedMessage? {
            guard let (message, index) = messages.nextIndexed() else { return nil }
            return LeasedMessage(
                message: message,
                index: index,
                terms: delivery.terms,
                account: delivery.account,
                settler: delivery.settler
            )
        }
    }
}

/// A message that is leased to a consumer: everything that a `Message` has, and how to settle it.
///
/// ```swift
/// for try await message in consumer.messages {
///     do {
///         try await charge(message.text)
///         try message.accept()
///     } catch {
///         try message.release(after: .seconds(5))
///     }
/// }
/// ```
@dynamicMemberLookup
public struct LeasedMessage: Sendable {
    public let message: Message
    private let index: UInt32
    private let terms: LeaseTerms
    private let account: LeaseAccount
    private let settler: Settler

    init(message: Message, index: UInt32, terms: LeaseTerms, account: LeaseAccount, settler: Settler) {
        self.message = message
        self.index = index
        self.terms = terms
        self.account = account
        self.settler = settler
    }

    public subscript<Value>(dynamicMember path: KeyPath<Message, Value>) -> Value { message[keyPath: path] }

    /// Which delivery of the message it is, from 1 on.
    public var attempt: Int { Int(terms.attempt) }
    /// Its place in the order of the subscription.
    public var sequence: UInt64 { terms.sequence(index) }
    /// The partition, or for an inbox the priority.
    public var lane: Int { Int(terms.lane) }
    /// When the lease ends; nil where that is with the connection.
    public var leaseEndsAt: Microseconds? { terms.deadline == .max ? nil : terms.deadline }
    /// To settle it later, and from another connection.
    public var receipt: DeliveryReceipt { terms.receipt(sequence) }

    /// It is done. Gathered with other settlements and sent at once, without waiting.
    /// - Throws: `leaseLost` where the connection that it came by is lost: it is delivered again.
    public func accept() throws(SluiceClientError) { try settle(.accept) }

    /// It is to be delivered again.
    /// - Parameters:
    ///   - delay: not before; nil for what the subscription's back-off says.
    ///   - countsAttempt: whether this delivery counts towards the limit of attempts.
    public func release(after delay: Duration? = nil, countsAttempt: Bool = true) throws(SluiceClientError) {
        try settle(.release(after: delay, countsAttempt: countsAttempt))
    }

    /// It goes to the dead-letter topic.
    public func reject(reason: String) throws(SluiceClientError) { try settle(.reject(reason: reason)) }

    /// The lease ends so long from now.
    public func extend(by duration: Duration) throws(SluiceClientError) { try settle(.extend(by: duration)) }

    public func settle(_ settlement: Settlement) throws(SluiceClientError) {
        try settler.settle(account, terms, first: index, last: index, settlement)
    }
}
