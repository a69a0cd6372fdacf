/// A complete, checked configuration, and where each value came from.
package struct LoadedConfiguration: Sendable {
    package private(set) var configuration = SluiceConfiguration()
    private var origins: [String: ConfigurationOrigin] = [:]
    private var problems: [ConfigurationProblem] = []
    let environment: [String: String]

    /// A configuration file is read whole, and larger than this it is none.
    static let maxFileSize = 1 << 20

    /// Reads all sources, in the order defaults, file, environment, flags.
    /// - Throws: All problems of all sources at once.
    package init(_ sources: ConfigurationSources) throws(ConfigurationError) {
        environment = sources.environment
        if let file = sources.file { read(file: file) }
        readEnvironment()
        for flag in sources.flags { read(flag) }
        // What belongs together is compared only when each value is right by itself.
        if problems.isEmpty {
            for (key, message, hint) in configuration.contradictions() {
                report(at: origin(of: key), key: key, message, hint: hint)
            }
        }
        guard problems.isEmpty else { throw ConfigurationError(problems: problems) }
    }

    /// Where the value of a key came from.
    package func origin(of key: String) -> ConfigurationOrigin { origins[key] ?? .builtIn }

    mutating func report(at origin: ConfigurationOrigin, key: String? = nil, _ message: String, hint: String? = nil) {
        problems.append(ConfigurationProblem(at: origin, key: key, message, hint: hint))
    }

    mutating func reportUnknown(_ path: String, at origin: ConfigurationOrigin, suggestion: String?) {
        report(at: origin, key: path, "unknown key", hint: suggestion.map { "did you mean \($0)?" })
    }

    /// Sets a key from its texts, one for each element of a list, with the place of each.
    mutating func set(
        _ key: ConfigurationKey,
        to texts: [(text: String, origin: ConfigurationOrigin)],
        at place: ConfigurationOrigin
    ) {
        var resolved: [String] = []
        for (text, origin) in texts {
            do throws(ValueProblem) {
                resolved.append(try ValueReference.resolve(text, environment: environment))
            } catch {
                return report(at: origin, key: key.path, error.message, hint: error.hint)
            }
        }
        do throws(ConfigurationKey.ElementProblem) {
            try key.assign(resolved, &configuration)
            origins[key.path] = place
        } catch {
            let origin = error.index < texts.count ? texts[error.index].origin : place
            let path = key.isList && texts.count > 1 ? "\(key.path)[\(error.index)]" : key.path
            report(at: origin, key: path, error.problem.message, hint: error.problem.hint)
        }
    }

    /// Sets a key from one text; a list's elements are separated by commas.
    mutating func set(_ key: ConfigurationKey, toLine text: String, at place: ConfigurationOrigin) {
        guard key.isList else { return set(key, to: [(text, place)], at: place) }
        do throws(ValueProblem) {
            let line = try ValueReference.resolve(text, environment: environment)
            let elements = line.split(separator: ",").map { ($0.trimmingSpaces(), place) }
            set(key, to: elements, at: place)
        } catch {
            report(at: place, key: key.path, error.message, hint: error.hint)
        }
    }

    private mutating func readEnvironment() {
        let keysByName = Dictionary(uniqueKeysWithValues: ConfigurationSchema.keys.map { ($0.environmentName, $0) })
        for (name, value) in environment.sorted(by: { $0.key < $1.key }) where name.hasPrefix("SLUICE_") {
            if let key = keysByName[name] {
                set(key, toLine: value, at: .environment(name))
            } else if name.contains("__") {
                // Without the double underscore it is no key but a setting of a command, such as SLUICE_URL.
                let near = nearest(to: name, in: keysByName.keys.sorted())
                report(at: .environment(name), "unknown key", hint: near.map { "did you mean \($0)?" })
            }
        }
    }

    private mutating func read(_ flag: ConfigurationSources.Flag) {
        let origin = ConfigurationOrigin.flag(flag.name)
        if let key = ConfigurationSchema.key(flag.key) {
            set(key, toLine: flag.value, at: origin)
        } else if ConfigurationSchema.sections.contains(flag.key) {
            report(at: origin, "\(flag.key) is a section; set one of its keys")
        } else {
            let suggestion = ConfigurationSchema.suggestion(for: flag.key)
            report(at: origin, "unknown key", hint: suggestion.map { "did you mean \($0)?" })
        }
    }
}

extension Substring {
    fileprivate func trimmingSpaces() -> String {
        var text = self
        while text.first == " " { text = text.dropFirst() }
        while text.last == " " { text = text.dropLast() }
        return String(text)
    }
}
