internal import Gateway
internal import MessageModel
internal import StorageService

/// What a publish request is addressed to.
enum PublishAddress: Sendable {
    /// A topic; messages may say where below it they belong.
    case topic(String)
    /// The name of messages that do not say their own.
    case name(String?)
}

/// Where one message goes.
struct Placement: Sendable {
    var topic: TopicInfo
    var partition: PartitionID
    var routingKey: [UInt8]?
    var isAbsolute: Bool
}

extension PublishAddress {
    /// Finds the place of each message. On the gateway's event loop.
    /// - Throws: `Problem` for the first that has none; nothing is published then.
    func place(_ messages: [NewMessage], _ session: GatewaySession) throws -> [Placement] {
        var named: TopicInfo?
        if case .topic(let name) = self {
            guard let topic = session.topic(named: name) else {
                throw Problem(.topicNotFound, "there is no topic '\(name)'", hint: "sluice topic create \(name)")
            }
            named = topic
        }
        var placements: [Placement] = []
        placements.reserveCapacity(messages.count)
        for (index, message) in messages.enumerated() {
            do throws(Problem) {
                placements.append(try place(message, in: named, session))
            } catch {
                var problem = error
                problem.pointer = "/messages/\(index)"
                throw problem
            }
        }
        return placements
    }

    private func place(
        _ message: NewMessage,
        in named: TopicInfo?,
        _ session: GatewaySession
    ) throws(Problem) -> Placement {
        let name = try fullName(of: message, in: named)
        let nameBytes = Array(name.utf8)
        let problem: SluiceError? = nameBytes.withUnsafeBytes { bytes in
            do throws(SluiceError) { try NameRules.checkName(bytes) } catch { return error }
            return nil
        }
        if let problem { throw Problem(problem) }
        guard let topic = nameBytes.withUnsafeBytes({ session.topic(holding: $0) }) else {
            throw Problem(.topicNotFound, "no topic holds the name '\(name)'")
        }
        // A name lives in one topic only, so that every protocol finds its messages in the same place.
        if let named, named.id != topic.id {
            throw Problem(
                .invalidArgument,
                "the name '\(name)' belongs to topic '\(topic.name)'",
                hint: "POST /v1/messages?name=NAME finds the topic"
            )
        }
        let placement = nameBytes.withUnsafeBytes { name in
            topic.nameBytes.withUnsafeBytes { NamePlacement(name: name, topic: $0) }
        }
        let key = message.orderingKey ?? nameBytes
        return Placement(
            topic: topic,
            partition: key.withUnsafeBytes { topic.partition(for: $0) },
            routingKey: placement.routingKey.map { Array(nameBytes[$0]) },
            isAbsolute: placement.isAbsolute
        )
    }

    private func fullName(of message: NewMessage, in named: TopicInfo?) throws(Problem) -> String {
        if let name = message.name { return name }
        if let named { return message.routingKey.map { named.name + "/" + $0 } ?? named.name }
        guard message.routingKey == nil else {
            throw Problem(.invalidArgument, "a routing key needs a topic", hint: "POST /v1/topics/TOPIC/messages")
        }
        if case .name(let name?) = self, !name.isEmpty { return name }
        throw Problem(
            .invalidArgument,
            "the message has no name",
            hint: "?name=NAME for all messages of the request, or a name in each"
        )
    }
}

/// The batches of one publish request, and which message went into which.
struct PublishPlan: Sendable {
    private(set) var batches: [EncodedBatch] = []
    /// For each message: its batch, and its index in it.
    private(set) var places: [(batch: Int, index: Int)]

    /// - Throws: `Problem` where a message is larger than a batch may be.
    init(_ messages: [NewMessage], _ placements: [Placement], now: Timestamp) throws(Problem) {
        places = Array(repeating: (0, 0), count: messages.count)
        var byPartition: [PartitionID: [Int]] = [:]
        var order: [PartitionID] = []
        for (index, placement) in placements.enumerated() {
            if byPartition[placement.partition] == nil { order.append(placement.partition) }
            byPartition[placement.partition, default: []].append(index)
        }
        var builder = BatchBuilder(capacity: 16 << 10)
        for partition in order {
            for index in byPartition[partition] ?? [] {
                let message = messages[index]
                let properties = message.encodedProperties(now: now)
                if let problem = message.problem(properties: properties) {
                    throw Problem(.invalidArgument, problem, pointer: "/messages/\(index)")
                }
                let added = Self.add(message, placements[index], properties, now, to: &builder) { builder in
                    batches.append(Self.finish(&builder, partition))
                }
                guard added else {
                    throw Problem(.tooLarge, "the message is too large", pointer: "/messages/\(index)")
                }
                places[index] = (batches.count, builder.recordCount - 1)
            }
            if !builder.isEmpty { batches.append(Self.finish(&builder, partition)) }
        }
    }

    /// - Parameter full: takes away what is in the builder where the message does not fit behind it.
    private static func add(
        _ message: NewMessage,
        _ placement: Placement,
        _ properties: [UInt8],
        _ now: Timestamp,
        to builder: inout BatchBuilder,
        full: (inout BatchBuilder) -> Void
    ) -> Bool {
        // The pointers to what is not there are never read: the field says so.
        (placement.routingKey ?? []).withUnsafeBytes { routingKey in
            (message.orderingKey ?? []).withUnsafeBytes { orderingKey in
                properties.withUnsafeBytes { properties in
                    message.body.withUnsafeBytes { body in
                        var record = RecordFields()
                        record.routingKey = placement.routingKey == nil ? nil : routingKey
                        record.hasAbsoluteName = placement.isAbsolute
                        record.orderingKey = message.orderingKey == nil ? nil : orderingKey
                        record.properties = properties
                        record.body = body
                        record.born = now
                        let bound = BatchBuilder.sizeBound(record)
                        guard BatchLayout.headerBytes + bound <= Limits.batchBytes else { return false }
                        if builder.byteCount + bound > Limits.batchBytes { full(&builder) }
                        builder.append(record)
                        return true
                    }
                }
            }
        }
    }

    private static func finish(_ builder: inout BatchBuilder, _ partition: PartitionID) -> EncodedBatch {
        let bytes = builder.finish { Array($0) }
        builder.begin()
        return EncodedBatch(partition: partition, bytes: bytes)
    }
}
