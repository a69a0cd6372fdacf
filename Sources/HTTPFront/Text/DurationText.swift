/// Lengths of time as people write them: `500ms`, `30s`, `5m`, `2h`, `7d`.
enum DurationText {
    /// The length in µs; nil where it is not a whole number with a unit, or does not fit.
    static func parse(_ text: some StringProtocol) -> UInt64? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard !digits.isEmpty, let value = UInt64(digits) else { return nil }
        let unit: UInt64
        switch text.dropFirst(digits.count) {
        case "ms": unit = 1_000
        case "s": unit = 1_000_000
        case "m": unit = 60_000_000
        case "h": unit = 3_600_000_000
        case "d": unit = 86_400_000_000
        default: return nil
        }
        let (product, overflow) = value.multipliedReportingOverflow(by: unit)
        return overflow ? nil : product
    }
}
