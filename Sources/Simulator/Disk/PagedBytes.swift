/// Bytes of a fixed number in pages that copies share until one of them is written: a disk image of many megabytes is
/// copied for thousands of crash points.
struct PagedBytes: Sendable, Equatable {
    static let pageBytes = 4_096

    let count: Int
    /// Nil for a page of zeros.
    private var pages: [[UInt8]?]

    init(zeros count: Int) {
        self.count = count
        pages = Array(repeating: nil, count: (count + Self.pageBytes - 1) / Self.pageBytes)
    }

    init(_ bytes: [UInt8]) {
        self.init(zeros: bytes.count)
        bytes.withUnsafeBytes { write($0, at: 0) }
    }

    /// - Precondition: the range lies inside.
    mutating func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        precondition(offset >= 0 && offset <= count && bytes.count <= count - offset, "outside of the bytes")
        var done = 0
        while done < bytes.count {
            let (page, start) = (offset + done).quotientAndRemainder(dividingBy: Self.pageBytes)
            let length = min(Self.pageBytes - start, bytes.count - done)
            var content = pages[page] ?? [UInt8](repeating: 0, count: Self.pageBytes)
            // Otherwise the array would hold a second reference, and the write would copy the page each time.
            pages[page] = nil
            content.withUnsafeMutableBytes { target in
                UnsafeMutableRawBufferPointer(rebasing: target[start...])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[done..<done + length]))
            }
            pages[page] = content
            done += length
        }
    }

    /// Fills the buffer, as far as there are bytes.
    /// - Returns: how many.
    func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let total = min(buffer.count, max(count - offset, 0))
        var done = 0
        while done < total {
            let (page, start) = (offset + done).quotientAndRemainder(dividingBy: Self.pageBytes)
            let length = min(Self.pageBytes - start, total - done)
            let target = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + length])
            if let content = pages[page] {
                content.withUnsafeBytes {
                    target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[start..<start + length]))
                }
            } else {
                target.initializeMemory(as: UInt8.self, repeating: 0)
            }
            done += length
        }
        return total
    }

    func bytes(at offset: Int, length: Int) -> [UInt8] {
        let length = min(length, max(count - offset, 0))
        return [UInt8](unsafeUninitializedCapacity: length) { buffer, initialized in
            initialized = read(at: offset, into: UnsafeMutableRawBufferPointer(buffer))
        }
    }

    var allBytes: [UInt8] { bytes(at: 0, length: count) }
}
