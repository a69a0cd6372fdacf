internal import AMQPProtocol
internal import MessageModel

/// The field `PropertyID.amqp`: what only AMQP readers understand of a message.
///
/// A byte of flags; a short string with the exchange that the message was published to, where the topic does not say it;
/// a short string with the routing key, where the name does not; then the property section as it came.
package struct KeptSection {
    package struct Flags: OptionSet, Sendable {
        package var rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }

        package static let exchange = Flags(rawValue: 0x01)
        package static let routingKey = Flags(rawValue: 0x02)
        /// The header `x-death` and those like it were written here, and not by a publisher.
        package static let deaths = Flags(rawValue: 0x04)
    }

    package let flags: Flags
    package let exchange: UnsafeRawBufferPointer?
    package let routingKey: UnsafeRawBufferPointer?
    /// From the property flags on; empty where there are none.
    package let properties: UnsafeRawBufferPointer

    /// Nil where it is malformed: fields of messages can be written by native producers too.
    package init?(_ bytes: UnsafeRawBufferPointer) {
        guard let first = bytes.first else { return nil }
        flags = Flags(rawValue: first)
        var position = 1
        func shortString() -> UnsafeRawBufferPointer? {
            guard position < bytes.count else { return nil }
            let end = position + 1 + Int(bytes[position])
            guard end <= bytes.count else { return nil }
            defer { position = end }
            return bytes.slice(position + 1..<end)
        }
        exchange = flags.contains(.exchange) ? shortString() : nil
        routingKey = flags.contains(.routingKey) ? shortString() : nil
        guard (exchange != nil) == flags.contains(.exchange), (routingKey != nil) == flags.contains(.routingKey) else {
            return nil
        }
        properties = bytes.slice(position..<bytes.count)
        guard properties.isEmpty || PropertiesView.areWellFormed(properties) else { return nil }
    }

    /// Appends what stands before the property section.
    static func appendPrefix(
        _ flags: Flags,
        exchange: UnsafeRawBufferPointer?,
        routingKey: UnsafeRawBufferPointer?,
        to bytes: inout [UInt8]
    ) {
        var flags = flags
        if exchange != nil { flags.insert(.exchange) }
        if routingKey != nil { flags.insert(.routingKey) }
        bytes.append(flags.rawValue)
        if let exchange { append(exchange, to: &bytes) }
        if let routingKey { append(routingKey, to: &bytes) }
    }

    private static func append(_ string: UnsafeRawBufferPointer, to bytes: inout [UInt8]) {
        let kept = string.slice(0..<min(string.count, ShortString.maximumLength))
        bytes.append(UInt8(truncatingIfNeeded: kept.count))
        bytes.append(contentsOf: kept)
    }
}
