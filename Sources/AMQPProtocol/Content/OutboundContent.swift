package import NIOCore

/// A message to be sent to a client, put together from borrowed pieces: method, content header and body frames are
/// written one behind the other, and nothing is copied before it lands in the output.
///
/// The pieces must stay valid for the call that encodes them. Properties are trusted to be well-formed; lengths are not.
package struct OutboundContent {
    package enum Method {
        case deliver(consumerTag: UnsafeRawBufferPointer, deliveryTag: UInt64, isRedelivered: Bool)
        /// A mandatory message that reached no queue.
        case returned(code: ReplyCode)
        case getOk(deliveryTag: UInt64, isRedelivered: Bool, messageCount: UInt32)
    }

    package var method: Method
    package var exchange: UnsafeRawBufferPointer
    package var routingKey: UnsafeRawBufferPointer
    /// From the property flags on; fewer than two bytes are no properties.
    package var properties: UnsafeRawBufferPointer
    package var body: UnsafeRawBufferPointer

    package init(
        _ method: Method,
        exchange: UnsafeRawBufferPointer,
        routingKey: UnsafeRawBufferPointer,
        properties: UnsafeRawBufferPointer,
        body: UnsafeRawBufferPointer
    ) {
        self.method = method
        self.exchange = exchange
        self.routingKey = routingKey
        self.properties = properties
        self.body = body
    }

    /// Appends all frames; a body is split at `frameMaximum`, an empty one has no frame.
    ///
    /// - Parameter frameMaximum: as it was agreed upon with the client.
    /// - Returns: false, with nothing written, when a name is longer than a short string, or the properties do not fit
    ///   into one frame, which is all they have.
    package func encode(channel: UInt16, frameMaximum: UInt32, into output: inout ByteBuffer) -> Bool {
        let maximum = Int(frameMaximum) - Frame.overhead
        guard maximum > 0, exchange.count <= ShortString.maximumLength, routingKey.count <= ShortString.maximumLength
        else { return false }
        var argumentsLength = 4 + 2 + exchange.count + routingKey.count
        switch method {
        case .deliver(let consumerTag, _, _):
            guard consumerTag.count <= ShortString.maximumLength else { return false }
            argumentsLength += 1 + consumerTag.count + 9
        case .returned(let code): argumentsLength += 2 + 1 + code.name.utf8.count
        case .getOk: argumentsLength += 9 + 4
        }
        let headerLength = ContentHeader.fixedLength + max(2, properties.count)
        guard headerLength <= maximum else { return false }
        let (quotient, remainder) = body.count.quotientAndRemainder(dividingBy: maximum)
        let bodyFrames = quotient + (remainder > 0 ? 1 : 0)
        let total = Frame.overhead * (2 + bodyFrames) + argumentsLength + headerLength + body.count
        output.writeWithUnsafeMutableBytes(minimumWritableBytes: total) { memory in
            var cursor = OutputCursor(memory)
            cursor.beginFrame(.method, channel: channel, payloadLength: argumentsLength)
            writeMethod(&cursor)
            cursor.endFrame()
            cursor.beginFrame(.header, channel: channel, payloadLength: headerLength)
            writeHeader(&cursor)
            cursor.endFrame()
            writeBody(channel: channel, maximum: maximum, &cursor)
            return cursor.position
        }
        return true
    }

    @inline(__always)
    private func writeMethod(_ cursor: inout OutputCursor) {
        switch method {
        case .deliver(let consumerTag, let deliveryTag, let isRedelivered):
            cursor.write(MethodID.basicDeliver.rawValue)
            cursor.writeShort(consumerTag)
            cursor.write(deliveryTag)
            cursor.write(isRedelivered ? 1 : 0 as UInt8)
        case .returned(let code):
            cursor.write(MethodID.basicReturn.rawValue)
            cursor.write(code.rawValue)
            var text = code.name
            text.withUTF8 { cursor.writeShort(UnsafeRawBufferPointer($0)) }
        case .getOk(let deliveryTag, let isRedelivered, _):
            cursor.write(MethodID.basicGetOk.rawValue)
            cursor.write(deliveryTag)
            cursor.write(isRedelivered ? 1 : 0 as UInt8)
        }
        cursor.writeShort(exchange)
        cursor.writeShort(routingKey)
        if case .getOk(_, _, let messageCount) = method { cursor.write(messageCount) }
    }

    @inline(__always)
    private func writeHeader(_ cursor: inout OutputCursor) {
        cursor.write(MethodID.basicDeliver.classID)
        cursor.write(UInt16(0))
        cursor.write(UInt64(body.count))
        if properties.count >= 2 { cursor.write(properties) } else { cursor.write(UInt16(0)) }
    }

    @inline(__always)
    private func writeBody(channel: UInt16, maximum: Int, _ cursor: inout OutputCursor) {
        var start = 0
        while start < body.count {
            let end = min(start &+ maximum, body.count)
            cursor.beginFrame(.body, channel: channel, payloadLength: end &- start)
            cursor.write(UnsafeRawBufferPointer(rebasing: body[start..<end]))
            cursor.endFrame()
            start = end
        }
    }
}
