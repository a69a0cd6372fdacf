/// Reads a selector by recursive descent:
///
/// ```
/// or        = and { OR and }
/// and       = not { AND not }
/// not       = NOT not | "(" or ")" | predicate
/// predicate = value [ comparison value | [NOT] BETWEEN value AND value ]
///           | name ( [NOT] IN "(" literal { "," literal } ")" | [NOT] LIKE string [ ESCAPE string ] | IS [NOT] NULL )
/// value     = name | string | number | TRUE | FALSE
/// ```
struct SelectorParser {
    private var lexer: SelectorLexer
    private var selector = Selector()

    init(_ text: UnsafeRawBufferPointer) throws(SelectorError) { lexer = try SelectorLexer(text) }

    mutating func parse() throws(SelectorError) -> Selector {
        _ = try or(depth: 0)
        guard lexer.token == .end else { throw expected("AND, OR or the end") }
        return selector
    }

    // MARK: Connections

    private mutating func or(depth: Int) throws(SelectorError) -> UInt16 {
        var parts = [try and(depth: depth)]
        while try take(.keyword(.or)) { parts.append(try and(depth: depth)) }
        return try fold(parts) { .or($0, $1) }
    }

    private mutating func and(depth: Int) throws(SelectorError) -> UInt16 {
        var parts = [try not(depth: depth)]
        while try take(.keyword(.and)) { parts.append(try not(depth: depth)) }
        return try fold(parts) { .and($0, $1) }
    }

    private mutating func fold(
        _ parts: [UInt16],
        _ node: (UInt16, UInt16) -> Selector.Node
    ) throws(SelectorError) -> UInt16 {
        var rest = parts[parts.count - 1]
        for part in parts.dropLast().reversed() { rest = try add(node(part, rest)) }
        return rest
    }

    private mutating func not(depth: Int) throws(SelectorError) -> UInt16 {
        guard depth <= Selector.maxDepth else {
            throw problem("parentheses and NOT may be \(Selector.maxDepth) deep: too deep")
        }
        if try take(.keyword(.not)) { return try add(.not(try not(depth: depth + 1))) }
        if try take(.leftParenthesis) {
            let inner = try or(depth: depth + 1)
            guard try take(.rightParenthesis) else { throw expected("AND, OR or ')'") }
            return inner
        }
        return try predicate()
    }

    // MARK: Predicates

    private mutating func predicate() throws(SelectorError) -> UInt16 {
        let place = lexer.range
        let left = try value("a condition")
        switch lexer.token {
        case .comparison(let comparison):
            try lexer.advance()
            let rightPlace = lexer.range
            let right = try value("a value")
            try check(comparison, left, right, at: rightPlace)
            return try add(.compare(comparison, left, right))
        case .keyword(.is):
            let name = try index(ofName: left, place, before: "IS")
            try lexer.advance()
            let isNegated = try take(.keyword(.not))
            guard try take(.keyword(.null)) else { throw expected(isNegated ? "NULL" : "NULL or NOT NULL") }
            return try add(.isNull(name: name), isNegated: isNegated)
        case .keyword(.not):
            try lexer.advance()
            return try range(left, place, isNegated: true)
        case .keyword(.between), .keyword(.in), .keyword(.like):
            return try range(left, place, isNegated: false)
        case .keyword, .end, .name, .quotedName, .string, .number, .leftParenthesis, .rightParenthesis, .comma:
            break
        }
        switch left {
        case .boolean(let constant): return try add(.constant(constant))
        case .name where kind(left) == .property || kind(left) == .boolean:
            return try add(.compare(.equal, left, .boolean(true)))
        case .name, .text, .number: throw expected("a comparison")
        }
    }

