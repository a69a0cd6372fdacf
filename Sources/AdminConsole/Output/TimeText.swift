import Glibc

/// Points in time as RFC 3339 writes them.
package enum TimeText {
    /// In UTC, with microseconds where they are not zero: `2026-11-20T09:58:12.101234Z`.
    package static func format(microseconds: UInt64) -> String {
        var seconds = time_t(microseconds / 1_000_000)
        var fields = tm()
        guard gmtime_r(&seconds, &fields) != nil else { return String(microseconds) }
        var text = pad(Int(fields.tm_year) + 1900, 4)
        text += "-" + pad(Int(fields.tm_mon) + 1, 2) + "-" + pad(Int(fields.tm_mday), 2)
        text += "T" + pad(Int(fields.tm_hour), 2) + ":" + pad(Int(fields.tm_min), 2) + ":" + pad(Int(fields.tm_sec), 2)
        let fraction = Int(microseconds % 1_000_000)
        if fraction != 0 { text += "." + pad(fraction, 6) }
        return text + "Z"
    }

    private static func pad(_ value: Int, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}
