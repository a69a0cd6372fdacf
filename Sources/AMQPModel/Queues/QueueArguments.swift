internal import AMQPProtocol

/// The arguments of queue.declare: what they mean, what is wrong with them, and when two of them are the same.
enum QueueArguments {
    /// Greater times would overflow a timer: RabbitMQ's bound.
    static let maximumTime: Int64 = 4_294_967_295

    private typealias Check = @Sendable (FieldValue, FieldTable, inout QueueSettings) -> String?

    /// In the order in which RabbitMQ looks at them: the first that is wrong is named. Arguments that are not here are
    /// accepted.
    private static let known: [(name: StaticString, check: Check)] = [
        (
            "x-expires",
            { value, _, settings in
                if let problem = time(value) { return problem }
                guard value.integer != 0 else { return "{value_zero,0}" }
                settings.expiresMilliseconds = value.integer.map { UInt64(clamping: $0) }
                return nil
            }
        ),
        (
            "x-message-ttl",
            { value, _, settings in
                if let problem = time(value) { return problem }
                settings.messageTTLMilliseconds = value.integer.map { UInt64(clamping: $0) }
                return nil
            }
        ),
        (
            "x-dead-letter-exchange",
            { value, _, settings in
                guard case .longString(let name) = value else { return unacceptable(value) }
                settings.deadLetterExchange = ShortString(name)
                return nil
            }
        ),
        (
            "x-dead-letter-routing-key",
            { value, arguments, settings in
                guard case .longString(let key) = value else { return unacceptable(value) }
                guard arguments["x-dead-letter-exchange"] != nil else { return "routing_key_but_no_dlx_defined" }
                settings.deadLetterRoutingKey = ShortString(key)
                return nil
            }
        ),
        (
            "x-dead-letter-strategy",
            { value, _, settings in
                guard case .longString(let name) = value else { return unacceptable(value) }
                settings.deadLetterStrategy = .init(rawValue: String(decoding: name, as: UTF8.self))
                return settings.deadLetterStrategy == nil ? "invalid_dlx_strategy" : nil
            }
        ),
        (
            "x-max-length",
            { value, _, settings in
                settings.maxLength = value.integer.map { UInt64(clamping: $0) }
                return natural(value)
            }
        ),
        (
            "x-max-length-bytes",
            { value, _, settings in
                settings.maxLengthBytes = value.integer.map { UInt64(clamping: $0) }
                return natural(value)
            }
        ),
        (
            "x-max-priority",
            { value, _, settings in
                if let problem = natural(value) { return problem }
                guard let number = value.integer, let priority = UInt8(exactly: number) else {
                    return "{max_value_exceeded,\(value.integer ?? 0)}"
                }
                settings.maxPriority = priority
                return nil
            }
        ),
        (
            "x-overflow",
            { value, _, settings in
                guard case .longString(let name) = value else { return unacceptable(value) }
                settings.overflow = .init(rawValue: String(decoding: name, as: UTF8.self))
                return settings.overflow == nil ? "invalid_overflow" : nil
            }
        ),
        (
            "x-single-active-consumer",
            { value, _, settings in
                guard case .boolean(let isSingle) = value else { return unacceptable(value) }
                settings.isSingleActiveConsumer = isSingle
                return nil
            }
        ),
        (
            "x-queue-type",
            { value, _, _ in
                guard case .longString(let name) = value else { return unacceptable(value) }
                guard kind(named: name) == nil else { return nil }
                return "\"unsupported queue type '\(String(decoding: name, as: UTF8.self))'\""
            }
        ),
        (
            "x-max-age",
            { value, _, settings in
                guard case .longString(let text) = value else { return unacceptable(value) }
                settings.maxAgeMilliseconds = age(text)
                return settings.maxAgeMilliseconds == nil ? "invalid_max_age" : nil
            }
        ),
        (
            "x-delivery-limit",
            { value, _, settings in
                settings.deliveryLimit = value.integer
                return integer(value)
            }
        ),
    ]

    /// Arguments that a stream cannot honour, in their order.
    private static let notForStreams: [StaticString] = [
        "x-expires", "x-message-ttl", "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-max-length",
        "x-max-priority", "x-overflow", "x-single-active-consumer", "x-delivery-limit",
    ]

    /// Arguments in which a second declaration has to be like the first.
    private static let compared: [StaticString] =
        known.map(\.name) + ["x-queue-leader-locator", "x-initial-cluster-size", "x-stream-max-segment-size-bytes"]

