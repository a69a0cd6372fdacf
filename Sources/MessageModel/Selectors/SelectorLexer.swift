/// Cuts the text of a selector into tokens, in place.
struct SelectorLexer {
    enum Keyword: String, CaseIterable {
        case and = "AND"
        case or = "OR"
        case not = "NOT"
        case between = "BETWEEN"
        case `in` = "IN"
        case like = "LIKE"
        case escape = "ESCAPE"
        case `is` = "IS"
        case null = "NULL"
        case `true` = "TRUE"
        case `false` = "FALSE"

        init?(_ word: UnsafeRawBufferPointer) {
            for keyword in Self.allCases
            where word.elementsEqual(keyword.rawValue.utf8, by: { Self.upperCase($0) == $1 }) {
                self = keyword
                return
            }
            return nil
        }

        private static func upperCase(_ byte: UInt8) -> UInt8 {
            byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z") ? byte - 0x20 : byte
        }
    }

    enum Token: Equatable {
        case end
        case keyword(Keyword)
        case name
        /// In double quotes.
        case quotedName
        case string
        case number
        case comparison(Selector.Comparison)
        case leftParenthesis
        case rightParenthesis
        case comma
    }

    let text: UnsafeRawBufferPointer
    /// The token and where it stands, quotes included.
    private(set) var token = Token.end
    private(set) var range = 0..<0
    private(set) var previous = 0..<0

    init(_ text: UnsafeRawBufferPointer) throws(SelectorError) {
        self.text = text
        try advance()
        previous = 0..<0
    }

    /// Goes to the next token.
    mutating func advance() throws(SelectorError) {
        previous = range
        var start = range.upperBound
        while start < text.count, Self.isSpace(text[start]) { start += 1 }
        guard start < text.count else {
            token = .end
            range = text.count..<text.count
            return
        }
        let first = text[start]
        let second = start + 1 < text.count ? text[start + 1] : 0
        switch (first, second) {
        case (UInt8(ascii: "("), _): accept(.leftParenthesis, start, 1)
        case (UInt8(ascii: ")"), _): accept(.rightParenthesis, start, 1)
        case (UInt8(ascii: ","), _): accept(.comma, start, 1)
        case (UInt8(ascii: "="), _): accept(.comparison(.equal), start, 1)
        case (UInt8(ascii: "<"), UInt8(ascii: ">")), (UInt8(ascii: "!"), UInt8(ascii: "=")):
            accept(.comparison(.notEqual), start, 2)
        case (UInt8(ascii: "<"), UInt8(ascii: "=")): accept(.comparison(.lessOrEqual), start, 2)
        case (UInt8(ascii: ">"), UInt8(ascii: "=")): accept(.comparison(.greaterOrEqual), start, 2)
        case (UInt8(ascii: "<"), _): accept(.comparison(.less), start, 1)
        case (UInt8(ascii: ">"), _): accept(.comparison(.greater), start, 1)
        case (UInt8(ascii: "'"), _): try quoted(.string, from: start, what: "text")
        case (UInt8(ascii: "\""), _): try quoted(.quotedName, from: start, what: "name")
        case (UInt8(ascii: "+"), _), (UInt8(ascii: "-"), _), (UInt8(ascii: "."), _): try number(from: start)
        default:
            if DecimalText.isDigit(first) {
                try number(from: start)
            } else if Self.isNameByte(first) {
                var end = start + 1
                while end < text.count, Self.isNameByte(text[end]) { end += 1 }
                let keyword = Keyword(text.slice(start..<end))
                accept(keyword.map { .keyword($0) } ?? .name, start, end - start)
            } else {
                let isControl = first < 0x20 || first == 0x7F
                let found = isControl ? "a control character" : "'\(Character(Unicode.Scalar(first)))'"
                throw SelectorError("a selector has no such character as stands", found: found, at: start, in: text)
            }
        }
    }

    private mutating func accept(_ token: Token, _ start: Int, _ count: Int) {
        self.token = token
        range = start..<start + count
    }

    private mutating func quoted(_ token: Token, from start: Int, what: String) throws(SelectorError) {
        let quote = text[start]
        var end = start + 1
        while end < text.count {
            if text[end] != quote {
                end += 1
            } else if end + 1 < text.count, text[end + 1] == quote {
                end += 2
            } else {
                accept(token, start, end + 1 - start)
                return
            }
        }
        let mark = Character(Unicode.Scalar(quote))
        throw SelectorError("no closing \(mark) for the \(what) that begins", at: start, in: text)
    }

    private mutating func number(from start: Int) throws(SelectorError) {
        var end = start + 1
        while end < text.count {
            let isSign = text[end] == UInt8(ascii: "-") || text[end] == UInt8(ascii: "+")
            // A sign stands at the beginning and behind the e of an exponent.
            guard Self.isNameByte(text[end]) || isSign && text[end - 1] | 0x20 == UInt8(ascii: "e") else { break }
            end += 1
        }
        range = start..<end
        guard DecimalText(text.slice(start..<end)) != nil else {
            throw SelectorError("expected a number", found: excerpt, at: start, in: text)
        }
        token = .number
    }

    static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte >= 0x09 && byte <= 0x0D }

    /// Letters, digits, `_`, `$`, `.`, and everything that is not ASCII.
    static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "$"), UInt8(ascii: "."), 0x80...:
            true
        default: false
        }
    }

    /// Whether a name can be written without quotes, as far as its letters go.
    static func isPlainName(_ name: UnsafeRawBufferPointer) -> Bool {
        guard let first = name.first, name.allSatisfy(isNameByte) else { return false }
        return !DecimalText.isDigit(first) && first != UInt8(ascii: ".") && Keyword(name) == nil
    }

    /// The token as an error names it.
    var excerpt: String { token == .end && range.isEmpty ? "end" : quote(range) }

    /// A part of the text in quotes, cut where it is long.
    func quote(_ range: Range<Int>) -> String {
        let words = String(decoding: text.slice(range), as: UTF8.self)
        let cut = words.prefix(32)
        let shown = "\(cut)\(cut.endIndex < words.endIndex ? "…" : "")"
        // What has quotes of its own is not put into more.
        return shown.hasPrefix("'") || shown.hasPrefix("\"") ? shown : "'\(shown)'"
    }

    /// A quoted token without its quotes.
    func unquoted(_ range: Range<Int>) -> [UInt8] {
        var bytes: [UInt8] = []
        let quote = text[range.lowerBound]
        var position = range.lowerBound + 1
        while position < range.upperBound - 1 {
            bytes.append(text[position])
            position += text[position] == quote ? 2 : 1
        }
        return bytes
    }
}
