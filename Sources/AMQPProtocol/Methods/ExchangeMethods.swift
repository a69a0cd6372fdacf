// The methods of class exchange that a client sends. All begin with a ticket that has no meaning any more.

package struct ExchangeDeclare: Sendable, Hashable {
    package var exchange: ShortString
    package var type: ShortString
    /// Only asks whether it is there.
    package var isPassive: Bool
    package var isDurable: Bool
    package var isAutoDelete: Bool
    /// Clients may not publish to it.
    package var isInternal: Bool
    package var noWait: Bool
    package var arguments: FieldTable

    package init(
        exchange: ShortString,
        type: ShortString,
        isPassive: Bool = false,
        isDurable: Bool = false,
        isAutoDelete: Bool = false,
        isInternal: Bool = false,
        noWait: Bool = false,
        arguments: FieldTable = FieldTable()
    ) {
        self.exchange = exchange
        self.type = type
        self.isPassive = isPassive
        self.isDurable = isDurable
        self.isAutoDelete = isAutoDelete
        self.isInternal = isInternal
        self.noWait = noWait
        self.arguments = arguments
    }

    init(_ reader: inout ByteReader, depth: Int) throws(WireError) {
        _ = try reader.readUInt16()
        exchange = try reader.readShortString().withoutLineBreaks
        type = try reader.readShortString()
        let bits = try reader.readBits()
        isPassive = bits[0]
        isDurable = bits[1]
        isAutoDelete = bits[2]
        isInternal = bits[3]
        noWait = bits[4]
        arguments = try reader.readTable(depth: depth)
    }
}

package struct ExchangeDelete: Sendable, Hashable {
    package var exchange: ShortString
    package var ifUnused: Bool
    package var noWait: Bool

    package init(exchange: ShortString, ifUnused: Bool = false, noWait: Bool = false) {
        self.exchange = exchange
        self.ifUnused = ifUnused
        self.noWait = noWait
    }

    init(_ reader: inout ByteReader) throws(WireError) {
        _ = try reader.readUInt16()
        exchange = try reader.readShortString().withoutLineBreaks
        let bits = try reader.readBits()
        ifUnused = bits[0]
        noWait = bits[1]
    }
}

/// exchange.bind and exchange.unbind: what `source` routes goes on to `destination`.
package struct ExchangeBind: Sendable, Hashable {
    package var destination: ShortString
    package var source: ShortString
    package var routingKey: ShortString
    package var noWait: Bool
    package var arguments: FieldTable

    package init(
        destination: ShortString,
        source: ShortString,
        routingKey: ShortString = .empty,
        noWait: Bool = false,
        arguments: FieldTable = FieldTable()
    ) {
        self.destination = destination
        self.source = source
        self.routingKey = routingKey
        self.noWait = noWait
        self.arguments = arguments
    }

    init(_ reader: inout ByteReader, depth: Int) throws(WireError) {
        _ = try reader.readUInt16()
        destination = try reader.readShortString().withoutLineBreaks
        source = try reader.readShortString().withoutLineBreaks
        routingKey = try reader.readShortString()
        noWait = try reader.readBits()[0]
        arguments = try reader.readTable(depth: depth)
    }
}
