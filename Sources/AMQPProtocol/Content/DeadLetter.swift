/// Why and from where a message left a queue for the dead letters, and what its headers say about it afterwards.
package struct DeadLetter: Sendable, Hashable {
    package enum Reason: String, Sendable, Hashable {
        case rejected
        case expired
        case maxlen
        case deliveryLimit = "delivery_limit"
    }

    package var reason: Reason
    package var queue: ShortString
    /// The exchange and the keys that the message was published with; CC included, BCC not.
    package var exchange: ShortString
    package var routingKeys: [ShortString]
    /// Seconds since 1970.
    package var time: UInt64

    package init(
        reason: Reason,
        queue: ShortString,
        exchange: ShortString,
        routingKeys: [ShortString],
        time: UInt64
    ) {
        self.reason = reason
        self.queue = queue
        self.exchange = exchange
        self.routingKeys = routingKeys
        self.time = time
    }

    /// The properties with which the message is published to the dead letter exchange: without its expiration, and with
    /// `x-death`: one entry for each queue and reason with a count, the latest first.
    ///
    /// - Parameter removesCopies: the routing key is replaced, so that CC is dropped.
    package func properties(from original: PropertiesView, removesCopies: Bool = false) -> [UInt8] {
        var headers = original.value(.headers).map { FieldTable(validated: Array($0)) } ?? FieldTable()
        let deaths = updated(headers["x-death"], expiration: original.value(.expiration))
        headers.replace("x-death", .array(FieldArray(deaths)))
        if headers["x-first-death-reason"] == nil {
            headers.append("x-first-death-reason", .string(reason.rawValue))
            headers.append("x-first-death-queue", .longString(queue.bytes))
            headers.append("x-first-death-exchange", .longString(exchange.bytes))
        }
        headers.replace("x-last-death-reason", .string(reason.rawValue))
        headers.replace("x-last-death-queue", .longString(queue.bytes))
        headers.replace("x-last-death-exchange", .longString(exchange.bytes))
        if removesCopies { headers.remove("CC") }
        var changes = PropertyChanges()
        changes.remove(.expiration)
        changes.setHeaders(headers)
        return changes.applied(to: original)
    }

    private func updated(_ header: FieldValue?, expiration: UnsafeRawBufferPointer?) -> [FieldValue] {
        var others: [FieldValue] = []
        var entry: FieldTable?
        if case .array(let array) = header {
            for value in array.values {
                if entry == nil, case .table(let table) = value, describes(table) {
                    var counted = table
                    let (count, overflow) = (table["count"]?.integer ?? 0).addingReportingOverflow(1)
                    counted.replace("count", .int64(overflow ? .max : count))
                    entry = counted
                } else {
                    others.append(value)
                }
            }
        }
        return [.table(entry ?? first(expiration: expiration))] + others
    }

    private func describes(_ table: FieldTable) -> Bool {
        table["queue"]?.stringBytes == queue.bytes && table["reason"]?.stringBytes == Array(reason.rawValue.utf8)
    }

    private func first(expiration: UnsafeRawBufferPointer?) -> FieldTable {
        var table = FieldTable()
        table.append("count", .int64(1))
        table.append("reason", .string(reason.rawValue))
        table.append("queue", .longString(queue.bytes))
        table.append("time", .timestamp(time))
        table.append("exchange", .longString(exchange.bytes))
        table.append("routing-keys", .array(FieldArray(routingKeys.map { .longString($0.bytes) })))
        if let expiration { table.append("original-expiration", .longString(Array(expiration))) }
        return table
    }
}

extension PropertiesView {
    /// The further routing keys in the header `CC` or `BCC`.
    ///
    /// - Throws: 406 where the header is no array of strings, as RabbitMQ answers it.
    package func copies(_ header: StaticString) throws(AMQPError) -> [ShortString] {
        guard let headers, let value = headers.value(header) else { return [] }
        guard case .array(let array) = value else { throw Self.unacceptable(header, "array") }
        var keys: [ShortString] = []
        for entry in array.values {
            guard case .longString(let key) = entry else { throw Self.unacceptable(header, "longstr") }
            keys.append(ShortString(key))
        }
        return keys
    }

    private static func unacceptable(_ header: StaticString, _ expected: String) -> AMQPError {
        AMQPError(
            .preconditionFailed,
            "invalid message: {unacceptable_type_in_header,\"\(header)\",\(expected)}",
            method: .basicPublish
        )
    }
}
