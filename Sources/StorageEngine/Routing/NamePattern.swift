package import MessageModel

/// Which names a filter or a binding wants, level by level, in one form for all protocols.
///
/// The bytes are the levels with `/` between them. A literal level is its own text, whatever characters it has; a level
/// that is a wildcard is NUL and one more byte, which no literal can be, as names and patterns with NUL are refused. So an
/// AMQP direct binding may say `*`, `#` or `+` and mean just that.
///
/// There is one wildcard for any number of levels. MQTT allows it at the end only, AMQP anywhere and more than once; at the
/// end both mean the same: also the parent itself.
package struct NamePattern: Sendable, Hashable {
    package enum Level {
        case literal(UnsafeRawBufferPointer)
        /// Just one level, also an empty one.
        case one
        /// Zero levels or more.
        case any
    }

    package private(set) var bytes: [UInt8] = []
    /// Without a wildcard: `bytes` is the only name that matches.
    package private(set) var isExact = true
    private(set) var levels: UInt32 = 0

    /// As in `NameRules`; a constant of this target is known where it is compared with every byte.
    static let separator = UInt8(ascii: "/")
    private static let escape: UInt8 = 0
    private static let one = UInt8(ascii: "+")
    private static let any = UInt8(ascii: "#")

    /// No level yet; `append` adds them.
    init() {}

    /// An MQTT filter (MQTT 5.0 §4.7); throws `invalidName` where it is malformed.
    package init(filter: UnsafeRawBufferPointer) throws(SluiceError) {
        try NameRules.checkFilter(filter)
        guard NameFilter.hasWildcard(filter) else {
            bytes = Array(filter)
            return
        }
        bytes.reserveCapacity(filter.count + 8)
        var start = 0
        for position in 0...filter.count where position == filter.count || filter[position] == Self.separator {
            let level = filter.slice(start..<position)
            start = position + 1
            // A level with a wildcard has passed the check that it is nothing else.
            switch level.first {
            case NameRules.singleLevel: append(.one)
            case NameRules.multiLevel: append(.any)
            default: append(.literal(level))
            }
        }
    }

    /// Adds a level. Two of `any` in a row are one: they match the same names.
    mutating func append(_ level: Level) {
        if case .any = level, bytes.count >= 2, bytes.suffix(2).elementsEqual([Self.escape, Self.any]) { return }
        if levels > 0 { bytes.append(Self.separator) }
        levels += 1
        switch level {
        case .literal(let text): bytes.append(contentsOf: text)
        case .one: appendWildcard(Self.one)
        case .any: appendWildcard(Self.any)
        }
    }

    private mutating func appendWildcard(_ kind: UInt8) {
        bytes.append(Self.escape)
        bytes.append(kind)
        isExact = false
    }

    package static func == (left: NamePattern, right: NamePattern) -> Bool { left.bytes == right.bytes }
    package func hash(into hasher: inout Hasher) { hasher.combine(bytes) }

    /// Calls `body` with each level until it returns false.
    /// - Returns: whether all levels were visited.
    @inline(__always)
    @discardableResult
    func forEachLevel(_ body: (Level) -> Bool) -> Bool {
        bytes.withUnsafeBytes { bytes in
            var start = 0
            while start <= bytes.count {
                var end = start
                while end < bytes.count, bytes[end] != Self.separator { end += 1 }
                let level: Level
                if end - start == 2, bytes[start] == Self.escape {
                    level = bytes[start + 1] == Self.any ? .any : .one
                } else {
                    level = .literal(bytes.slice(start..<end))
                }
                guard body(level) else { return false }
                start = end + 1
            }
            return true
        }
    }
}
