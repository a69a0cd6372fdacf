import TestSupport
import Testing

@testable import MessageModel

/// A condition as a test makes it, with the plainest evaluation there is.
private indirect enum Condition {
    enum Value {
        case name(String)
        case text(String)
        case number(String)
    }

    case and(Condition, Condition)
    case or(Condition, Condition)
    case not(Condition)
    case compare(String, Value, Value)
    case between(Value, Value, Value, Bool)
    case isIn(String, [Value], Bool)
    case like(String, String, Bool)
    case isNull(String, Bool)
    case name(String)

    static let names = ["a", "b", "c d", "missing"]
    static let texts = ["", "x", "xy", "yx", "xyx", "é", "7", "true"]
    static let numbers = ["7", "-3", "7.0", "0.25", "1e1", "+10", "-0"]
    static let patterns = ["", "%", "_", "x%", "%x", "_y", "%y%", "x_x", "%x%x"]

    static func random(_ random: inout SeededRandom, depth: Int) -> Condition {
        func name() -> String { names.randomElement(using: &random) ?? "a" }
        func literal() -> Value {
            Bool.random(using: &random)
                ? .text(texts.randomElement(using: &random) ?? "")
                : .number(numbers.randomElement(using: &random) ?? "7")
        }
        func not() -> Bool { Bool.random(using: &random) }
        switch Int.random(in: depth > 0 ? 0..<10 : 4..<10, using: &random) {
        case 0: return .and(.random(&random, depth: depth - 1), .random(&random, depth: depth - 1))
        case 1: return .or(.random(&random, depth: depth - 1), .random(&random, depth: depth - 1))
        case 2, 3: return .not(.random(&random, depth: depth - 1))
        case 4, 5:
            let comparison = ["=", "<>", "!=", "<", "<=", ">", ">="].randomElement(using: &random) ?? "="
            return Int.random(in: 0..<3, using: &random) > 0
                ? .compare(comparison, .name(name()), literal()) : .compare(comparison, .name(name()), .name(name()))
        case 6:
            if not() { return .between(.name(name()), .name(name()), literal(), not()) }
            return .between(.name(name()), .number("-3"), .number("7.5"), not())
        case 7: return .isIn(name(), (0..<Int.random(in: 1...3, using: &random)).map { _ in literal() }, not())
        case 8: return .like(name(), patterns.randomElement(using: &random) ?? "", not())
        default: return not() ? .isNull(name(), not()) : .name(name())
        }
    }

    // MARK: Text

    private static func write(_ name: String) -> String { name.contains(" ") ? "\"\(name)\"" : name }

    private static func write(_ value: Value) -> String {
        switch value {
        case .name(let name): write(name)
        case .text(let text): "'\(text)'"
        case .number(let number): number
        }
    }

    /// With more parentheses than are needed.
    var text: String {
        switch self {
        case .and(let left, let right): "(\(left.text)) AND (\(right.text))"
        case .or(let left, let right): "(\(left.text)) or (\(right.text))"
        case .not(let inner): "NOT (\(inner.text))"
        case .compare(let comparison, let left, let right): "\(Self.write(left))\(comparison)\(Self.write(right))"
        case .between(let value, let low, let high, let not):
            "\(Self.write(value)) \(not ? "NOT " : "")BETWEEN \(Self.write(low)) AND \(Self.write(high))"
        case .isIn(let name, let list, let not):
            "\(Self.write(name)) \(not ? "NOT " : "")IN (\(list.map(Self.write).joined(separator: ",")))"
        case .like(let name, let pattern, let not): "\(Self.write(name)) \(not ? "Not " : "")Like '\(pattern)'"
        case .isNull(let name, let not): "\(Self.write(name)) IS \(not ? "NOT " : "")NULL"
        case .name(let name): Self.write(name)
        }
    }

    // MARK: Evaluation

    private static func value(_ value: Value, _ properties: [String: String]) -> Value? {
        if case .name(let name) = value { return properties[name].map { .name($0) } }
        return value
    }

    /// Whether a comparison holds; nil for unknown. Values are those of names, or literals.
    private static func compare(_ comparison: String, _ left: Value?, _ right: Value?) -> Bool? {
        guard let left, let right else { return nil }
        if comparison == "<>" || comparison == "!=" { return compare("=", left, right).map { !$0 } }
        let order: Int?
        switch (left, right) {
        case (.number(let left), .number(let right)), (.number(let left), .name(let right)),
            (.name(let left), .number(let right)):
            order = numberOrder(left, right)
        case (.name(let left), .name(let right)): order = numberOrder(left, right) ?? textOrder(left, right)
        case (.text(let left), .text(let right)), (.text(let left), .name(let right)),
            (.name(let left), .text(let right)):
            order = textOrder(left, right)
        case (.text, .number), (.number, .text): order = nil
        }
        guard let order else { return false }
        switch comparison {
        case "=": return order == 0
        case "<": return order < 0
        case "<=": return order <= 0
        case ">": return order > 0
        default: return order >= 0
        }
    }

    private static func numberOrder(_ left: String, _ right: String) -> Int? {
        guard let left = Double(left), let right = Double(right) else { return nil }
        return left < right ? -1 : left > right ? 1 : 0
    }

    private static func textOrder(_ left: String, _ right: String) -> Int {
        if left == right { return 0 }
        return left.utf8.lexicographicallyPrecedes(right.utf8) ? -1 : 1
    }

    private static func like(_ text: Substring, _ pattern: Substring) -> Bool {
        guard let symbol = pattern.first else { return text.isEmpty }
        let rest = pattern.dropFirst()
        if symbol == "%" { return like(text, rest) || !text.isEmpty && like(text.dropFirst(), pattern) }
        return !text.isEmpty && (symbol == "_" || symbol == text.first) && like(text.dropFirst(), rest)
    }

    private static func and(_ left: Bool?, _ right: Bool?) -> Bool? {
        if left == false || right == false { return false }
        return left == nil || right == nil ? nil : true
    }

    func evaluate(_ properties: [String: String]) -> Bool? {
        switch self {
        case .and(let left, let right): return Self.and(left.evaluate(properties), right.evaluate(properties))
        case .or(let left, let right):
            return Self.and(left.evaluate(properties).map { !$0 }, right.evaluate(properties).map { !$0 }).map { !$0 }
        case .not(let inner): return inner.evaluate(properties).map { !$0 }
        case .compare(let comparison, let left, let right):
            return Self.compare(comparison, Self.value(left, properties), Self.value(right, properties))
        case .between(let value, let low, let high, let not):
            let value = Self.value(value, properties)
            let result = Self.and(
                Self.compare(">=", value, Self.value(low, properties)),
                Self.compare("<=", value, Self.value(high, properties))
            )
            return result.map { $0 != not }
        case .isIn(let name, let list, let not):
            guard let value = Self.value(.name(name), properties) else { return nil }
            return list.contains { Self.compare("=", value, $0) == true } != not
        case .like(let name, let pattern, let not):
            return properties[name].map { Self.like($0[...], pattern[...]) != not }
        case .isNull(let name, let not): return (properties[name] == nil) != not
        case .name(let name): return properties[name].map { $0.lowercased() == "true" }
        }
    }
}

