internal import AMQPProtocol

/// What a consistent-hash exchange takes its hash of.
enum HashSource: Sendable, Hashable {
    case routingKey
    case header([UInt8])
    case property(BasicProperty)

    /// - Throws: 406 in the plugin's words.
    static func check(_ arguments: FieldTable) throws(AMQPError) {
        let property = arguments["hash-property"]
        if arguments["hash-header"] != nil, property != nil {
            throw AMQPError(
                .preconditionFailed,
                "hash-header and hash-property are mutually exclusive",
                method: .exchangeDeclare
            )
        }
        if let property, Self.property(property) == nil {
            throw AMQPError(.preconditionFailed, "Unsupported property: \(property.shown)", method: .exchangeDeclare)
        }
    }

    /// Of arguments that were checked.
    init(_ arguments: FieldTable) {
        if let header = arguments["hash-header"]?.stringBytes {
            self = .header(header)
        } else if let property = arguments["hash-property"].flatMap({ Self.property($0) }) {
            self = .property(property)
        } else {
            self = .routingKey
        }
    }

    private static func property(_ value: FieldValue) -> BasicProperty? {
        switch value.stringBytes.map({ String(decoding: $0, as: UTF8.self) }) {
        case "correlation_id": .correlationID
        case "message_id": .messageID
        case "timestamp": .timestamp
        default: nil
        }
    }
}
