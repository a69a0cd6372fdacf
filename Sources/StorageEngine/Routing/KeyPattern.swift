package import MessageModel

/// A binding key that is looked at where a message is known to be one of an exchange: without the exchange's own levels.
package struct KeyPattern: Sendable, Equatable {
    /// No level has more than one of these in a row that is `any`, see `NamePattern`.
    private let levels: [Level]
    /// The bytes of a full name before its routing key: the exchange's own name.
    private let prefixBytes: Int?

    private enum Level: Equatable {
        case literal([UInt8])
        case one
        case any
    }

    /// - Parameters:
    ///   - names: the key's levels.
    ///   - isEmpty: the key is empty: it has no level.
    ///   - topic: the exchange; nil for the whole tree, where a key is a full name.
    init(_ names: NamePattern, isEmpty: Bool, below topic: String?) {
        var levels: [Level] = []
        if !isEmpty {
            names.forEachLevel { level in
                switch level {
                case .literal(let text): levels.append(.literal(Array(text)))
                case .one: levels.append(.one)
                case .any: levels.append(.any)
                }
                return true
            }
        }
        self.levels = levels
        prefixBytes = topic?.utf8.count
    }

    /// Whether the routing key in a full name is wanted. The work is at most the product of the levels of both.
    func matches(_ name: UnsafeRawBufferPointer) -> Bool {
        // The exchange's own name is an empty key, which has no level.
        var start = 0
        if let prefixBytes { start = prefixBytes + 1 }
        let end = name.count
        var place = 0
        // Behind the last `any`, and where the levels begin that it has not taken yet.
        var retry: (place: Int, start: Int)?
        while start <= end {
            let stop = Self.levelEnd(name, from: start)
            if place < levels.count {
                switch levels[place] {
                case .any:
                    retry = (place + 1, start)
                    place += 1
                    continue
                case .one:
                    place += 1
                    start = stop + 1
                    continue
                case .literal(let text):
                    if text.withUnsafeBytes({ bytesEqual($0, name.slice(start..<stop)) }) {
                        place += 1
                        start = stop + 1
                        continue
                    }
                }
            }
            guard let last = retry else { return false }
            let next = Self.levelEnd(name, from: last.start) + 1
            retry = (last.place, next)
            place = last.place
            start = next
        }
        while place < levels.count, levels[place] == .any { place += 1 }
        return place == levels.count
    }

    private static func levelEnd(_ name: UnsafeRawBufferPointer, from start: Int) -> Int {
        var end = start
        while end < name.count, name[end] != NameRules.separator { end += 1 }
        return end
    }
}
