/// What the files in a `log` directory are called.
///
///     00000000000000000042       segment 42, ready
///     00000000000000000043.new   being made; a crash left it
///     spare.0                    the blocks of a removed segment, kept for the next one
enum SegmentNames {
    static let newSuffix = ".new"
    static let sparePrefix = "spare."
    private static let digits = 20

    enum Kind: Equatable { case segment(UInt64), unfinished, spare, foreign }

    static func kind(of name: String) -> Kind {
        if name.hasPrefix(sparePrefix) { return .spare }
        let stem = name.utf8.prefix(digits)
        guard stem.count == digits, stem.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }),
            let number = UInt64(Substring(stem))
        else { return .foreign }
        if name.utf8.count == digits { return .segment(number) }
        return name.utf8.count == digits + newSuffix.utf8.count && name.hasSuffix(newSuffix) ? .unfinished : .foreign
    }

    static func path(of number: UInt64, in directory: String) -> String {
        let text = String(number)
        return "\(directory)/\(String(repeating: "0", count: digits - text.utf8.count))\(text)"
    }
}
