/// What a validated string may contain besides being well-formed UTF-8 without U+0000 (MQTT 5.0 §1.5.4).
package enum TextContent: Sendable, Hashable {
    /// Names that reach logs, consoles and other protocols: no control characters and no non-characters, which
    /// the specification lets a receiver treat as malformed.
    case name
    /// Free text such as user properties and reason strings, where a line break is a legitimate character.
    case freeText
}

/// Validation of UTF-8 strings, eight ASCII bytes at a time.
package enum UTF8Text {
    /// Whether `text` is a string that MQTT allows: well-formed UTF-8, no surrogates, no U+0000, and for names no
    /// control or non-character.
    package static func isValid(_ text: UnsafeRawBufferPointer, _ content: TextContent) -> Bool {
        var index = 0
        let count = text.count
        while index < count {
            if let word = word(of: text, at: index), isPlainASCII(word) {
                index &+= 8
                continue
            }
            guard let length = scalarLength(text, at: index, content) else { return false }
            index &+= length
        }
        return true
    }

    static var ones: UInt64 { 0x0101_0101_0101_0101 }
    static var highBits: UInt64 { 0x8080_8080_8080_8080 }

    /// The eight bytes at `index`; at the end of a text of at least eight, what is left of it, filled up with a
    /// harmless letter. Nil when the text is too short to load from.
    @inline(__always)
    static func word(of text: UnsafeRawBufferPointer, at index: Int) -> UInt64? {
        let left = text.count &- index
        if left >= 8 { return UInt64(littleEndian: text.loadUnaligned(fromByteOffset: index, as: UInt64.self)) }
        guard text.count >= 8, left > 0 else { return nil }
        let last = UInt64(littleEndian: text.loadUnaligned(fromByteOffset: text.count &- 8, as: UInt64.self))
        let bits = UInt64(truncatingIfNeeded: left &* 8)
        return last &>> (64 &- bits) | (ones &* UInt64(UInt8(ascii: "a"))) &<< bits
    }

    /// Whether some byte of the word is zero.
    @inline(__always)
    static func hasZeroByte(_ word: UInt64) -> Bool {
        (word &- ones) & ~word & highBits != 0
    }

    /// Whether all eight bytes are in 0x20...0x7E. May not say yes wrongly; a no only costs the slow path.
    @inline(__always)
    static func isPlainASCII(_ word: UInt64) -> Bool {
        let belowSpace = (word &- ones &* 0x20) & ~word
        return (word | belowSpace) & highBits == 0 && !hasZeroByte(word ^ (ones &* 0x7F))
    }

    /// The number of bytes of the scalar at `index`, or nil when it is malformed or not allowed.
    static func scalarLength(_ text: UnsafeRawBufferPointer, at index: Int, _ content: TextContent) -> Int? {
        let first = text[index]
        if first < 0x80 {
            switch content {
            case .name: return first >= 0x20 && first != 0x7F ? 1 : nil
            case .freeText: return first != 0 ? 1 : nil
            }
        }
        let length: Int
        var scalar: UInt32
        switch first {
        case 0xC2...0xDF: (length, scalar) = (2, UInt32(first & 0x1F))
        case 0xE0...0xEF: (length, scalar) = (3, UInt32(first & 0x0F))
        case 0xF0...0xF4: (length, scalar) = (4, UInt32(first & 0x07))
        default: return nil
        }
        guard text.count &- index >= length else { return nil }
        for offset in 1..<length {
            let byte = text[index &+ offset]
            guard byte & 0xC0 == 0x80 else { return nil }
            scalar = scalar << 6 | UInt32(byte & 0x3F)
        }
        // Overlong forms, surrogates and values beyond Unicode are not UTF-8.
        switch length {
        case 3: guard scalar >= 0x800, !(0xD800...0xDFFF).contains(scalar) else { return nil }
        case 4: guard scalar >= 0x10000, scalar <= 0x10FFFF else { return nil }
        default: break
        }
        switch content {
        case .freeText: return length
        case .name:
            let isControl = scalar <= 0x9F
            let isNonCharacter = (0xFDD0...0xFDEF).contains(scalar) || scalar & 0xFFFE == 0xFFFE
            return isControl || isNonCharacter ? nil : length
        }
    }
}
