/// Why a JSON text was refused, and where.
struct JSONError: Error, Equatable {
    var message: String
    /// Position of the byte in question.
    var offset: Int
    /// Where in the document, as RFC 6901 writes it; empty for the whole.
    var pointer = ""
    /// Whether the text is JSON at all: what is refused is then a value, not the syntax.
    var isValue = false
}

/// Reads JSON (RFC 8259) from one end to the other, without building a tree: what a caller does not want is checked and
/// skipped, so that a hostile document costs no more memory than its own bytes.
struct JSONReader {
    enum Kind {
        case null, bool, number, string, array, object
    }

    /// Arrays and objects inside one another: each level is a level of the call stack.
    static let depthLimit = 64

    private let bytes: UnsafeRawBufferPointer
    private(set) var position = 0
    private var depth = 0
    private var path: [String] = []

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    // MARK: Errors

    func syntax(_ message: String) -> JSONError { JSONError(message: message, offset: position, pointer: pointer) }

    /// A value that cannot be used, at the place where the reader is.
    func invalid(_ message: String) -> JSONError {
        JSONError(message: message, offset: position, pointer: pointer, isValue: true)
    }

    /// The place of the value that is being read.
    var pointer: String {
        var result = ""
        for step in path {
            result += "/"
            for character in step.unicodeScalars {
                switch character {
                case "~": result += "~0"
                case "/": result += "~1"
                default: result.unicodeScalars.append(character)
                }
            }
        }
        return result
    }

    // MARK: Values

    /// What the next value is.
    mutating func peek() throws(JSONError) -> Kind {
        skipSpace()
        guard position < bytes.count else { throw syntax("the text ends where a value is expected") }
        switch bytes[position] {
        case UInt8(ascii: "{"): return .object
        case UInt8(ascii: "["): return .array
        case UInt8(ascii: "\""): return .string
        case UInt8(ascii: "t"), UInt8(ascii: "f"): return .bool
        case UInt8(ascii: "n"): return .null
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number
        default: throw syntax("a value is expected here")
        }
    }

    /// Reads an object: `member` is called for each name and must read or skip its value.
    mutating func readObject(
        _ what: String,
        _ member: (inout JSONReader, String) throws(JSONError) -> Void
    ) throws(JSONError) {
        guard try peek() == .object else { throw invalid("\(what) is an object") }
        try enter()
        skipSpace()
        if consume(UInt8(ascii: "}")) {
            depth -= 1
            return
        }
        while true {
            skipSpace()
            guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else {
                throw syntax("a member's name in quotes is expected here")
            }
            let name = try readString("a member's name")
            skipSpace()
            guard consume(UInt8(ascii: ":")) else { throw syntax("':' is expected here") }
            path.append(name)
            skipSpace()
            try member(&self, name)
            path.removeLast()
            skipSpace()
            if consume(UInt8(ascii: "}")) { break }
            guard consume(UInt8(ascii: ",")) else { throw syntax("',' or '}' is expected here") }
        }
        depth -= 1
    }

    /// Reads an array: `element` is called for each and must read or skip it.
    mutating func readArray(
        _ what: String,
        _ element: (inout JSONReader, Int) throws(JSONError) -> Void
    ) throws(JSONError) {
        guard try peek() == .array else { throw invalid("\(what) is an array") }
        try enter()
        skipSpace()
        if consume(UInt8(ascii: "]")) {
            depth -= 1
            return
        }
        var index = 0
        while true {
            path.append(String(index))
            skipSpace()
            try element(&self, index)
            path.removeLast()
            index += 1
            skipSpace()
            if consume(UInt8(ascii: "]")) { break }
            guard consume(UInt8(ascii: ",")) else { throw syntax("',' or ']' is expected here") }
        }
        depth -= 1
    }

    mutating func readString(_ what: String) throws(JSONError) -> String {
        guard try peek() == .string else { throw invalid("\(what) is a string") }
        return try String(decoding: stringBytes(), as: UTF8.self)
    }

    /// A whole number without sign, as an index or an amount is.
    mutating func readUnsigned(_ what: String) throws(JSONError) -> UInt64 {
        guard try peek() == .number else { throw invalid("\(what) is a whole number") }
        let start = position
        let range = try skip()
        let text = String(decoding: bytes[range], as: UTF8.self)
        guard let value = UInt64(text) else {
            position = start
            throw invalid("\(what) is a whole number")
        }
        return value
    }

    /// Checks a value of any kind and moves past it.
    /// - Returns: where it stands in the text.
    mutating func skip() throws(JSONError) -> Range<Int> {
        let kind = try peek()
        let start = position
        switch kind {
        case .null: try literal("null")
        case .bool: try literal(bytes[position] == UInt8(ascii: "t") ? "true" : "false")
        case .number: try number()
        case .string: try skipString()
        case .array:
            // The names of a value that nobody reads are not kept.
            try enter()
            skipSpace()
            if !consume(UInt8(ascii: "]")) {
                while true {
                    _ = try skip()
                    skipSpace()
                    if consume(UInt8(ascii: "]")) { break }
                    guard consume(UInt8(ascii: ",")) else { throw syntax("',' or ']' is expected here") }
                }
            }
            depth -= 1
        case .object:
            try enter()
            skipSpace()
            if !consume(UInt8(ascii: "}")) {
                while true {
                    skipSpace()
                    guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else {
                        throw syntax("a member's name in quotes is expected here")
                    }
                    try skipString()
                    skipSpace()
                    guard consume(UInt8(ascii: ":")) else { throw syntax("':' is expected here") }
                    _ = try skip()
                    skipSpace()
                    if consume(UInt8(ascii: "}")) { break }
                    guard consume(UInt8(ascii: ",")) else { throw syntax("',' or '}' is expected here") }
                }
            }
            depth -= 1
        }
        return start..<position
    }

