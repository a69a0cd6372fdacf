internal import AMQPModel
internal import AMQPProtocol
internal import Gateway
internal import MessageModel
internal import NIOCore
internal import StorageService

/// A message on its way to several topics: it is done when all have it.
final class PublishGroup {
    private var left = 1
    private var isRefused = false
    private let completion: (_ isRefused: Bool) -> Void

    /// - Parameter completion: called once, when `seal` was and all appends are answered.
    init(_ completion: @escaping (_ isRefused: Bool) -> Void) { self.completion = completion }

    func add() { left += 1 }

    /// No more is added.
    func seal() { finish(isRefused: false) }

    func finish(isRefused: Bool) {
        self.isRefused = self.isRefused || isRefused
        left -= 1
        if left == 0 { completion(self.isRefused) }
    }
}

/// A message that somebody has to find the way for, in pieces that are lent.
struct RoutedPublish {
    var exchange: ShortString
    /// The routing key, then those of copies.
    var keys: [ShortString]
    /// From the property flags on.
    var properties: UnsafeRawBufferPointer
    var body: UnsafeRawBufferPointer
    /// Its headers on deaths are the server's.
    var hasDeaths = false
    var excluded: Set<ShortString> = []
}

// Messages whose way storage does not know alone: the model says where they are to be appended.
extension VirtualHost {
    /// Publishes a message by the model's routing.
    func publishRouted(
        _ publish: InboundPublish,
        _ bytes: UnsafeRawBufferPointer,
        _ message: RoutedPublish,
        _ handler: AMQPConnectionHandler,
        _ channel: ChannelState
    ) {
        let size = publish.body.count &+ publish.properties.count
        handler.notePublished(bytes: size)
        let group = PublishGroup { isRefused in
            if publish.confirmTag > 0, channel.isOpen {
                handler.machine.finishPublish(publish.confirmTag, onChannel: channel.number, isRefused: isRefused)
            }
            handler.answered(channel, messages: 1, bytes: size)
        }
        let isRouted = append(message, group)
        if !isRouted, publish.isMandatory {
            handler.giveBack(
                channel,
                exchange: bytes.slice(publish.exchange),
                routingKey: bytes.slice(publish.routingKey),
                properties: message.properties,
                body: message.body
            )
        }
        group.seal()
    }

    /// Adds a message to the appends of this tick, as often as it needs.
    /// - Returns: whether it reaches any queue.
    @discardableResult
    func append(_ message: RoutedPublish, _ group: PublishGroup) -> Bool {
        let session = open
        return withRecords(of: message) { record, partition in
            group.add()
            let token = gatherer.add(record, to: partition, session: session)
            waiters.wait(group, token: token)
        }
    }

    /// Calls `append` for each record that a message is in the store.
    /// - Returns: whether it reaches any queue.
    func withRecords(
        of message: RoutedPublish,
        _ append: (RecordFields, PartitionID) -> Void
    ) -> Bool {
        let session = open
        var plan = routePlan
        routePlan = RoutePlan()
        defer { routePlan = plan }
        model.route(
            message.exchange,
            keys: message.keys,
            AMQPModel.RoutedMessage(
                properties: PropertiesView(validated: message.properties),
                random: .random(in: 0 ... .max)
            ),
            excluding: message.excluded,
            into: &plan
        )
        let isDelayed = model.publishTarget(message.exchange)?.isDelayed ?? false
        let key = message.keys.first ?? .empty
        message.exchange.bytes.withUnsafeBytes { exchange in
            key.bytes.withUnsafeBytes { key in
                let origin = PropertyEncoder.Origin(exchange: exchange, routingKey: key)
                if plan.appendsToExchange, let address = try? addresses.find(exchange, key, self, session) {
                    properties.prepare(
                        message.properties,
                        from: nil,
                        isDelayed: isDelayed,
                        hasDeaths: message.hasDeaths
                    )
                    withRecord(address, message.body) { append($0, address.partition) }
                }
                guard !plan.queues.isEmpty || !plan.streams.isEmpty else { return }
                properties.prepare(
                    message.properties,
                    from: origin,
                    isDelayed: isDelayed,
                    hasDeaths: message.hasDeaths
                )
                for queue in plan.queues {
                    let address = queue.bytes.withUnsafeBytes { name in
                        try? addresses.find(UnsafeRawBufferPointer(start: nil, count: 0), name, self, session)
                    }
                    guard let address else { continue }
                    withRecord(address, message.body) { append($0, address.partition) }
                }
                for stream in plan.streams {
                    guard let topic = session.topic(named: stream) else { continue }
                    withRecord(nil, message.body) { append($0, PartitionID(topic: topic.id, index: 0)) }
                }
            }
        }
        return plan.isRouted
    }

    /// Calls `body` with a record at an address, or at a topic's own name, with the properties that were prepared.
    private func withRecord(
        _ address: PublishAddress?,
        _ content: UnsafeRawBufferPointer,
        _ body: (RecordFields) -> Void
    ) {
        var record = RecordFields()
        record.hasAbsoluteName = address?.isAbsolute ?? false
        record.body = content
        properties.withEncoded { encoded in
            record.properties = encoded
            guard let name = address?.name else { return body(record) }
            name.withUnsafeBytes { name in
                record.routingKey = name
                body(record)
            }
        }
    }
}
