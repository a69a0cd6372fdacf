package import AMQPProtocol

/// Where a message goes whose routing is not storage's alone. Kept and filled again for the next message.
package struct RoutePlan: Sendable {
    /// It is appended to the exchange's topic with the first key, as any other message: for the queues that storage's
    /// bindings reach, and for readers of other protocols.
    package internal(set) var appendsToExchange = false
    /// It is appended to the default exchange's topic once for each of these, with the queue's name as key, and with
    /// what it was published with as `PropertyEncoder.Origin`.
    package internal(set) var queues: [ShortString] = []
    /// It is appended to each of these topics, to their own names, with its origin too.
    package internal(set) var streams: [String] = []
    /// Whether it reaches any queue: otherwise a mandatory one is returned.
    package internal(set) var isRouted = false

    package init() {}

    mutating func removeAll() {
        appendsToExchange = false
        queues.removeAll(keepingCapacity: true)
        streams.removeAll(keepingCapacity: true)
        isRouted = false
    }
}

/// What routing looks at besides keys.
package struct RoutedMessage {
    package var properties: PropertiesView
    /// Any number, another one for each message.
    package var random: UInt64

    package init(properties: PropertiesView, random: UInt64) {
        self.properties = properties
        self.random = random
    }
}
