internal import MessageModel
internal import StorageService

/// A reader that is attached with credit: batches are pushed to it until the credit is used.
final class Attachment: ReaderOwner {
    let session: UInt64
    let id: UInt32
    let tenant: TenantID
    /// What it reads; nil for a consumer of an inbox.
    let topic: TopicState?
    /// Only names that match; empty for all.
    let filter: [UInt8]
    let consumer: String
    let subscription: Subscription?
    /// Messages are leased to it; nil for a reader by position.
    let leaseOwner: AttachRequest.LeaseOwner?
    /// It gets messages only when it asks for them.
    let isGetter: Bool
    /// Never used again: names it as the owner of leases.
    let serial: UInt64
    var readers: [SequenceReader] = []
    /// What may still be sent. The last batch may take either below zero.
    @exclusivity(unchecked) private(set) var creditMessages: Int64 = 0
    @exclusivity(unchecked) private(set) var creditBytes: Int64 = 0
    /// What others of its session share with it; nil: nothing.
    let group: CreditGroup?
    let priority: Int32
    /// It is in the shard's queue of those that can go on.
    var isQueued = false
    var isDetached = false
    /// It is a consumer no more; what it was leased is still its own.
    var isRetired = false
    /// Its connection is about to end.
    var isStopped = false
    /// That of its session.
    let flow: SessionFlow
    /// It is in the flow's queue of those that can go on.
    var waitsForRoom = false
    /// The flow's turn in which it was given something last.
    @exclusivity(unchecked) private(set) var servedInTurn = UInt32.max
    /// The reader that has its turn first, so that no partition starves another.
    var nextReader = 0
    unowned let shard: Shard

    init(
        session: UInt64,
        id: UInt32,
        tenant: TenantID,
        topic: TopicState?,
        request: AttachRequest,
        subscription: Subscription?,
        flow: SessionFlow,
        group: CreditGroup?,
        shard: Shard
    ) {
        self.session = session
        self.flow = flow
        self.group = group
        priority = request.priority
        self.id = id
        self.tenant = tenant
        self.topic = topic
        filter = request.filter
        consumer = request.consumer
        self.subscription = subscription
        self.shard = shard
        switch request.source {
        case .consumer(_, let owner): (leaseOwner, isGetter) = (owner, false)
        case .getter: (leaseOwner, isGetter) = (.attachment, true)
        case .topic, .partition, .subscription: (leaseOwner, isGetter) = (nil, false)
        }
        serial = shard.nextAttachment
        shard.nextAttachment += 1
        if !isGetter { grant(messages: request.creditMessages, bytes: request.creditBytes) }
    }

    var hasCredit: Bool {
        creditMessages > 0 && creditBytes > 0 && !isStopped && (group.map { $0.messages > 0 } ?? true)
    }

    /// How many messages it may be sent now.
    var messageCredit: Int64 { group.map { min($0.messages, creditMessages) } ?? creditMessages }

    /// Adds credit; more than fits is as much as fits.
    func grant(messages: UInt64, bytes: UInt64) {
        creditMessages = Self.sum(creditMessages, messages)
        creditBytes = Self.sum(creditBytes, bytes)
    }

    /// What it may be sent from now on.
    func setCredit(messages: Int64, bytes: Int64) {
        creditMessages = messages
        creditBytes = bytes
    }

    func use(messages: Int, bytes: Int) {
        creditMessages -= Int64(messages)
        creditBytes -= Int64(bytes)
        group?.use(messages: messages)
        flow.room -= bytes
        servedInTurn = flow.turn
    }

    /// As whose leases are known what it is given.
    var owner: UInt64 { leaseOwner == .receipt ? DeliveryState.receiptOwner : serial }

    func readerBecameReady(_ reader: SequenceReader) { shard.enqueue(self) }

    static func sum(_ credit: Int64, _ more: UInt64) -> Int64 {
        let (sum, overflow) = credit.addingReportingOverflow(Int64(clamping: more))
        return overflow ? .max : sum
    }
}

/// A fetch that has not been answered.
final class FetchTask: ReaderOwner {
    let session: UInt64
    let token: UInt64
    let request: FetchRequest
    let reader: SequenceReader
    let deadline: Timestamp
    var bytes: [UInt8] = []
    var isQueued = false
    var isDone = false
    unowned let shard: Shard

    init(
        session: UInt64,
        token: UInt64,
        request: FetchRequest,
        reader: SequenceReader,
        deadline: Timestamp,
        shard: Shard
    ) {
        self.session = session
        self.token = token
        self.request = request
        self.reader = reader
        self.deadline = deadline
        self.shard = shard
        reader.owner = self
    }

    func readerBecameReady(_ reader: SequenceReader) { shard.enqueue(self) }
}

/// A search for the first message that was stored at a time or later, in each of some partitions.
final class TimeSearch: ReaderOwner {
    let time: UInt64
    let readers: [SequenceReader]
    /// The offsets found; nil where the search goes on.
    var found: [(offset: UInt64, time: Timestamp)?]
    /// Since an index could not be read.
    var pause = ReadPause()
    /// Called once all are found.
    let completion: (Shard, [(offset: UInt64, time: Timestamp)]) -> Void
    var isQueued = false
    unowned let shard: Shard

    init(
        time: Timestamp,
        partitions: [IndexedSequence],
        shard: Shard,
        completion: @escaping (Shard, [(offset: UInt64, time: Timestamp)]) -> Void
    ) {
        self.time = time.rawValue
        readers = partitions.map { SequenceReader($0, offset: 0, owner: nil) }
        found = Array(repeating: nil, count: partitions.count)
        self.completion = completion
        self.shard = shard
        for reader in readers { reader.owner = self }
    }

    func readerBecameReady(_ reader: SequenceReader) { shard.enqueue(self) }
}
