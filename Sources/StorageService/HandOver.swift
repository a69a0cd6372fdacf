/// Messages that are leased to a consumer go on to a stored inbox: they wait there as if they had been published to it, and
/// are done where they were leased from. Both happen, or neither, whatever fails; bodies are not copied.
package struct HandOver: Sendable, Equatable {
    /// The consumer of this session that they are leased to. What is not leased to it any more stays where it is.
    package var attachment: UInt32
    package var lane: UInt16
    /// Sequences, both included; at most `maxMessages`.
    package var first: UInt64
    package var last: UInt64
    /// The name of the inbox.
    package var inbox: String
    /// What is kept in that inbox's session state for each of them: under this number plus its sequence there.
    package var key: UInt64
    package var value: [UInt8]

    package static let maxMessages: UInt64 = 1_000

    package init(
        attachment: UInt32,
        lane: UInt16,
        first: UInt64,
        last: UInt64,
        inbox: String,
        key: UInt64,
        value: [UInt8]
    ) {
        self.attachment = attachment
        self.lane = lane
        self.first = first
        self.last = last
        self.inbox = inbox
        self.key = key
        self.value = value
    }
}
