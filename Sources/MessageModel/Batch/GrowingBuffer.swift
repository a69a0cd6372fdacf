/// Raw memory that is filled from its beginning and grows as needed; made to be filled again and again.
struct GrowingBuffer: ~Copyable {
    private(set) var memory: UnsafeMutableRawBufferPointer
    /// Bytes that are filled.
    var count = 0

    init(capacity: Int) {
        memory = .allocate(byteCount: max(capacity, 16), alignment: 8)
    }

    deinit { memory.deallocate() }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[0..<count]) }

    /// Makes room for so many more bytes.
    @inline(__always)
    mutating func reserve(_ more: Int) {
        if count + more > memory.count { grow(to: count + more) }
    }

    private mutating func grow(to needed: Int) {
        let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: max(memory.count * 2, needed), alignment: 8)
        larger.copyMemory(from: bytes)
        memory.deallocate()
        memory = larger
    }

    /// Empties the buffer, and gives its memory back where it is larger than `limit`.
    mutating func shrink(to limit: Int) {
        count = 0
        guard memory.count > limit else { return }
        memory.deallocate()
        memory = .allocate(byteCount: max(limit, 16), alignment: 8)
    }

    // The caller has reserved the room for what follows.

    @inline(__always)
    mutating func append(byte: UInt8) {
        memory[count] = byte
        count += 1
    }

    @inline(__always)
    mutating func append(varint value: UInt64) { Varint.write(value, memory, &count) }

    @inline(__always)
    mutating func append(number: UInt64) {
        memory.store64(number, at: count)
        count += 8
    }

    @inline(__always)
    mutating func append(_ value: UnsafeRawBufferPointer) {
        guard !value.isEmpty else { return }
        UnsafeMutableRawBufferPointer(rebasing: memory[count..<count + value.count]).copyMemory(from: value)
        count += value.count
    }
}
