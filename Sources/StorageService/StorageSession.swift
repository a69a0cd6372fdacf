package import MessageModel

/// The one boundary between protocols and storage: what serves it may be in this process or behind a link.
///
/// A service belongs to one event loop; everything here is called on it.
package protocol StorageService: AnyObject {
    /// Which topic a name belongs to: kept up to date by the service, read without a request.
    var topics: TopicDirectory { get }
    /// Something was asked for, and the round that does it is still to come in this tick of the event loop.
    var isRoundDue: Bool { get }
    /// Has the next round, which is that of this tick, begin with a call: the last moment to ask for something that is
    /// done in it. Where there are no rounds it is called at once.
    func beforeRound(_ body: @escaping () -> Void)

    /// Opens a session for one connection (or another owner of requests).
    /// - Parameter delegate: told of everything that happens for this session; held until the session is closed.
    func openSession(tenant: TenantID, delegate: any StorageSessionDelegate) -> any StorageSession
}

extension StorageService {
    package var isRoundDue: Bool { false }
    package func beforeRound(_ body: @escaping () -> Void) { body() }
}

/// One owner of requests. Results come to its delegate, in the order in which they complete, never from inside the call
/// that asked; after the last of a round the delegate's `storageRoundEnded` is called once.
package protocol StorageSession: AnyObject {
    /// Names the session among those of its service, see `RecordOwner`.
    var number: UInt64 { get }

    /// Appends a verified batch; its bytes are copied before the call returns.
    /// - Parameters:
    ///   - batch: exactly one batch that has passed `BatchView.verify()`.
    ///   - options: with the acknowledgement `none`, `appendCompleted` is called only for a refusal.
    ///   - token: comes back in `appendCompleted`.
    func append(_ batch: BatchView, to partition: PartitionID, options: AppendOptions, token: UInt64)

    /// Attaches a reader: from then on batches are pushed as long as it has credit.
    /// - Parameter attachment: chosen by the caller, unique among the attachments of this session.
    func attach(_ request: AttachRequest, attachment: UInt32)

    /// Adds to a reader's credit; both amounts must be there for the next batch to be sent.
    func grantCredit(attachment: UInt32, messages: UInt64, bytes: UInt64)

    /// Adds to the credit for messages that the attachments of a group share, see `AttachRequest.creditGroup`. A group has
    /// none at first; what it has outlives its attachments.
    func grantCredit(group: UInt32, messages: UInt64)

    /// Says how many bytes of deliveries the owner takes in from now on, counted as credit is, all attachments together; the
    /// last batch may be beyond that. Whoever never calls this takes in everything.
    func takeUp(bytes: Int)

    /// Ends an attachment; nothing is delivered on it after the call. Unknown ones are ignored.
    func detach(attachment: UInt32)

    /// Makes a consumer none: it gets nothing more, is not counted, and where others wait for its place the next one takes
    /// it. Messages that are leased to it stay so until they are settled, the lease ends, or it is detached. Unknown ones,
    /// and attachments that are no consumers, are ignored.
    func retire(attachment: UInt32)

    /// Settles messages that are leased to a consumer: those with sequences from `first` to `last` of a lane that this
    /// attachment still has. Others in the range are passed over. What it has is told by the sequence alone: where a lease
    /// ended by its time and the message was given to the same attachment again, the later lease is settled. Receipts tell
    /// the two apart; leases without a time of their own end with the attachment only.
    /// - Parameter token: comes back in `requestCompleted` with `settled` once it is durable; nil where nobody waits.
    func settle(
        attachment: UInt32,
        lane: UInt16,
        first: UInt64,
        last: UInt64,
        _ settlement: Settlement,
        token: UInt64?
    )

    /// Asks for every message whose name matches, from now on, without storage: a live subscription.
    /// - Parameter id: chosen by the caller, unique among the filters of this session; adding one that is there
    ///   replaces it.
    /// - Parameter group: of the filters that are the same and have the same group, in all sessions, each message goes to
    ///   one, in turn.
    /// - Returns: the error where the filter is not valid.
    func addFilter(_ filter: UnsafeRawBufferPointer, id: UInt32, group: UInt64?) -> SluiceError?

    /// Ends a live subscription; false where there is none with this id.
    func removeFilter(id: UInt32) -> Bool

    /// Everything that is not on the path of each message. Answered by `requestCompleted` with the token.
    func perform(_ request: StorageRequest, token: UInt64)

    /// Changes what is kept for the user of a subscription. Changes of one round are written together, behind its
    /// settlements.
    /// - Parameter token: comes back in `requestCompleted` with `done` once it is durable; nil where nobody waits.
    func putState(_ changes: StateChanges, token: UInt64?)

    /// Withdraws a request that waits (a fetch with a wait); it is then not answered.
    func cancel(token: UInt64)

    /// Nothing more is leased to its consumers, because the connection is about to end. What they have can be settled.
    func stopDelivering()

    /// Ends the session with its attachments, filters and waiting requests; nothing is reported afterwards.
    func close()
}

