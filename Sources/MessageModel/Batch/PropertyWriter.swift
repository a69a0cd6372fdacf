/// Encodes properties into one reused buffer.
package struct PropertyWriter: ~Copyable {
    private var buffer: GrowingBuffer

    package init(capacity: Int = 256) { buffer = GrowingBuffer(capacity: capacity) }

    package var isEmpty: Bool { buffer.count == 0 }
    package var byteCount: Int { buffer.count }

    package mutating func removeAll() { buffer.count = 0 }

    package mutating func append(_ id: PropertyID, _ value: UnsafeRawBufferPointer) {
        header(id, length: value.count)
        buffer.append(value)
    }

    package mutating func append(_ id: PropertyID, byte: UInt8) {
        header(id, length: 1)
        buffer.append(byte: byte)
    }

    package mutating func append(_ id: PropertyID, number: UInt64) {
        header(id, length: 8)
        buffer.append(number: number)
    }

    package mutating func append(_ id: PropertyID, _ text: String) {
        var text = text
        text.withUTF8 { append(id, UnsafeRawBufferPointer($0)) }
    }

    package mutating func appendUser(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
        header(.user, length: Varint.size(UInt64(name.count)) + name.count + value.count)
        buffer.append(varint: UInt64(name.count))
        buffer.append(name)
        buffer.append(value)
    }

    package mutating func appendUser(name: String, value: String) {
        var name = name
        var value = value
        name.withUTF8 { name in
            value.withUTF8 { value in
                appendUser(name: UnsafeRawBufferPointer(name), value: UnsafeRawBufferPointer(value))
            }
        }
    }

    /// Copies properties that are encoded already.
    package mutating func append(encoded: UnsafeRawBufferPointer) {
        buffer.reserve(encoded.count)
        buffer.append(encoded)
    }

    package borrowing func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try body(buffer.bytes)
    }

    private mutating func header(_ id: PropertyID, length: Int) {
        buffer.reserve(20 + length)
        buffer.append(varint: id.rawValue)
        buffer.append(varint: UInt64(length))
    }
}
