internal import MessageModel

/// A connection's session as the simulation sees it.
final class SimulatedSession {
    struct Filter {
        var bytes: [UInt8]
        /// The submissions up to this one may have been routed before it was there.
        var since: Int
    }

    let id: UInt64
    var readers: [UInt32: SimulatedReader] = [:]
    var filters: [UInt32: Filter] = [:]
    /// What has come for the live filters: batch and index.
    var routed = Set<RoutedKey>()
    /// The submission that was routed last, of each partition.
    var routedSubmission: [PartitionID: Int] = [:]

    struct RoutedKey: Hashable {
        var batch: Int
        var index: Int
    }

    init(id: UInt64) { self.id = id }
}

/// An attached reader as the simulation sees it.
final class SimulatedReader {
    struct Place {
        /// The offset that must come next; nil where the start is not known exactly.
        var next: UInt64?
        /// Bounds of the start where it is not known.
        var low: UInt64 = 0
        var high: UInt64 = .max
        /// Begins with the first message stored at this time or later, or where there was none, at the end as it was.
        var time: UInt64 = 0
        var end: UInt64 = 0
        /// Messages that a filtered reader was given since the last rest, and from where on they must be all.
        var filtered: [UInt64] = []
        var from: UInt64?
    }

    let id: UInt32
    let topic: Int
    let filter: [UInt8]
    /// The subscription that it reads.
    let subscription: Int?
    var places: [PartitionID: Place]
    var creditMessages: Int64
    var creditBytes: Int64
    /// Submissions behind this one are behind a start at the end.
    let since: Int
    /// What the attachment's partitions start with is the end at that time.
    let startsAtEnd: Bool

    init(
        id: UInt32,
        topic: Int,
        filter: [UInt8],
        subscription: Int?,
        places: [PartitionID: Place],
        creditMessages: Int64,
        creditBytes: Int64,
        since: Int,
        startsAtEnd: Bool
    ) {
        self.id = id
        self.topic = topic
        self.filter = filter
        self.subscription = subscription
        self.places = places
        self.creditMessages = creditMessages
        self.creditBytes = creditBytes
        self.since = since
        self.startsAtEnd = startsAtEnd
    }

    func wants(_ name: [UInt8]) -> Bool {
        filter.isEmpty || NameFilter.matches(filter, name: name)
    }
}

extension NameFilter {
    static func matches(_ filter: [UInt8], name: [UInt8]) -> Bool {
        filter.withUnsafeBytes { filter in name.withUnsafeBytes { matches(filter, name: $0) } }
    }
}

/// A request that has not been answered.
struct PendingRequest {
    enum Kind {
        case append(batch: Int, submission: Int, Acknowledgement)
        case createTopic(Int)
        case deleteTopic(Int)
        case createSubscription(Int)
        case deleteSubscription(Int)
        case commit(subscription: Int, index: Int)
        case fetch(PartitionID, offset: UInt64, deadline: Timestamp)
        case find(PartitionID, Timestamp)
        case look
    }

    var session: UInt64
    var kind: Kind
}
