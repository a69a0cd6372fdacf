/// Sizes and durations as people write them: `64MiB`, `30s`. Whole numbers only, so that what is written is what is
/// meant.
enum Units {
    static let sizes: [(suffix: String, bytes: Int)] = [
        ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1),
    ]

    static let durations: [(suffix: String, milliseconds: Int)] = [
        ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1),
    ]

    /// The bytes that `64MiB`, `1GiB`, `512B` or a plain number of bytes mean.
    static func bytes(from text: String) throws(ValueProblem) -> Int {
        let (number, suffix) = try split(text, expected: "a size such as 64MiB")
        if suffix.isEmpty { return number }
        guard let unit = sizes.first(where: { $0.suffix == suffix }) else {
            let near = sizes.first { $0.suffix.lowercased().first == suffix.lowercased().first }
            throw ValueProblem(
                "'\(suffix)' is no unit of size; there are B, KiB, MiB, GiB and TiB",
                hint: near.map { "write \(number)\($0.suffix)" }
            )
        }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: unit.bytes)
        guard !overflow else { throw ValueProblem("'\(text)' is too large") }
        return bytes
    }

    /// The duration that `500ms`, `30s`, `5m`, `12h` or `1d` mean. A number without a unit is refused.
    static func duration(from text: String) throws(ValueProblem) -> Duration {
        let (number, suffix) = try split(text, expected: "a duration such as 30s")
        guard let unit = durations.first(where: { $0.suffix == suffix }) else {
            throw ValueProblem(
                suffix.isEmpty ? "'\(text)' has no unit" : "'\(suffix)' is no unit of time",
                hint: "units are ms, s, m, h and d: \(number)s"
            )
        }
        let (milliseconds, overflow) = number.multipliedReportingOverflow(by: unit.milliseconds)
        guard !overflow else { throw ValueProblem("'\(text)' is too long") }
        return .milliseconds(milliseconds)
    }

    static func text(bytes: Int) -> String {
        for unit in sizes where bytes != 0 && bytes % unit.bytes == 0 { return "\(bytes / unit.bytes)\(unit.suffix)" }
        return "\(bytes)B"
    }

    static func text(_ duration: Duration) -> String {
        let (seconds, attoseconds) = duration.components
        let milliseconds = Int(seconds) * 1000 + Int(attoseconds / 1_000_000_000_000_000)
        for unit in durations where milliseconds != 0 && milliseconds % unit.milliseconds == 0 {
            return "\(milliseconds / unit.milliseconds)\(unit.suffix)"
        }
        return "\(milliseconds)ms"
    }

    /// The leading digits and what follows them.
    private static func split(_ text: String, expected: String) throws(ValueProblem) -> (Int, String) {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard !digits.isEmpty else { throw ValueProblem("'\(text)' is not \(expected)") }
        guard let number = Int(digits) else { throw ValueProblem("'\(text)' is too large") }
        var suffix = text[digits.endIndex...]
        if suffix.first == " " { suffix = suffix.dropFirst() }
        guard suffix.allSatisfy(\.isLetter) else {
            throw ValueProblem("'\(text)' is not \(expected)", hint: suffix.first == "." ? "whole numbers only" : nil)
        }
        return (number, String(suffix))
    }
}
