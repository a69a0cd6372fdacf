internal import AMQPProtocol
internal import MessageModel

/// Which bindings an exchange takes, in RabbitMQ's words where it has some.
enum BindingRules {
    static func check(_ exchange: Exchange, _ link: IncomingBinding, method: MethodID) throws(AMQPError) {
        switch exchange.kind {
        case .headers: try checkHeaders(link.arguments, method)
        case .consistentHash: try checkWeight(link.routingKey, method)
        case .direct, .topic: try checkWords(exchange, link.routingKey, method)
        case .fanout, .modulusHash, .random: break
        }
    }

    /// Storage looks at so many headers of one binding: `HeadersMatch.argumentLimit`.
    static let maximumHeaders = 64

    private static func checkHeaders(_ arguments: FieldTable, _ method: MethodID) throws(AMQPError) {
        switch arguments["x-match"] {
        case nil: break
        case .longString(let mode):
            guard HeadersMode(mode) == nil else { break }
            throw AMQPError(
                .preconditionFailed,
                "Invalid x-match field value <<\"\(String(decoding: mode, as: UTF8.self))\">>; "
                    + "expected all, any, all-with-x, or any-with-x",
                method: method
            )
        case .some(let other):
            throw AMQPError(
                .preconditionFailed,
                "Invalid x-match field type \(other.type.erlangName) (value \(other.shown)); expected longstr",
                method: method
            )
        }
        guard arguments.fields.count <= maximumHeaders else {
            throw AMQPError(
                .preconditionFailed,
                "a headers binding has at most \(maximumHeaders) arguments",
                method: method
            )
        }
    }

    private static func checkWeight(_ key: ShortString, _ method: MethodID) throws(AMQPError) {
        guard let weight = Int64(key.description) else {
            throw AMQPError(
                .preconditionFailed,
                "The binding key must be an integer: <<\"\(key)\">>",
                method: method
            )
        }
        guard weight > 0 else {
            throw AMQPError(.preconditionFailed, "The binding key must be greater than 0", method: method)
        }
    }

    /// A key and the topic before it make a name with a bounded number of levels.
    private static func checkWords(_ exchange: Exchange, _ key: ShortString, _ method: MethodID) throws(AMQPError) {
        let words = key.bytes.count { $0 == UInt8(ascii: ".") } + 1
        let levels = exchange.topic.map { $0.utf8.count { $0 == NameRules.separator } + 1 } ?? 0
        guard words + levels <= Limits.nameLevels else {
            throw AMQPError(
                .preconditionFailed,
                "binding key '\(key)' has \(words) words, of which \(Limits.nameLevels - levels) are the most",
                method: method
            )
        }
    }
}

/// How the arguments of a headers binding are to match.
enum HeadersMode {
    case all
    case any
    case allWithX
    case anyWithX

    init?(_ text: [UInt8]) {
        switch String(decoding: text, as: UTF8.self) {
        case "all": self = .all
        case "any": self = .any
        case "all-with-x": self = .allWithX
        case "any-with-x": self = .anyWithX
        default: return nil
        }
    }
}
