internal import AMQPProtocol
internal import MessageModel
internal import StorageService

/// Bindings of AMQP as storage takes them.
enum StorageBinding {
    static func make(_ kind: Binding.Kind, _ exchange: Exchange, _ link: IncomingBinding) -> Binding {
        Binding(
            kind: kind,
            topic: exchange.topic ?? NameMapping.wholeTreeExchange,
            pattern: pattern(kind, link.routingKey, isWholeTree: exchange.topic == nil),
            arguments: kind == .headers ? arguments(link.arguments) : []
        )
    }

    /// What a message must have besides, when the binding is not the first on its way; nil where that is nothing.
    static func condition(
        _ kind: Binding.Kind,
        _ exchange: Exchange,
        _ link: IncomingBinding
    ) -> InboxBinding.Condition? {
        guard kind != .fanout else { return nil }
        return InboxBinding.Condition(
            kind: kind,
            pattern: pattern(kind, link.routingKey, isWholeTree: false),
            arguments: kind == .headers ? arguments(link.arguments) : []
        )
    }

    static func ofWholeTree(_ condition: InboxBinding.Condition) -> InboxBinding.Condition {
        guard condition.kind == .direct || condition.kind == .topic else { return condition }
        var changed = condition
        changed.pattern = RoutingKeyCoding.asWholeName(condition.pattern)
        return changed
    }

    /// Escaped as in names, but with separators as AMQP has them: storage swaps those itself.
    static func pattern(_ kind: Binding.Kind, _ key: ShortString, isWholeTree: Bool) -> [UInt8] {
        switch kind {
        case .fanout, .headers, .filter: return []
        case .direct:
            var pattern: [UInt8] = []
            key.bytes.withUnsafeBytes { RoutingKeyCoding.escape($0, into: &pattern) }
            return isWholeTree ? RoutingKeyCoding.asWholeName(pattern) : pattern
        case .topic:
            var pattern: [UInt8] = []
            for (index, word) in key.bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
                .enumerated()
            {
                if index > 0 { pattern.append(UInt8(ascii: ".")) }
                if word.count == 1, word.first == UInt8(ascii: "#") {
                    pattern.append(UInt8(ascii: "#"))
                } else {
                    word.withUnsafeBytes { RoutingKeyCoding.escape($0, into: &pattern) }
                }
            }
            return isWholeTree ? RoutingKeyCoding.asWholeName(pattern) : pattern
        }
    }

    /// The arguments of a headers binding. Values are compared as the text that they are in user properties; one that is
    /// in no user property matches nothing.
    static func arguments(_ table: FieldTable) -> [Binding.Argument] {
        table.fields.map { Binding.Argument(name: $0.name.bytes, value: HeaderText.argument($0.value)) }
    }
}

extension InboxBinding {
    /// Every queue is bound to the default exchange by its name.
    static func ofDefaultExchange(_ queue: ShortString) -> InboxBinding {
        InboxBinding(
            Binding(
                kind: .direct,
                topic: StorageNames.defaultExchangeTopic,
                pattern: StorageBinding.pattern(.direct, queue, isWholeTree: false)
            )
        )
    }
}