@Suite("Any selector")
struct SelectorPropertyTests {
    @Test("gives what the plainest evaluation gives, and comes back from its own text", arguments: 0..<60)
    func evaluation(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        for _ in 0..<20 {
            let condition = Condition.random(&random, depth: 4)
            let selector = try Selector(condition.text)
            let description = selector.description
            #expect(try Selector(description) == selector, "seed \(seed): \(description)")
            #expect(try Selector(description).description == description, "seed \(seed): \(description)")
            for _ in 0..<5 {
                var message = FilteredMessage()
                var properties: [String: String] = [:]
                for _ in 0..<Int.random(in: 0...5, using: &random) {
                    let name = Condition.names.dropLast().randomElement(using: &random) ?? "a"
                    let value =
                        (Condition.texts + Condition.numbers + ["TRUE", "False", "7x"]).randomElement(using: &random)
                        ?? ""
                    message.user.append((name, value))
                    // The first with a name is the one that counts.
                    if properties[name] == nil { properties[name] = value }
                }
                let expected = condition.evaluate(properties) == true
                #expect(message.matches(selector) == expected, "seed \(seed): \(condition.text) with \(properties)")
            }
        }
    }

    @Test("of words in any order is read or refused, and never traps", arguments: 0..<60)
    func words(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let words = [
            "a", "b.c", "$x", "\"q\"\"q\"", "TAGS", "KEYS", "_size", "_retained", "AND", "or", "NOT", "BETWEEN", "IN",
            "LIKE",
            "ESCAPE", "IS", "NULL", "TRUE", "false", "=", "<>", "!=", "<", "<=", ">", ">=", "(", ")", ",", "'x'",
            "'%_'",
            "'!'", "''", "5", "-7.5e3", ".5", "5.", "+", "'", "\"", "!", "é", "\u{0}",
        ]
        var message = FilteredMessage(["a": "5", "b.c": "x", "$x": "true"])
        message.keys = ["x", "5"]
        var readable = 0
        for _ in 0..<300 {
            let count = Int.random(in: 1...7, using: &random)
            let text = (0..<count).map { _ in words.randomElement(using: &random) ?? "" }.joined(separator: " ")
            do throws(SelectorError) {
                let selector = try Selector(text)
                readable += 1
                _ = message.matches(selector)
                let again = try Selector(selector.description)
                #expect(again == selector, "seed \(seed): \(text)")
            } catch {
                #expect(error.column >= 1 && error.column <= error.offset + 1, "seed \(seed): \(text)")
                #expect(error.offset <= text.utf8.count, "seed \(seed): \(text)")
            }
        }
        #expect(readable > 0, "seed \(seed)")
    }

