/// The isolation unit: own names, users, quotas and data.
package struct TenantID: Hashable, Sendable, RawRepresentable {
    package var rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    /// The tenant of those who name none.
    package static let `default` = TenantID(rawValue: 0)
}

/// A topic, for as long as its shard lives; never used again after the topic is deleted.
package struct TopicID: Hashable, Sendable, RawRepresentable, Comparable {
    package var rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    package static func < (left: TopicID, right: TopicID) -> Bool { left.rawValue < right.rawValue }
}

/// One ordered sequence of messages of a topic.
package struct PartitionID: Hashable, Sendable {
    package var topic: TopicID
    package var index: UInt16
    package init(topic: TopicID, index: UInt16) {
        self.topic = topic
        self.index = index
    }
}

/// A durable, named reader, for as long as its shard lives.
package struct SubscriptionID: Hashable, Sendable, RawRepresentable {
    package var rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
}

/// A producer of batches. Zero means: anonymous, no deduplication.
package struct ProducerID: Hashable, Sendable, RawRepresentable {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package static let anonymous = ProducerID(rawValue: 0)
}

/// A place in a shard's commit log, in bytes from its beginning.
package struct LogPosition: Hashable, Sendable, RawRepresentable, Comparable {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package static func < (left: LogPosition, right: LogPosition) -> Bool { left.rawValue < right.rawValue }
    package static let zero = LogPosition(rawValue: 0)
}

/// A point in time: microseconds since 1970-01-01 UTC.
package struct Timestamp: Hashable, Sendable, RawRepresentable, Comparable {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package static func < (left: Timestamp, right: Timestamp) -> Bool { left.rawValue < right.rawValue }
    package static let zero = Timestamp(rawValue: 0)
    package static let never = Timestamp(rawValue: .max)

    package init(milliseconds: UInt64) {
        self.rawValue = milliseconds.multipliedReportingOverflow(by: 1_000).partialValue
    }

    /// This time later by so many microseconds; `never` where that is past the end of time.
    package func advanced(byMicroseconds microseconds: UInt64) -> Timestamp {
        let (sum, overflow) = rawValue.addingReportingOverflow(microseconds)
        return overflow ? .never : Timestamp(rawValue: sum)
    }
}

/// What has happened to a message before its producer is told.
package enum Acknowledgement: UInt8, Sendable {
    /// Nothing is reported.
    case none = 0
    /// It is in the log's memory and handed to the operating system: it survives the process, not a power cut.
    case received = 1
    /// It is fsynced.
    case durable = 2
}

/// How often a message may reach a reader, as its publisher asked (MQTT's quality of service).
package enum DeliveryClass: UInt8, Sendable {
    case atLeastOnce = 0
    case atMostOnce = 1
    case exactlyOnce = 2
}