    /// Checks that nothing but space is left.
    mutating func end() throws(JSONError) {
        skipSpace()
        guard position == bytes.count else { throw syntax("nothing is expected behind the value") }
    }

    /// Whether `bytes` are one JSON value.
    static func isValid(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var reader = JSONReader(bytes)
        do throws(JSONError) {
            _ = try reader.skip()
            try reader.end()
            return true
        } catch {
            return false
        }
    }

    // MARK: Tokens

    private mutating func enter() throws(JSONError) {
        guard depth < Self.depthLimit else { throw syntax("more than \(Self.depthLimit) levels inside one another") }
        depth += 1
        position += 1
    }

    private mutating func consume(_ byte: UInt8) -> Bool {
        guard position < bytes.count, bytes[position] == byte else { return false }
        position += 1
        return true
    }

    private mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x09, 0x0A, 0x0D: position += 1
            default: return
            }
        }
    }

    private mutating func literal(_ text: StaticString) throws(JSONError) {
        let count = text.utf8CodeUnitCount
        let expected = UnsafeRawBufferPointer(start: text.utf8Start, count: count)
        guard bytes.count - position >= count,
            UnsafeRawBufferPointer(rebasing: bytes[position..<position + count]).elementsEqual(expected)
        else { throw syntax("a value is expected here") }
        position += count
    }

    private mutating func number() throws(JSONError) {
        _ = consume(UInt8(ascii: "-"))
        if !consume(UInt8(ascii: "0")) { try digits() }
        if consume(UInt8(ascii: ".")) { try digits() }
        if consume(UInt8(ascii: "e")) || consume(UInt8(ascii: "E")) {
            if !consume(UInt8(ascii: "+")) { _ = consume(UInt8(ascii: "-")) }
            try digits()
        }
    }

    private mutating func digits() throws(JSONError) {
        let start = position
        while position < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[position]) {
            position += 1
        }
        guard position > start else { throw syntax("a digit is expected here") }
    }

    private mutating func skipString() throws(JSONError) {
        try scanString { _ in }
    }

    /// The bytes that a string stands for: UTF-8.
    mutating func stringBytes() throws(JSONError) -> [UInt8] {
        var result: [UInt8] = []
        try scanString { result.append(contentsOf: $0) }
        return result
    }

    /// Reads a string and hands over its pieces.
    private mutating func scanString(_ piece: (UnsafeRawBufferPointer) -> Void) throws(JSONError) {
        let opening = position
        position += 1
        var start = position
        var isASCII = true
        let begin = position
        while true {
            guard position < bytes.count else {
                position = opening
                throw syntax("the string that begins here does not end")
            }
            let byte = bytes[position]
            switch byte {
            case UInt8(ascii: "\""):
                piece(UnsafeRawBufferPointer(rebasing: bytes[start..<position]))
                if !isASCII, String(validating: bytes[begin..<position], as: UTF8.self) == nil {
                    position = opening
                    throw syntax("the string that begins here is not UTF-8")
                }
                position += 1
                return
            case UInt8(ascii: "\\"):
                piece(UnsafeRawBufferPointer(rebasing: bytes[start..<position]))
                try escape(piece)
                start = position
            case 0..<0x20:
                throw syntax("a control character in a string is written with an escape")
            default:
                if byte >= 0x80 { isASCII = false }
                position += 1
            }
        }
    }

    private mutating func escape(_ piece: (UnsafeRawBufferPointer) -> Void) throws(JSONError) {
        guard position + 1 < bytes.count else { throw syntax("the text ends in a string") }
        let scalar: Unicode.Scalar
        switch bytes[position + 1] {
        case UInt8(ascii: "\""): scalar = "\""
        case UInt8(ascii: "\\"): scalar = "\\"
        case UInt8(ascii: "/"): scalar = "/"
        case UInt8(ascii: "b"): scalar = "\u{8}"
        case UInt8(ascii: "f"): scalar = "\u{C}"
        case UInt8(ascii: "n"): scalar = "\n"
        case UInt8(ascii: "r"): scalar = "\r"
        case UInt8(ascii: "t"): scalar = "\t"
        case UInt8(ascii: "u"):
            var value = try UInt32(hexadecimal(at: position + 2))
            position += 4
            if (0xD800..<0xDC00).contains(value) {
                // The first half of a pair: the second follows.
                guard position + 3 < bytes.count, bytes[position + 2] == UInt8(ascii: "\\"),
                    bytes[position + 3] == UInt8(ascii: "u")
                else { throw syntax("half of a surrogate pair") }
                let low = try UInt32(hexadecimal(at: position + 4))
                guard (0xDC00..<0xE000).contains(low) else { throw syntax("half of a surrogate pair") }
                value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00)
                position += 6
            }
            guard let found = Unicode.Scalar(value) else { throw syntax("half of a surrogate pair") }
            scalar = found
        default: throw syntax("an escape is one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX")
        }
        position += 2
        let encoded = Array(String(Character(scalar)).utf8)
        encoded.withUnsafeBytes { piece($0) }
    }

    private func hexadecimal(at start: Int) throws(JSONError) -> UInt16 {
        guard start + 4 <= bytes.count else { throw syntax("the text ends in an escape") }
        var value: UInt16 = 0
        for byte in bytes[start..<start + 4] {
            guard let digit = Hexadecimal.value(of: byte) else { throw syntax("\\u has four hexadecimal digits") }
            value = value << 4 | UInt16(digit)
        }
        return value
    }
}
