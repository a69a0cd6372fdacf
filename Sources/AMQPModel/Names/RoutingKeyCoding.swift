/// Routing keys as parts of names.
///
/// `.` and `/` change places. What a name may not hold (`#`, `+`, NUL, bytes that are not UTF-8) becomes `%` and two
/// digits; so does a `%` that stands before two digits, so that no two keys become one name. Keys as most are, UTF-8
/// without these, are only swapped.
package enum RoutingKeyCoding {
    /// The part of a name behind the exchange's that a routing key, or a literal word of a binding key, stands for.
    package static func encode(_ key: UnsafeRawBufferPointer, into name: inout [UInt8]) {
        encode(key, swapsSeparators: true, escapesWildcards: true, into: &name)
    }

    /// The same without the swap, as storage takes the keys of bindings.
    static func escape(_ key: UnsafeRawBufferPointer, escapesWildcards: Bool = true, into name: inout [UInt8]) {
        encode(key, swapsSeparators: false, escapesWildcards: escapesWildcards, into: &name)
    }

    static func escape(_ byte: UInt8) -> [UInt8] {
        [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
    }

    private static func encode(
        _ key: UnsafeRawBufferPointer,
        swapsSeparators: Bool,
        escapesWildcards: Bool,
        into name: inout [UInt8]
    ) {
        name.reserveCapacity(name.count + key.count)
        var position = 0
        while position < key.count {
            let byte = key[position]
            switch byte {
            case UInt8(ascii: ".") where swapsSeparators: name.append(UInt8(ascii: "/"))
            case UInt8(ascii: "/") where swapsSeparators: name.append(UInt8(ascii: "."))
            case 0: append(byte, to: &name)
            case UInt8(ascii: "#") where escapesWildcards, UInt8(ascii: "+") where escapesWildcards:
                append(byte, to: &name)
            case UInt8(ascii: "%") where isEscape(key, at: position): append(byte, to: &name)
            case 0x80...:
                let length = sequenceLength(key, at: position)
                guard length > 0 else {
                    append(byte, to: &name)
                    break
                }
                name.append(contentsOf: key[position..<position + length])
                position += length
                continue
            default: name.append(byte)
            }
            position += 1
        }
    }

    /// The routing key that a part of a name stands for.
    package static func decode(_ part: UnsafeRawBufferPointer, into key: inout [UInt8]) {
        key.reserveCapacity(key.count + part.count)
        var position = 0
        while position < part.count {
            let byte = part[position]
            switch byte {
            case UInt8(ascii: "."): key.append(UInt8(ascii: "/"))
            case UInt8(ascii: "/"): key.append(UInt8(ascii: "."))
            case UInt8(ascii: "%") where isEscape(part, at: position):
                key.append((digit(part[position + 1]) ?? 0) << 4 | (digit(part[position + 2]) ?? 0))
                position += 2
            default: key.append(byte)
            }
            position += 1
        }
    }

    private static let digits = Array("0123456789ABCDEF".utf8)

    private static func append(_ byte: UInt8, to name: inout [UInt8]) {
        name.append(UInt8(ascii: "%"))
        name.append(digits[Int(byte >> 4)])
        name.append(digits[Int(byte & 15)])
    }

    private static func isEscape(_ bytes: UnsafeRawBufferPointer, at position: Int) -> Bool {
        position + 2 < bytes.count && digit(bytes[position + 1]) != nil && digit(bytes[position + 2]) != nil
    }

    /// Of the digits that are written here; others make no escape.
    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// The bytes of the character that begins here; zero where there is none.
    private static func sequenceLength(_ bytes: UnsafeRawBufferPointer, at position: Int) -> Int {
        let length =
            switch bytes[position] {
            case 0xC2...0xDF: 2
            case 0xE0...0xEF: 3
            case 0xF0...0xF4: 4
            default: 0
            }
        guard length > 0, position + length <= bytes.count,
            String(validating: bytes[position..<position + length], as: UTF8.self) != nil
        else { return 0 }
        return length
    }
}

// Keys of `amq.topic` are whole names, which may not be empty, and where a `$` at the beginning is the server's own.
extension RoutingKeyCoding {
    /// The name of the empty key: no other key is coded so, since a space needs no escape.
    static let emptyName = Array("%20".utf8)

    /// A coded key of `amq.topic`, or the beginning of a pattern for one.
    static func asWholeName(_ coded: [UInt8]) -> [UInt8] {
        if coded.isEmpty { return emptyName }
        guard coded[0] == UInt8(ascii: "$") else { return coded }
        return escape(coded[0]) + coded.dropFirst()
    }
}

extension RoutingKeyCoding {
    /// The name that a key of `amq.topic` is.
    static func encodeWholeName(_ key: UnsafeRawBufferPointer, into name: inout [UInt8]) {
        guard let first = key.first else {
            name.append(contentsOf: emptyName)
            return
        }
        if first == UInt8(ascii: "$") {
            name.append(contentsOf: escape(first))
            encode(UnsafeRawBufferPointer(rebasing: key.dropFirst()), into: &name)
        } else {
            encode(key, into: &name)
        }
    }

    /// The key of `amq.topic` that a whole name is.
    static func decodeWholeName(_ name: UnsafeRawBufferPointer, into key: inout [UInt8]) {
        guard !name.elementsEqual(emptyName) else { return }
        decode(name, into: &key)
    }
}