    private mutating func range(
        _ left: Selector.Operand,
        _ place: Range<Int>,
        isNegated: Bool
    ) throws(SelectorError) -> UInt16 {
        switch lexer.token {
        case .keyword(.between):
            try lexer.advance()
            let lowPlace = lexer.range
            let low = try value("a value")
            try check(.greaterOrEqual, left, low, at: lowPlace)
            guard try take(.keyword(.and)) else { throw expected("AND and the upper bound") }
            let highPlace = lexer.range
            let high = try value("a value")
            try check(.lessOrEqual, left, high, at: highPlace)
            try check(.lessOrEqual, low, high, at: highPlace)
            if areReversed(low, high) {
                throw problem("the lower bound stands first", at: highPlace, found: lexer.quote(highPlace))
            }
            return try add(.between(left, low, high), isNegated: isNegated)
        case .keyword(.in):
            let name = try index(ofName: left, place, before: "IN")
            try lexer.advance()
            let (first, count) = try list(for: left)
            return try add(.isIn(name: name, first: first, count: count), isNegated: isNegated)
        case .keyword(.like):
            let name = try index(ofName: left, place, before: "LIKE")
            if kind(left) != .property && kind(left) != .text {
                throw problem("LIKE compares text, which \(lexer.quote(place)) is not", at: place)
            }
            try lexer.advance()
            return try add(.like(name: name, try pattern()), isNegated: isNegated)
        default: throw expected("BETWEEN, IN or LIKE")
        }
    }

    private mutating func list(for left: Selector.Operand) throws(SelectorError) -> (first: UInt16, count: UInt16) {
        guard try take(.leftParenthesis) else { throw expected("'('") }
        var literals: [Selector.Operand] = []
        repeat {
            let place = lexer.range
            let literal = try value("a value")
            if case .name = literal { throw problem("in a list, expected text, a number, TRUE or FALSE", at: place) }
            try check(.equal, left, literal, at: place)
            literals.append(literal)
        } while try take(.comma)
        guard try take(.rightParenthesis) else { throw expected("',' or ')'") }
        let first = selector.elements.count
        selector.elements += literals
        return (UInt16(first), UInt16(literals.count))
    }

    private mutating func pattern() throws(SelectorError) -> Selector.Slice {
        guard lexer.token == .string else { throw expected("a pattern in quotes") }
        let place = lexer.range
        let text = lexer.unquoted(place)
        try lexer.advance()
        var escape: [UInt8] = []
        if try take(.keyword(.escape)) {
            guard lexer.token == .string else { throw expected("one character in quotes") }
            escape = lexer.unquoted(lexer.range)
            guard String(decoding: escape, as: UTF8.self).unicodeScalars.count == 1 else {
                throw problem("the escape is one character", at: lexer.range)
            }
            try lexer.advance()
        }
        do throws(LikePattern.Problem) {
            return keep(try LikePattern.compile(text[...], escape: escape[...]))
        } catch {
            throw problem("in a pattern, the escape character stands before %, _ or itself", at: place)
        }
    }

    // MARK: Values

    private mutating func value(_ what: String) throws(SelectorError) -> Selector.Operand {
        let operand: Selector.Operand
        switch lexer.token {
        case .name:
            let bytes = lexer.text.slice(lexer.range)
            operand = try intern(SelectorField(named: bytes).map { .field($0) }, Array(bytes))
        case .quotedName:
            let bytes = lexer.unquoted(lexer.range)
            guard !bytes.isEmpty else { throw problem("a name has at least one character", at: lexer.range) }
            operand = try intern(nil, bytes)
        case .string: operand = .text(keep(lexer.unquoted(lexer.range)))
        case .number: operand = .number(keep(Array(lexer.text.slice(lexer.range))))
        case .keyword(.true): operand = .boolean(true)
        case .keyword(.false): operand = .boolean(false)
        case .keyword(.null): throw problem("nothing is equal to NULL; write IS NULL or IS NOT NULL,", at: lexer.range)
        case .keyword, .end, .comparison, .leftParenthesis, .rightParenthesis, .comma: throw expected(what)
        }
        try lexer.advance()
        return operand
    }

    /// The index of a name, which is new or was there before.
    private mutating func intern(_ field: Selector.Name?, _ bytes: [UInt8]) throws(SelectorError) -> Selector.Operand {
        for (index, known) in selector.names.enumerated() {
            switch known {
            case .field: if field == known { return .name(UInt8(index)) }
            case .property(let slice):
                if field == nil, selector.pool[slice.range].elementsEqual(bytes) { return .name(UInt8(index)) }
            }
        }
        guard selector.names.count < Selector.maxNames else {
            throw problem("a selector has at most \(Selector.maxNames) different names: one more", at: lexer.range)
        }
        selector.names.append(field ?? .property(keep(bytes)))
        return .name(UInt8(selector.names.count - 1))
    }

