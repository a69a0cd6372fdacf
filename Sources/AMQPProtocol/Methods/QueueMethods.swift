// The methods of class queue that a client sends.

package struct QueueDeclare: Sendable, Hashable {
    /// Empty when the server is to find a name; the channel has put one here before the owner sees it.
    package var queue: ShortString
    package var isPassive: Bool
    package var isDurable: Bool
    /// Belongs to the connection and ends with it.
    package var isExclusive: Bool
    package var isAutoDelete: Bool
    package var noWait: Bool
    package var arguments: FieldTable

    package init(
        queue: ShortString,
        isPassive: Bool = false,
        isDurable: Bool = false,
        isExclusive: Bool = false,
        isAutoDelete: Bool = false,
        noWait: Bool = false,
        arguments: FieldTable = FieldTable()
    ) {
        self.queue = queue
        self.isPassive = isPassive
        self.isDurable = isDurable
        self.isExclusive = isExclusive
        self.isAutoDelete = isAutoDelete
        self.noWait = noWait
        self.arguments = arguments
    }

    init(_ reader: inout ByteReader, depth: Int) throws(WireError) {
        _ = try reader.readUInt16()
        queue = try reader.readShortString().withoutLineBreaks
        let bits = try reader.readBits()
        isPassive = bits[0]
        isDurable = bits[1]
        isExclusive = bits[2]
        isAutoDelete = bits[3]
        noWait = bits[4]
        arguments = try reader.readTable(depth: depth)
    }
}

/// queue.bind and queue.unbind.
package struct QueueBind: Sendable, Hashable {
    package var queue: ShortString
    package var exchange: ShortString
    package var routingKey: ShortString
    /// Always false for queue.unbind.
    package var noWait: Bool
    package var arguments: FieldTable

    package init(
        queue: ShortString,
        exchange: ShortString,
        routingKey: ShortString = .empty,
        noWait: Bool = false,
        arguments: FieldTable = FieldTable()
    ) {
        self.queue = queue
        self.exchange = exchange
        self.routingKey = routingKey
        self.noWait = noWait
        self.arguments = arguments
    }

    init(bind reader: inout ByteReader, depth: Int) throws(WireError) {
        _ = try reader.readUInt16()
        queue = try reader.readShortString().withoutLineBreaks
        exchange = try reader.readShortString().withoutLineBreaks
        routingKey = try reader.readShortString()
        noWait = try reader.readBits()[0]
        arguments = try reader.readTable(depth: depth)
    }

    init(unbind reader: inout ByteReader, depth: Int) throws(WireError) {
        _ = try reader.readUInt16()
        queue = try reader.readShortString().withoutLineBreaks
        exchange = try reader.readShortString().withoutLineBreaks
        routingKey = try reader.readShortString()
        noWait = false
        arguments = try reader.readTable(depth: depth)
    }
}

package struct QueuePurge: Sendable, Hashable {
    package var queue: ShortString
    package var noWait: Bool

    init(_ reader: inout ByteReader) throws(WireError) {
        _ = try reader.readUInt16()
        queue = try reader.readShortString()
        noWait = try reader.readBits()[0]
    }
}

package struct QueueDelete: Sendable, Hashable {
    package var queue: ShortString
    package var ifUnused: Bool
    package var ifEmpty: Bool
    package var noWait: Bool

    package init(queue: ShortString, ifUnused: Bool = false, ifEmpty: Bool = false, noWait: Bool = false) {
        self.queue = queue
        self.ifUnused = ifUnused
        self.ifEmpty = ifEmpty
        self.noWait = noWait
    }

    init(_ reader: inout ByteReader) throws(WireError) {
        _ = try reader.readUInt16()
        queue = try reader.readShortString().withoutLineBreaks
        let bits = try reader.readBits()
        ifUnused = bits[0]
        ifEmpty = bits[1]
        noWait = bits[2]
    }
}
