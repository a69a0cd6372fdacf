internal import Credentials

/// Why a text is not a value of the kind that its key has.
struct ValueProblem: Error {
    var message: String
    var hint: String?

    init(_ message: String, hint: String? = nil) {
        self.message = message
        self.hint = hint
    }
}

/// A kind of value: how it is read, how it is written, what it may be.
struct SettingKind<Value: Sendable>: Sendable {
    /// One word for the kind: `size`.
    let name: String
    /// What is permitted, for a person: `1MiB to 4GiB`. Empty when anything of the kind is.
    let limits: String
    let parse: @Sendable (String) throws(ValueProblem) -> Value
    let render: @Sendable (Value) -> String
}

extension SettingKind where Value == Int {
    static func integer(_ range: ClosedRange<Int>) -> Self {
        Self(name: "integer", limits: "\(range.lowerBound) to \(range.upperBound)") { text throws(ValueProblem) in
            guard let value = Int(text), !text.hasPrefix("+") else { throw ValueProblem("'\(text)' is not an integer") }
            return try within(range, value) { String($0) }
        } render: {
            String($0)
        }
    }

    /// Bytes.
    static func size(_ range: ClosedRange<Int>) -> Self {
        let limits = "\(Units.text(bytes: range.lowerBound)) to \(Units.text(bytes: range.upperBound))"
        return Self(name: "size", limits: limits) { text throws(ValueProblem) in
            try within(range, try Units.bytes(from: text)) { Units.text(bytes: $0) }
        } render: {
            Units.text(bytes: $0)
        }
    }
}

extension SettingKind where Value == Duration {
    static func duration(_ range: ClosedRange<Duration>) -> Self {
        let limits = "\(Units.text(range.lowerBound)) to \(Units.text(range.upperBound))"
        return Self(name: "duration", limits: limits) { text throws(ValueProblem) in
            try within(range, try Units.duration(from: text)) { Units.text($0) }
        } render: {
            Units.text($0)
        }
    }
}

extension SettingKind where Value == Bool {
    static var boolean: Self {
        Self(name: "boolean", limits: "true or false") { text throws(ValueProblem) in
            switch text {
            case "true": true
            case "false": false
            default: throw ValueProblem("'\(text)' is not true or false")
            }
        } render: {
            String($0)
        }
    }
}

extension SettingKind where Value == String {
    /// A name of letters, digits, `.`, `_` and `-`.
    static func name(maxLength: Int) -> Self {
        let limits = "1 to \(maxLength) letters, digits, '.', '_' or '-'"
        return Self(name: "name", limits: limits) { text throws(ValueProblem) in
            let permitted = text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                    true
                default: false
                }
            }
            guard permitted, (1...maxLength).contains(text.utf8.count) else {
                throw ValueProblem("'\(text)' is not a name of \(limits)")
            }
            return text
        } render: {
            $0
        }
    }

    /// Where a page on the web comes from: `https://app.example`.
    static var origin: Self {
        Self(name: "origin", limits: "http://host, https://host, with :port where it has one, or *") {
            text throws(ValueProblem) in
            if text == "*" { return text }
            let host = ["http://", "https://"].compactMap { text.hasPrefix($0) ? text.dropFirst($0.count) : nil }.first
            guard let host, !host.isEmpty, host.utf8.allSatisfy({ (0x21...0x7E).contains($0) }), !host.contains("/")
            else {
                throw ValueProblem("'\(text)' is not an origin such as https://app.example")
            }
            return text
        } render: {
            $0
        }
    }

    /// The path of an address on the web: `/mqtt`.
    static var urlPath: Self {
        Self(name: "URL path", limits: "/ and up to 127 letters, digits, '/', '.', '_' or '-'") {
            text throws(ValueProblem) in
            let permitted = text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"),
                    UInt8(ascii: "/"):
                    true
                default: false
                }
            }
            guard permitted, text.hasPrefix("/"), text.utf8.count <= 128 else {
                throw ValueProblem("'\(text)' is not a path such as /mqtt")
            }
            return text
        } render: {
            $0
        }
    }

    /// A path of a file or folder; a relative one starts at the server's working directory.
    static var path: Self {
        Self(name: "path", limits: "") { text throws(ValueProblem) in
            // 4096 is PATH_MAX, which includes the closing zero byte.
            guard (1...4095).contains(text.utf8.count), !text.utf8.contains(0) else {
                throw ValueProblem("'\(text)' is not a path of 1 to 4095 bytes")
            }
            return text
        } render: {
            $0
        }
    }
}

extension SettingKind where Value == ListenAddress {
    static var address: Self {
        Self(name: "address", limits: "host:port, ports 0 to 65535") { text throws(ValueProblem) in
            try ListenAddress(text: text)
        } render: {
            $0.description
        }
    }
}

extension SettingKind where Value == SluiceConfiguration.ScramUser {
    /// `NAME=SCRAM-SHA-256$…`, as `sluice config user` writes it. Shown without what is secret.
    static var scramUser: Self {
        Self(name: "user", limits: "what `sluice config user NAME` writes") { text throws(ValueProblem) in
            guard let equals = text.lastIndex(of: "$").flatMap({ text[..<$0].firstIndex(of: "=") }),
                equals > text.startIndex,
                let credential = ScramCredential(text: String(text[text.index(after: equals)...]))
            else {
                throw ValueProblem(
                    "it is not NAME=SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY",
                    hint: "sluice config user NAME makes it from a password"
                )
            }
            return SluiceConfiguration.ScramUser(name: String(text[..<equals]), credential: credential)
        } render: {
            "\($0.name)=SCRAM-SHA-256$\($0.credential.iterations):…"
        }
    }
}

extension SettingKind where Value: RawRepresentable & CaseIterable, Value.RawValue == String {
    static var choice: Self {
        let words = Value.allCases.map(\.rawValue)
        let limits = words.dropLast().joined(separator: ", ") + " or " + (words.last ?? "")
        return Self(name: "choice", limits: limits) { text throws(ValueProblem) in
            guard let value = Value(rawValue: text) else {
                let near = nearest(to: text, in: words)
                throw ValueProblem("'\(text)' is not one of \(limits)", hint: near.map { "did you mean \($0)?" })
            }
            return value
        } render: {
            $0.rawValue
        }
    }
}

private func within<Value: Comparable>(
    _ range: ClosedRange<Value>,
    _ value: Value,
    _ text: (Value) -> String
) throws(ValueProblem) -> Value {
    guard range.contains(value) else {
        throw ValueProblem(
            "\(text(value)) is out of range; \(text(range.lowerBound)) to \(text(range.upperBound)) is permitted"
        )
    }
    return value
}
