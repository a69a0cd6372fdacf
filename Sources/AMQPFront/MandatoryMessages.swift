internal import AMQPProtocol
internal import MessageModel

/// Messages of one append that are to be returned where nobody takes them: copies, one behind the other.
final class MandatoryMessages {
    private struct Entry {
        /// In the append.
        var index: UInt32
        var handler: AMQPConnectionHandler
        var channel: ChannelState
        /// The exchange, the routing key, the properties and the body follow each other from here.
        var start: Int
        var exchange: Int
        var routingKey: Int
        var properties: Int
        var body: Int
    }

    private var entries: [Entry] = []
    private var bytes: [UInt8] = []

    func append(
        _ publish: InboundPublish,
        _ source: UnsafeRawBufferPointer,
        index: UInt32,
        _ handler: AMQPConnectionHandler,
        _ channel: ChannelState
    ) {
        entries.append(
            Entry(
                index: index,
                handler: handler,
                channel: channel,
                start: bytes.count,
                exchange: publish.exchange.count,
                routingKey: publish.routingKey.count,
                properties: publish.properties.count,
                body: publish.body.count
            )
        )
        for range in [publish.exchange, publish.routingKey, publish.properties, publish.body] {
            bytes.append(contentsOf: source.slice(range))
        }
    }

    /// - Parameter indexes: of messages that nobody took, ascending.
    func giveBack(_ indexes: [UInt32]) {
        var rest = indexes[...]
        for entry in entries {
            while let first = rest.first, first < entry.index { rest.removeFirst() }
            guard rest.first == entry.index else { continue }
            bytes.withUnsafeBytes { bytes in
                var position = entry.start
                func piece(_ count: Int) -> UnsafeRawBufferPointer {
                    defer { position += count }
                    return bytes.slice(position..<position + count)
                }
                entry.handler.giveBack(
                    entry.channel,
                    exchange: piece(entry.exchange),
                    routingKey: piece(entry.routingKey),
                    properties: piece(entry.properties),
                    body: piece(entry.body)
                )
            }
        }
    }
}

extension AMQPConnectionHandler {
    /// Returns a mandatory message that nobody took; to be done before it is confirmed.
    func giveBack(
        _ channel: ChannelState,
        exchange: UnsafeRawBufferPointer,
        routingKey: UnsafeRawBufferPointer,
        properties: UnsafeRawBufferPointer,
        body: UnsafeRawBufferPointer
    ) {
        guard channel.isOpen, !hasEnded else { return }
        withOutput { output in
            _ = machine[channel: channel.number]?
                .returnMessage(
                    exchange: exchange,
                    routingKey: routingKey,
                    properties: properties,
                    body: body,
                    output: &output
                )
        }
    }
}
