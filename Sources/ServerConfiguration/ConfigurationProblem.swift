/// Where a value comes from.
package enum ConfigurationOrigin: Sendable, Equatable, CustomStringConvertible {
    case builtIn
    /// Lines and columns count from 1.
    case file(path: String, line: Int, column: Int)
    /// The name of a variable.
    case environment(String)
    /// The flag as typed: `--set mqtt.listen`.
    case flag(String)

    package var description: String {
        switch self {
        case .builtIn: "default"
        case .file(let path, let line, let column): "\(path):\(line):\(column)"
        case .environment(let name): name
        case .flag(let flag): flag
        }
    }
}

/// One thing that is wrong with a configuration.
package struct ConfigurationProblem: Sendable, Equatable, CustomStringConvertible {
    package var origin: ConfigurationOrigin
    /// The key that is meant, as far as there is one.
    package var key: String?
    package var message: String
    /// What to do about it.
    package var hint: String?

    init(at origin: ConfigurationOrigin, key: String? = nil, _ message: String, hint: String? = nil) {
        self.origin = origin
        self.key = key
        self.message = message
        self.hint = hint
    }

    /// One line: `sluice.yaml:41:7: mqtt.max_paket_size: unknown key (did you mean mqtt.max_packet_size?)`.
    package var description: String {
        var text = "\(origin): "
        if let key { text += "\(key): " }
        text += message
        if let hint { text += " (\(hint))" }
        return text
    }
}

/// A configuration cannot be used. Every problem that was found is listed, in the order of the sources.
package struct ConfigurationError: Error, Equatable, CustomStringConvertible {
    package var problems: [ConfigurationProblem]

    package var description: String {
        problems.map(\.description).joined(separator: "\n")
    }
}
