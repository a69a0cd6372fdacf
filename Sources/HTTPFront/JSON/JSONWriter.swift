internal import NIOCore

/// Writes JSON into a buffer, members in the order in which they are given.
struct JSONWriter {
    private(set) var buffer: ByteBuffer
    /// Whether the next member or element needs a comma before it.
    private var needsComma = false

    init(capacity: Int = 256) {
        buffer = ByteBuffer()
        buffer.reserveCapacity(capacity)
    }

    var byteCount: Int { buffer.readableBytes }

    mutating func object(_ members: (inout JSONWriter) -> Void) {
        open("{")
        members(&self)
        close("}")
    }

    mutating func array(_ elements: (inout JSONWriter) -> Void) {
        open("[")
        elements(&self)
        close("]")
    }

    mutating func object(_ name: StaticString, _ members: (inout JSONWriter) -> Void) {
        key(name)
        object(members)
    }

    mutating func array(_ name: StaticString, _ elements: (inout JSONWriter) -> Void) {
        key(name)
        array(elements)
    }

    mutating func member(_ name: StaticString, _ value: String) {
        key(name)
        string(value)
    }

    mutating func member(_ name: StaticString, _ value: some BinaryInteger) {
        key(name)
        number(value)
    }

    mutating func member(_ name: StaticString, _ value: Bool) {
        key(name)
        separate()
        buffer.writeString(value ? "true" : "false")
        needsComma = true
    }

    mutating func member(_ name: StaticString, strings: [String]) {
        array(name) { writer in
            for text in strings { writer.string(text) }
        }
    }

    /// Text where the bytes are UTF-8, `{"base64": "…"}` where they are not.
    mutating func member(_ name: StaticString, bytes: UnsafeRawBufferPointer) {
        key(name)
        value(bytes: bytes)
    }

    mutating func value(bytes: UnsafeRawBufferPointer) {
        if let text = String(validating: bytes, as: UTF8.self) {
            string(text)
        } else {
            object { $0.member("base64", Base64.encode(bytes)) }
        }
    }

    /// Copies a checked JSON value as it stands.
    mutating func member(_ name: StaticString, json: UnsafeRawBufferPointer) {
        key(name)
        separate()
        buffer.writeBytes(json)
        needsComma = true
    }

    /// Copies values that stand one behind the other with commas, as an array.
    mutating func member(_ name: StaticString, elements: ByteBuffer) {
        key(name)
        open("[")
        buffer.writeImmutableBuffer(elements)
        close("]")
    }

    mutating func key(_ name: StaticString) {
        separate()
        buffer.writeInteger(UInt8(ascii: "\""))
        buffer.writeStaticString(name)
        buffer.writeStaticString("\":")
        needsComma = false
    }

    /// A member's name that came from elsewhere.
    mutating func key(text: String) {
        string(text)
        buffer.writeStaticString(":")
        needsComma = false
    }

    mutating func number(_ value: some BinaryInteger) {
        separate()
        buffer.writeString(String(value))
        needsComma = true
    }

    mutating func string(_ text: String) {
        separate()
        buffer.writeInteger(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { utf8 in
            var start = 0
            for position in utf8.indices {
                let byte = utf8[position]
                guard byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") else { continue }
                buffer.writeBytes(utf8[start..<position])
                start = position + 1
                switch byte {
                case UInt8(ascii: "\""): buffer.writeStaticString("\\\"")
                case UInt8(ascii: "\\"): buffer.writeStaticString("\\\\")
                case UInt8(ascii: "\n"): buffer.writeStaticString("\\n")
                case UInt8(ascii: "\r"): buffer.writeStaticString("\\r")
                case UInt8(ascii: "\t"): buffer.writeStaticString("\\t")
                default:
                    buffer.writeStaticString("\\u00")
                    buffer.writeInteger(Hexadecimal.digit(byte >> 4))
                    buffer.writeInteger(Hexadecimal.digit(byte & 0xF))
                }
            }
            buffer.writeBytes(utf8[start...])
        }
        buffer.writeInteger(UInt8(ascii: "\""))
        needsComma = true
    }

    private mutating func separate() {
        if needsComma { buffer.writeInteger(UInt8(ascii: ",")) }
    }

    private mutating func open(_ bracket: StaticString) {
        separate()
        buffer.writeStaticString(bracket)
        needsComma = false
    }

    private mutating func close(_ bracket: StaticString) {
        buffer.writeStaticString(bracket)
        needsComma = true
    }
}
