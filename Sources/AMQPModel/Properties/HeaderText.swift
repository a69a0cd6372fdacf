internal import AMQPProtocol

/// Values of headers as text, as they are in user properties and are compared by headers exchanges.
enum HeaderText {
    /// The value that a headers binding asks for; nil where it asks for the header only.
    static func argument(_ value: FieldValue) -> [UInt8]? {
        if case .void = value { return nil }
        // A byte that no text has, for what no user property holds.
        guard hasText(value) else { return [0xFF] }
        var text: [UInt8] = []
        append(value, to: &text)
        return text
    }

    /// Strings that are text, numbers, truth values and times; the others are in the kept section only.
    static func hasText(_ value: FieldValue) -> Bool {
        switch value {
        case .longString(let bytes): bytes.withUnsafeBytes { isText($0) }
        case .boolean, .float, .double, .timestamp, .void, .int8, .uint8, .int16, .uint16, .int32, .uint32, .int64,
            .longInt64:
            true
        case .decimal, .bytes, .array, .table: false
        }
    }

    /// Appends what the user property of such a value is.
    static func append(_ value: FieldValue, to text: inout [UInt8]) {
        switch value {
        case .longString(let bytes): text.append(contentsOf: bytes)
        case .boolean(let value): text.append(contentsOf: (value ? "true" : "false").utf8)
        case .float(let value): text.append(contentsOf: value.description.utf8)
        case .double(let value): text.append(contentsOf: value.description.utf8)
        case .timestamp(let value): append(value, isNegative: false, to: &text)
        case .int8, .uint8, .int16, .uint16, .int32, .uint32, .int64, .longInt64:
            let number = value.integer ?? 0
            append(number.magnitude, isNegative: number < 0, to: &text)
        case .void, .decimal, .bytes, .array, .table: break
        }
    }

    static func isText(_ bytes: UnsafeRawBufferPointer) -> Bool {
        !bytes.contains(0) && String(validating: bytes, as: UTF8.self) != nil
    }

    /// Decimal digits, without a string between.
    static func append(_ magnitude: UInt64, isNegative: Bool, to text: inout [UInt8]) {
        if isNegative { text.append(UInt8(ascii: "-")) }
        let start = text.count
        var rest = magnitude
        repeat {
            text.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10))
            rest /= 10
        } while rest > 0
        text[start...].reverse()
    }
}
