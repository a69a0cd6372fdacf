import ArgumentParser

/// A length of time as it is written: `500ms`, `30s`, `5m`, `12h`, `1d`, and `0`.
package struct DurationText: Sendable, Equatable, ExpressibleByArgument {
    package var microseconds: UInt64

    package static let form = "a length such as 500ms, 30s, 5m, 12h or 1d"

    package init(microseconds: UInt64) { self.microseconds = microseconds }

    package init?(argument text: String) {
        if text == "0" {
            microseconds = 0
        } else {
            guard let length = Self.microseconds(text) else { return nil }
            microseconds = length
        }
    }

    package var duration: Duration { .microseconds(Int64(clamping: microseconds)) }

    static func microseconds(_ text: some StringProtocol) -> UInt64? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = UInt64(digits) else { return nil }
        let unit: UInt64
        switch text[digits.endIndex...] {
        case "ms": unit = 1_000
        case "s": unit = 1_000_000
        case "m": unit = 60_000_000
        case "h": unit = 3_600_000_000
        case "d": unit = 86_400_000_000
        default: return nil
        }
        let (length, overflow) = number.multipliedReportingOverflow(by: unit)
        return overflow ? nil : length
    }

    /// The largest unit in which it is a whole number.
    package static func format(microseconds: UInt64) -> String {
        guard microseconds > 0 else { return "0" }
        for (unit, name) in [
            (86_400_000_000 as UInt64, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"),
        ]
        where microseconds % unit == 0 {
            return "\(microseconds / unit)\(name)"
        }
        return "\((microseconds + 999) / 1_000)ms"
    }
}

/// A number of bytes as it is written: `1000`, `64KiB`, `16MiB`, `2GiB`, `500MB`.
package struct SizeText: Sendable, Equatable, ExpressibleByArgument {
    package var bytes: UInt64

    package static let form = "a number of bytes such as 1000, 64KiB, 16MiB or 2GB"

    package init?(argument text: String) {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = UInt64(digits) else { return nil }
        let unit: UInt64
        switch text[digits.endIndex...] {
        case "", "B": unit = 1
        case "KiB": unit = 1 << 10
        case "MiB": unit = 1 << 20
        case "GiB": unit = 1 << 30
        case "TiB": unit = 1 << 40
        case "KB": unit = 1_000
        case "MB": unit = 1_000_000
        case "GB": unit = 1_000_000_000
        case "TB": unit = 1_000_000_000_000
        default: return nil
        }
        let (size, overflow) = number.multipliedReportingOverflow(by: unit)
        guard !overflow else { return nil }
        bytes = size
    }
}

/// A point in time as it is written, RFC 3339: `2026-11-20T09:00:00Z`.
package struct TimeArgument: Sendable, Equatable, ExpressibleByArgument {
    /// µs since 1970.
    package var microseconds: UInt64

    package init?(argument text: String) {
        guard case .time(let microseconds)? = StartText(argument: text) else { return nil }
        self.microseconds = microseconds
    }
}
