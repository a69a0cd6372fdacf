internal import MessageModel
internal import StorageService

/// The selectors that are used in simulations, and what they find: told without the language that they are written in.
enum SimulatedSelector {
    static let all = [
        "number = 1", "number <> 2", "number IN ('0', '3')", "number IS NULL", "_priority > 4 OR number = 2",
    ]

    static func matches(_ selector: String, _ message: DeliveryModel.Message) -> Bool {
        switch selector {
        case "number = 1": message.number == 1
        case "number <> 2": message.number.map { $0 != 2 } ?? false
        case "number IN ('0', '3')": message.number == 0 || message.number == 3
        case "number IS NULL": message.number == nil
        case "_priority > 4 OR number = 2": message.priority > 4 || message.number == 2
        default: true
        }
    }
}

extension Binding {
    /// Whether it routes a message, told level by level.
    func routes(_ message: DeliveryModel.Message) -> Bool {
        routesItself(message)
            && also.allSatisfy { condition in
                Binding(kind: condition.kind, topic: topic, pattern: condition.pattern, arguments: condition.arguments)
                    .routesItself(message)
            }
    }

    private func routesItself(_ message: DeliveryModel.Message) -> Bool {
        if kind == .filter { return NameFilter.matches(pattern, name: message.name) }
        let levels = String(decoding: message.name, as: UTF8.self).split(
            separator: "/",
            omittingEmptySubsequences: false
        )
        var rest = levels[...]
        if topic != "amq.topic" {
            let prefix = topic.split(separator: "/", omittingEmptySubsequences: false)
            guard levels.starts(with: prefix) else { return false }
            rest = levels[prefix.count...]
        }
        let text = String(decoding: pattern, as: UTF8.self)
        let words = text.isEmpty ? [] : text.split(separator: ".", omittingEmptySubsequences: false)
        switch kind {
        case .filter, .fanout: return true
        case .direct: return Array(rest) == words
        case .topic: return Self.matches(words[...], rest)
        case .headers: return matchesHeaders(message)
        }
    }

    private static func matches(_ words: ArraySlice<Substring>, _ levels: ArraySlice<Substring>) -> Bool {
        guard let word = words.first else { return levels.isEmpty }
        if word == "#" {
            return (levels.startIndex...levels.endIndex).contains { matches(words.dropFirst(), levels[$0...]) }
        }
        guard let level = levels.first, word == "*" || word == level else { return false }
        return matches(words.dropFirst(), levels.dropFirst())
    }

    private func matchesHeaders(_ message: DeliveryModel.Message) -> Bool {
        var held: [Bool] = []
        var isAny = false
        for argument in arguments {
            let name = String(decoding: argument.name, as: UTF8.self)
            let value = argument.value.map { String(decoding: $0, as: UTF8.self) }
            if name == "x-match" {
                isAny = value == "any"
            } else {
                let number = name == "number" ? message.number.map { String($0) } : nil
                held.append(number != nil && (value == nil || value == number))
            }
        }
        return isAny ? held.contains(true) : !held.contains(false)
    }
}
