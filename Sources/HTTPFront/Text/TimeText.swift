internal import MessageModel

/// Points in time as RFC 3339 writes them.
enum TimeText {
    /// In UTC, with microseconds where they are not zero: `2026-11-20T09:58:12.101234Z`.
    static func format(_ time: Timestamp) -> String {
        let seconds = time.rawValue / 1_000_000
        let fraction = time.rawValue % 1_000_000
        let (year, month, day) = civil(days: Int(seconds / 86_400))
        let ofDay = Int(seconds % 86_400)
        var text = pad(year, 4) + "-" + pad(month, 2) + "-" + pad(day, 2)
        text += "T" + pad(ofDay / 3_600, 2) + ":" + pad(ofDay / 60 % 60, 2) + ":" + pad(ofDay % 60, 2)
        if fraction != 0 { text += "." + pad(Int(fraction), 6) }
        return text + "Z"
    }

    /// Reads `2026-11-20T09:58:12Z`, with a fraction of a second and with an offset as `+01:00` where there is one; nil
    /// where it is not that, or before 1970.
    static func parse(_ text: String) -> Timestamp? {
        let bytes = Array(text.utf8)
        var position = 0

        func number(_ digits: Int) -> Int? {
            guard bytes.count - position >= digits else { return nil }
            var value = 0
            for byte in bytes[position..<position + digits] {
                guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
                value = value * 10 + Int(byte - UInt8(ascii: "0"))
            }
            position += digits
            return value
        }
        func sign(_ characters: StaticString) -> UInt8? {
            let expected = UnsafeBufferPointer(start: characters.utf8Start, count: characters.utf8CodeUnitCount)
            guard position < bytes.count, expected.contains(bytes[position]) else { return nil }
            position += 1
            return bytes[position - 1]
        }

        guard let year = number(4), sign("-") != nil, let month = number(2), sign("-") != nil, let day = number(2),
            sign("Tt ") != nil, let hour = number(2), sign(":") != nil, let minute = number(2), sign(":") != nil,
            let second = number(2), (1...12).contains(month), day >= 1, day <= daysIn(month, of: year), hour < 24,
            minute < 60, second <= 60
        else { return nil }
        var micros = 0
        if sign(".") != nil {
            var unit = 100_000
            var digits = 0
            while position < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[position]) {
                micros += Int(bytes[position] - UInt8(ascii: "0")) * unit
                unit /= 10
                digits += 1
                position += 1
            }
            guard digits > 0 else { return nil }
        }
        guard let zone = sign("Zz+-") else { return nil }
        var offset = 0
        if zone == UInt8(ascii: "+") || zone == UInt8(ascii: "-") {
            guard let hours = number(2), sign(":") != nil, let minutes = number(2), hours < 24, minutes < 60 else {
                return nil
            }
            offset = (hours * 60 + minutes) * (zone == UInt8(ascii: "+") ? 60 : -60)
        }
        guard position == bytes.count else { return nil }
        let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset
        guard seconds >= 0 else { return nil }
        return Timestamp(rawValue: UInt64(seconds) * 1_000_000 + UInt64(micros))
    }

    private static func pad(_ value: Int, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }

    private static func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }

    private static func daysIn(_ month: Int, of year: Int) -> Int {
        switch month {
        case 2: isLeap(year) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// Days since 1970-01-01 of a date in the Gregorian calendar. Years begin in March, so that the leap day is the
    /// last of its year.
    private static func days(_ year: Int, _ month: Int, _ day: Int) -> Int {
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    private static func civil(days: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * monthFromMarch + 2) / 5 + 1)
    }
}
