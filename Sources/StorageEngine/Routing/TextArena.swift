internal import MessageModel

/// A text in a `TextArena`: up to seven bytes are held here, of others the position in 47 bits and the length in 16.
struct TextReference: Equatable {
    fileprivate let raw: UInt64

    private static let isShort: UInt64 = 1 << 63
    static let empty = TextReference(short: UnsafeRawBufferPointer(start: nil, count: 0))

    @inline(__always)
    fileprivate init(position: Int, length: Int) {
        raw = UInt64(truncatingIfNeeded: position) << 16 | UInt64(truncatingIfNeeded: length)
    }

    /// A text of at most seven bytes.
    @inline(__always)
    fileprivate init(short text: UnsafeRawBufferPointer) {
        var packed = Self.isShort | UInt64(text.count) << 56
        for place in 0..<text.count { packed |= UInt64(text[place]) << UInt64(place &* 8) }
        raw = packed
    }

    @inline(__always)
    fileprivate var isShort: Bool { raw & Self.isShort != 0 }
    @inline(__always)
    fileprivate var length: Int { isShort ? Int(raw >> 56 & 7) : Int(raw & 0xFFFF) }
    /// Of one that is not short.
    @inline(__always)
    fileprivate var position: Int { Int(truncatingIfNeeded: raw >> 16) }
}

/// Many short texts, each of at most 65,535 bytes.
struct TextArena {
    private var blocks = BlockArena()

    var byteCount: Int { blocks.byteCount }
    var isSparse: Bool { blocks.isSparse }

    /// Adds a text of at most 65,535 bytes; what is longer is cut, so check before.
    mutating func add(_ text: UnsafeRawBufferPointer) -> TextReference {
        guard text.count > 7 else { return TextReference(short: text) }
        let length = min(text.count, Limits.nameBytes)
        let position = blocks.add(length) { $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: text[0..<length])) }
        return TextReference(position: position, length: length)
    }

    mutating func remove(_ text: TextReference) {
        if !text.isShort { blocks.remove(text.position, text.length) }
    }

    @inline(__always)
    func with<Result>(_ text: TextReference, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        guard text.isShort else { return blocks.with(text.position, text.length, body) }
        return withUnsafeBytes(of: text.raw.littleEndian) {
            body(UnsafeRawBufferPointer(rebasing: $0[0..<text.length]))
        }
    }

    @inline(__always)
    func isEqual(_ text: TextReference, _ other: UnsafeRawBufferPointer) -> Bool {
        guard other.count > 7 else { return text == TextReference(short: other) }
        return !text.isShort && text.length == other.count && blocks.isEqual(text.position, other)
    }
}
