// The methods of class basic that a client sends.

package struct BasicQos: Sendable, Hashable {
    package var prefetchSize: UInt32
    package var prefetchCount: UInt16
    /// In RabbitMQ's meaning: for the channel as a whole; false: for each consumer that is created from now on.
    package var isGlobal: Bool

    init(_ reader: inout ByteReader) throws(WireError) {
        prefetchSize = try reader.readUInt32()
        prefetchCount = try reader.readUInt16()
        isGlobal = try reader.readBits()[0]
    }
}

package struct BasicConsume: Sendable, Hashable {
    package var queue: ShortString
    /// Empty when the server is to find one; the channel has put one here before the owner sees it.
    package var consumerTag: ShortString
    /// RabbitMQ ignores it.
    package var noLocal: Bool
    package var noAck: Bool
    package var isExclusive: Bool
    package var noWait: Bool
    package var arguments: FieldTable

    init(_ reader: inout ByteReader, depth: Int) throws(WireError) {
        _ = try reader.readUInt16()
        queue = try reader.readShortString()
        consumerTag = try reader.readShortString()
        let bits = try reader.readBits()
        noLocal = bits[0]
        noAck = bits[1]
        isExclusive = bits[2]
        noWait = bits[3]
        arguments = try reader.readTable(depth: depth)
    }
}

package struct BasicCancel: Sendable, Hashable {
    package var consumerTag: ShortString
    package var noWait: Bool

    init(_ reader: inout ByteReader) throws(WireError) {
        consumerTag = try reader.readShortString()
        noWait = try reader.readBits()[0]
    }
}

package struct BasicGet: Sendable, Hashable {
    package var queue: ShortString
    package var noAck: Bool

    init(_ reader: inout ByteReader) throws(WireError) {
        _ = try reader.readUInt16()
        queue = try reader.readShortString()
        noAck = try reader.readBits()[0]
    }
}

/// basic.publish in place: where exchange and routing key lie.
package struct BasicPublish: Sendable, Hashable {
    private var exchangeOffset: UInt32
    private var exchangeLength: UInt8
    private var routingKeyLength: UInt8
    private var bits: UInt8

    /// Positions in the bytes that the method was read from.
    package var exchange: Range<Int> { Int(exchangeOffset)..<Int(exchangeOffset) &+ Int(exchangeLength) }
    package var routingKey: Range<Int> {
        let start = Int(exchangeOffset) &+ Int(exchangeLength) &+ 1
        return start..<start &+ Int(routingKeyLength)
    }
    /// To be returned when it reaches no queue.
    package var isMandatory: Bool { bits & 1 != 0 }
    package var isImmediate: Bool { bits & 2 != 0 }

    @inline(__always)
    init(_ reader: inout ByteReader) throws(WireError) {
        _ = try reader.readUInt16()
        let exchange = try reader.takeShortString()
        let routingKey = try reader.takeShortString()
        exchangeOffset = UInt32(truncatingIfNeeded: exchange.lowerBound)
        exchangeLength = UInt8(truncatingIfNeeded: exchange.count)
        routingKeyLength = UInt8(truncatingIfNeeded: routingKey.count)
        bits = try reader.readUInt8()
    }

    /// The same in bytes that begin `distance` later.
    func moved(by distance: Int) -> BasicPublish {
        var moved = self
        moved.exchangeOffset = UInt32(truncatingIfNeeded: Int(exchangeOffset) &- distance)
        return moved
    }
}

/// basic.ack, basic.nack and basic.reject.
package struct BasicSettle: Sendable, Hashable {
    package var deliveryTag: UInt64
    /// All unacknowledged deliveries up to the tag; with tag zero, all.
    package var isMultiple: Bool
    package var outcome: SettlementOutcome

    /// - Parameter method: basic.ack, basic.nack or basic.reject.
    @inline(__always)
    init(_ method: MethodID, _ reader: inout ByteReader) throws(WireError) {
        deliveryTag = try reader.readUInt64()
        let bits = try reader.readUInt8()
        switch method {
        case .basicNack:
            isMultiple = bits & 1 != 0
            outcome = bits & 2 != 0 ? .requeue : .reject
        case .basicReject:
            isMultiple = false
            outcome = bits & 1 != 0 ? .requeue : .reject
        default:
            isMultiple = bits & 1 != 0
            outcome = .acknowledge
        }
    }
}

/// What becomes of a delivered message.
package enum SettlementOutcome: UInt8, Sendable, Hashable {
    case acknowledge
    /// Back to its queue, to be delivered again.
    case requeue
    /// To the dead letters of its queue, or gone.
    case reject
}
