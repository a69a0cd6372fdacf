import AMQPModel
import AMQPProtocol
import StorageService
import Testing

/// A virtual host with short ways to ask it for things.
struct Host {
    var model = VirtualHostModel(name: "/")

    init() {}
    init(limits: AMQPModelLimits) { model = VirtualHostModel(name: "/", limits: limits) }

    @discardableResult
    mutating func exchange(
        _ name: ShortString,
        _ type: ShortString = "direct",
        durable: Bool = false,
        autoDelete: Bool = false,
        isInternal: Bool = false,
        passive: Bool = false,
        _ arguments: FieldTable = [:]
    ) throws -> [ModelEffect] {
        try model.declare(
            ExchangeDeclare(
                exchange: name,
                type: type,
                isPassive: passive,
                isDurable: durable,
                isAutoDelete: autoDelete,
                isInternal: isInternal,
                arguments: arguments
            )
        )
    }

    @discardableResult
    mutating func queue(
        _ name: ShortString,
        durable: Bool = false,
        exclusive: Bool = false,
        autoDelete: Bool = false,
        passive: Bool = false,
        connection: UInt64 = 1,
        _ arguments: FieldTable = [:]
    ) throws -> QueueDeclaration {
        try model.declare(
            QueueDeclare(
                queue: name,
                isPassive: passive,
                isDurable: durable,
                isExclusive: exclusive,
                isAutoDelete: autoDelete,
                arguments: arguments
            ),
            connection: connection
        )
    }

    @discardableResult
    mutating func bind(
        _ queue: ShortString,
        to exchange: ShortString,
        _ key: ShortString = "",
        connection: UInt64 = 1,
        _ arguments: FieldTable = [:]
    ) throws -> [ModelEffect] {
        try model.bind(
            QueueBind(queue: queue, exchange: exchange, routingKey: key, arguments: arguments),
            connection: connection
        )
    }

    @discardableResult
    mutating func unbind(
        _ queue: ShortString,
        from exchange: ShortString,
        _ key: ShortString = "",
        _ arguments: FieldTable = [:]
    ) throws -> [ModelEffect] {
        try model.unbind(
            QueueBind(queue: queue, exchange: exchange, routingKey: key, arguments: arguments),
            connection: 1
        )
    }

    @discardableResult
    mutating func join(
        _ destination: ShortString,
        to source: ShortString,
        _ key: ShortString = "",
        _ arguments: FieldTable = [:]
    ) throws -> [ModelEffect] {
        try model.bind(
            ExchangeBind(destination: destination, source: source, routingKey: key, arguments: arguments)
        )
    }

    @discardableResult
    mutating func part(
        _ destination: ShortString,
        from source: ShortString,
        _ key: ShortString = ""
    ) throws -> [ModelEffect] {
        try model.unbind(ExchangeBind(destination: destination, source: source, routingKey: key))
    }
}

/// The error that something throws, as code and text.
func refusal(_ body: () throws -> Void) -> String? {
    do {
        try body()
        return nil
    } catch let error as AMQPError {
        return error.description
    } catch {
        return "\(error)"
    }
}

extension [ModelEffect] {
    /// Without the values that are stored, which tests of their own look at.
    var visible: [ModelEffect] {
        filter { if case .store = $0 { false } else { true } }
    }

    var bound: [InboxBinding] { compactMap { if case .bind(_, let binding) = $0 { binding } else { nil } } }
    var unbound: [InboxBinding] { compactMap { if case .unbind(_, let binding) = $0 { binding } else { nil } } }
    var storedCount: Int { count { if case .store(_, .some) = $0 { true } else { false } } }
    var forgottenCount: Int { count { if case .store(_, nil) = $0 { true } else { false } } }
}

extension Binding {
    init(_ kind: Kind, _ topic: String, _ pattern: String) {
        self.init(kind: kind, topic: topic, pattern: Array(pattern.utf8))
    }
}
