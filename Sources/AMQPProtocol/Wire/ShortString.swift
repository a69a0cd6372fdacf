/// A short string of the protocol, kept as the bytes that were sent; at most 255 of them.
///
/// Two of them are equal when their bytes are. RabbitMQ does not demand UTF-8 of names, so neither does this.
package struct ShortString: Sendable, Hashable {
    package static let maximumLength = 255

    package var bytes: [UInt8]

    /// Longer ones are cut.
    package init(_ bytes: some Collection<UInt8>) {
        self.bytes = Array(bytes.prefix(Self.maximumLength))
    }

    package init(_ string: String) { self.init(string.utf8) }

    package static let empty = ShortString([UInt8]())

    package var isEmpty: Bool { bytes.isEmpty }

    package func hasPrefix(_ prefix: StaticString) -> Bool {
        prefix.withUTF8Buffer { bytes.starts(with: $0) }
    }

    package func equals(_ text: StaticString) -> Bool {
        text.withUTF8Buffer { bytes.elementsEqual($0) }
    }

    /// Without carriage returns and line feeds, as RabbitMQ takes the names of what it declares and deletes.
    var withoutLineBreaks: ShortString {
        guard bytes.contains(where: { $0 == 0x0A || $0 == 0x0D }) else { return self }
        return ShortString(bytes.filter { $0 != 0x0A && $0 != 0x0D })
    }
}

extension ShortString: ExpressibleByStringLiteral {
    package init(stringLiteral value: String) { self.init(value) }
}

extension ShortString: CustomStringConvertible {
    package var description: String { String(decoding: bytes, as: UTF8.self) }
}
