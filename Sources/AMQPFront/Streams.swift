internal import AMQPModel
internal import AMQPProtocol
internal import Gateway
internal import MessageModel
internal import NIOCore
internal import StorageService

/// Where a consumer of a stream begins (`x-stream-offset`).
enum StreamOffset: Equatable {
    case first
    case last
    case next
    case number(UInt64)
    case time(Timestamp)

    /// - Throws: 406 for what is none of RabbitMQ's forms: first, last, next, a number, a time, an interval such as `1h`.
    init(_ arguments: FieldTable, now: Timestamp) throws(AMQPError) {
        guard let argument = arguments["x-stream-offset"] else {
            self = .next
            return
        }
        if case .timestamp(let seconds) = argument {
            let (time, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000)
            self = .time(Timestamp(rawValue: overflow ? .max : time))
        } else if let number = argument.integer, number >= 0 {
            self = .number(UInt64(number))
        } else if let text = argument.stringBytes {
            switch String(decoding: text, as: UTF8.self) {
            case "first": self = .first
            case "last": self = .last
            case "next": self = .next
            case let interval:
                guard let age = Self.microseconds(interval) else { throw Self.invalid }
                self = .time(Timestamp(rawValue: now.rawValue > age ? now.rawValue - age : 0))
            }
        } else {
            throw Self.invalid
        }
    }

    private static let invalid = AMQPError(
        .preconditionFailed,
        "invalid value for consumer argument 'x-stream-offset'",
        method: .basicConsume
    )

    private static let units: [Character: UInt64] = [
        "Y": 31_536_000, "M": 2_592_000, "D": 86_400, "h": 3_600, "m": 60, "s": 1,
    ]

    private static func microseconds(_ interval: String) -> UInt64? {
        guard let unit = interval.last.flatMap({ units[$0] }), let count = UInt64(interval.dropLast()) else {
            return nil
        }
        let (seconds, overflow) = count.multipliedReportingOverflow(by: unit)
        let (result, overflowAgain) = seconds.multipliedReportingOverflow(by: 1_000_000)
        return overflow || overflowAgain ? nil : result
    }
}

// Consumers of streams: readers of a topic, whose acknowledgements only say that they take more.
extension AMQPConnectionHandler {
    func consumeStream(
        _ request: ConsumeRequest,
        _ known: Queue,
        _ channel: ChannelState,
        _ host: VirtualHost,
        output: inout ByteBuffer
    ) throws(AMQPError) {
        guard !request.method.noAck else { throw .ofStream("consuming without acknowledgement", known, host) }
        guard request.prefetchCount > 0 else {
            throw AMQPError(
                .preconditionFailed,
                "consumer prefetch count is not set for stream queue '\(known.name)' in vhost '\(host.model.name)'",
                method: .basicConsume
            )
        }
        let offset = try StreamOffset(request.method.arguments, now: .wallClock)
        guard let topic = host.open.topic(named: known.storageName) else {
            throw .noQueue(known.name, virtualHost: host.model.name)
        }
        let queue = try host.model.addConsumer(
            to: request.method.queue,
            connection: number,
            isExclusive: request.method.isExclusive
        )
        let source = host.makeSource(self, channel, queue.number, consumer: request.consumer, isAutomatic: false)
        source.isStream = true
        host.flush()
        let position: StartPosition
        switch offset {
        case .first: position = .first
        case .next: position = .next
        case .number(let number): position = .offset(number)
        case .time(let time): position = .time(time)
        case .last:
            // The last message that is there: asked for first.
            host.ask(.findOffset(PartitionID(topic: topic.id, index: 0), .next)) { result in
                guard case .success(.offset(let next, _)) = result, next > 0 else {
                    return self.read(topic, from: .next, source, request, channel, host)
                }
                self.read(topic, from: .offset(next - 1), source, request, channel, host)
            }
            return
        }
        attach(topic, from: position, source, request, host)
        machine[channel: channel.number]?.consumed(source: source.attachment, output: &output)
    }

    private func read(
        _ topic: TopicInfo,
        from position: StartPosition,
        _ source: Source,
        _ request: ConsumeRequest,
        _ channel: ChannelState,
        _ host: VirtualHost
    ) {
        answer(channel) { output in
            attach(topic, from: position, source, request, host)
            machine[channel: channel.number]?.consumed(source: source.attachment, output: &output)
        }
    }

    private func attach(
        _ topic: TopicInfo,
        from position: StartPosition,
        _ source: Source,
        _ request: ConsumeRequest,
        _ host: VirtualHost
    ) {
        host.open.storage.attach(
            AttachRequest(
                source: .partition(PartitionID(topic: topic.id, index: 0), position),
                creditMessages: UInt64(request.prefetchCount),
                creditBytes: UInt64(creditBytes)
            ),
            attachment: source.attachment
        )
    }
}

extension VirtualHost {
    /// Messages of a stream, on their way to a client.
    func streamed(_ delivery: BatchDelivery, _ source: Source) {
        guard !source.isCancelled, let consumer = source.consumer else { return }
        let handler = source.handler
        let messages = delivery.ranges.reduce(0) { $0 &+ Int($1.last &- $1.first) &+ 1 }
        if source.deliveredBytes == 0 { handler.delivered.append(source) }
        source.deliveredBytes &+= max(1, delivery.batch.byteCount &* messages / max(1, delivery.batch.recordCount))
        let topics = open.topics
        deliveries.begin(delivery.partition.topic, name: topics.name(of: delivery.partition.topic), model)
        var output = handler.takeOutput()
        var range = 0
        var cursor = delivery.batch.records
        while range < delivery.ranges.count, let record = cursor.next() {
            let index = UInt32(truncatingIfNeeded: cursor.index &- 1)
            guard index >= delivery.ranges[range].first else { continue }
            if index == delivery.ranges[range].last { range &+= 1 }
            let offset = delivery.batch.baseOffset &+ UInt64(index)
            let token = DeliveryToken(lane: 0, sequence: offset)
            let admission = deliveries.withContent(of: record) { content in
                Self.adding(offset, to: content.properties).withUnsafeBytes { properties in
                    handler.machine.deliver(
                        onChannel: source.channel.number,
                        to: consumer,
                        token: token.rawValue,
                        isRedelivered: false,
                        exchange: content.exchange,
                        routingKey: content.routingKey,
                        properties: properties,
                        body: record.body,
                        output: &output
                    )
                }
            }
            if case .admitted = admission { source.unsettled &+= 1 } else { source.returnedMessages &+= 1 }
        }
        handler.putOutput(output)
        handler.writeLater()
    }

    /// Properties with the header that says where in the stream the message is.
    private static func adding(_ offset: UInt64, to properties: UnsafeRawBufferPointer) -> [UInt8] {
        let view = PropertiesView(validated: properties)
        var headers = view.value(.headers).flatMap { FieldTable(encoded: Array($0)) } ?? FieldTable()
        headers.replace("x-stream-offset", .int64(Int64(clamping: offset)))
        var changes = PropertyChanges()
        changes.setHeaders(headers)
        return changes.applied(to: view)
    }
}
