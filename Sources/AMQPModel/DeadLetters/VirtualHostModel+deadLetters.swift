package import AMQPProtocol
package import MessageModel

// What becomes of the messages that storage puts into `StorageNames.deadLetterTopic`, and of those that a full queue
// refuses and wants in its dead letters.
extension VirtualHostModel {
    /// Reads a letter that storage wrote.
    ///
    /// - Parameters:
    ///   - record: of the dead letter topic.
    ///   - decoder: whose buffers are used.
    package func deadLetter(
        _ record: RecordView,
        now: Timestamp,
        decoder: inout PropertyDecoder
    ) -> DeadLetterOutcome {
        let story = DeathStory(record.properties)
        guard let inbox = story.subscription, let queue = queue(ofInbox: inbox) ?? formerQueues.queue(ofInbox: inbox)
        else { return .drop }
        let address = address(ofTopic: story.topic)
        return decoder.decodeDeadLetter(record, story, address: address, now: now) { content in
            deadLetter(
                of: queue,
                reason: story.reason,
                exchange: ShortString(content.exchange),
                routingKey: ShortString(content.routingKey),
                properties: PropertiesView(validated: content.properties),
                hasDeaths: content.hasDeaths,
                now: now
            )
        }
    }

    /// The letter for a message that left a queue, or was refused by it.
    ///
    /// - Parameters:
    ///   - exchange: that it was published to, with `routingKey`.
    ///   - hasDeaths: its headers on deaths were written by the server: those of a publisher do not count
    ///     (RabbitMQ 4.0).
    package func deadLetter(
        of queue: Queue,
        reason: DeadLetter.Reason,
        exchange: ShortString,
        routingKey: ShortString,
        properties: PropertiesView,
        hasDeaths: Bool,
        now: Timestamp
    ) -> DeadLetterOutcome {
        guard let target = queue.settings.deadLetterExchange, exchanges[target] != nil else { return .drop }
        let copies = (try? properties.copies("CC")) ?? []
        let letter = DeadLetter(
            reason: reason,
            queue: queue.name,
            exchange: exchange,
            routingKeys: [routingKey] + copies,
            time: now.rawValue / 1_000_000
        )
        let override = queue.settings.deadLetterRoutingKey
        let trusted = hasDeaths ? nil : Self.withoutDeaths(properties)
        let written: [UInt8]
        if let trusted {
            written = trusted.withUnsafeBytes {
                letter.properties(from: PropertiesView(validated: $0), removesCopies: override != nil)
            }
        } else {
            written = letter.properties(from: properties, removesCopies: override != nil)
        }
        return .publish(
            DeadLetterPublication(
                exchange: target,
                keys: override.map { [$0] } ?? [routingKey] + copies,
                properties: written,
                excluded: Self.excluded(written)
            )
        )
    }

    /// Properties without what a publisher says of deaths; nil where it says nothing.
    private static func withoutDeaths(_ properties: PropertiesView) -> [UInt8]? {
        guard var headers = properties.headerTable, !headers.isEmpty else { return nil }
        let before = headers.bytes.count
        for name in deathHeaders { headers.remove(name) }
        guard headers.bytes.count != before else { return nil }
        var changes = PropertyChanges()
        changes.setHeaders(headers)
        return changes.applied(to: properties)
    }

    private static let deathHeaders: [StaticString] = [
        "x-death", "x-first-death-reason", "x-first-death-queue", "x-first-death-exchange", "x-last-death-reason",
        "x-last-death-queue", "x-last-death-exchange",
    ]

    /// The queues that it died in since somebody last rejected it: coming to one of them again would be a circle that
    /// nobody ends.
    private static func excluded(_ properties: [UInt8]) -> Set<ShortString> {
        let headers = properties.withUnsafeBytes { PropertiesView(validated: $0).headerTable }
        guard case .array(let deaths) = headers?["x-death"] else { return [] }
        var excluded: Set<ShortString> = []
        for death in deaths.values {
            guard case .table(let entry) = death, let queue = entry["queue"]?.stringBytes,
                let reason = entry["reason"]?.stringBytes
            else { continue }
            if reason.elementsEqual(DeadLetter.Reason.rejected.rawValue.utf8) { break }
            excluded.insert(ShortString(queue))
        }
        return excluded
    }
}

/// What storage says about a letter, in its user properties.
struct DeathStory {
    private(set) var reason = DeadLetter.Reason.rejected
    /// The inbox that it left.
    private(set) var subscription: String?
    /// The topic that it was published to.
    private(set) var topic = ""

    /// These begin the names of what it says.
    static let prefix = "dead-letter-"

    init(_ properties: UnsafeRawBufferPointer) {
        var cursor = PropertyCursor(properties)
        while let (id, value) = cursor.next() {
            guard id == PropertyID.user.rawValue, let (name, text) = PropertyCursor.splitUser(value),
                name.starts(with: Self.prefix.utf8)
            else { continue }
            switch String(decoding: name.dropFirst(Self.prefix.utf8.count), as: UTF8.self) {
            case "reason": reason = Self.reason(text)
            case "subscription": subscription = String(decoding: text, as: UTF8.self)
            case "topic": topic = String(decoding: text, as: UTF8.self)
            default: break
            }
        }
    }

    /// Storage's own reasons in AMQP's words; whatever else there is, somebody gave when he rejected it.
    private static func reason(_ text: UnsafeRawBufferPointer) -> DeadLetter.Reason {
        switch String(decoding: text, as: UTF8.self) {
        case "expired": .expired
        case "maximum length": .maxlen
        case "too many attempts": .deliveryLimit
        default: .rejected
        }
    }
}
