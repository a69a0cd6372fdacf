/// Encodes properties into one reused buffer.
package struct PropertyWriter: ~Copyable {
    private var bytes: UnsafeMutableRawBufferPointer
    private var count = 0

    package init(capacity: Int = 256) {
        bytes = .allocate(byteCount: capacity, alignment: 8)
    }

    deinit { bytes.deallocate() }

    package var isEmpty: Bool { count == 0 }
    package var byteCount: Int { count }

    package mutating func removeAll() { count = 0 }

    package mutating func append(_ id: PropertyID, _ value: UnsafeRawBufferPointer) {
        header(id, length: value.count)
        copy(value)
    }

    package mutating func append(_ id: PropertyID, byte: UInt8) {
        header(id, length: 1)
        bytes[count] = byte
        count += 1
    }

    package mutating func append(_ id: PropertyID, number: UInt64) {
        header(id, length: 8)
        bytes.store64(number, at: count)
        count += 8
    }

    package mutating func append(_ id: PropertyID, _ text: String) {
        var text = text
        text.withUTF8 { append(id, UnsafeRawBufferPointer($0)) }
    }

    package mutating func appendUser(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
        header(.user, length: Varint.size(UInt64(name.count)) + name.count + value.count)
        Varint.write(UInt64(name.count), bytes, &count)
        copy(name)
        copy(value)
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
        reserve(encoded.count)
        copy(encoded)
    }

    package borrowing func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try body(UnsafeRawBufferPointer(rebasing: bytes[0..<count]))
    }

    private mutating func header(_ id: PropertyID, length: Int) {
        reserve(20 + length)
        Varint.write(id.rawValue, bytes, &count)
        Varint.write(UInt64(length), bytes, &count)
    }

    private mutating func copy(_ value: UnsafeRawBufferPointer) {
        guard !value.isEmpty else { return }
        UnsafeMutableRawBufferPointer(rebasing: bytes[count..<count + value.count]).copyMemory(from: value)
        count += value.count
    }

    private mutating func reserve(_ more: Int) {
        guard count + more > bytes.count else { return }
        let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: max(bytes.count * 2, count + more), alignment: 8)
        larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[0..<count]))
        bytes.deallocate()
        bytes = larger
    }
}
