/// A decimal number as its text says it, compared exactly: identifiers of 64 bits and amounts with cents do not fit into
/// a floating-point number. Reads in place.
struct DecimalText {
    /// What `digits` and `scale` say is 0.d₁d₂d₃… × 10^scale.
    private let scale: Int
    /// From the first digit that is not zero to the last such; a decimal point in between is passed over.
    private let digits: UnsafeRawBufferPointer
    private let isNegative: Bool

    /// Longer texts are no numbers: bounds the work, and leaves room for any number that is meant as one.
    static let maxBytes = 64
    static let maxExponent = 999

    /// `[+-] digits [. digits] [e [+-] digits]`, where one of the two may have no digits; nil for anything else.
    init?(_ text: UnsafeRawBufferPointer) {
        guard !text.isEmpty, text.count <= Self.maxBytes else { return nil }
        var position = 0
        var isNegative = false
        if text[0] == UInt8(ascii: "-") || text[0] == UInt8(ascii: "+") {
            isNegative = text[0] == UInt8(ascii: "-")
            position = 1
        }
        var point: Int?
        var firstDigit: Int?
        var lastDigit = 0
        var hasDigits = false
        while position < text.count {
            let byte = text[position]
            if Self.isDigit(byte) {
                hasDigits = true
                if byte != UInt8(ascii: "0") {
                    if firstDigit == nil { firstDigit = position }
                    lastDigit = position
                }
            } else if byte == UInt8(ascii: "."), point == nil {
                point = position
            } else {
                break
            }
            position += 1
        }
        guard hasDigits else { return nil }
        let pointPlace = point ?? position
        guard let exponent = Self.exponent(text, position) else { return nil }
        guard let firstDigit else {
            scale = 0
            digits = UnsafeRawBufferPointer(start: nil, count: 0)
            self.isNegative = false
            return
        }
        scale = exponent + (firstDigit < pointPlace ? pointPlace - firstDigit : pointPlace + 1 - firstDigit)
        digits = text.slice(firstDigit..<lastDigit + 1)
        self.isNegative = isNegative
    }

    /// What stands behind the mantissa: 0 for nothing; nil where it is not an exponent.
    private static func exponent(_ text: UnsafeRawBufferPointer, _ start: Int) -> Int? {
        guard start < text.count else { return 0 }
        guard text[start] | 0x20 == UInt8(ascii: "e") else { return nil }
        var position = start + 1
        var isNegative = false
        if position < text.count, text[position] == UInt8(ascii: "-") || text[position] == UInt8(ascii: "+") {
            isNegative = text[position] == UInt8(ascii: "-")
            position += 1
        }
        guard position < text.count else { return nil }
        var value = 0
        while position < text.count {
            guard isDigit(text[position]) else { return nil }
            value = value * 10 + Int(text[position] - UInt8(ascii: "0"))
            guard value <= maxExponent else { return nil }
            position += 1
        }
        return isNegative ? -value : value
    }

    @inline(__always)
    static func isDigit(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "0") < 10 }

    /// Negative, zero or positive as this is less than, equal to or greater than `other`.
    func compare(to other: DecimalText) -> Int {
        let sign = digits.isEmpty ? 0 : isNegative ? -1 : 1
        let otherSign = other.digits.isEmpty ? 0 : other.isNegative ? -1 : 1
        if sign != otherSign || sign == 0 { return sign - otherSign }
        if scale != other.scale { return scale < other.scale ? -sign : sign }
        var here = 0
        var there = 0
        while here < digits.count, there < other.digits.count {
            if digits[here] == UInt8(ascii: ".") {
                here += 1
            } else if other.digits[there] == UInt8(ascii: ".") {
                there += 1
            } else if digits[here] != other.digits[there] {
                return digits[here] < other.digits[there] ? -sign : sign
            } else {
                here += 1
                there += 1
            }
        }
        // Both end with a digit that is not zero: the longer one is further from zero.
        return here < digits.count ? sign : there < other.digits.count ? -sign : 0
    }

    /// Lends a number as its text.
    static func withText<Result>(of number: UInt64, _ body: (DecimalText?) -> Result) -> Result {
        withUnsafeTemporaryAllocation(byteCount: 20, alignment: 1) { memory in
            var rest = number
            var start = 20
            repeat {
                start -= 1
                memory[start] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
                rest /= 10
            } while rest > 0
            return body(DecimalText(UnsafeRawBufferPointer(rebasing: memory[start...])))
        }
    }
}