    /// What a new queue is to be.
    ///
    /// - Throws: 406 in RabbitMQ's words.
    static func settings(
        _ declare: QueueDeclare,
        virtualHost: ShortString
    ) throws(AMQPError) -> (kind: Queue.Kind, settings: QueueSettings) {
        let arguments = declare.arguments
        let resource = AMQPError.queueText(declare.queue, virtualHost)
        var settings = QueueSettings()
        guard !arguments.isEmpty else { return (.classic, settings) }
        for (name, check) in known {
            guard let value = arguments[name], let problem = check(value, arguments, &settings) else { continue }
            if name.description == "x-dead-letter-exchange" {
                throw refusal("invalid type '\(value.type.erlangName)' for arg '\(name)' in \(resource)")
            }
            throw refusal("invalid arg '\(name)' for \(resource): \(problem)")
        }
        let kind = arguments["x-queue-type"]?.stringBytes.flatMap { Self.kind(named: $0) } ?? .classic
        guard kind != .classic else {
            settings.deliveryLimit = nil
            return (kind, settings)
        }
        if !declare.isDurable { throw refusal("invalid property 'non-durable' for \(resource)") }
        if declare.isExclusive { throw refusal("invalid property 'exclusive-owner' for \(resource)") }
        if declare.isAutoDelete { throw refusal("invalid property 'auto-delete' for \(resource)") }
        if kind == .stream {
            for name in notForStreams where arguments[name] != nil {
                throw refusal("invalid arg '\(name)' for \(resource) of queue type rabbit_stream_queue")
            }
        }
        return (kind, settings)
    }

    /// What a policy says, whose keys are those of arguments without `x-`.
    ///
    /// - Throws: 406 for values that cannot be used.
    static func settings(ofPolicy policy: PolicyDefinition) throws(AMQPError) -> QueueSettings {
        var arguments = FieldTable()
        for (name, value) in policy.definition.fields { arguments.append("x-".utf8 + name.bytes, value) }
        var settings = QueueSettings()
        for (name, check) in known {
            guard !notForPolicies.contains(where: { $0.description == name.description }), let value = arguments[name],
                let problem = check(value, arguments, &settings), problem != "routing_key_but_no_dlx_defined"
            else { continue }
            throw AMQPError(
                .preconditionFailed,
                "invalid value of '\(name.description.dropFirst(2))' in policy '\(policy.name)': \(problem)"
            )
        }
        return settings
    }

    /// What only the declaration of a queue can say.
    private static let notForPolicies: [StaticString] = [
        "x-max-priority", "x-single-active-consumer", "x-queue-type",
    ]

    /// Compares a second declaration with the queue that is there.
    static func checkEquivalence(
        _ queue: Queue,
        _ arguments: FieldTable,
        virtualHost: ShortString
    ) throws(AMQPError) {
        guard queue.arguments != arguments else { return }
        for name in compared {
            var current = queue.arguments[name]
            var received = arguments[name]
            if name.description == "x-queue-type" {
                // Who says nothing means a classic queue.
                current = current ?? .string(Queue.Kind.classic.name)
                received = received ?? .string(Queue.Kind.classic.name)
            }
            guard !FieldValue.areEquivalent(current, received) else { continue }
            throw .inequivalent(name.description, AMQPError.queueText(queue.name, virtualHost), received, current)
        }
    }

    static func kind(named name: [UInt8]) -> Queue.Kind? {
        switch String(decoding: name, as: UTF8.self) {
        case "classic": .classic
        case "quorum": .quorum
        case "stream": .stream
        default: nil
        }
    }

    // MARK: Checks, with the terms in which RabbitMQ reports them

    private static func refusal(_ explanation: String) -> AMQPError {
        AMQPError(.preconditionFailed, explanation, method: .queueDeclare)
    }

    private static func unacceptable(_ value: FieldValue) -> String {
        "{unacceptable_type,\(value.type.erlangName)}"
    }

    private static func integer(_ value: FieldValue) -> String? {
        value.integer == nil ? "\"expected integer, got \(value.type.erlangName)\"" : nil
    }

    private static func natural(_ value: FieldValue) -> String? {
        if let problem = integer(value) { return problem }
        guard let number = value.integer, number < 0 else { return nil }
        return "{value_negative,\(number)}"
    }

    private static func time(_ value: FieldValue) -> String? {
        if let problem = natural(value) { return problem }
        guard let number = value.integer, number > maximumTime else { return nil }
        return "{value_too_big,\(number)}"
    }

    /// Milliseconds of a number and a unit: `Y`, `M`, `D`, `h`, `m` or `s`.
    static func age(_ text: [UInt8]) -> UInt64? {
        guard let unit = text.last, text.count > 1 else { return nil }
        let factor: UInt64
        switch unit {
        case UInt8(ascii: "Y"): factor = 365 * 86_400_000
        case UInt8(ascii: "M"): factor = 30 * 86_400_000
        case UInt8(ascii: "D"): factor = 86_400_000
        case UInt8(ascii: "h"): factor = 3_600_000
        case UInt8(ascii: "m"): factor = 60_000
        case UInt8(ascii: "s"): factor = 1_000
        default: return nil
        }
        var number: UInt64 = 0
        for digit in text.dropLast() {
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
            let (product, overflow) = number.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(digit - UInt8(ascii: "0")))
            guard !overflow, !carry else { return nil }
            number = sum
        }
        let (milliseconds, overflow) = number.multipliedReportingOverflow(by: factor)
        return number == 0 || overflow ? nil : milliseconds
    }
}
