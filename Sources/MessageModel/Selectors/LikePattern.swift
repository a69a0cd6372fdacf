/// The patterns of LIKE: bytes of UTF-8, with two bytes that UTF-8 never has for the two wildcards.
enum LikePattern {
    /// `%`: any characters, also none.
    static let anything: UInt8 = 0xFF
    /// `_`: one character.
    static let oneCharacter: UInt8 = 0xFE

    enum Problem: Error {
        /// The escape character stands before a character that has no special meaning, or at the end.
        case escape
    }

    /// Translates a pattern as it was written, without its quotes.
    /// - Parameter escape: the bytes of the escape character; empty for none.
    static func compile(_ text: ArraySlice<UInt8>, escape: ArraySlice<UInt8>) throws(Problem) -> [UInt8] {
        var pattern: [UInt8] = []
        var rest = text
        while let byte = rest.first {
            if !escape.isEmpty, rest.starts(with: escape) {
                rest = rest.dropFirst(escape.count)
                if rest.starts(with: escape) {
                    pattern += escape
                    rest = rest.dropFirst(escape.count)
                } else if let next = rest.first, next == UInt8(ascii: "%") || next == UInt8(ascii: "_") {
                    pattern.append(next)
                    rest = rest.dropFirst()
                } else {
                    throw .escape
                }
                continue
            }
            rest = rest.dropFirst()
            switch byte {
            case UInt8(ascii: "%"):
                // Several of them mean the same as one.
                if pattern.last != anything { pattern.append(anything) }
            case UInt8(ascii: "_"): pattern.append(oneCharacter)
            default: pattern.append(byte)
            }
        }
        return pattern
    }

    /// Whether the whole of `text` is as `pattern` says.
    /// - Parameter steps: reduced by the work that it took; where it runs out, the answer is nil.
    static func matches(
        _ pattern: UnsafeRawBufferPointer,
        _ text: UnsafeRawBufferPointer,
        steps: inout Int
    ) -> Bool? {
        var patternAt = 0
        var textAt = 0
        // Behind the last %, and where in the text what follows it was tried last: on a mismatch it is tried one
        // character further on. Going back to an earlier % could not find more.
        var retryPattern: Int?
        var retryText = 0
        while textAt < text.count {
            steps -= 1
            guard steps >= 0 else { return nil }
            if patternAt < pattern.count {
                let symbol = pattern[patternAt]
                if symbol == anything {
                    patternAt += 1
                    retryPattern = patternAt
                    retryText = textAt
                    continue
                }
                if symbol == oneCharacter {
                    patternAt += 1
                    textAt = characterEnd(text, textAt)
                    continue
                }
                if symbol == text[textAt] {
                    patternAt += 1
                    textAt += 1
                    continue
                }
            }
            guard let retry = retryPattern else { return false }
            retryText = characterEnd(text, retryText)
            patternAt = retry
            textAt = retryText
        }
        while patternAt < pattern.count, pattern[patternAt] == anything { patternAt += 1 }
        return patternAt == pattern.count
    }

    /// Behind the character at `start`: its first byte and those that continue it, at most three. Bytes that are not
    /// UTF-8 are characters of their own.
    private static func characterEnd(_ text: UnsafeRawBufferPointer, _ start: Int) -> Int {
        var end = start + 1
        guard text[start] >= 0xC0 else { return end }
        while end < text.count, end < start + 4, text[end] & 0xC0 == 0x80 { end += 1 }
        return end
    }

    /// The pattern as it is written in a selector, with quotes and ESCAPE where it needs one.
    static func write(_ pattern: UnsafeRawBufferPointer, to text: inout [UInt8]) {
        let escape = UInt8(ascii: "\\")
        let needsEscape = pattern.contains { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "_") }
        text.append(UInt8(ascii: "'"))
        for byte in pattern {
            switch byte {
            case anything: text.append(UInt8(ascii: "%"))
            case oneCharacter: text.append(UInt8(ascii: "_"))
            case UInt8(ascii: "%"), UInt8(ascii: "_"): text += [escape, byte]
            case escape where needsEscape: text += [escape, escape]
            case UInt8(ascii: "'"): text += [byte, byte]
            default: text.append(byte)
            }
        }
        text.append(UInt8(ascii: "'"))
        if needsEscape { text += Array(" ESCAPE '\\'".utf8) }
    }
}
