package import AMQPProtocol

/// What an operator wants of all queues, or exchanges, whose names match a pattern.
package struct PolicyDefinition: Sendable, Hashable {
    package enum Target: UInt8, Sendable, Hashable, CaseIterable {
        case all = 0
        case queues = 1
        case classicQueues = 2
        case quorumQueues = 3
        case streams = 4
        case exchanges = 5

        /// As RabbitMQ writes it.
        package var name: String {
            switch self {
            case .all: "all"
            case .queues: "queues"
            case .classicQueues: "classic_queues"
            case .quorumQueues: "quorum_queues"
            case .streams: "streams"
            case .exchanges: "exchanges"
            }
        }

        package init?(name: String) {
            guard let target = Self.allCases.first(where: { $0.name == name }) else { return nil }
            self = target
        }
    }

    package var name: ShortString
    /// A regular expression, see `NameExpression`.
    package var pattern: String
    package var appliesTo: Target
    /// Of those that match a name only the one with the highest counts.
    package var priority: Int64
    /// Keys as RabbitMQ has them, `message-ttl` and so on; those that are not known here are kept and do nothing.
    package var definition: FieldTable
    /// It bounds what users and their policies say, instead of saying it for them.
    package var isOperator: Bool

    package init(
        name: ShortString,
        pattern: String,
        appliesTo: Target = .all,
        priority: Int64 = 0,
        definition: FieldTable,
        isOperator: Bool = false
    ) {
        self.name = name
        self.pattern = pattern
        self.appliesTo = appliesTo
        self.priority = priority
        self.definition = definition
        self.isOperator = isOperator
    }

    func applies(to kind: Queue.Kind) -> Bool {
        switch appliesTo {
        case .all, .queues: true
        case .classicQueues: kind == .classic
        case .quorumQueues: kind == .quorum
        case .streams: kind == .stream
        case .exchanges: false
        }
    }

    var appliesToExchanges: Bool { appliesTo == .all || appliesTo == .exchanges }

    // MARK: Stored

    var encoded: [UInt8] {
        var bytes = [StoredDefinition.version]
        StoredDefinition.append(name.bytes, &bytes)
        let text = Array(pattern.utf8)
        withUnsafeBytes(of: UInt32(truncatingIfNeeded: text.count).littleEndian) { bytes.append(contentsOf: $0) }
        bytes += text
        bytes.append(appliesTo.rawValue)
        withUnsafeBytes(of: priority.littleEndian) { bytes.append(contentsOf: $0) }
        StoredDefinition.append(definition, &bytes)
        return bytes
    }

    /// Behind the version.
    init?(_ reader: inout DefinitionReader, isOperator: Bool) {
        guard let name = reader.string(), let pattern = reader.longText(),
            let target = reader.byte().flatMap({ Target(rawValue: $0) }), let priority = reader.integer(8),
            let definition = reader.table()
        else { return nil }
        self.init(
            name: name,
            pattern: pattern,
            appliesTo: target,
            priority: Int64(bitPattern: priority),
            definition: definition,
            isOperator: isOperator
        )
    }
}
