internal import MessageModel
internal import StorageService

/// Names a sequence: a partition of a topic, or a lane of an inbox.
struct SequenceID: Hashable {
    enum Kind: UInt16 {
        case partition = 0
        case inbox = 1
    }

    var kind: Kind
    /// The topic's number, or the subscription's.
    var number: UInt32
    /// Of the partition, or of the lane.
    var index: UInt16

    static func partition(_ id: PartitionID) -> SequenceID {
        SequenceID(kind: .partition, number: id.topic.rawValue, index: id.index)
    }

    static func inbox(_ key: LaneKey) -> SequenceID {
        SequenceID(kind: .inbox, number: key.subscription.rawValue, index: key.lane)
    }
}

/// One ordered sequence of messages, and who waits at its end.
final class IndexedSequence {
    let id: SequenceID
    @exclusivity(unchecked) var index = PartitionIndex()
    /// The offset that the next message gets.
    @exclusivity(unchecked) var nextOffset: UInt64 = 0
    /// Readers see messages before this offset: those that are durable.
    @exclusivity(unchecked) var visibleOffset: UInt64 = 0
    /// What was let go ends here.
    @exclusivity(unchecked) var trimmedOffset: UInt64 = 0
    /// Messages that a compacted topic has let go: readers pass over them, and only messages outside of it keep their
    /// records alive.
    @exclusivity(unchecked) var dropped = RangeSet()
    @exclusivity(unchecked) var isDeleted = false
    /// Readers that have seen everything visible.
    @exclusivity(unchecked) var waiters: [SequenceReader] = []
    /// The newest segment during which it got a message; `UInt64.max` for none.
    @exclusivity(unchecked) var lastSegment = UInt64.max

    /// Where the records of all its entries are, where they are not in the log.
    @exclusivity(unchecked) var memory: MemoryRecords?

    /// The inbox that it belongs to, which is told when it grows.
    private(set) unowned var inbox: Subscription?
    /// The topic whose partition it is.
    unowned var topic: TopicState?

    init(_ id: SequenceID, inbox: Subscription? = nil) {
        self.id = id
        self.inbox = inbox
    }

    /// Its inbox is deleted. What was published may still be on its way to it.
    func leaveInbox() {
        isDeleted = true
        inbox = nil
    }

    /// The oldest offset that is there.
    var firstOffset: UInt64 { max(trimmedOffset, index.firstOffset ?? nextOffset) }

    /// Whether an entry has messages that are still there.
    func isLive(_ entry: IndexEntry) -> Bool {
        guard entry.nextOffset > trimmedOffset else { return false }
        return dropped.isEmpty || dropped.count(in: entry.baseOffset..<entry.nextOffset) < UInt64(entry.count)
    }

    /// The end of what the index knows of.
    var indexedOffset: UInt64 {
        max(trimmedOffset, index.entries.last?.nextOffset ?? index.runs.last?.nextOffset ?? 0)
    }

    /// The partition that this is, in whose name its messages are delivered.
    var partition: PartitionID { PartitionID(topic: TopicID(rawValue: id.number), index: id.index) }
}
