import Yams

extension LoadedConfiguration {
    /// Reads one YAML file; its sections and keys are known ones, once each.
    mutating func read(file path: String) {
        let yaml: String
        do throws(FileReadProblem) {
            yaml = try readTextFile(path, maxSize: Self.maxFileSize)
        } catch {
            return report(at: .file(path: path, line: 1, column: 1), error.message)
        }
        do {
            guard let root = try Parser(yaml: yaml).singleRoot() else { return }
            read(root, section: "", file: path)
        } catch let error as YamlError {
            report(error, yaml: yaml, file: path)
        } catch {
            report(at: .file(path: path, line: 1, column: 1), "not a YAML document: \(error)")
        }
    }

    private mutating func read(_ node: Node, section: String, file: String) {
        let name = section.isEmpty ? "the document" : section
        guard case .mapping(let mapping) = node else {
            // A section whose keys are all commented out has no value.
            if node.isEmptyValue { return }
            let origin = node.origin(in: file)
            return report(at: origin, "\(name) holds keys and values, not \(node.kindName)")
        }
        for (keyNode, value) in mapping {
            guard let key = keyNode.scalar?.string else {
                report(at: keyNode.origin(in: file), "a key of \(name) is not a word but \(keyNode.kindName)")
                continue
            }
            let path = section.isEmpty ? key : "\(section).\(key)"
            if ConfigurationSchema.sections.contains(path) {
                read(value, section: path, file: file)
            } else if let known = ConfigurationSchema.key(path) {
                read(value, of: known, keyOrigin: keyNode.origin(in: file), file: file)
            } else {
                let suggestion = ConfigurationSchema.suggestion(for: path)
                reportUnknown(path, at: keyNode.origin(in: file), suggestion: suggestion)
            }
        }
    }

    private mutating func read(_ value: Node, of key: ConfigurationKey, keyOrigin: ConfigurationOrigin, file: String) {
        let origin = value.origin(in: file)
        switch value {
        case .scalar(let scalar):
            guard !value.isEmptyValue else {
                return report(at: keyOrigin, key: key.path, "has no value", hint: "the default is \(key.defaultText)")
            }
            set(key, toLine: scalar.string, at: origin)
        case .sequence(let sequence) where key.isList:
            var elements: [(String, ConfigurationOrigin)] = []
            for (index, element) in sequence.enumerated() {
                guard let text = element.scalar?.string, !element.isEmptyValue else {
                    let path = "\(key.path)[\(index)]"
                    return report(at: element.origin(in: file), key: path, "expected a value, not \(element.kindName)")
                }
                elements.append((text, element.origin(in: file)))
            }
            set(key, to: elements, at: origin)
        case .sequence, .mapping, .alias:
            report(at: origin, key: key.path, "expected \(key.kind.withArticle), not \(value.kindName)")
        }
    }

    private mutating func report(_ error: YamlError, yaml: String, file: String) {
        let mark: Mark?
        let message: String
        switch error {
        case .scanner(_, let problem, let position, _), .parser(_, let problem, let position, _),
            .composer(_, let problem, let position, _):
            // libyaml's sentence begins before its problem: "expected a single document, but found another".
            (mark, message) = (position, problem.hasPrefix("but ") ? String(problem.dropFirst(4)) : problem)
        case .duplicatedKeysInMapping(let duplicates, let context):
            (mark, message) = (context.mark, "the key \(duplicates.joined(separator: ", ")) is there twice")
        case .reader(let problem, let offset, _, _):
            let before = yaml.prefix(offset ?? 0)
            let line = before.reduce(1) { $1.isNewline ? $0 + 1 : $0 }
            let column = before.reversed().prefix { !$0.isNewline }.count + 1
            return report(at: .file(path: file, line: line, column: column), problem)
        case .no, .memory, .writer, .emitter, .representer, .dataCouldNotBeDecoded:
            (mark, message) = (nil, "not a YAML document: \(error)")
        }
        report(at: .file(path: file, line: mark?.line ?? 1, column: mark?.column ?? 1), message)
    }
}

extension Node {
    fileprivate func origin(in file: String) -> ConfigurationOrigin {
        .file(path: file, line: mark?.line ?? 1, column: mark?.column ?? 1)
    }

    /// Nothing after the colon, or `~` or `null`. Quoted text is text, even when there is none in the quotes.
    fileprivate var isEmptyValue: Bool {
        guard let scalar, scalar.style == .plain || scalar.style == .any else { return false }
        return ["", "~", "null"].contains(scalar.string)
    }

    fileprivate var kindName: String {
        switch self {
        case .scalar(let scalar): isEmptyValue ? "nothing" : "'\(scalar.string)'"
        case .mapping: "a section"
        case .sequence: "a list"
        case .alias: "an alias"
        }
    }
}

extension String {
    fileprivate var withArticle: String {
        "aeiou".contains(first ?? " ") ? "an \(self)" : "a \(self)"
    }
}
