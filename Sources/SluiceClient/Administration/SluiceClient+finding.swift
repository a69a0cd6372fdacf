internal import MessageModel
internal import NIOCore
internal import NativeProtocol

/// A message that was found, and where it stands in a subscription.
@dynamicMemberLookup
public struct FoundMessage: Sendable {
    public let message: Message
    /// Its place in the order of the subscription that was browsed.
    public let sequence: UInt64
    /// How often it was delivered there.
    public let attempts: Int

    public subscript<Value>(dynamicMember path: KeyPath<Message, Value>) -> Value { message[keyPath: path] }

    /// Nil where the bytes do not hold what they say.
    init?(_ wire: WireFound) {
        guard let view = BatchView(prefixOf: wire.batch), ConsumedBatch.problem(view) == nil,
            Int(wire.record) < view.recordCount
        else { return nil }
        let batch = ConsumedBatch(
            batch: view,
            ranges: [wire.record..<wire.record + 1],
            topic: wire.topicName,
            topicBytes: Array(wire.topicName.utf8),
            partition: Int(wire.partition),
            from: 0,
            attachment: 0
        )
        var iterator = batch.makeIterator()
        guard let message = iterator.next() else { return nil }
        self.message = message.at(offset: wire.offset)
        sequence = wire.sequence
        attempts = Int(wire.attempts)
    }

    static func readList(_ reader: inout WireReader) -> [FoundMessage]? {
        guard let count = reader.u16() else { return nil }
        var result: [FoundMessage] = []
        for _ in 0..<count {
            guard let wire = WireFound(&reader), let message = FoundMessage(wire) else { return nil }
            result.append(message)
        }
        return result
    }
}

/// The last value of a name.
public struct RetainedMessage: Sendable {
    public let name: String
    public let message: FoundMessage
}

extension SluiceClient {
    /// What waits in a subscription or is leased, in order; nothing is changed.
    /// - Parameters:
    ///   - lane: the partition, or for an inbox the priority.
    ///   - from: the sequence to begin with.
    public func browse(
        _ subscription: String,
        lane: Int = 0,
        from: UInt64 = 0,
        limit: Int = 100
    ) async throws(SluiceClientError) -> [FoundMessage] {
        guard let index = UInt16(exactly: lane) else {
            throw SluiceClientError(.invalidArgument, "there is no lane \(lane)")
        }
        var result: [FoundMessage] = []
        var position: UInt64? = from
        while let start = position, result.count < limit {
            let wanted = UInt16(clamping: min(limit - result.count, NativeLimits.foundMessages))
            let page = try await core.call(.browse) {
                BrowseBody(name: subscription, lane: index, from: start, limit: wanted).write(to: &$0)
            } decode: { reader -> BrowsedPage? in
                guard let messages = FoundMessage.readList(&reader), let goesOn = reader.u8(), let next = reader.u64()
                else { return nil }
                return BrowsedPage(messages: messages, next: goesOn != 0 ? next : nil)
            }
            result += page.messages
            position = page.next.flatMap { $0 > start ? $0 : nil }
        }
        return result
    }

    /// What is looked for.
    public enum LookUp: Sendable, Hashable {
        case messageID(String)
        case key(String)
    }

    /// Finds messages by their message id or by a look-up key.
    /// - Parameters:
    ///   - topic: only of this one.
    ///   - from, to: stored between these times, both included.
    public func lookUp(
        _ what: LookUp,
        topic: String? = nil,
        from: Microseconds = 0,
        to: Microseconds = .max,
        limit: Int = 64
    ) async throws(SluiceClientError) -> [FoundMessage] {
        let (isKey, value) =
            switch what {
            case .messageID(let id): (false, id)
            case .key(let key): (true, key)
            }
        let body = LookUpBody(
            isKey: isKey,
            value: Array(value.utf8),
            topic: topic ?? "",
            from: Timestamp(rawValue: from),
            to: Timestamp(rawValue: to),
            limit: UInt16(clamping: limit)
        )
        return try await core.call(.lookUp) {
            body.write(to: &$0)
        } decode: {
            FoundMessage.readList(&$0)
        }
    }

    /// The last values of all names that match a filter, in the order of the names.
    public func retained(matching filter: String = "#") async throws(SluiceClientError) -> [RetainedMessage] {
        var result: [RetainedMessage] = []
        var after: [UInt8] = []
        repeat {
            let behind = after
            let page = try await core.call(.scanRetained) {
                ScanRetainedBody(
                    filter: Array(filter.utf8),
                    limit: UInt16(NativeLimits.foundMessages),
                    after: behind
                ).write(to: &$0)
            } decode: { reader -> RetainedPage? in
                RetainedPage(&reader)
            }
            result += page.messages
            after = page.next == after ? [] : page.next
        } while !after.isEmpty
        return result
    }

    /// Sends messages of a dead-letter topic back to where they came from.
    /// - Parameters:
    ///   - selector: only those for which it holds.
    ///   - rate: messages a second; zero for no limit.
    ///   - limit: at most so many; zero for no limit.
    /// - Returns: how many are sent.
    @discardableResult
    public func redrive(
        _ deadLetterTopic: String,
        selector: String = "",
        rate: UInt32 = 0,
        limit: UInt64 = 0
    ) async throws(SluiceClientError) -> UInt64 {
        let body = RedriveBody(topic: deadLetterTopic, selector: selector, rate: rate, limit: limit)
        return try await core.call(.redrive, isRepeatable: false) {
            body.write(to: &$0)
        } decode: {
            $0.u64()
        }
    }

    /// Withdraws a message that waits for its time.
    /// - Throws: `notFound` where it is delivered or withdrawn already.
    public func cancelScheduled(_ id: ScheduledMessageID) async throws(SluiceClientError) {
        try await core.call(.cancelScheduled, isRepeatable: false) {
            WireScheduledID(position: id.position, record: id.record).write(to: &$0)
        } decode: { _ in
            ()
        }
    }
}

private struct BrowsedPage: Sendable {
    var messages: [FoundMessage]
    var next: UInt64?
}

private struct RetainedPage: Sendable {
    var messages: [RetainedMessage] = []
    var next: [UInt8] = []

    init?(_ reader: inout WireReader) {
        guard let count = reader.u16() else { return nil }
        for _ in 0..<count {
            guard let name = reader.bytes16(), let wire = WireFound(&reader), let found = FoundMessage(wire) else {
                return nil
            }
            messages.append(RetainedMessage(name: String(decoding: name, as: UTF8.self), message: found))
        }
        guard let next = reader.bytes16() else { return nil }
        self.next = Array(next)
    }
}
