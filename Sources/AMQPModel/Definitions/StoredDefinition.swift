internal import AMQPProtocol

/// Definitions as they are stored: a version, what it is, and its fields. Strings have their length before them in one
/// byte, tables in four.
enum StoredDefinition {
    enum Kind: UInt64 {
        case exchange = 1
        case queue = 2
        case binding = 3
        case policy = 4
        case operatorPolicy = 5
    }

    static let version: UInt8 = 1

    private static let durable: UInt8 = 0x01
    private static let autoDelete: UInt8 = 0x02
    private static let isInternal: UInt8 = 0x04

    static func encode(_ exchange: Exchange) -> [UInt8] {
        var bytes = [version]
        bytes.append(
            (exchange.isDurable ? durable : 0) | (exchange.isAutoDelete ? autoDelete : 0)
                | (exchange.isInternal ? isInternal : 0)
        )
        append(exchange.name.bytes, &bytes)
        append(exchange.type.bytes, &bytes)
        append(Array((exchange.topic ?? "").utf8), &bytes)
        append(exchange.arguments, &bytes)
        return bytes
    }

    static func encode(_ queue: Queue) -> [UInt8] {
        var bytes = [version]
        bytes.append((queue.isDurable ? durable : 0) | (queue.isAutoDelete ? autoDelete : 0))
        bytes.append(queue.kind.rawValue)
        append(queue.name.bytes, &bytes)
        append(Array(queue.storageName.utf8), &bytes)
        append(queue.arguments, &bytes)
        return bytes
    }

    static func encode(_ link: IncomingBinding, _ destination: BindingDestination) -> [UInt8] {
        var bytes = [version]
        switch destination {
        case .queue(let name):
            bytes.append(0)
            append(name.bytes, &bytes)
        case .exchange(let name):
            bytes.append(1)
            append(name.bytes, &bytes)
        }
        append(link.source.bytes, &bytes)
        append(link.routingKey.bytes, &bytes)
        append(link.arguments, &bytes)
        return bytes
    }

    // MARK: Reading

    /// A definition as it was stored; nothing in it is checked against other definitions.
    enum Decoded {
        case exchange(ExchangeDeclare, topic: String)
        case queue(QueueDeclare, Queue.Kind, storageName: String)
        case binding(IncomingBinding, BindingDestination)
        case policy(PolicyDefinition)
    }

    /// Nil where the bytes are none, or of a version that is not known.
    static func decode(_ number: UInt64, _ value: [UInt8]) -> Decoded? {
        var reader = DefinitionReader(value)
        guard reader.byte() == version, let kind = Kind(rawValue: number >> 56) else { return nil }
        let decoded: Decoded?
        switch kind {
        case .exchange: decoded = exchange(&reader)
        case .queue: decoded = queue(&reader)
        case .binding: decoded = binding(&reader)
        case .policy: decoded = PolicyDefinition(&reader, isOperator: false).map { .policy($0) }
        case .operatorPolicy: decoded = PolicyDefinition(&reader, isOperator: true).map { .policy($0) }
        }
        return reader.isAtEnd ? decoded : nil
    }

    private static func exchange(_ reader: inout DefinitionReader) -> Decoded? {
        guard let flags = reader.byte(), let name = reader.string(), let type = reader.string(),
            let topic = reader.text(), let arguments = reader.table(), !name.isEmpty, !topic.isEmpty
        else { return nil }
        return .exchange(
            ExchangeDeclare(
                exchange: name,
                type: type,
                isDurable: flags & durable != 0,
                isAutoDelete: flags & autoDelete != 0,
                isInternal: flags & isInternal != 0,
                arguments: arguments
            ),
            topic: topic
        )
    }

    private static func queue(_ reader: inout DefinitionReader) -> Decoded? {
        guard let flags = reader.byte(), let kind = reader.byte().flatMap({ Queue.Kind(rawValue: $0) }),
            let name = reader.string(), let storageName = reader.text(), let arguments = reader.table(),
            !name.isEmpty, !storageName.isEmpty
        else { return nil }
        let declare = QueueDeclare(
            queue: name,
            isDurable: flags & durable != 0,
            isAutoDelete: flags & autoDelete != 0,
            arguments: arguments
        )
        return .queue(declare, kind, storageName: storageName)
    }

    private static func binding(_ reader: inout DefinitionReader) -> Decoded? {
        guard let kind = reader.byte(), kind <= 1, let destination = reader.string(), let source = reader.string(),
            let key = reader.string(), let arguments = reader.table()
        else { return nil }
        return .binding(
            IncomingBinding(source: source, routingKey: key, arguments: arguments),
            kind == 0 ? .queue(destination) : .exchange(destination)
        )
    }

    // MARK: Parts

    static func append(_ string: [UInt8], _ bytes: inout [UInt8]) {
        let kept = string.prefix(ShortString.maximumLength)
        bytes.append(UInt8(truncatingIfNeeded: kept.count))
        bytes.append(contentsOf: kept)
    }

    static func append(_ table: FieldTable, _ bytes: inout [UInt8]) {
        withUnsafeBytes(of: UInt32(truncatingIfNeeded: table.bytes.count).littleEndian) {
            bytes.append(contentsOf: $0)
        }
        bytes.append(contentsOf: table.bytes)
    }
}

/// Reads the fields of a definition; nil beyond the end.
struct DefinitionReader {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isAtEnd: Bool { position == bytes.count }

    mutating func byte() -> UInt8? { take(1)?.first }

    mutating func string() -> ShortString? {
        byte().flatMap { take(Int($0)) }.map { ShortString($0) }
    }

    /// UTF-8.
    mutating func text() -> String? {
        string().flatMap { String(validating: $0.bytes, as: UTF8.self) }
    }

    /// UTF-8 with a length of four bytes.
    mutating func longText() -> String? {
        guard let length = integer(4), let count = Int(exactly: length) else { return nil }
        return take(count).flatMap { String(validating: $0, as: UTF8.self) }
    }

    mutating func table() -> FieldTable? {
        guard let length = integer(4), let count = Int(exactly: length) else { return nil }
        return take(count).flatMap { FieldTable(encoded: Array($0)) }
    }

    /// Little-endian.
    mutating func integer(_ size: Int) -> UInt64? {
        take(size)?.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    private mutating func take(_ count: Int) -> ArraySlice<UInt8>? {
        guard count >= 0, count <= bytes.count - position else { return nil }
        defer { position += count }
        return bytes[position..<position + count]
    }
}

// The numbers under which definitions are stored: what it is in the highest byte, and a hash of its name in the others,
// so that every front that knows of it finds it under the same.
extension VirtualHostModel {
    mutating func takeNumber(_ kind: StoredDefinition.Kind, _ identity: [UInt8]) throws(AMQPError) -> UInt64 {
        let hash = identity.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 }
        // The lowest bits of this hash are not good; a multiplication spreads them upward.
        let mixed = (hash ^ hash >> 29) &* 0xBF58_476D_1CE4_E5B9
        for attempt in 0..<AMQPModelLimits.storedNumberAttempts {
            let number = kind.rawValue << 56 | (mixed &+ attempt) & (1 << 56 - 1)
            if storedNumbers.insert(number).inserted { return number }
        }
        throw AMQPError(.preconditionFailed, "too many names fall together in the store: choose another one")
    }

    /// Zero for a binding that is not stored.
    mutating func takeBindingNumber(
        _ link: IncomingBinding,
        _ destination: BindingDestination,
        isStored: Bool
    ) throws(AMQPError) -> UInt64 {
        isStored ? try takeNumber(.binding, StoredDefinition.encode(link, destination)) : 0
    }

}
