/// What a configuration is made of. Later sources win: built-in defaults, the file, the environment, the flags.
package struct ConfigurationSources: Sendable {
    /// The YAML file; none means defaults.
    package var file: String?
    package var environment: [String: String]
    package var flags: [Flag]

    package struct Flag: Sendable {
        /// The key that is set.
        package var key: String
        package var value: String
        /// The flag as typed, for messages.
        package var name: String

        package init(key: String, value: String, name: String) {
            self.key = key
            self.value = value
            self.name = name
        }

        /// Reads the argument of `--set`: `mqtt.listen=127.0.0.1:1884`. Nil without a key and an equals sign.
        package init?(assignment: String) {
            guard let equals = assignment.firstIndex(of: "="), equals != assignment.startIndex else { return nil }
            let key = String(assignment[..<equals])
            self.init(key: key, value: String(assignment[assignment.index(after: equals)...]), name: "--set \(key)")
        }
    }

    package init(file: String? = nil, environment: [String: String] = [:], flags: [Flag] = []) {
        self.file = file
        self.environment = environment
        self.flags = flags
    }
}
