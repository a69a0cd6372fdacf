import AMQPModel
import AMQPProtocol
import MessageModel
import Testing

@Suite struct DeadLetterTests {
    private func host(key: String? = nil) throws -> Host {
        var host = Host()
        try host.exchange("dlx", "fanout")
        var arguments: FieldTable = ["x-dead-letter-exchange": .string("dlx")]
        if let key { arguments.append("x-dead-letter-routing-key", .string(key)) }
        try host.queue("q", durable: true, arguments)
        return host
    }

    /// A letter as storage writes it.
    private func letter(
        _ host: Host,
        reason: String,
        inbox: String = "q",
        topic: String = "amq.direct",
        name: String = "amq.direct/eu/created",
        properties: [UInt8]
    ) -> DeadLetterPublication? {
        var writer = PropertyWriter()
        properties.withUnsafeBytes { writer.append(encoded: $0) }
        writer.appendUser(name: "dead-letter-reason", value: reason)
        writer.appendUser(name: "dead-letter-subscription", value: inbox)
        writer.appendUser(name: "dead-letter-topic", value: topic)
        writer.appendUser(name: "dead-letter-name", value: name)
        var decoder = PropertyDecoder()
        let outcome = withRecord(key: Array(name.utf8), properties: writer.withBytes { Array($0) }) { record in
            host.model.deadLetter(record, now: Timestamp(rawValue: 7_000_000), decoder: &decoder)
        }
        guard case .publish(let publication) = outcome else { return nil }
        return publication
    }

    private func properties(_ publication: DeadLetterPublication?) -> BasicProperties? {
        publication?.properties.withUnsafeBytes { BasicProperties(PropertiesView(validated: $0)) }
    }

    private func death(_ publication: DeadLetterPublication?, _ place: Int = 0) -> FieldTable? {
        guard case .array(let deaths) = properties(publication)?.headers?["x-death"], deaths.values.count > place,
            case .table(let entry) = deaths.values[place]
        else { return nil }
        return entry
    }

    @Test(
        "a letter says where it died, why, and how it was published",
        arguments: [
            ("expired", "expired"), ("maximum length", "maxlen"), ("too many attempts", "delivery_limit"),
            ("rejected", "rejected"), ("whatever a native consumer says", "rejected"),
        ]
    )
    func story(given: String, reason: String) throws {
        var published = BasicProperties()
        published.expiration = "100"
        published.messageID = "m"
        let publication = letter(try host(), reason: given, properties: try fields(published))
        #expect(publication?.exchange == "dlx")
        #expect(publication?.keys == ["eu.created"])
        #expect(properties(publication)?.expiration == nil)
        #expect(properties(publication)?.messageID == "m")
        let entry = death(publication)
        #expect(entry?["reason"] == .string(reason))
        #expect(entry?["queue"] == .string("q"))
        #expect(entry?["exchange"] == .string("amq.direct"))
        #expect(entry?["routing-keys"] == .array(FieldArray([.string("eu.created")])))
        #expect(entry?["count"] == .int64(1))
        #expect(entry?["time"] == .timestamp(7))
        #expect(entry?["original-expiration"] == .string("100"))
        let headers = properties(publication)?.headers
        #expect(headers?["x-first-death-reason"] == .string(reason))
        #expect(headers?["x-last-death-queue"] == .string("q"))
        #expect(publication?.excluded == (reason == "rejected" ? [] : ["q"]))
    }

    @Test("a key of the queue's own replaces all others, and CC with them")
    func override() throws {
        var published = BasicProperties()
        published.headers = ["CC": .array(FieldArray([.string("copy")]))]
        let kept = letter(try host(), reason: "expired", properties: try fields(published))
        #expect(kept?.keys == ["eu.created", "copy"])
        #expect(properties(kept)?.headers?["CC"] != nil)
        let replaced = letter(try host(key: "dead"), reason: "expired", properties: try fields(published))
        #expect(replaced?.keys == ["dead"])
        #expect(properties(replaced)?.headers?["CC"] == nil)
        #expect(death(replaced)?["routing-keys"] == .array(FieldArray([.string("eu.created"), .string("copy")])))
    }

