/// A decoded table field. Tables and arrays keep their bytes, so that a value comes out as it came in.
package enum FieldValue: Sendable, Hashable {
    /// Every octet but zero is true.
    case boolean(Bool)
    case int8(Int8)
    case uint8(UInt8)
    case int16(Int16)
    case uint16(UInt16)
    case int32(Int32)
    case uint32(UInt32)
    case int64(Int64)
    case longInt64(Int64)
    case float(Float)
    case double(Double)
    /// `unscaled` divided by ten to the power of `scale`.
    case decimal(scale: UInt8, unscaled: UInt32)
    /// Seconds since 1970.
    case timestamp(UInt64)
    case longString([UInt8])
    case bytes([UInt8])
    case array(FieldArray)
    case table(FieldTable)
    case void

    package static func string(_ text: String) -> FieldValue { .longString(Array(text.utf8)) }

    package var type: FieldType {
        switch self {
        case .boolean: .boolean
        case .int8: .int8
        case .uint8: .uint8
        case .int16: .int16
        case .uint16: .uint16
        case .int32: .int32
        case .uint32: .uint32
        case .int64: .int64
        case .longInt64: .longInt64
        case .float: .float
        case .double: .double
        case .decimal: .decimal
        case .timestamp: .timestamp
        case .longString: .longString
        case .bytes: .bytes
        case .array: .array
        case .table: .table
        case .void: .void
        }
    }

    /// The value of any integer type: RabbitMQ does not ask which one an argument has.
    package var integer: Int64? {
        switch self {
        case .int8(let value): Int64(value)
        case .uint8(let value): Int64(value)
        case .int16(let value): Int64(value)
        case .uint16(let value): Int64(value)
        case .int32(let value): Int64(value)
        case .uint32(let value): Int64(value)
        case .int64(let value), .longInt64(let value): value
        case .boolean, .float, .double, .decimal, .timestamp, .longString, .bytes, .array, .table, .void: nil
        }
    }

    /// The bytes of a string or of binary data.
    package var stringBytes: [UInt8]? {
        switch self {
        case .longString(let bytes), .bytes(let bytes): bytes
        case .boolean, .int8, .uint8, .int16, .uint16, .int32, .uint32, .int64, .longInt64, .float, .double, .decimal,
            .timestamp, .array, .table, .void:
            nil
        }
    }

    /// Decodes a value whose bytes were checked; nil when they have not the size of the type.
    package init?(type: FieldType, _ value: UnsafeRawBufferPointer) {
        if let size = type.fixedSize, value.count != size { return nil }
        switch type {
        case .boolean: self = .boolean(value[0] != 0)
        case .int8: self = .int8(Int8(bitPattern: value[0]))
        case .uint8: self = .uint8(value[0])
        case .int16: self = .int16(Int16(bigEndian: value.loadUnaligned(as: Int16.self)))
        case .uint16: self = .uint16(UInt16(bigEndian: value.loadUnaligned(as: UInt16.self)))
        case .int32: self = .int32(Int32(bigEndian: value.loadUnaligned(as: Int32.self)))
        case .uint32: self = .uint32(UInt32(bigEndian: value.loadUnaligned(as: UInt32.self)))
        case .int64: self = .int64(Int64(bigEndian: value.loadUnaligned(as: Int64.self)))
        case .longInt64: self = .longInt64(Int64(bigEndian: value.loadUnaligned(as: Int64.self)))
        case .float: self = .float(Float(bitPattern: UInt32(bigEndian: value.loadUnaligned(as: UInt32.self))))
        case .double: self = .double(Double(bitPattern: UInt64(bigEndian: value.loadUnaligned(as: UInt64.self))))
        case .decimal:
            let unscaled = UInt32(bigEndian: value.loadUnaligned(fromByteOffset: 1, as: UInt32.self))
            self = .decimal(scale: value[0], unscaled: unscaled)
        case .timestamp: self = .timestamp(UInt64(bigEndian: value.loadUnaligned(as: UInt64.self)))
        case .longString: self = .longString(Array(value))
        case .bytes: self = .bytes(Array(value))
        case .array: self = .array(FieldArray(validated: Array(value)))
        case .table: self = .table(FieldTable(validated: Array(value)))
        case .void: self = .void
        }
    }

    /// Appends the letter and the value.
    func encode(into bytes: inout [UInt8]) {
        bytes.append(type.rawValue)
        switch self {
        case .boolean(let value): bytes.append(value ? 1 : 0)
        case .int8(let value): bytes.append(UInt8(bitPattern: value))
        case .uint8(let value): bytes.append(value)
        case .int16(let value): bytes.appendBigEndian(value)
        case .uint16(let value): bytes.appendBigEndian(value)
        case .int32(let value): bytes.appendBigEndian(value)
        case .uint32(let value): bytes.appendBigEndian(value)
        case .int64(let value), .longInt64(let value): bytes.appendBigEndian(value)
        case .float(let value): bytes.appendBigEndian(value.bitPattern)
        case .double(let value): bytes.appendBigEndian(value.bitPattern)
        case .decimal(let scale, let unscaled):
            bytes.append(scale)
            bytes.appendBigEndian(unscaled)
        case .timestamp(let value): bytes.appendBigEndian(value)
        case .longString(let value), .bytes(let value): bytes.appendLong(value)
        case .array(let value): bytes.appendLong(value.bytes)
        case .table(let value): bytes.appendLong(value.bytes)
        case .void: break
        }
    }
}

extension [UInt8] {
    mutating func appendBigEndian(_ value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
    }

    mutating func appendShort(_ string: some Collection<UInt8>) {
        let kept = string.prefix(ShortString.maximumLength)
        append(UInt8(truncatingIfNeeded: kept.count))
        append(contentsOf: kept)
    }

    mutating func appendLong(_ string: some Collection<UInt8>) {
        appendBigEndian(UInt32(truncatingIfNeeded: string.count))
        append(contentsOf: string)
    }
}