    private func index(
        ofName operand: Selector.Operand,
        _ place: Range<Int>,
        before keyword: String
    ) throws(SelectorError) -> UInt8 {
        if case .name(let index) = operand { return index }
        throw problem("expected a name before \(keyword)", at: place, found: lexer.quote(place))
    }

    // MARK: Checks

    private enum Kind {
        /// A user property: becomes what it is compared with.
        case property
        /// A field that is text: compares with numbers too.
        case text
        case string
        case number
        case boolean
    }

    private func kind(_ operand: Selector.Operand) -> Kind {
        switch operand {
        case .text: return .string
        case .number: return .number
        case .boolean: return .boolean
        case .name(let index):
            guard case .field(let field) = selector.names[Int(index)] else { return .property }
            switch field.kind {
            case .text: return .text
            case .number: return .number
            case .boolean: return .boolean
            }
        }
    }

    /// Refuses what could never be true.
    private func check(
        _ comparison: Selector.Comparison,
        _ left: Selector.Operand,
        _ right: Selector.Operand,
        at place: Range<Int>
    ) throws(SelectorError) {
        let kinds = (kind(left), kind(right))
        if kinds.0 == .boolean || kinds.1 == .boolean, comparison != .equal, comparison != .notEqual {
            throw problem("TRUE and FALSE have no order; compare with = or <>", at: place, found: lexer.quote(place))
        }
        switch kinds {
        case (.property, _), (_, .property), (.text, .text), (.text, .string), (.string, .text), (.string, .string),
            (.text, .number), (.number, .text), (.number, .number), (.boolean, .boolean):
            break
        case (.number, _): throw problem("expected a number", at: place, found: lexer.quote(place))
        case (.boolean, _): throw problem("expected TRUE or FALSE", at: place, found: lexer.quote(place))
        case (.text, _), (.string, _): throw problem("expected text in quotes", at: place, found: lexer.quote(place))
        }
    }

    /// Whether these are bounds between which nothing is.
    private func areReversed(_ low: Selector.Operand, _ high: Selector.Operand) -> Bool {
        guard case .number(let low) = low, case .number(let high) = high else { return false }
        return selector.pool.withUnsafeBytes { pool in
            guard let low = DecimalText(pool.slice(low.range)), let high = DecimalText(pool.slice(high.range)) else {
                return false
            }
            return low.compare(to: high) > 0
        }
    }

    // MARK: Parts

    private mutating func take(_ token: SelectorLexer.Token) throws(SelectorError) -> Bool {
        guard lexer.token == token else { return false }
        try lexer.advance()
        return true
    }

    private mutating func keep(_ bytes: [UInt8]) -> Selector.Slice {
        // The pool never has more bytes than the text.
        let slice = Selector.Slice(start: UInt16(selector.pool.count), count: UInt16(bytes.count))
        selector.pool += bytes
        return slice
    }

    private mutating func add(_ node: Selector.Node, isNegated: Bool = false) throws(SelectorError) -> UInt16 {
        guard selector.nodes.count < Selector.maxNodes else {
            throw problem("a selector has at most \(Selector.maxNodes) conditions: too many")
        }
        selector.nodes.append(node)
        let index = UInt16(selector.nodes.count - 1)
        return isNegated ? try add(.not(index)) : index
    }

    /// That something else should stand where the lexer is.
    private func expected(_ what: String) -> SelectorError {
        let behind = lexer.previous.isEmpty ? "" : " after \(lexer.quote(lexer.previous))"
        return problem("expected \(what)\(behind)", at: lexer.range, found: lexer.excerpt)
    }

    private func problem(_ text: String, at place: Range<Int>? = nil, found: String? = nil) -> SelectorError {
        SelectorError(text, found: found, at: (place ?? lexer.range).lowerBound, in: lexer.text)
    }
}
