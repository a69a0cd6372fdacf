package import MessageModel

/// How long a message waits before it is delivered again, by the attempts that failed. Delays are milliseconds.
///
/// As text it is either a list of delays, one for each attempt and the last for all that follow, or a first delay that
/// grows by a factor up to a greatest one:
///
/// ```
/// 1s,5s,30s
/// exponential 1s x2 max 10m
/// ```
///
/// A delay is a whole number with `ms`, `s`, `m`, `h` or `d`; `0` needs no unit. A factor has up to two decimals.
package struct Backoff: Equatable, Sendable, CustomStringConvertible {
    /// Delays in a list: more than any policy in use has, and a bound for what is stored with each subscription.
    package static let maxDelays = 64
    /// The longest delay, a year: as far as a message may be scheduled.
    package static let maxMilliseconds: UInt64 = 365 * 86_400_000
    /// The largest factor, in hundredths.
    package static let maxFactor: UInt32 = 10_000

    private enum Form: Equatable {
        /// At least one.
        case fixed([UInt64])
        /// The factor is in hundredths, at least 100.
        case exponential(first: UInt64, factor: UInt32, max: UInt64)
    }

    private let form: Form

    /// One second, doubled with each attempt up to ten minutes.
    package static let standard = Backoff(form: .exponential(first: 1_000, factor: 200, max: 600_000))

    private init(form: Form) { self.form = form }

    /// A delay for each attempt; the last is for all that follow.
    /// - Parameter milliseconds: 1 to `maxDelays` of them, each at most `maxMilliseconds`.
    package init(fixed milliseconds: [UInt64]) throws(SluiceError) {
        guard !milliseconds.isEmpty, milliseconds.count <= Self.maxDelays else {
            throw SluiceError(.invalidArgument, "a back-off has 1 to \(Self.maxDelays) delays")
        }
        guard milliseconds.allSatisfy({ $0 <= Self.maxMilliseconds }) else {
            throw SluiceError(.invalidArgument, "a delay of a back-off is at most a year (365d)")
        }
        form = .fixed(milliseconds)
    }

    /// A delay that grows.
    /// - Parameters:
    ///   - first: after the first attempt, at least 1 ms.
    ///   - factor: by which it grows with each further attempt, in hundredths: 100 to `maxFactor`.
    ///   - max: the greatest delay, from `first` to `maxMilliseconds`.
    package init(exponential first: UInt64, factorHundredths factor: UInt32, max: UInt64) throws(SluiceError) {
        guard first >= 1 else {
            throw SluiceError(.invalidArgument, "an exponential back-off begins with at least 1ms")
        }
        guard factor >= 100, factor <= Self.maxFactor else {
            throw SluiceError(.invalidArgument, "the factor of a back-off is 1 to \(Self.maxFactor / 100)")
        }
        guard max >= first, max <= Self.maxMilliseconds else {
            throw SluiceError(
                .invalidArgument,
                "the greatest delay of a back-off is at least the first, and at most a year (365d)"
            )
        }
        form = .exponential(first: first, factor: factor, max: max)
    }

    /// How long to wait, in ms, when so many attempts have failed: 1 after the first.
    package func delay(afterAttempt attempt: UInt32) -> UInt64 {
        switch form {
        case .fixed(let delays): return delays[min(Int(attempt == 0 ? 0 : attempt - 1), delays.count - 1)]
        case .exponential(let first, let factor, let max):
            // In hundredths, so that a small factor makes even a small delay grow. No step overflows: the greatest
            // delay in hundredths times the greatest factor has 55 bits.
            var delay = first * 100
            var step: UInt32 = 1
            while step < attempt, delay < max * 100 {
                let next = delay * UInt64(factor) / 100
                guard next > delay else { break }
                delay = next
                step += 1
            }
            return min(delay / 100, max)
        }
    }

    // MARK: Text

    package init(_ text: String) throws(SluiceError) {
        let words = text.split(separator: " ")
        guard words.first == "exponential" else {
            var delays: [UInt64] = []
            for part in text.split(separator: ",", maxSplits: Self.maxDelays, omittingEmptySubsequences: false) {
                delays.append(try Self.delay(Self.trimmed(part), in: text))
            }
            try self.init(fixed: delays)
            return
        }
        guard words.count == 5, words[2].first == "x", words[3] == "max",
            let factor = Self.hundredths(words[2].dropFirst())
        else {
            throw Self.notUnderstood(text, "an exponential one has a first delay, a factor and a greatest delay")
        }
        try self.init(
            exponential: try Self.delay(words[1], in: text),
            factorHundredths: factor,
            max: try Self.delay(words[4], in: text)
        )
    }

    /// The text that gives the same back-off again.
    package var description: String {
        switch form {
        case .fixed(let delays): return delays.map(Self.text).joined(separator: ",")
        case .exponential(let first, let factor, let max):
            var decimals = factor % 100 == 0 ? "" : factor % 100 < 10 ? ".0\(factor % 100)" : ".\(factor % 100)"
            if factor % 10 == 0, !decimals.isEmpty { decimals.removeLast() }
            return "exponential \(Self.text(first)) x\(factor / 100)\(decimals) max \(Self.text(max))"
        }
    }

    private static let units: [(name: String, milliseconds: UInt64)] = [
        ("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
    ]

    private static func delay(_ text: Substring, in whole: String) throws(SluiceError) -> UInt64 {
        if text == "0" { return 0 }
        let digits = text.prefix { $0 >= "0" && $0 <= "9" }
        let unit = units.first { $0.name == text[digits.endIndex...] }
        guard let unit, let number = UInt64(digits) else {
            throw notUnderstood(whole, "'\(text.prefix(32))' is no delay; write a number with ms, s, m, h or d")
        }
        let (milliseconds, overflow) = number.multipliedReportingOverflow(by: unit.milliseconds)
        return overflow ? .max : milliseconds
    }

    private static func text(_ milliseconds: UInt64) -> String {
        guard milliseconds > 0 else { return "0" }
        for unit in units.reversed() where milliseconds % unit.milliseconds == 0 {
            return "\(milliseconds / unit.milliseconds)\(unit.name)"
        }
        return "\(milliseconds)ms"
    }

    /// A number with up to two decimals, in hundredths.
    private static func hundredths(_ text: Substring) -> UInt32? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count <= 2, parts.allSatisfy({ !$0.isEmpty && $0.allSatisfy { $0 >= "0" && $0 <= "9" } }),
            let whole = UInt32(parts[0]), whole <= maxFactor / 100
        else { return nil }
        guard parts.count == 2 else { return whole * 100 }
        guard parts[1].utf8.count <= 2, let decimals = UInt32(parts[1]) else { return nil }
        return whole * 100 + (parts[1].utf8.count == 1 ? decimals * 10 : decimals)
    }

    private static func trimmed(_ text: Substring) -> Substring {
        let start = text.drop { $0 == " " }
        guard let last = start.lastIndex(where: { $0 != " " }) else { return start.prefix(0) }
        return start[...last]
    }

    private static func notUnderstood(_ text: String, _ why: String) -> SluiceError {
        SluiceError(
            .invalidArgument,
            "the back-off '\(text.prefix(64))' is not understood: \(why)",
            hint: "write 1s,5s,30s or exponential 1s x2 max 10m"
        )
    }

    // MARK: Bytes

    /// At most `maxEncodedBytes`: u8 form (1 fixed, 2 exponential); then u8 count and u64 delays, or u64 first delay, u32
    /// factor, u64 greatest delay. Little-endian.
    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        func write(_ value: UInt64, bytes count: Int) {
            for index in 0..<count { bytes.append(UInt8(truncatingIfNeeded: value >> (UInt64(index) * 8))) }
        }
        switch form {
        case .fixed(let delays):
            bytes = [1, UInt8(delays.count)]
            for delay in delays { write(delay, bytes: 8) }
        case .exponential(let first, let factor, let max):
            bytes = [2]
            write(first, bytes: 8)
            write(UInt64(factor), bytes: 4)
            write(max, bytes: 8)
        }
        return bytes
    }

    package static let maxEncodedBytes = 2 + maxDelays * 8

    /// Reads what `encoded` gave, from the beginning of `bytes`, which may go on behind it.
    /// - Returns: nil where it is malformed or outside the limits.
    package static func decode(_ bytes: UnsafeRawBufferPointer) -> (backoff: Backoff, byteCount: Int)? {
        guard let kind = bytes.first else { return nil }
        do throws(SluiceError) {
            switch kind {
            case 1:
                guard bytes.count >= 2, bytes.count - 2 >= Int(bytes[1]) * 8 else { return nil }
                let delays = (0..<Int(bytes[1])).map { bytes.load64(2 + $0 * 8) }
                return (try Backoff(fixed: delays), 2 + delays.count * 8)
            case 2:
                guard bytes.count >= 21 else { return nil }
                let backoff = try Backoff(
                    exponential: bytes.load64(1),
                    factorHundredths: bytes.load32(9),
                    max: bytes.load64(13)
                )
                return (backoff, 21)
            default: return nil
            }
        } catch {
            return nil
        }
    }
}
