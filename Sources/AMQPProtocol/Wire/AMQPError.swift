/// Why a channel or a connection is closed: what channel.close and connection.close say.
package struct AMQPError: Error, Sendable, Hashable {
    package var code: ReplyCode
    /// What happened, without the code's name.
    package var explanation: String
    /// The method that is at fault; nil where there is none.
    package var method: MethodID?

    package init(_ code: ReplyCode, _ explanation: String, method: MethodID? = nil) {
        self.code = code
        self.explanation = explanation
        self.method = method
    }

    package var closesConnection: Bool { code.closesConnection }

    /// The reply text: the code's name, a dash and the explanation, as RabbitMQ words it, cut to what a short string
    /// takes.
    package var text: String {
        let whole = explanation.isEmpty ? code.name : code.name + " - " + explanation
        guard whole.utf8.count > ShortString.maximumLength else { return whole }
        return String(decoding: whole.utf8.prefix(ShortString.maximumLength - 3), as: UTF8.self) + "..."
    }

    /// The same, blamed on `method` where it is not blamed yet.
    func blaming(_ method: MethodID?) -> AMQPError {
        guard self.method == nil else { return self }
        var error = self
        error.method = method
        return error
    }
}

extension AMQPError: CustomStringConvertible {
    package var description: String { "\(code.rawValue) \(text)" }
}

/// What the reader finds wrong with bytes: one byte, so that throwing it costs nothing. Where they stood says what it
/// means for the connection.
enum WireError: UInt8, Error, Sendable {
    /// A field runs past the end of what holds it.
    case truncated
    /// A field table or array is malformed, or has a type that does not exist.
    case malformedTable
    /// Tables are deeper inside each other than is accepted.
    case tableTooDeep
    /// Property flags that do not exist are set.
    case unknownPropertyFlags
    /// Bytes follow the last field.
    case trailingBytes
}

extension AMQPError {
    /// The arguments of a method do not have the form they must have.
    init(_ error: WireError, arguments: UnsafeRawBufferPointer, of method: MethodID) {
        switch error {
        case .truncated, .trailingBytes:
            self.init(.frameError, "cannot decode " + ErlangTerm.binary(arguments), method: method)
        case .malformedTable:
            self.init(.syntaxError, "malformed field table", method: method)
        case .tableTooDeep:
            self.init(.syntaxError, "field tables are nested too deeply", method: method)
        case .unknownPropertyFlags:
            self.init(.syntaxError, "unknown property flags", method: method)
        }
    }

    /// The properties of a content header do not have the form they must have.
    init(properties error: WireError, of method: MethodID) {
        switch error {
        case .truncated, .trailingBytes:
            self.init(.frameError, "cannot decode content properties", method: method)
        case .malformedTable, .tableTooDeep, .unknownPropertyFlags:
            self.init(error, arguments: UnsafeRawBufferPointer(start: nil, count: 0), of: method)
        }
    }
}

/// Bytes in the notation in which RabbitMQ's reply texts show them.
enum ErlangTerm {
    /// At most 32 bytes of them: a reply text has 255.
    static func binary(_ bytes: UnsafeRawBufferPointer) -> String {
        let shown = bytes.prefix(32)
        if !shown.isEmpty, shown.allSatisfy({ $0 >= 0x20 && $0 < 0x7F && $0 != 0x22 && $0 != 0x5C }) {
            return "<<\"" + String(decoding: shown, as: UTF8.self) + "\">>"
        }
        return "<<" + shown.map(String.init).joined(separator: ",") + ">>"
    }
}
