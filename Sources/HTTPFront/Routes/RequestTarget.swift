internal import MessageModel

/// The path and the query of a request.
///
/// A path is split at its `/` before the escapes are decoded, so that `%2F` stands for a `/` inside one segment, as
/// topics' names may have.
struct RequestTarget {
    private(set) var segments: [String] = []
    private var query: [(name: String, value: String)] = []

    /// - Throws: `Problem` where an escape is malformed or stands for what is not UTF-8, or a parameter comes twice.
    init(_ target: String) throws(Problem) {
        let (path, rest) = Self.cut(target[...], at: "?")
        for segment in path.split(separator: "/", omittingEmptySubsequences: false).dropFirst() {
            segments.append(try Self.decode(segment, plusIsSpace: false))
        }
        // A `/` at the end changes nothing.
        if segments.count > 1, segments.last == "" { segments.removeLast() }
        guard let rest else { return }
        for parameter in Self.cut(rest, at: "#").0.split(separator: "&") {
            let (name, value) = Self.cut(parameter, at: "=")
            let decoded = try Self.decode(name, plusIsSpace: true)
            guard !query.contains(where: { $0.name == decoded }) else {
                throw Problem(.invalidArgument, "the parameter '\(decoded)' is there twice")
            }
            // A plus sign is a wildcard in filters and part of times; it is not read as a space.
            query.append((decoded, try Self.decode(value ?? "", plusIsSpace: false)))
        }
    }

    /// Checks that there are no parameters besides these.
    func allow(_ names: String...) throws(Problem) {
        for (name, _) in query where !names.contains(name) {
            let known = names.isEmpty ? "this request has none" : "known are: " + names.joined(separator: ", ")
            throw Problem(.invalidArgument, "the parameter '\(name)' is not known", hint: known)
        }
    }

    subscript(_ name: String) -> String? { query.first { $0.name == name }?.value }

    /// A whole number in a range; nil where the parameter is not there.
    func number(_ name: String, in range: ClosedRange<Int>) throws(Problem) -> Int? {
        guard let text = self[name] else { return nil }
        guard let value = Int(text), range.contains(value) else {
            throw Problem(
                .invalidArgument,
                "'\(name)' is a whole number from \(range.lowerBound) to \(range.upperBound)"
            )
        }
        return value
    }

    private static func cut(_ text: Substring, at separator: Character) -> (Substring, Substring?) {
        guard let place = text.utf8.firstIndex(of: separator.asciiValue ?? 0) else { return (text, nil) }
        return (text[..<place], text[text.utf8.index(after: place)...])
    }

    private static func decode(_ text: Substring, plusIsSpace: Bool) throws(Problem) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count)
        var source = text.utf8.makeIterator()
        while let byte = source.next() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = source.next().flatMap(Hexadecimal.value),
                    let low = source.next().flatMap(Hexadecimal.value)
                else { throw Problem(.malformed, "'%' in the address is followed by two hexadecimal digits") }
                bytes.append(high << 4 | low)
            case UInt8(ascii: "+") where plusIsSpace: bytes.append(0x20)
            default: bytes.append(byte)
            }
        }
        guard let decoded = String(validating: bytes, as: UTF8.self) else {
            throw Problem(.malformed, "the address is not UTF-8 text")
        }
        return decoded
    }

    /// A text as one segment of a path, or as the value of a parameter.
    static func encode(_ text: String) -> String {
        var result: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                result.append(byte)
            default:
                result += [UInt8(ascii: "%"), Hexadecimal.digit(byte >> 4), Hexadecimal.digit(byte & 0xF)]
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
