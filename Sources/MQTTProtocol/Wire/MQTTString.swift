/// A UTF-8 encoded string of the protocol, kept as the bytes that were sent.
///
/// Two of them are equal when their bytes are, as MQTT demands; `String` would call differently composed
/// characters equal, which is no way to compare client identifiers or topics.
package struct MQTTString: Sendable, Hashable {
    /// The UTF-8 bytes, at most 65,535.
    package var bytes: [UInt8]

    package init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    package init(_ string: String) {
        self.bytes = Array(string.utf8)
    }

    package init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = Array(bytes)
    }

    package var isEmpty: Bool { bytes.isEmpty }
}

extension MQTTString: ExpressibleByStringLiteral {
    package init(stringLiteral value: String) {
        self.init(value)
    }
}

extension MQTTString: CustomStringConvertible {
    package var description: String { String(decoding: bytes, as: UTF8.self) }
}
