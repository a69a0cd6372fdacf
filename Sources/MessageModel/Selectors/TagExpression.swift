/// Which tags are wanted: `a || b || c`, or `*` for every message, also one without a tag.
///
/// Tags are compared by bytes, upper and lower case apart. White space around a tag does not count, and a tag has no `|`.
package struct TagExpression: Equatable, Sendable, CustomStringConvertible {
    /// Longest text.
    package static let maxBytes = 4_096
    /// Every one of them is compared with every message's tag.
    package static let maxTags = 256

    /// The tags one behind the other, and where each ends; no tag at all stands for all of them.
    private var bytes: [UInt8] = []
    private var ends: [UInt16] = []

    package static let all = TagExpression()

    private init() {}

    package init(_ text: String) throws(SelectorError) {
        var text = text
        let result: Result<TagExpression, SelectorError> = text.withUTF8 { bytes in
            do throws(SelectorError) {
                return .success(try TagExpression(utf8: UnsafeRawBufferPointer(bytes)))
            } catch {
                return .failure(error)
            }
        }
        self = try result.get()
    }

    package init(utf8 text: UnsafeRawBufferPointer) throws(SelectorError) {
        guard text.count <= Self.maxBytes else {
            throw SelectorError("tags have at most \(Self.maxBytes) bytes: too long", at: Self.maxBytes, in: text)
        }
        guard String(validating: text, as: UTF8.self) != nil else {
            throw SelectorError("tags are UTF-8 text: other bytes", at: 0, in: text)
        }
        var start = 0
        var wantsAll = false
        while true {
            var end = start
            while end < text.count, text[end] != UInt8(ascii: "|") { end += 1 }
            let isLast = end == text.count
            if !isLast, end + 1 == text.count || text[end + 1] != UInt8(ascii: "|") {
                throw SelectorError("expected '||' between tags", found: "'|'", at: end, in: text)
            }
            let tag = Self.trimmed(text, start..<end)
            guard !tag.isEmpty else {
                throw SelectorError("expected a tag or '*'", found: isLast ? "end" : "'||'", at: end, in: text)
            }
            if bytesEqual(text.slice(tag), UnsafeRawBufferPointer(("*" as StaticString).bytes)) {
                wantsAll = true
            } else if !contains(text.slice(tag)) {
                guard ends.count < Self.maxTags else {
                    throw SelectorError("at most \(Self.maxTags) tags: one more", at: tag.lowerBound, in: text)
                }
                bytes += text.slice(tag)
                ends.append(UInt16(bytes.count))
            }
            if isLast { break }
            start = end + 2
        }
        if wantsAll { self = .all }
    }

    /// Whether every message is wanted.
    package var isAll: Bool { ends.isEmpty }

    /// Whether a message with this tag is wanted; nil is a message without one.
    package func matches(_ tag: UnsafeRawBufferPointer?) -> Bool {
        if isAll { return true }
        guard let tag else { return false }
        return contains(tag)
    }

    private func contains(_ tag: UnsafeRawBufferPointer) -> Bool {
        bytes.withUnsafeBytes { bytes in
            var start = 0
            for end in ends {
                if bytesEqual(bytes.slice(start..<Int(end)), tag) { return true }
                start = Int(end)
            }
            return false
        }
    }

    /// As text that gives the same expression again.
    package var description: String {
        if isAll { return "*" }
        var tags: [String] = []
        var start = 0
        for end in ends {
            tags.append(String(decoding: bytes[start..<Int(end)], as: UTF8.self))
            start = Int(end)
        }
        return tags.joined(separator: " || ")
    }

    private static func trimmed(_ text: UnsafeRawBufferPointer, _ range: Range<Int>) -> Range<Int> {
        var start = range.lowerBound
        var end = range.upperBound
        while start < end, SelectorLexer.isSpace(text[start]) { start += 1 }
        while end > start, SelectorLexer.isSpace(text[end - 1]) { end -= 1 }
        return start..<end
    }
}