/// What a session is told. All bytes are lent for the duration of the call.
package protocol StorageSessionDelegate: AnyObject {
    func appendCompleted(token: UInt64, result: AppendResult)
    func batchDelivered(_ delivery: BatchDelivery)
    /// One message for this session's live filters; called once a message, whatever the number of filters that match.
    func messageRouted(_ message: RoutedMessage)
    /// Several such messages of one name at a time. Who does not take them together gets them one by one.
    func messagesRouted(_ run: RoutedRun)
    /// A consumer of a subscription with one active consumer: whether it is this one.
    func consumerChanged(attachment: UInt32, isActive: Bool)
    /// A transaction of an owner that this session answers for is open for too long: to be committed or rolled back.
    func transactionNeedsResolution(_ transaction: TransactionID, owner: String)
    /// An attachment ended from the other side.
    func attachmentEnded(attachment: UInt32, error: SluiceError)
    func requestCompleted(token: UInt64, result: Result<StorageReply, SluiceError>)
    /// Nothing more comes in this round: the time to write what was gathered.
    func storageRoundEnded()
}

extension StorageSessionDelegate {
    package func messagesRouted(_ run: RoutedRun) {
        for index in run.records.indices { messageRouted(run[index]) }
    }
    package func consumerChanged(attachment: UInt32, isActive: Bool) {}
    package func transactionNeedsResolution(_ transaction: TransactionID, owner: String) {}
}

extension StorageSession {
    /// Of a service that does not tell sessions apart in one batch.
    package var number: UInt64 { 0 }

    /// A session that never outlives its use has nothing to stop.
    package func stopDelivering() {}

    /// A session whose credit is a bound already has no other.
    package func takeUp(bytes: Int) {}

    package func addFilter(_ filter: UnsafeRawBufferPointer, id: UInt32) -> SluiceError? {
        addFilter(filter, id: id, group: nil)
    }

    package func append(
        _ batch: BatchView,
        to partition: PartitionID,
        acknowledgement: Acknowledgement,
        token: UInt64
    ) {
        append(batch, to: partition, options: AppendOptions(acknowledgement: acknowledgement), token: token)
    }
}

/// The outcome of an append.
package struct AppendResult: Equatable, Sendable {
    /// Nil where the batch is stored as asked.
    package var error: ErrorCode?
    /// The offset of the batch's first message; `UInt64.max` where it has none yet, because it waits for its time or
    /// its transaction.
    package var baseOffset: UInt64
    /// The messages that were stored: fewer than the batch has where some were known by their ids.
    package var recordCount: UInt32
    /// It was stored before: the offset is the one it got then.
    package var isDuplicate: Bool
    /// The place in the commit log behind it; reads "not before" this see it.
    package var position: LogPosition
    /// Where its first message waits for its time; nil where it does not.
    package var scheduled: ScheduledID?
    /// Where it was asked for (`AppendOptions.reportsUnrouted`): the indexes in the batch, ascending, of messages that no
    /// inbox and no live filter took. Cursor subscriptions do not count, and neither do messages that were stored before or
    /// are published later.
    package var unrouted: [UInt32] = []
    /// The indexes in the batch, ascending, of messages that an inbox had no room for (`AppendOptions.refusesSingly`). They
    /// are stored, and in every other inbox that they were routed to.
    package var refused: [UInt32] = []

    package init(
        error: ErrorCode? = nil,
        baseOffset: UInt64 = 0,
        recordCount: UInt32 = 0,
        isDuplicate: Bool = false,
        position: LogPosition = .zero,
        scheduled: ScheduledID? = nil
    ) {
        self.scheduled = scheduled
        self.error = error
        self.baseOffset = baseOffset
        self.recordCount = recordCount
        self.isDuplicate = isDuplicate
        self.position = position
    }
}

