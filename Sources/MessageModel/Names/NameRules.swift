/// What a name, a filter and a topic's own name may look like.
package enum NameRules {
    package static let separator = UInt8(ascii: "/")
    package static let singleLevel = UInt8(ascii: "+")
    package static let multiLevel = UInt8(ascii: "#")

    /// Checks the full name of a message: 1 to 65,535 bytes of UTF-8 without NUL and wildcards, at most 128 levels.
    package static func checkName(_ bytes: UnsafeRawBufferPointer) throws(SluiceError) {
        try checkText(bytes, what: "name", limit: Limits.nameBytes)
        for byte in bytes where byte == singleLevel || byte == multiLevel {
            throw SluiceError(.invalidName, "a name that is published to has no wildcard (+ or #)")
        }
    }

    /// Checks a filter: as a name, but `+` may stand for a level and `#` for all levels at the end
    /// (MQTT 5.0 §4.7.1).
    package static func checkFilter(_ bytes: UnsafeRawBufferPointer) throws(SluiceError) {
        try checkText(bytes, what: "filter", limit: Limits.nameBytes)
        var levelStart = 0
        for position in 0...bytes.count where position == bytes.count || bytes[position] == separator {
            let level = bytes.slice(levelStart..<position)
            if level.contains(singleLevel), level.count != 1 {
                throw SluiceError(
                    .invalidName,
                    "in a filter, + stands for a whole level",
                    hint: "write a/+/b, not a+/b"
                )
            }
            if level.contains(multiLevel), level.count != 1 || position != bytes.count {
                throw SluiceError(
                    .invalidName,
                    "in a filter, # stands at the end and for whole levels",
                    hint: "write a/#"
                )
            }
            levelStart = position + 1
        }
    }

    /// Checks a topic's own name: a name of at most 255 bytes that does not begin or end with `/`, does not begin with
    /// `$`, and has no control characters.
    /// - Parameter allowsInternal: also one that begins with `$`: such topics are a front's own, and no wildcard of a
    ///   first level sees their messages.
    package static func checkTopicName(_ name: String, allowsInternal: Bool = false) throws(SluiceError) {
        var name = name
        let problem: SluiceError? = name.withUTF8 { utf8 in
            let bytes = UnsafeRawBufferPointer(utf8)
            do throws(SluiceError) {
                try checkName(bytes)
            } catch {
                return error
            }
            if bytes.count > Limits.topicNameBytes {
                return SluiceError(.invalidName, "a topic's name has at most \(Limits.topicNameBytes) bytes")
            }
            let isInternal = bytes[0] == UInt8(ascii: "$")
            if bytes[0] == separator || bytes[bytes.count - 1] == separator || isInternal && !allowsInternal {
                return SluiceError(.invalidName, "a topic's name does not begin with / or $ and does not end with /")
            }
            if bytes.contains(where: { $0 < 0x20 || $0 == 0x7F }) {
                return SluiceError(.invalidName, "a topic's name has no control characters")
            }
            return nil
        }
        if let problem { throw problem }
    }

    private static func checkText(
        _ bytes: UnsafeRawBufferPointer,
        what: String,
        limit: Int
    ) throws(SluiceError) {
        guard !bytes.isEmpty else { throw SluiceError(.invalidName, "a \(what) has at least one character") }
        guard bytes.count <= limit else { throw SluiceError(.invalidName, "a \(what) has at most \(limit) bytes") }
        var levels = 1
        var isASCII = true
        for byte in bytes {
            if byte == 0 { throw SluiceError(.invalidName, "a \(what) has no NUL character") }
            if byte == separator { levels += 1 }
            if byte >= 0x80 { isASCII = false }
        }
        guard levels <= Limits.nameLevels else {
            throw SluiceError(.invalidName, "a \(what) has at most \(Limits.nameLevels) levels")
        }
        if !isASCII, String(validating: bytes, as: UTF8.self) == nil {
            throw SluiceError(.invalidName, "a \(what) is UTF-8 text")
        }
    }
}

/// Matches names against filters with the rules of MQTT 5.0 §4.7.
package enum NameFilter {
    /// Whether `filter` has a wildcard.
    package static func hasWildcard(_ filter: UnsafeRawBufferPointer) -> Bool {
        filter.contains { $0 == NameRules.singleLevel || $0 == NameRules.multiLevel }
    }

    /// Whether `name` matches `filter`; both have passed their checks. `a/#` also matches `a`. A wildcard in the first
    /// level does not match a name that begins with `$`.
    package static func matches(_ filter: UnsafeRawBufferPointer, name: UnsafeRawBufferPointer) -> Bool {
        if let first = name.first, first == UInt8(ascii: "$"), let wild = filter.first,
            wild == NameRules.singleLevel || wild == NameRules.multiLevel
        {
            return false
        }
        var filterAt = 0
        var nameAt = 0
        while true {
            let filterEnd = end(ofLevelAt: filterAt, in: filter)
            if filterEnd - filterAt == 1, filter[filterAt] == NameRules.multiLevel { return true }
            let nameEnd = end(ofLevelAt: nameAt, in: name)
            let isWild = filterEnd - filterAt == 1 && filter[filterAt] == NameRules.singleLevel
            if !isWild, !bytesEqual(filter.slice(filterAt..<filterEnd), name.slice(nameAt..<nameEnd)) { return false }
            switch (filterEnd == filter.count, nameEnd == name.count) {
            case (true, true): return true
            case (true, false): return false
            case (false, true):
                // Only "/#" may be left.
                return filter.count - filterEnd == 2 && filter[filterEnd + 1] == NameRules.multiLevel
            case (false, false):
                filterAt = filterEnd + 1
                nameAt = nameEnd + 1
            }
        }
    }

    /// The position of the `/` that ends the level, or the end of the bytes.
    @inline(__always)
    private static func end(ofLevelAt start: Int, in bytes: UnsafeRawBufferPointer) -> Int {
        var position = start
        while position < bytes.count, bytes[position] != NameRules.separator { position += 1 }
        return position
    }
}