    @Test("of bytes in any order is read or refused, and never traps", arguments: 0..<60)
    func bytes(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let start = Array("NOT (a >= 'x' AND \"b\" LIKE '%!_' ESCAPE '!') OR c NOT BETWEEN -1 AND 2.5e3".utf8)
        for _ in 0..<200 {
            var text = start
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let index = Int.random(in: 0..<text.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: text[index] = .random(in: .min ... .max, using: &random)
                case 1: text.remove(at: index)
                default: text.insert(start.randomElement(using: &random) ?? 0, at: index)
                }
            }
            text.withUnsafeBytes { text in
                guard let selector = try? Selector(utf8: text) else { return }
                let again = try? Selector(selector.description)
                #expect(again == selector, "seed \(seed): \(selector)")
            }
        }
    }

    @Test("numbers compare exactly", arguments: 0..<20)
    func numbers(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        func compare(_ left: String, _ right: String) -> Int? {
            Array(left.utf8).withUnsafeBytes { left in
                Array(right.utf8).withUnsafeBytes { right in
                    guard let left = DecimalText(left), let right = DecimalText(right) else { return nil }
                    return left.compare(to: right).signum()
                }
            }
        }
        for _ in 0..<200 {
            let left = Int64.random(in: .min ... .max, using: &random) >> Int.random(in: 0..<64, using: &random)
            let right =
                Bool.random(using: &random)
                ? left : Int64.random(in: .min ... .max, using: &random) >> Int.random(in: 0..<64, using: &random)
            let expected = left < right ? -1 : left > right ? 1 : 0
            #expect(compare("\(left)", "\(right)") == expected, "seed \(seed)")
            #expect(compare("\(left).00", "\(right)e0") == expected, "seed \(seed)")
            #expect(compare("\(left)e-5", "\(right)E-05") == expected, "seed \(seed)")
            #expect(compare("\(left)000", "\(right)e+3") == expected, "seed \(seed)")
            let number = UInt64.random(in: 0 ... .max, using: &random)
            DecimalText.withText(of: number) { text in
                Array("\(number)".utf8).withUnsafeBytes { bytes in
                    #expect(DecimalText(bytes).flatMap { text?.compare(to: $0) } == 0)
                }
            }
        }
        for text in ["", "+", ".", "-.", "1e", "1e+", "1e1000", "0x1", "1 ", " 1", "1_0", "inf", "nan", "1..2", "--1"] {
            #expect(compare(text, "0") == nil, "\(text)")
        }
        for (left, right, expected) in [
            ("0.5", ".50", 0), ("-0", "0.0", 0), ("0.05", "0.5", -1), ("-2", "-1.9", -1),
            ("100", "99.999", 1), ("1e999", "2", 1), ("0e999", "0", 0), ("10.01", "10.1", -1), ("5.", "5", 0),
        ] { #expect(compare(left, right) == expected, "\(left) \(right)") }
    }
}
