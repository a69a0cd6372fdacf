/// How a name looks in each protocol.
package enum NameMapping {
    /// Swaps `/` and `.`: an MQTT name to an AMQP routing key and back; the swap is its own inverse.
    package static func swapSeparators(_ bytes: UnsafeMutableRawBufferPointer) {
        for index in bytes.indices {
            switch bytes[index] {
            case UInt8(ascii: "/"): bytes[index] = UInt8(ascii: ".")
            case UInt8(ascii: "."): bytes[index] = UInt8(ascii: "/")
            default: break
            }
        }
    }

    /// The swapped copy of a text.
    package static func swappingSeparators(_ text: String) -> String {
        String(decoding: text.utf8.map { $0 == 0x2F ? 0x2E : $0 == 0x2E ? 0x2F : $0 }, as: UTF8.self)
    }

    /// The AMQP exchange that stands for the whole name tree.
    package static let wholeTreeExchange = "amq.topic"

    /// The full name of a message published to an AMQP exchange.
    /// - Parameters:
    ///   - exchange: a topic's name, or `amq.topic` for the whole tree.
    ///   - routingKey: as published; empty publishes to the topic's own name, except for `amq.topic`.
    package static func name(exchange: String, routingKey: String) -> String {
        if exchange == wholeTreeExchange { return swappingSeparators(routingKey) }
        return routingKey.isEmpty ? exchange : exchange + "/" + swappingSeparators(routingKey)
    }

    /// The AMQP exchange and routing key of a message: the topic with the part below it, or `amq.topic` with the whole
    /// name where the topic holds it by another capture than its own subtree.
    package static func exchange(
        topic: String,
        routingKey: String?,
        isAbsolute: Bool
    ) -> (exchange: String, routingKey: String) {
        if isAbsolute { return (wholeTreeExchange, swappingSeparators(routingKey ?? topic)) }
        return (topic, routingKey.map(swappingSeparators) ?? "")
    }
}

/// Where in its topic a name stands, as a record keeps it.
package struct NamePlacement {
    /// What goes into the record's routing key field; nil for the topic's own name.
    package let routingKey: Range<Int>?
    /// Whether that is the full name.
    package let isAbsolute: Bool

    /// Places `name` in the topic with the name `topic`: below it the part behind `topic/`, elsewhere the whole.
    /// The range is of positions in `name`.
    package init(name: UnsafeRawBufferPointer, topic: UnsafeRawBufferPointer) {
        if name.count >= topic.count, bytesEqual(name.slice(0..<topic.count), topic) {
            if name.count == topic.count {
                routingKey = nil
                isAbsolute = false
                return
            }
            if name[topic.count] == NameRules.separator {
                routingKey = topic.count + 1..<name.count
                isAbsolute = false
                return
            }
        }
        routingKey = 0..<name.count
        isAbsolute = true
    }
}

extension RecordView {
    /// The full name of this message, in at most two pieces that a caller writes one after the other; where the first
    /// is not empty and the second not nil, a `/` stands between them.
    package func nameParts(
        topic: UnsafeRawBufferPointer
    ) -> (prefix: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer?) {
        if hasAbsoluteName { return (UnsafeRawBufferPointer(start: nil, count: 0), routingKey) }
        return (topic, routingKey)
    }

    /// Appends the full name to `bytes`.
    package func appendName(topic: UnsafeRawBufferPointer, to bytes: inout [UInt8]) {
        if hasAbsoluteName, let routingKey {
            bytes.append(contentsOf: routingKey)
            return
        }
        bytes.append(contentsOf: topic)
        if let routingKey {
            bytes.append(NameRules.separator)
            bytes.append(contentsOf: routingKey)
        }
    }
}
