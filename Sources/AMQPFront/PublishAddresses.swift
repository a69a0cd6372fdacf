internal import AMQPModel
internal import AMQPProtocol
internal import Gateway
internal import MessageModel
internal import StorageService

/// Where an exchange and a key lead.
final class PublishAddress {
    let exchange: [UInt8]
    let routingKey: [UInt8]
    /// The model and the topics that the answer is of.
    let epoch: UInt64
    let generation: UInt64
    let target: PublishTarget
    let isInStorage: Bool
    let partition: PartitionID
    /// What goes into the record; nil for the topic's own name.
    let name: [UInt8]?
    let isAbsolute: Bool
    /// Something has to be looked at for each message.
    let isSpecial: Bool

    /// - Throws: 404, and 406 for a key that is no part of a name.
    init(
        _ exchange: UnsafeRawBufferPointer,
        _ key: UnsafeRawBufferPointer,
        _ target: PublishTarget,
        epoch: UInt64,
        _ session: GatewaySession,
        virtualHost: ShortString
    ) throws(AMQPError) {
        var name: [UInt8] = []
        let placement = try target.place(key, into: &name)
        let topic =
            switch placement {
            case .topicItself, .below: target.topic.flatMap { session.topic(named: $0) }
            case .wholeName: name.withUnsafeBytes { session.topic(holding: $0) }
            }
        guard let topic else { throw .noExchange(ShortString(exchange), virtualHost: virtualHost) }
        partition = name.withUnsafeBytes { topic.partition(for: $0) }
        switch placement {
        case .topicItself:
            self.name = nil
            isAbsolute = false
        case .below:
            self.name = name
            isAbsolute = false
        case .wholeName:
            let place = name.withUnsafeBytes { name in
                topic.nameBytes.withUnsafeBytes { NamePlacement(name: name, topic: $0) }
            }
            self.name = place.routingKey.map { Array(name[$0]) }
            isAbsolute = place.isAbsolute
        }
        self.exchange = Array(exchange)
        routingKey = Array(key)
        self.epoch = epoch
        generation = session.topics.generation
        self.target = target
        isInStorage = target.routing == .storage
        isSpecial = target.routing != .storage || target.isInternal || target.isDelayed
    }

    @inline(__always)
    func isFor(
        _ exchange: UnsafeRawBufferPointer,
        _ key: UnsafeRawBufferPointer,
        epoch: UInt64,
        generation: UInt64
    ) -> Bool {
        self.epoch == epoch && self.generation == generation && Self.isEqual(routingKey, key)
            && Self.isEqual(self.exchange, exchange)
    }

    @inline(__always)
    private static func isEqual(_ left: [UInt8], _ right: UnsafeRawBufferPointer) -> Bool {
        left.count == right.count && left.withUnsafeBytes { bytesEqual($0, right) }
    }
}

/// Those that were published to last: publishers repeat themselves.
struct PublishAddresses {
    /// Each exchange and key has one place; later ones with the same take it over.
    private var places: [PublishAddress?] = Array(repeating: nil, count: Self.size)
    private static let size = 256

    /// - Throws: 404, and 406 for a key that is no part of a name.
    mutating func find(
        _ exchange: UnsafeRawBufferPointer,
        _ key: UnsafeRawBufferPointer,
        _ host: VirtualHost,
        _ session: GatewaySession
    ) throws(AMQPError) -> PublishAddress {
        let place = Self.place(exchange, key)
        let epoch = host.model.epoch
        if let known = places[place],
            known.isFor(exchange, key, epoch: epoch, generation: session.topics.generation)
        {
            return known
        }
        guard let target = host.model.publishTarget(exchange) else {
            throw .noExchange(ShortString(exchange), virtualHost: host.model.name)
        }
        let address = try PublishAddress(
            exchange,
            key,
            target,
            epoch: epoch,
            session,
            virtualHost: host.model.name
        )
        places[place] = address
        return address
    }

    /// By the ends of both, where they differ most.
    private static func place(_ exchange: UnsafeRawBufferPointer, _ key: UnsafeRawBufferPointer) -> Int {
        var hash = UInt64(truncatingIfNeeded: key.count &* 31 &+ exchange.count)
        for byte in key.suffix(16) { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        for byte in exchange.suffix(8) { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        return Int(truncatingIfNeeded: (hash ^ hash >> 29) & UInt64(size - 1))
    }
}
