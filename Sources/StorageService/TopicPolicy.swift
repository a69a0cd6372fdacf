package import MessageModel

/// What a topic keeps, and what it asks of its messages.
package struct TopicPolicy: Sendable, Equatable {
    package enum Retention: UInt8, Sendable, CaseIterable {
        /// For replay, up to the limits of age and size.
        case limits = 0
        /// Only what a subscription still needs.
        case subscriptions = 1
        /// The last message of each ordering key, besides the newest part.
        case compacted = 2
    }

    package var retention = Retention.limits
    /// Older messages are let go, in µs; zero for no limit.
    package var maxAgeMicroseconds: UInt64 = 0
    /// What all partitions together may take in the log; zero for no limit.
    package var maxBytes: UInt64 = 0
    /// A message whose message id was stored within so long is not stored again, in µs; zero: ids are not compared.
    package var deduplicationMicroseconds: UInt64 = 0
    /// How far ahead a message may be scheduled, in µs.
    package var maxDelayMicroseconds: UInt64 = 366 * 86_400 * 1_000_000

    package init() {}
}
