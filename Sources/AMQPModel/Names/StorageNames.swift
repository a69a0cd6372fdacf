internal import AMQPProtocol
internal import MessageModel

/// What exchanges and queues are called in storage.
package enum StorageNames {
    /// The topic of the default exchange, which every queue is bound to by its own name.
    package static let defaultExchangeTopic = "$queue"
    /// The topic that takes what queues with a dead letter exchange let go of.
    package static let deadLetterTopic = "$amqp/dead"
    /// The inbox whose session state holds the definitions.
    package static let definitionsInbox = "$amqp"

    /// The topic of an exchange: its name as it stands where a topic may be called so; else what it may not hold is
    /// written `%` and two digits. Names that come out longer than a topic's may be are cut, which the caller has to
    /// make unlike others.
    static func topic(ofExchange name: ShortString) -> String {
        var bytes = escaped(name.bytes, escapesWildcards: true)
        if bytes.first == UInt8(ascii: "/") { bytes.replaceSubrange(0..<1, with: "%2F".utf8) }
        if bytes.first == UInt8(ascii: "$") { bytes.replaceSubrange(0..<1, with: "%24".utf8) }
        if bytes.last == UInt8(ascii: "/") { bytes.replaceSubrange(bytes.count - 1..<bytes.count, with: "%2F".utf8) }
        return cut(bytes, to: Limits.topicNameBytes)
    }

    /// The inbox of a queue: its name as it stands where a subscription may be called so and is not the server's own.
    static func inbox(ofQueue name: ShortString) -> String {
        var bytes = escaped(name.bytes, escapesWildcards: false)
        if bytes.first == UInt8(ascii: "$") { bytes.replaceSubrange(0..<1, with: "%24".utf8) }
        return cut(bytes, to: Limits.subscriptionNameBytes)
    }

    /// Another name where `name` is taken; every attempt gives another.
    static func alternative(_ name: String, attempt: Int) -> String {
        let suffix = "~\(attempt)"
        return cut(Array(name.utf8), to: Limits.topicNameBytes - suffix.utf8.count) + suffix
    }

    /// UTF-8 without control characters; what is not becomes `%` and two digits, and so does a `%` before two digits.
    private static func escaped(_ name: [UInt8], escapesWildcards: Bool) -> [UInt8] {
        var result: [UInt8] = []
        name.withUnsafeBytes { RoutingKeyCoding.escape($0, escapesWildcards: escapesWildcards, into: &result) }
        guard result.contains(where: { $0 < 0x20 || $0 == 0x7F }) else { return result }
        return result.flatMap { $0 < 0x20 || $0 == 0x7F ? RoutingKeyCoding.escape($0) : [$0] }
    }

    private static func cut(_ bytes: [UInt8], to limit: Int) -> String {
        guard bytes.count > limit else { return String(decoding: bytes, as: UTF8.self) }
        var end = limit
        // Not within a character.
        while end > 0, bytes[end] & 0xC0 == 0x80 { end -= 1 }
        return String(decoding: bytes[0..<end], as: UTF8.self)
    }
}
