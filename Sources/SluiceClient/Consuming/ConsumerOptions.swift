internal import MessageModel
internal import NativeProtocol

/// A point in time: microseconds since 1970-01-01 UTC.
public typealias Microseconds = UInt64

/// Where a consumer begins that has no position of its own.
public enum StartingPoint: Sendable, Hashable {
    /// With the oldest message that is there.
    case first
    /// With what is stored from now on.
    case next
    /// With this offset, in every partition that is read.
    case offset(UInt64)
    /// With the first message that was stored at this time or later.
    case time(Microseconds)

    var wire: WireStart {
        switch self {
        case .first: .first
        case .next: .next
        case .offset(let offset): .offset(offset)
        case .time(let time): .time(Timestamp(rawValue: time))
        }
    }
}

/// What a consumer reads, and how.
public struct ConsumerOptions: Sendable {
    /// The durable subscription whose position is used and committed; nil to read without one.
    public var subscription: String?
    /// The subscription is made where there is none, from `start` on.
    public var createsSubscription = true
    /// Where to begin without a subscription, or with one that is made.
    public var start = StartingPoint.next
    /// One partition only; not together with a subscription.
    public var partition: Int?
    /// Names this consumer: one that attaches to a subscription under the same name takes the place of an earlier one.
    public var consumerName = ""
    /// Commits what was handed out before the latest batch, so often; nil to commit only by `commit`.
    public var autoCommitInterval: Duration?
    /// What the server may send ahead of the reader.
    public var creditMessages: UInt64 = 256 << 10
    public var creditBytes: UInt64 = 8 << 20

    public init() {}
}
