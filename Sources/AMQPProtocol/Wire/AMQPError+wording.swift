// The refusals that depend on what there is, in RabbitMQ's words: clients match them.
extension AMQPError {
    package static func noQueue(_ queue: ShortString, virtualHost: ShortString) -> AMQPError {
        AMQPError(.notFound, "no \(queueText(queue, virtualHost))")
    }

    package static func noExchange(_ exchange: ShortString, virtualHost: ShortString) -> AMQPError {
        AMQPError(.notFound, "no \(exchangeText(exchange, virtualHost))")
    }

    /// An exclusive queue of another connection.
    package static func lockedQueue(_ queue: ShortString, virtualHost: ShortString) -> AMQPError {
        AMQPError(
            .resourceLocked,
            "cannot obtain exclusive access to locked \(queueText(queue, virtualHost)). It could be originally declared "
                + "on another connection or the exclusive property value does not match that of the original declaration."
        )
    }

    /// The queue has an exclusive consumer, or has consumers and cannot have an exclusive one.
    package static func exclusiveUse(_ queue: ShortString, virtualHost: ShortString) -> AMQPError {
        AMQPError(.accessRefused, "\(queueText(queue, virtualHost)) in exclusive use")
    }

    package static func queueInUse(_ queue: ShortString, virtualHost: ShortString) -> AMQPError {
        AMQPError(.preconditionFailed, "\(queueText(queue, virtualHost)) in use")
    }

    package static func queueNotEmpty(_ queue: ShortString, virtualHost: ShortString) -> AMQPError {
        AMQPError(.preconditionFailed, "\(queueText(queue, virtualHost)) is not empty")
    }

    package static func exchangeInUse(_ exchange: ShortString, virtualHost: ShortString) -> AMQPError {
        AMQPError(.preconditionFailed, "\(exchangeText(exchange, virtualHost)) in use")
    }

    /// It was declared otherwise before.
    ///
    /// - Parameters:
    ///   - received: the value as text, without quotes; "none" where there is none.
    package static func inequivalentQueue(
        _ queue: ShortString,
        virtualHost: ShortString,
        argument: String,
        received: String,
        current: String
    ) -> AMQPError {
        inequivalent(queueText(queue, virtualHost), argument, received, current)
    }

    package static func inequivalentExchange(
        _ exchange: ShortString,
        virtualHost: ShortString,
        argument: String,
        received: String,
        current: String
    ) -> AMQPError {
        inequivalent(exchangeText(exchange, virtualHost), argument, received, current)
    }

    private static func inequivalent(
        _ resource: String,
        _ argument: String,
        _ received: String,
        _ current: String
    ) -> AMQPError {
        AMQPError(
            .preconditionFailed,
            "inequivalent arg '\(argument)' for \(resource): received \(quoted(received)) but current is \(quoted(current))"
        )
    }

    private static func quoted(_ value: String) -> String { value == "none" ? value : "'\(value)'" }

    /// 406 on the channel since RabbitMQ 4.0.
    package static func unknownExchangeType(_ type: ShortString) -> AMQPError {
        AMQPError(.preconditionFailed, "unknown exchange type '\(type)'", method: .exchangeDeclare)
    }

    package static func internalExchange(_ exchange: ShortString, virtualHost: ShortString) -> AMQPError {
        AMQPError(
            .accessRefused,
            "cannot publish to internal \(exchangeText(exchange, virtualHost))",
            method: .basicPublish
        )
    }

    /// Names that begin with `amq.` are the server's; only those that are there may be declared again, and only
    /// exchanges.
    package static func reservedName(_ kind: String, _ name: ShortString, method: MethodID) -> AMQPError {
        AMQPError(.accessRefused, "\(kind) name '\(name)' contains reserved prefix 'amq.*'", method: method)
    }

    package static func systemExchange(_ exchange: ShortString, virtualHost: ShortString) -> AMQPError {
        AMQPError(
            .accessRefused,
            "deletion of system \(exchangeText(exchange, virtualHost)) not allowed",
            method: .exchangeDelete
        )
    }

    /// - Parameter permission: configure, write or read.
    package static func accessRefused(
        _ permission: String,
        toQueue queue: ShortString,
        virtualHost: ShortString,
        user: String
    ) -> AMQPError {
        AMQPError(.accessRefused, "\(permission) access to \(queueText(queue, virtualHost)) refused for user '\(user)'")
    }

    package static func accessRefused(
        _ permission: String,
        toExchange exchange: ShortString,
        virtualHost: ShortString,
        user: String
    ) -> AMQPError {
        let name = exchangeText(exchange.isEmpty ? "amq.default" : exchange, virtualHost)
        return AMQPError(.accessRefused, "\(permission) access to \(name) refused for user '\(user)'")
    }

    /// The user-id property is not the user of the connection.
    package static func wrongUser(_ property: ShortString, authenticated user: String) -> AMQPError {
        AMQPError(
            .preconditionFailed,
            "user_id property set to '\(property)' but authenticated user was '\(user)'",
            method: .basicPublish
        )
    }

    package static func noVirtualHost(_ virtualHost: ShortString) -> AMQPError {
        AMQPError(.notAllowed, "vhost \(virtualHost) not found", method: .connectionOpen)
    }

    package static func virtualHostRefused(_ virtualHost: ShortString, user: String) -> AMQPError {
        AMQPError(
            .notAllowed,
            "access to vhost '\(virtualHost)' refused for user '\(user)'",
            method: .connectionOpen
        )
    }

    package static func secretRefused() -> AMQPError {
        AMQPError(.notAllowed, "New secret was refused by one of the backends", method: .connectionUpdateSecret)
    }

    /// Shutdown, an administrator.
    package static func forced(_ reason: String) -> AMQPError { AMQPError(.connectionForced, reason) }

    static func unknownDeliveryTag(_ tag: UInt64, method: MethodID) -> AMQPError {
        AMQPError(.preconditionFailed, "unknown delivery tag \(tag)", method: method)
    }

    package static func queueText(_ queue: ShortString, _ virtualHost: ShortString) -> String {
        "queue '\(queue)' in vhost '\(virtualHost)'"
    }

    package static func exchangeText(_ exchange: ShortString, _ virtualHost: ShortString) -> String {
        "exchange '\(exchange)' in vhost '\(virtualHost)'"
    }
}