    @Test("what a publisher says of deaths does not count; what the server wrote does")
    func forged() throws {
        let host = try host()
        var forged = BasicProperties()
        forged.headers = [
            "x-death": .array(
                FieldArray([.table(["queue": .string("q"), "reason": .string("expired"), "count": .int64(9)])])
            ),
            "x-first-death-reason": .string("rejected"), "mine": .int8(1),
        ]
        let first = letter(host, reason: "expired", properties: try fields(forged))
        #expect(death(first)?["count"] == .int64(1))
        #expect(properties(first)?.headers?["x-first-death-reason"] == .string("expired"))
        #expect(properties(first)?.headers?["mine"] == .int8(1))
        // Its second death is counted.
        let stored = try fields(first?.properties ?? [], hasDeaths: true)
        let second = letter(host, reason: "expired", properties: stored)
        #expect(death(second)?["count"] == .int64(2))
        // A client that publishes it again with these headers begins anew.
        let again = letter(host, reason: "expired", properties: try fields(first?.properties ?? []))
        #expect(death(again)?["count"] == .int64(1))
    }

    @Test("a letter may not come to a queue again in which it died since somebody rejected it")
    func circles() throws {
        var host = try host()
        try host.queue("retry", durable: true, ["x-dead-letter-exchange": .string("")])
        let expired = letter(host, reason: "expired", properties: [])
        let next = letter(
            host,
            reason: "expired",
            inbox: "retry",
            properties: try fields(expired?.properties ?? [], hasDeaths: true)
        )
        #expect(next?.excluded == ["q", "retry"])
        #expect(death(next)?["queue"] == .string("retry") && death(next, 1)?["queue"] == .string("q"))
        let rejected = letter(host, reason: "rejected", properties: [])
        let after = letter(
            host,
            reason: "expired",
            inbox: "retry",
            properties: try fields(rejected?.properties ?? [], hasDeaths: true)
        )
        #expect(after?.excluded == ["retry"])
        // The usual ladder: rejected in q, expired in retry, and to q again.
        var plan = RoutePlan()
        after?.properties.withUnsafeBytes {
            host.model.route(
                "",
                keys: ["q"],
                RoutedMessage(properties: PropertiesView(validated: $0), random: 0),
                excluding: after?.excluded ?? [],
                into: &plan
            )
        }
        #expect(plan.isRouted)
    }

    @Test("messages of other protocols die without the server's notes in their headers")
    func foreign() throws {
        var writer = PropertyWriter()
        writer.append(.origin, byte: OriginFront.mqtt.rawValue)
        writer.appendUser(name: "a", value: "1")
        let publication = letter(
            try host(),
            reason: "expired",
            topic: "factory",
            name: "factory/line",
            properties: writer.withBytes { Array($0) }
        )
        #expect(publication?.keys == ["factory.line"])
        let headers = properties(publication)?.headers
        #expect(headers?["a"] == .string("1"))
        #expect(headers?.fields.contains { $0.name.hasPrefix("dead-letter-") } == false)
        #expect(death(publication)?["exchange"] == .string("amq.topic"))
    }

    @Test("what a queue let go of just before it was deleted is not lost")
    func afterwards() throws {
        var host = try host()
        _ = try host.model.delete(QueueDelete(queue: "q"), connection: nil)
        #expect(letter(host, reason: "rejected", properties: [])?.exchange == "dlx")
        for number in 0..<1_100 {
            let name = ShortString("t\(number)")
            try host.queue(name, exclusive: true, ["x-dead-letter-exchange": .string("dlx")])
            _ = try host.model.delete(QueueDelete(queue: name), connection: nil)
        }
        #expect(letter(host, reason: "rejected", properties: []) == nil)
        #expect(letter(host, reason: "rejected", inbox: "t1099", properties: []) != nil)
        #expect(letter(host, reason: "rejected", inbox: "t76", properties: []) != nil)
        #expect(letter(host, reason: "rejected", inbox: "t75", properties: []) == nil)
    }

    @Test("a letter whose queue, exchange or wish for letters is gone is dropped")
    func dropped() throws {
        var host = try host()
        #expect(letter(host, reason: "expired", inbox: "other", properties: []) == nil)
        _ = try host.model.delete(ExchangeDelete(exchange: "dlx"))
        #expect(letter(host, reason: "expired", properties: []) == nil)
    }
}
