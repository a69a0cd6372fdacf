/// What a virtual host may hold, with the reason for each number.
package struct AMQPModelLimits: Sendable, Hashable {
    /// Queues of one virtual host; nil for no limit.
    package var maximumQueues: Int?
    /// Ways on which one queue is reached through exchanges that are bound to each other: each is a binding in storage.
    package var maximumPathsPerQueue = 10_000
    /// Exchanges on one way: what a message passes through before it is in a queue. All but the first are conditions of
    /// the binding in storage, which has 16 at most.
    package var maximumExchangesOnPath = 17
    /// Names that may fall on one number in the store before a definition is refused; with numbers of 56 bits only who
    /// looks for such names gets here.
    static let storedNumberAttempts: UInt64 = 64

    package init() {}
}
