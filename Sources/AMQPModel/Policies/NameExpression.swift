/// A regular expression over names, as operators write them in policies and permissions.
///
/// The usual notation, `. [a-z] [^x] \d \w \s ^ $ | ( ) (?: ) (?= ) (?! ) (?i) * + ? {2,5}`, without back references
/// and look-behind, and with no `(?=` inside another. It matches bytes, so that a name need not be UTF-8, and anywhere
/// in the name, unless it is anchored.
///
/// Every step of the program is tried once at most at each place of a name: whatever the pattern, a match takes time
/// with the product of their lengths, and with its square behind `(?=`; so the event loop is not held up.
package struct NameExpression: Sendable, Hashable {
    package let pattern: String
    private let program: [Step]

    enum Step: Sendable, Hashable {
        case bytes(ByteSet)
        case atStart
        case atEnd
        case split(Int, Int)
        case jump(Int)
        /// What stands up to `end` has to match, or not to match, from here on.
        case look(isNegative: Bool, end: Int)
        case matched
    }

    /// Longer patterns are mistakes.
    package static let maximumPatternBytes = 1_024
    /// Repetitions are written out.
    static let maximumSteps = 2_048

    /// Nil where the pattern is not understood, or too large.
    package init?(_ pattern: String) {
        self.pattern = pattern
        guard pattern.utf8.count <= Self.maximumPatternBytes else { return nil }
        var compiler = ExpressionCompiler(Array(pattern.utf8))
        guard let program = compiler.compile() else { return nil }
        self.program = program
    }

    package func matches(_ name: [UInt8]) -> Bool {
        var search = Search(program: program, name: name)
        return (0...name.count).contains { search.runs(from: 0, at: $0) }
    }

    package static func == (left: NameExpression, right: NameExpression) -> Bool { left.pattern == right.pattern }
    package func hash(into hasher: inout Hasher) { hasher.combine(pattern) }

    private struct Search {
        let program: [Step]
        let name: [UInt8]
        /// Steps and places that led nowhere.
        private var visited: [Bool]

        init(program: [Step], name: [UInt8]) {
            self.program = program
            self.name = name
            visited = [Bool](repeating: false, count: program.count * (name.count + 1))
        }

        mutating func runs(from start: Int, at position: Int) -> Bool {
            var work = [(step: start, position: position)]
            while let (step, position) = work.popLast() {
                let place = step * (name.count + 1) + position
                guard !visited[place] else { continue }
                visited[place] = true
                switch program[step] {
                case .matched: return true
                case .bytes(let set):
                    if position < name.count, set.contains(name[position]) { work.append((step + 1, position + 1)) }
                case .atStart: if position == 0 { work.append((step + 1, position)) }
                case .atEnd: if position == name.count { work.append((step + 1, position)) }
                case .jump(let target): work.append((target, position))
                case .split(let first, let second):
                    work.append((second, position))
                    work.append((first, position))
                case .look(let isNegative, let end):
                    var inner = Search(program: program, name: name)
                    if inner.runs(from: step + 1, at: position) != isNegative { work.append((end, position)) }
                }
            }
            return false
        }
    }
}

/// A set of bytes.
struct ByteSet: Sendable, Hashable {
    private var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

    init() {}

    init(_ range: ClosedRange<UInt8>) { insert(range) }

    static let all = ByteSet(0...255)
    static let digits = ByteSet(UInt8(ascii: "0")...UInt8(ascii: "9"))
    static let wordCharacters: ByteSet = {
        var set = digits
        set.insert(UInt8(ascii: "a")...UInt8(ascii: "z"))
        set.insert(UInt8(ascii: "A")...UInt8(ascii: "Z"))
        set.insert(UInt8(ascii: "_")...UInt8(ascii: "_"))
        return set
    }()
    static let spaces: ByteSet = {
        var set = ByteSet(9...13)
        set.insert(32...32)
        return set
    }()

    func contains(_ byte: UInt8) -> Bool {
        let bit: UInt64 = 1 << UInt64(byte & 63)
        return switch byte >> 6 {
        case 0: words.0 & bit != 0
        case 1: words.1 & bit != 0
        case 2: words.2 & bit != 0
        default: words.3 & bit != 0
        }
    }

    mutating func insert(_ range: ClosedRange<UInt8>) {
        for byte in range {
            let bit: UInt64 = 1 << UInt64(byte & 63)
            switch byte >> 6 {
            case 0: words.0 |= bit
            case 1: words.1 |= bit
            case 2: words.2 |= bit
            default: words.3 |= bit
            }
        }
    }

    func union(_ other: ByteSet) -> ByteSet {
        var result = self
        result.words.0 |= other.words.0
        result.words.1 |= other.words.1
        result.words.2 |= other.words.2
        result.words.3 |= other.words.3
        return result
    }

    var inverted: ByteSet {
        var result = self
        result.words = (~words.0, ~words.1, ~words.2, ~words.3)
        return result
    }

    /// With the other case of each letter.
    var ignoringCase: ByteSet {
        var result = self
        for lower in UInt8(ascii: "a")...UInt8(ascii: "z") {
            let upper = lower - 32
            if contains(lower) || contains(upper) {
                result.insert(lower...lower)
                result.insert(upper...upper)
            }
        }
        return result
    }

    static func == (left: ByteSet, right: ByteSet) -> Bool { left.words == right.words }

    func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
        hasher.combine(words.1)
        hasher.combine(words.2)
        hasher.combine(words.3)
    }
}
