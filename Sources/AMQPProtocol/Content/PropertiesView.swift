/// The properties of a message in place: the flags and what they announce, in the bytes in which they came. They are
/// kept and passed on as they are; a property is looked for when somebody asks.
package struct PropertiesView {
    /// From the flags on.
    package let bytes: UnsafeRawBufferPointer
    package let flags: UInt16

    /// - Parameter bytes: properties that were checked; fewer than two bytes are no properties.
    package init(validated bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
        flags = bytes.count >= 2 ? UInt16(bigEndian: bytes.loadUnaligned(as: UInt16.self)) : 0
    }

    package func contains(_ property: BasicProperty) -> Bool { flags & property.flag != 0 }

    /// The bytes of a property without a length before them; nil when it is absent. An empty string is not absent.
    package func value(_ property: BasicProperty) -> UnsafeRawBufferPointer? {
        guard contains(property) else { return nil }
        var found: UnsafeRawBufferPointer?
        try? walk { candidate, _, value in
            guard candidate == property else { return true }
            found = value
            return false
        }
        return found
    }

    /// 1 transient, 2 persistent; nil when absent.
    package var deliveryMode: UInt8? { value(.deliveryMode)?.first }
    package var isPersistent: Bool { deliveryMode == 2 }
    package var priority: UInt8? { value(.priority)?.first }
    /// Seconds since 1970.
    package var timestamp: UInt64? {
        value(.timestamp).map { UInt64(bigEndian: $0.loadUnaligned(as: UInt64.self)) }
    }
    /// A copy of the headers; nil where there are none.
    package var headerTable: FieldTable? { value(.headers).map { FieldTable(validated: Array($0)) } }
    package var headers: FieldTableView? { value(.headers).map { FieldTableView(validated: $0) } }

    /// The time to live in milliseconds; nil when there is none.
    ///
    /// - Throws: 406 as RabbitMQ answers it, for what is no decimal number from 0 on.
    package func expirationMilliseconds() throws(AMQPError) -> UInt64? {
        guard let text = value(.expiration) else { return nil }
        switch Expiration.parse(text) {
        case .milliseconds(let value): return value
        case .invalid(let reason):
            throw AMQPError(
                .preconditionFailed,
                "invalid expiration '\(String(decoding: text, as: UTF8.self))': \(reason)",
                method: .basicPublish
            )
        }
    }

    /// Shows each property that is there with its encoding and its value, until the visitor returns false.
    func walk(
        _ visit: (BasicProperty, _ encoded: Range<Int>, _ value: UnsafeRawBufferPointer) -> Bool
    ) throws(WireError) {
        var reader = ByteReader(bytes, in: 2..<max(2, bytes.count))
        var rest = flags
        while rest != 0 {
            let bit = UInt8(15 - rest.leadingZeroBitCount)
            rest &= ~(1 << UInt16(bit))
            guard let property = BasicProperty(rawValue: bit) else { throw .unknownPropertyFlags }
            let start = reader.position
            let value =
                switch property.kind {
                case .shortString: try reader.takeShortString()
                case .table: try reader.takeLongString()
                case .octet: try reader.take(1)
                case .timestamp: try reader.take(8)
                }
            guard visit(property, start..<reader.position, reader.slice(value)) else { return }
        }
        guard reader.isAtEnd else { throw .trailingBytes }
    }

    /// Whether bytes of unknown origin are properties, from beginning to end, headers included.
    package static func areWellFormed(
        _ bytes: UnsafeRawBufferPointer,
        depth: Int = AMQPLimits().maximumTableDepth
    ) -> Bool {
        do throws(WireError) {
            try validate(bytes, depth: depth)
            return true
        } catch {
            return false
        }
    }

    /// Checks properties from beginning to end, headers included.
    static func validate(_ bytes: UnsafeRawBufferPointer, depth: Int) throws(WireError) {
        guard bytes.count >= 2 else { throw .truncated }
        let view = PropertiesView(validated: bytes)
        guard view.flags & BasicProperty.unknownFlags == 0 else { throw .unknownPropertyFlags }
        // Most messages of a fast publisher have no properties, or only a delivery mode.
        if view.flags == 0, bytes.count == 2 { return }
        var headers: UnsafeRawBufferPointer?
        try view.walk { property, _, value in
            if property == .headers { headers = value }
            return true
        }
        if let headers { try FieldWalk.validate(table: headers, depth: depth) }
    }
}

/// The expiration property, and the values of arguments that are times to live.
enum Expiration {
    enum Result {
        case milliseconds(UInt64)
        /// In RabbitMQ's words.
        case invalid(String)
    }

    /// Greater ones would overflow a timer: about 49 days, RabbitMQ's bound.
    static let maximum: UInt64 = 4_294_967_295

    static func parse(_ text: UnsafeRawBufferPointer) -> Result {
        var digits = text[...]
        let isNegative = digits.first == UInt8(ascii: "-")
        if isNegative || digits.first == UInt8(ascii: "+") { digits = digits.dropFirst() }
        var value: UInt64 = 0
        var count = 0
        for digit in digits {
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { break }
            count += 1
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(digit - UInt8(ascii: "0")))
            value = overflow || carry ? .max : sum
            if overflow || carry { break }
        }
        guard count > 0 else { return .invalid("no_integer") }
        let leftover = digits.dropFirst(count)
        guard leftover.isEmpty || value == .max else {
            return .invalid("{leftover_string,\"\(String(decoding: leftover, as: UTF8.self))\"}")
        }
        if isNegative, value > 0 { return .invalid("{value_negative,-\(value)}") }
        guard value <= maximum else { return .invalid("{value_too_big,\(value)}") }
        return .milliseconds(value)
    }
}
