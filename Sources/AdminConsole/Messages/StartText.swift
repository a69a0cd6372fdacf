import ArgumentParser
import FoundationEssentials

/// Where a reader begins, as it is written: `first`, `next`, `1234`, `-5m`, `2026-11-20T09:00:00Z`.
package enum StartText: Sendable, Equatable, ExpressibleByArgument {
    /// The oldest message that is kept.
    case first
    /// What is stored from now on.
    case next
    case offset(UInt64)
    /// So many µs before now.
    case ago(microseconds: UInt64)
    /// µs since 1970.
    case time(microseconds: UInt64)

    package static let form = "first, next, an offset, a time such as 2026-11-20T09:00:00Z, or -5m for 5 minutes ago"

    package init?(argument text: String) {
        switch text {
        case "first": self = .first
        case "next": self = .next
        default:
            if text.hasPrefix("-") {
                guard let length = DurationText.microseconds(text.dropFirst()) else { return nil }
                self = .ago(microseconds: length)
            } else if text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) {
                guard let offset = UInt64(text) else { return nil }
                self = .offset(offset)
            } else {
                guard let time = Self.time(text) else { return nil }
                self = .time(microseconds: time)
            }
        }
    }

    private static func time(_ text: String) -> UInt64? {
        let plain = Date.ISO8601FormatStyle()
        let fractional = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
        guard let date = (try? plain.parse(text)) ?? (try? fractional.parse(text)) else { return nil }
        let microseconds = (date.timeIntervalSince1970 * 1_000_000).rounded()
        return microseconds >= 0 && microseconds < 1e18 ? UInt64(microseconds) : nil
    }
}
