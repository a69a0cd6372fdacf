/// Reads a regular expression and writes its program.
struct ExpressionCompiler {
    private typealias Step = NameExpression.Step

    private let pattern: [UInt8]
    private var position = 0
    private var ignoresCase = false
    private var isLooking = false
    private var depth = 0

    /// Groups inside each other: bounds the stack.
    private static let maximumDepth = 32
    /// Of one repetition.
    private static let maximumCount = 1_000

    private indirect enum Node {
        case bytes(ByteSet)
        case atStart
        case atEnd
        case sequence([Node])
        case either([Node])
        case repeated(Node, minimum: Int, maximum: Int?)
        case look(Node, isNegative: Bool)
    }

    private struct Malformed: Error {}

    init(_ pattern: [UInt8]) { self.pattern = pattern }

    mutating func compile() -> [NameExpression.Step]? {
        do throws(Malformed) {
            let node = try alternatives()
            guard position == pattern.count else { return nil }
            var program: [Step] = []
            try write(node, &program)
            program.append(.matched)
            return program
        } catch {
            return nil
        }
    }

    // MARK: Reading

    private mutating func alternatives() throws(Malformed) -> Node {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.maximumDepth else { throw Malformed() }
        var branches = [try sequence()]
        while take(UInt8(ascii: "|")) { branches.append(try sequence()) }
        return branches.count == 1 ? branches[0] : .either(branches)
    }

    private mutating func sequence() throws(Malformed) -> Node {
        var nodes: [Node] = []
        while let byte = peek, byte != UInt8(ascii: "|"), byte != UInt8(ascii: ")") {
            guard let atom = try atom() else { continue }
            nodes.append(try quantified(atom))
        }
        return .sequence(nodes)
    }

