/// One key of the configuration: its name, kind, limits, default and meaning, declared once in
/// ``ConfigurationSchema`` for validation, `sluice config explain` and docs/configuration.md alike.
package struct ConfigurationKey: Sendable {
    /// When a changed value counts.
    package enum TakesEffect: String, Sendable {
        /// As soon as the configuration is read again.
        case live
        /// At the next start of the server.
        case restart
    }

    /// The sections and the key, joined by dots: `mqtt.max_packet_size`.
    package let path: String
    /// One word: `size`, `duration`, `list of addresses`.
    package let kind: String
    /// What is permitted, for a person.
    package let limits: String
    package let takesEffect: TakesEffect
    /// What it means, in full sentences.
    package let documentation: String

    let isList: Bool
    /// Sets the property from one text, or from one for each element of a list.
    let assign: @Sendable (_ texts: [String], _ configuration: inout SluiceConfiguration) throws(ElementProblem) -> Void
    let renderElements: @Sendable (SluiceConfiguration) -> [String]

    /// Which element of the value is wrong, and why.
    struct ElementProblem: Error {
        var index: Int
        var problem: ValueProblem
    }

    init<Value: Sendable>(
        _ path: String,
        _ property: any WritableKeyPath<SluiceConfiguration, Value> & Sendable,
        _ kind: SettingKind<Value>,
        takesEffect: TakesEffect = .restart,
        _ documentation: String
    ) {
        self.path = path
        self.kind = kind.name
        self.limits = kind.limits
        self.takesEffect = takesEffect
        self.documentation = documentation
        self.isList = false
        self.assign = { texts, configuration throws(ElementProblem) in
            guard let text = texts.first, texts.count == 1 else {
                throw ElementProblem(index: 0, problem: ValueProblem("expected one value"))
            }
            do throws(ValueProblem) {
                configuration[keyPath: property] = try kind.parse(text)
            } catch {
                throw ElementProblem(index: 0, problem: error)
            }
        }
        self.renderElements = { [kind.render($0[keyPath: property])] }
    }

    /// A key whose value is a list of at least one element, each only once.
    init<Element: Sendable & Hashable>(
        list path: String,
        _ property: any WritableKeyPath<SluiceConfiguration, [Element]> & Sendable,
        _ kind: SettingKind<Element>,
        named plural: String,
        mayBeEmpty: Bool = false,
        takesEffect: TakesEffect = .restart,
        _ documentation: String
    ) {
        self.path = path
        self.kind = "list of \(plural)"
        self.limits = mayBeEmpty ? kind.limits + ", or none" : kind.limits
        self.takesEffect = takesEffect
        self.documentation = documentation
        self.isList = true
        self.assign = { texts, configuration throws(ElementProblem) in
            var elements: [Element] = []
            if mayBeEmpty, texts.isEmpty || texts == ["none"] {
                configuration[keyPath: property] = []
                return
            }
            for (index, text) in texts.enumerated() {
                do throws(ValueProblem) {
                    let element = try kind.parse(text)
                    guard !elements.contains(element) else {
                        throw ValueProblem("'\(text)' is listed twice")
                    }
                    elements.append(element)
                } catch {
                    throw ElementProblem(index: index, problem: error)
                }
            }
            guard !elements.isEmpty else {
                throw ElementProblem(index: 0, problem: ValueProblem("the list is empty"))
            }
            configuration[keyPath: property] = elements
        }
        self.renderElements = { configuration in
            let elements = configuration[keyPath: property]
            return elements.isEmpty ? ["none"] : elements.map(kind.render)
        }
    }

    /// The value as it would be written on one line: a list's elements joined by commas.
    package func text(in configuration: SluiceConfiguration) -> String {
        renderElements(configuration).joined(separator: ", ")
    }

    package var defaultText: String { text(in: SluiceConfiguration()) }

    /// The environment variable that overrides the key: `SLUICE_MQTT__MAX_PACKET_SIZE`.
    package var environmentName: String {
        "SLUICE_" + path.split(separator: ".").map { $0.uppercased() }.joined(separator: "__")
    }
}
