/// The types of table fields in RabbitMQ's dialect, by their letters. It reads some of them otherwise than the
/// specification's text: `b` is signed, `s` is a 16-bit integer, `l` and `L` are both signed.
package enum FieldType: UInt8, Sendable, Hashable, CaseIterable {
    case boolean = 0x74  // t
    case int8 = 0x62  // b
    case uint8 = 0x42  // B
    case int16 = 0x73  // s
    case uint16 = 0x75  // u
    case int32 = 0x49  // I
    case uint32 = 0x69  // i
    case int64 = 0x6C  // l
    /// Like `int64`, with another letter.
    case longInt64 = 0x4C  // L
    case float = 0x66  // f
    case double = 0x64  // d
    /// An octet that says how many digits follow the point, and 32 bits.
    case decimal = 0x44  // D
    /// Seconds since 1970.
    case timestamp = 0x54  // T
    case longString = 0x53  // S
    case bytes = 0x78  // x
    case array = 0x41  // A
    case table = 0x46  // F
    case void = 0x56  // V

    /// Bytes of a value behind its letter; nil where a length says it.
    var fixedSize: Int? {
        switch self {
        case .void: 0
        case .boolean, .int8, .uint8: 1
        case .int16, .uint16: 2
        case .int32, .uint32, .float: 4
        case .decimal: 5
        case .int64, .longInt64, .double, .timestamp: 8
        case .longString, .bytes, .array, .table: nil
        }
    }
}
