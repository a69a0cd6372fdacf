package import MessageModel
package import StorageService

/// What must hold of a message besides its name. The routing table carries its number only.
package enum RoutingPredicate: Sendable, Equatable {
    case headers(HeadersMatch)
    /// Tags and a selector; its name is empty, since the pattern matches names.
    case properties(MessageFilter)
    /// The routing key below the first exchange of a binding.
    case key(KeyPattern)
    case all([RoutingPredicate])

    /// - Parameter name: the message's full name.
    package func matches(_ message: RecordView, name: UnsafeRawBufferPointer) -> Bool {
        switch self {
        case .headers(let headers): headers.matches(properties: message.properties)
        // Without the batch: when it is stored is not known yet, and must not matter when the log is read again.
        case .properties(let filter): filter.matches(record: message, name: name)
        case .key(let pattern): pattern.matches(name)
        case .all(let predicates): predicates.allSatisfy { $0.matches(message, name: name) }
        }
    }
}

/// A binding as the routing table takes it: a pattern over full names, and what else must hold.
///
/// | binding | names |
/// |---|---|
/// | filter | as MQTT says; arguments `selector` and `tags` are conditions on the properties |
/// | direct | `topic/key`, whatever characters the key has; the topic's own name where it is empty |
/// | topic | below `topic`, levels as the key says: `*` for one, `#` for any number, also in the middle |
/// | fanout, headers | the topic's own name and all below |
///
/// What a binding asks for besides (`Binding.also`) is a predicate.
///
/// In a binding key `.` and `/` have changed places (`NameMapping`). `amq.topic` stands for the whole tree: its keys are
/// full names.
package struct BindingPattern: Sendable, Equatable {
    package let names: NamePattern
    package let predicate: RoutingPredicate?

    /// Throws `invalidName` where the topic or the key cannot be part of a name, and what `HeadersMatch` throws.
    package init(_ binding: Binding) throws(SluiceError) {
        var predicates: [RoutingPredicate] = []
        switch binding.kind {
        case .filter:
            names = try Self.filter(binding.pattern)
            if let conditions = try Self.conditions(binding.arguments) { predicates.append(conditions) }
        case .direct:
            names = try Self.direct(binding)
        case .topic:
            names = try Self.topic(binding)
        case .fanout:
            names = try Self.everything(of: binding)
        case .headers:
            names = try Self.everything(of: binding)
            predicates.append(.headers(try HeadersMatch(binding.arguments)))
        }
        guard binding.also.isEmpty || (binding.kind != .filter && binding.also.count <= Binding.maxConditions) else {
            throw SluiceError(
                .invalidArgument,
                "a binding of an exchange has at most \(Binding.maxConditions) others behind it, a filter has none"
            )
        }
        for condition in binding.also {
            if let predicate = try Self.predicate(of: condition, of: binding) { predicates.append(predicate) }
        }
        predicate = predicates.count > 1 ? .all(predicates) : predicates.first
    }

    /// What a binding behind the first exchange asks for; nil for nothing.
    private static func predicate(
        of condition: Binding.Condition,
        of binding: Binding
    ) throws(SluiceError) -> RoutingPredicate? {
        switch condition.kind {
        case .filter:
            throw SluiceError(.invalidArgument, "a binding behind an exchange is one of an exchange")
        case .fanout:
            return nil
        case .headers:
            return .headers(try HeadersMatch(condition.arguments))
        case .direct, .topic:
            // As a key of the whole tree it is a pattern of its own, without the levels of an exchange.
            let key = Binding(kind: condition.kind, topic: NameMapping.wholeTreeExchange, pattern: condition.pattern)
            let isWhole = binding.topic == NameMapping.wholeTreeExchange
            let names = condition.kind == .direct ? try direct(key) : try topic(key)
            return .key(KeyPattern(names, isEmpty: condition.pattern.isEmpty, below: isWhole ? nil : binding.topic))
        }
    }

    private static func filter(_ filter: [UInt8]) throws(SluiceError) -> NamePattern {
        // A closure of the standard library would lose the type of the error.
        let result = filter.withUnsafeBytes { bytes -> Result<NamePattern, SluiceError> in
            do throws(SluiceError) { return .success(try NamePattern(filter: bytes)) } catch { return .failure(error) }
        }
        return try result.get()
    }

    /// What a filter binding asks of a message's properties.
    private static func conditions(_ arguments: [Binding.Argument]) throws(SluiceError) -> RoutingPredicate? {
        var selector = ""
        var tags = ""
        for argument in arguments {
            let name = String(decoding: argument.name, as: UTF8.self)
            guard let value = argument.value, let text = String(validating: value, as: UTF8.self) else {
                throw SluiceError(.invalidArgument, "a condition of a binding is UTF-8 text")
            }
            switch name {
            case Binding.selectorArgument where selector.isEmpty: selector = text
            case Binding.tagsArgument where tags.isEmpty: tags = text
            default:
                throw SluiceError(
                    .invalidArgument,
                    "a filter binding has one '\(Binding.selectorArgument)' and one '\(Binding.tagsArgument)' at most"
                )
            }
        }
        let filter = try MessageFilter(name: "", tags: tags, selector: selector)
        return filter.isEmpty ? nil : .properties(filter)
    }

    private static func direct(_ binding: Binding) throws(SluiceError) -> NamePattern {
        try checkKey(binding.pattern)
        var pattern = try prefix(of: binding)
        forEachWord(of: binding) { pattern.append(.literal($0)) }
        return try checked(pattern)
    }

    private static func topic(_ binding: Binding) throws(SluiceError) -> NamePattern {
        try checkKey(binding.pattern)
        var pattern = try prefix(of: binding)
        forEachWord(of: binding) { word in
            switch word.count == 1 ? word[0] : 0 {
            case UInt8(ascii: "*"): pattern.append(.one)
            case UInt8(ascii: "#"): pattern.append(.any)
            default: pattern.append(.literal(word))
            }
        }
        return try checked(pattern)
    }

    private static func everything(of binding: Binding) throws(SluiceError) -> NamePattern {
        var pattern = try prefix(of: binding)
        pattern.append(.any)
        return pattern
    }

    /// The levels of the topic's name.
    private static func prefix(of binding: Binding) throws(SluiceError) -> NamePattern {
        var pattern = NamePattern()
        guard binding.topic != NameMapping.wholeTreeExchange else { return pattern }
        try NameRules.checkTopicName(binding.topic, allowsInternal: true)
        Array(binding.topic.utf8).withUnsafeBytes { bytes in
            forEachLevel(of: bytes) { pattern.append(.literal($0)) }
        }
        return pattern
    }

    /// The levels of the key; none where it is empty, except in the whole tree, where a name needs one.
    private static func forEachWord(of binding: Binding, _ body: (UnsafeRawBufferPointer) -> Void) {
        guard !binding.pattern.isEmpty || binding.topic == NameMapping.wholeTreeExchange else { return }
        var key = binding.pattern
        key.withUnsafeMutableBytes { key in
            NameMapping.swapSeparators(key)
            forEachLevel(of: UnsafeRawBufferPointer(key), body)
        }
    }

    private static func forEachLevel(of bytes: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Void) {
        var start = 0
        for position in 0...bytes.count where position == bytes.count || bytes[position] == NameRules.separator {
            body(bytes.slice(start..<position))
            start = position + 1
        }
    }

    private static func checkKey(_ key: [UInt8]) throws(SluiceError) {
        guard key.count <= Limits.nameBytes else {
            throw SluiceError(.invalidName, "a binding key has at most \(Limits.nameBytes) bytes")
        }
        guard !key.contains(0), String(validating: key, as: UTF8.self) != nil else {
            throw SluiceError(.invalidName, "a binding key is UTF-8 text without NUL")
        }
    }

    private static func checked(_ pattern: NamePattern) throws(SluiceError) -> NamePattern {
        guard Int(pattern.levels) <= Limits.nameLevels else {
            throw SluiceError(
                .invalidName,
                "a binding key has at most \(Limits.nameLevels) levels, those of the topic included"
            )
        }
        return pattern
    }
}