    /// Nil for what stands for nothing by itself: `(?i)`.
    private mutating func atom() throws(Malformed) -> Node? {
        guard let byte = next() else { throw Malformed() }
        switch byte {
        case UInt8(ascii: "."): return .bytes(.all)
        case UInt8(ascii: "^"): return .atStart
        case UInt8(ascii: "$"): return .atEnd
        case UInt8(ascii: "("): return try group()
        case UInt8(ascii: "["): return .bytes(try byteClass())
        case UInt8(ascii: "\\"): return try escape()
        case UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "?"): throw Malformed()
        default: return .bytes(literal(byte))
        }
    }

    private mutating func group() throws(Malformed) -> Node? {
        var look: Bool?
        if take(UInt8(ascii: "?")) {
            switch next() {
            case UInt8(ascii: ":"): break
            case UInt8(ascii: "="): look = false
            case UInt8(ascii: "!"): look = true
            case UInt8(ascii: "i"):
                guard take(UInt8(ascii: ")")) else { throw Malformed() }
                ignoresCase = true
                return nil
            default: throw Malformed()
            }
        }
        // Inside each other they would take time with a power of the name's length.
        guard look == nil || !isLooking else { throw Malformed() }
        if look != nil { isLooking = true }
        let node = try alternatives()
        if look != nil { isLooking = false }
        guard take(UInt8(ascii: ")")) else { throw Malformed() }
        return look.map { .look(node, isNegative: $0) } ?? node
    }

    private mutating func quantified(_ atom: Node) throws(Malformed) -> Node {
        var result = atom
        while let byte = peek {
            switch byte {
            case UInt8(ascii: "*"): result = .repeated(result, minimum: 0, maximum: nil)
            case UInt8(ascii: "+"): result = .repeated(result, minimum: 1, maximum: nil)
            case UInt8(ascii: "?"): result = .repeated(result, minimum: 0, maximum: 1)
            case UInt8(ascii: "{"):
                let start = position
                position += 1
                guard let counts = counts() else {
                    // A brace that begins no repetition stands for itself.
                    position = start
                    return result
                }
                guard counts.minimum <= Self.maximumCount, counts.maximum ?? 0 <= Self.maximumCount,
                    counts.maximum.map({ $0 >= counts.minimum }) ?? true
                else { throw Malformed() }
                position -= 1
                result = .repeated(result, minimum: counts.minimum, maximum: counts.maximum)
            default: return result
            }
            position += 1
            // Lazy and possessive ones match the same names.
            if peek == UInt8(ascii: "?") || peek == UInt8(ascii: "+") { position += 1 }
        }
        return result
    }

    /// Behind the opening brace; moves behind the closing one.
    private mutating func counts() -> (minimum: Int, maximum: Int?)? {
        guard let minimum = number() else { return nil }
        var maximum: Int? = minimum
        if take(UInt8(ascii: ",")) { maximum = number() }
        return take(UInt8(ascii: "}")) ? (minimum, maximum) : nil
    }

    private mutating func number() -> Int? {
        var value: Int?
        while let byte = peek, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") {
            value = min((value ?? 0) * 10 + Int(byte - UInt8(ascii: "0")), 1_000_000)
            position += 1
        }
        return value
    }

    private mutating func byteClass() throws(Malformed) -> ByteSet {
        var set = ByteSet()
        let isNegative = take(UInt8(ascii: "^"))
        var isFirst = true
        while let byte = next() {
            if byte == UInt8(ascii: "]"), !isFirst {
                if ignoresCase { set = set.ignoringCase }
                return isNegative ? set.inverted : set
            }
            isFirst = false
            var first = byte
            if byte == UInt8(ascii: "\\") {
                guard let escaped = next() else { throw Malformed() }
                if let named = Self.named(escaped) {
                    set = set.union(named)
                    continue
                }
                first = Self.control(escaped) ?? escaped
            }
            guard peek == UInt8(ascii: "-"), position + 1 < pattern.count, pattern[position + 1] != UInt8(ascii: "]")
            else {
                set.insert(first...first)
                continue
            }
            position += 1
            guard var last = next() else { throw Malformed() }
            if last == UInt8(ascii: "\\") {
                guard let escaped = next(), Self.named(escaped) == nil else { throw Malformed() }
                last = Self.control(escaped) ?? escaped
            }
            guard first <= last else { throw Malformed() }
            set.insert(first...last)
        }
        throw Malformed()
    }

    private mutating func escape() throws(Malformed) -> Node {
        guard let byte = next() else { throw Malformed() }
        if let named = Self.named(byte) { return .bytes(named) }
        if let control = Self.control(byte) { return .bytes(ByteSet(control...control)) }
        switch byte {
        case UInt8(ascii: "A"): return .atStart
        case UInt8(ascii: "z"), UInt8(ascii: "Z"): return .atEnd
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"):
            // Back references, word boundaries and the like.
            throw Malformed()
        default: return .bytes(literal(byte))
        }
    }

    private static func named(_ byte: UInt8) -> ByteSet? {
        switch byte {
        case UInt8(ascii: "d"): .digits
        case UInt8(ascii: "D"): ByteSet.digits.inverted
        case UInt8(ascii: "w"): .wordCharacters
        case UInt8(ascii: "W"): ByteSet.wordCharacters.inverted
        case UInt8(ascii: "s"): .spaces
        case UInt8(ascii: "S"): ByteSet.spaces.inverted
        default: nil
        }
    }

    private static func control(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "t"): 9
        case UInt8(ascii: "n"): 10
        case UInt8(ascii: "r"): 13
        default: nil
        }
    }

    private func literal(_ byte: UInt8) -> ByteSet {
        let set = ByteSet(byte...byte)
        return ignoresCase ? set.ignoringCase : set
    }

    private var peek: UInt8? { position < pattern.count ? pattern[position] : nil }

    private mutating func next() -> UInt8? {
        guard position < pattern.count else { return nil }
        defer { position += 1 }
        return pattern[position]
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard peek == byte else { return false }
        position += 1
        return true
    }

    // MARK: Writing

    private func write(_ node: Node, _ program: inout [Step]) throws(Malformed) {
        guard program.count < NameExpression.maximumSteps else { throw Malformed() }
        switch node {
        case .bytes(let set): program.append(.bytes(set))
        case .atStart: program.append(.atStart)
        case .atEnd: program.append(.atEnd)
        case .sequence(let nodes): for node in nodes { try write(node, &program) }
        case .either(let branches): try write(branches, &program)
        case .repeated(let inner, let minimum, let maximum):
            for _ in 0..<minimum { try write(inner, &program) }
            guard let maximum else {
                let start = program.count
                program.append(.split(start + 1, 0))
                try write(inner, &program)
                program.append(.jump(start))
                program[start] = .split(start + 1, program.count)
                return
            }
            var splits: [Int] = []
            for _ in 0..<(maximum - minimum) {
                splits.append(program.count)
                program.append(.split(program.count + 1, 0))
                try write(inner, &program)
            }
            for split in splits { program[split] = .split(split + 1, program.count) }
        case .look(let inner, let isNegative):
            let start = program.count
            program.append(.look(isNegative: isNegative, end: 0))
            try write(inner, &program)
            program.append(.matched)
            program[start] = .look(isNegative: isNegative, end: program.count)
        }
    }

    private func write(_ branches: [Node], _ program: inout [Step]) throws(Malformed) {
        var jumps: [Int] = []
        for (index, branch) in branches.enumerated() {
            guard index < branches.count - 1 else {
                try write(branch, &program)
                break
            }
            let split = program.count
            program.append(.split(split + 1, 0))
            try write(branch, &program)
            jumps.append(program.count)
            program.append(.jump(0))
            program[split] = .split(split + 1, program.count)
        }
        for jump in jumps { program[jump] = .jump(program.count) }
    }
}