/// A stored batch on its way to an attached reader.
package struct BatchDelivery {
    package var attachment: UInt32
    package var partition: PartitionID
    package var batch: BatchView
    /// Indexes of the records that are meant, both ends included, ascending: less than the whole batch at the start of
    /// a reader, and with a filter.
    package var ranges: UnsafeBufferPointer<RecordRange>
    /// For a consumer: how to settle them.
    package var lease: Lease?

    package init(
        attachment: UInt32,
        partition: PartitionID,
        batch: BatchView,
        ranges: UnsafeBufferPointer<RecordRange>,
        lease: Lease? = nil
    ) {
        self.attachment = attachment
        self.partition = partition
        self.batch = batch
        self.ranges = ranges
        self.lease = lease
    }

    package struct Lease: Sendable, Equatable {
        package var subscription: SubscriptionID
        package var lane: UInt16
        /// The sequence of the first record of the first range; that of another is as far behind it as its index is.
        package var firstSequence: UInt64
        /// That of the last record of the last range.
        package var lastSequence: UInt64
        /// Which delivery of these messages this is, from 1 on.
        package var attempt: UInt32
        /// They may have been delivered before, also where that delivery was not counted as an attempt.
        package var isRedelivered: Bool
        /// Which lease of these messages it is, as their receipts say it.
        package var generation: UInt64
        /// See `SignedReceipt`.
        package var signature: UInt64
        /// When the lease ends; `never` where that is with the attachment.
        package var deadline: Timestamp

        package init(
            subscription: SubscriptionID,
            lane: UInt16,
            firstSequence: UInt64,
            lastSequence: UInt64,
            attempt: UInt32,
            generation: UInt64,
            signature: UInt64,
            deadline: Timestamp,
            isRedelivered: Bool = false
        ) {
            self.subscription = subscription
            self.lane = lane
            self.firstSequence = firstSequence
            self.lastSequence = lastSequence
            self.attempt = attempt
            self.generation = generation
            self.signature = signature
            self.deadline = deadline
            self.isRedelivered = isRedelivered
        }

        /// The receipt of one of these messages.
        package func receipt(_ sequence: UInt64) -> SignedReceipt {
            SignedReceipt(
                Receipt(subscription: subscription, lane: lane, sequence: sequence, generation: generation),
                first: firstSequence,
                last: lastSequence,
                signature: signature
            )
        }
    }
}

/// Indexes of records in a batch, both included.
package struct RecordRange: Equatable, Sendable {
    package var first: UInt32
    package var last: UInt32
    package init(first: UInt32, last: UInt32) {
        self.first = first
        self.last = last
    }
}

/// One message for live filters.
package struct RoutedMessage {
    package var topic: TopicID
    /// The topic's own name; with the record it gives the message's name.
    package var topicName: UnsafeRawBufferPointer
    package var record: RecordView
    /// When it was stored.
    package var appendTime: Timestamp
    /// The ids of this session's filters that match; at least one.
    package var filters: UnsafeBufferPointer<UInt32>
    /// This session appended it itself.
    package var isOwn: Bool
    /// The same for one message at all sessions in one round, and different for different messages: what was encoded
    /// for one session can be used for the next.
    package var serial: UInt64
    /// No other session gets it in this round.
    package var isAlone = false

    package init(
        topic: TopicID,
        topicName: UnsafeRawBufferPointer,
        record: RecordView,
        appendTime: Timestamp,
        filters: UnsafeBufferPointer<UInt32>,
        isOwn: Bool,
        serial: UInt64
    ) {
        self.topic = topic
        self.topicName = topicName
        self.record = record
        self.appendTime = appendTime
        self.filters = filters
        self.isOwn = isOwn
        self.serial = serial
    }
}

/// Messages of one name that follow each other in a batch, for the same live filters.
package struct RoutedRun {
    package var topic: TopicID
    /// As in `RoutedMessage`; the name that it gives with one of the records is that of all.
    package var topicName: UnsafeRawBufferPointer
    /// At least one.
    package var records: UnsafeBufferPointer<RecordView>
    package var appendTime: Timestamp
    package var filters: UnsafeBufferPointer<UInt32>
    package var isOwn: Bool
    /// The serial of the first; the others count up from it.
    package var firstSerial: UInt64
    package var isAlone: Bool

    package init(
        topic: TopicID,
        topicName: UnsafeRawBufferPointer,
        records: UnsafeBufferPointer<RecordView>,
        appendTime: Timestamp,
        filters: UnsafeBufferPointer<UInt32>,
        isOwn: Bool,
        firstSerial: UInt64,
        isAlone: Bool
    ) {
        self.topic = topic
        self.topicName = topicName
        self.records = records
        self.appendTime = appendTime
        self.filters = filters
        self.isOwn = isOwn
        self.firstSerial = firstSerial
        self.isAlone = isAlone
    }

    /// One of them by itself.
    package subscript(index: Int) -> RoutedMessage {
        var message = RoutedMessage(
            topic: topic,
            topicName: topicName,
            record: records[index],
            appendTime: appendTime,
            filters: filters,
            isOwn: isOwn,
            serial: firstSerial &+ UInt64(index)
        )
        message.isAlone = isAlone
        return message
    }
}
