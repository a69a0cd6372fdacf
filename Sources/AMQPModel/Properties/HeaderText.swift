internal import AMQPProtocol

/// Values of headers as text, as they are in user properties and are compared by headers exchanges.
enum HeaderText {
    /// The value that a headers binding asks for; nil where it asks for the header only.
    static func argument(_ value: FieldValue) -> [UInt8]? {
        if case .void = value { return nil }
        // A byte that no text has, for what no user property holds.
        return text(value) ?? [0xFF]
    }

    /// Strings that are text, numbers, truth values and times; nil for the others, which are in the kept section only.
    static func text(_ value: FieldValue) -> [UInt8]? {
        switch value {
        case .longString(let bytes):
            String(validating: bytes, as: UTF8.self) == nil || bytes.contains(0) ? nil : bytes
        case .boolean(let value): Array((value ? "true" : "false").utf8)
        case .float(let value): Array(value.description.utf8)
        case .double(let value): Array(value.description.utf8)
        case .timestamp(let value): Array(value.description.utf8)
        case .int8, .uint8, .int16, .uint16, .int32, .uint32, .int64, .longInt64:
            value.integer.map { Array($0.description.utf8) }
        case .void: []
        case .decimal, .bytes, .array, .table: nil
        }
    }
}
