package import AMQPProtocol

/// A message that left a queue for its dead letters, as it is to be published again.
package struct DeadLetterPublication: Sendable {
    /// The dead letter exchange; it is there.
    package var exchange: ShortString
    /// The routing key, then those of CC where the key was kept.
    package var keys: [ShortString]
    /// From the property flags on, with `x-death`; to be encoded with `hasDeaths`.
    package var properties: [UInt8]
    /// Queues that are not to get it: it would come to them again without anybody's decision.
    package var excluded: Set<ShortString>
}

package enum DeadLetterOutcome: Sendable {
    case publish(DeadLetterPublication)
    /// It goes nowhere: its queue has no dead letter exchange any more, or the exchange is not there.
    case drop
}
