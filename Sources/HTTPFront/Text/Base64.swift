/// Base64 with padding (RFC 4648 §4).
enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func encode(_ bytes: UnsafeRawBufferPointer) -> String {
        let groups = (bytes.count + 2) / 3
        return String(unsafeUninitializedCapacity: groups * 4) { output in
            alphabet.withUnsafeBufferPointer { alphabet in
                var written = 0
                var position = 0
                while position < bytes.count {
                    let left = bytes.count - position
                    let first = bytes[position]
                    let second = left > 1 ? bytes[position + 1] : 0
                    let third = left > 2 ? bytes[position + 2] : 0
                    output[written] = alphabet[Int(first >> 2)]
                    output[written + 1] = alphabet[Int((first & 0x03) << 4 | second >> 4)]
                    output[written + 2] =
                        left > 1 ? alphabet[Int((second & 0x0F) << 2 | third >> 6)] : UInt8(ascii: "=")
                    output[written + 3] = left > 2 ? alphabet[Int(third & 0x3F)] : UInt8(ascii: "=")
                    written += 4
                    position += 3
                }
                return written
            }
        }
    }

    /// The bytes of a text; nil where it is not base64 with its padding.
    static func decode(_ text: [UInt8]) -> [UInt8]? {
        guard text.count % 4 == 0 else { return nil }
        var result: [UInt8] = []
        result.reserveCapacity(text.count / 4 * 3)
        var position = 0
        while position < text.count {
            let isLast = position + 4 == text.count
            let padding =
                isLast && text[position + 3] == UInt8(ascii: "=")
                ? (text[position + 2] == UInt8(ascii: "=") ? 2 : 1) : 0
            var group: UInt32 = 0
            for index in 0..<4 {
                var value: UInt8 = 0
                if index < 4 - padding {
                    guard let found = Self.value(of: text[position + index]) else { return nil }
                    value = found
                }
                group = group << 6 | UInt32(value)
            }
            result.append(UInt8(truncatingIfNeeded: group >> 16))
            if padding < 2 { result.append(UInt8(truncatingIfNeeded: group >> 8)) }
            if padding < 1 { result.append(UInt8(truncatingIfNeeded: group)) }
            position += 4
        }
        return result
    }

    private static func value(of byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): byte - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0") + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
