internal import AMQPProtocol

/// Definitions as they are stored: a version, what it is, and its fields. Strings have their length before them in one
/// byte, tables in four.
enum StoredDefinition {
    enum Kind: UInt64 {
        case exchange = 1
        case queue = 2
        case binding = 3
    }

    private static let version: UInt8 = 1

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

    private static func append(_ string: [UInt8], _ bytes: inout [UInt8]) {
        let kept = string.prefix(ShortString.maximumLength)
        bytes.append(UInt8(truncatingIfNeeded: kept.count))
        bytes.append(contentsOf: kept)
    }

    private static func append(_ table: FieldTable, _ bytes: inout [UInt8]) {
        withUnsafeBytes(of: UInt32(truncatingIfNeeded: table.bytes.count).littleEndian) {
            bytes.append(contentsOf: $0)
        }
        bytes.append(contentsOf: table.bytes)
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

    /// What arguments and policies say together.
    func settings(of queue: Queue, own: QueueSettings) -> QueueSettings { own }
}
