/// What this server tells AMQP clients about itself, and what it accepts from them.
package struct AMQPServerOptions: Sendable, Hashable {
    package var limits = AMQPLimits()
    /// The version of RabbitMQ whose dialect is spoken: clients choose by it how to set prefetch counts and whether
    /// they speak at all.
    package var dialectVersion = "4.1.0"
    /// The version of this server.
    package var serverVersion = ""
    package var platform = "Swift"
    package var clusterName = "sluice"
    /// SASL mechanisms in the order in which they are offered. EXTERNAL belongs here only where the client has shown a
    /// certificate.
    package var mechanisms: [SASLMechanism] = [.plain, .amqplain]

    package init() {}

    /// The server properties of connection.start. Clients branch on product, version and capabilities; what is really
    /// behind them says `gateway`.
    var serverProperties: FieldTable {
        let capabilities = Self.capabilities.reduce(into: FieldTable()) { $0.append($1, .boolean(true)) }
        return [
            "capabilities": .table(capabilities),
            "cluster_name": .string(clusterName),
            "copyright": .string(""),
            "information": .string("Sluice, speaking AMQP 0-9-1 as RabbitMQ does"),
            "platform": .string(platform),
            "product": .string("RabbitMQ"),
            "version": .string(dialectVersion),
            "gateway": .string("Sluice"),
            "gateway_version": .string(serverVersion),
        ]
    }

    /// The nine that RabbitMQ announces.
    static let capabilities = [
        "publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify",
        "connection.blocked", "consumer_priorities", "authentication_failure_close", "per_consumer_qos",
        "direct_reply_to",
    ]
}

/// What a client can take beyond the specification, as it says in connection.start-ok.
package struct ClientCapabilities: Sendable, Hashable {
    package var wantsBlockedNotifications = false
    package var wantsCancelNotifications = false
    /// Is told of a refused login by connection.close, and not by silence.
    package var wantsLoginRefusals = false

    init() {}

    init(_ properties: FieldTable) {
        guard case .table(let capabilities) = properties["capabilities"] else { return }
        wantsBlockedNotifications = capabilities["connection.blocked"] == .boolean(true)
        wantsCancelNotifications = capabilities["consumer_cancel_notify"] == .boolean(true)
        wantsLoginRefusals = capabilities["authentication_failure_close"] == .boolean(true)
    }
}
