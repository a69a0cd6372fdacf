package import MessageModel

/// Finds messages by what they carry.
package struct LookUpQuery: Sendable, Equatable {
    package enum Criterion: Sendable, Equatable {
        case messageID([UInt8])
        case key([UInt8])
    }

    package var criterion: Criterion
    /// Only of this topic; nil for all of the tenant.
    package var topic: TopicID?
    /// Stored between these times, both included.
    package var from: Timestamp
    package var to: Timestamp
    package var limit: Int

    package init(
        _ criterion: Criterion,
        topic: TopicID? = nil,
        from: Timestamp = .zero,
        to: Timestamp = .never,
        limit: Int = 64
    ) {
        self.criterion = criterion
        self.topic = topic
        self.from = from
        self.to = to
        self.limit = limit
    }
}

/// A stored message: the batch that holds it, and its place.
package struct FoundMessage: Sendable, Equatable {
    package var partition: PartitionID
    package var offset: UInt64
    /// Its place in `batch`.
    package var record: UInt32
    package var batch: [UInt8]
    /// In a subscription: its sequence, and how often it was delivered.
    package var sequence: UInt64
    package var attempts: UInt32

    package init(
        partition: PartitionID,
        offset: UInt64,
        record: UInt32,
        batch: [UInt8],
        sequence: UInt64 = 0,
        attempts: UInt32 = 0
    ) {
        self.partition = partition
        self.offset = offset
        self.record = record
        self.batch = batch
        self.sequence = sequence
        self.attempts = attempts
    }
}

/// The last value of a name.
package struct RetainedMessage: Sendable, Equatable {
    package var name: [UInt8]
    package var message: FoundMessage
    package init(name: [UInt8], message: FoundMessage) {
        self.name = name
        self.message = message
    }
}

/// Sends dead letters back.
package struct RedriveRequest: Sendable, Equatable {
    /// The dead-letter topic.
    package var topic: TopicID
    /// Only messages for which this selector holds; empty for all.
    package var selector: String
    /// Messages in a second; zero for no limit.
    package var rate: UInt32
    /// At most so many; zero for no limit.
    package var limit: UInt64
    package init(topic: TopicID, selector: String = "", rate: UInt32 = 0, limit: UInt64 = 0) {
        self.topic = topic
        self.selector = selector
        self.rate = rate
        self.limit = limit
    }
}
