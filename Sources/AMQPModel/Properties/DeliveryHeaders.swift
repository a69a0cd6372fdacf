internal import AMQPProtocol

/// Headers that a delivery has and the stored message has not.
package enum DeliveryHeaders {
    /// How often a message of a quorum queue was delivered before: from the second delivery on.
    package static let deliveryCount: StaticString = "x-delivery-count"
    /// Where a message stands in its stream.
    package static let streamOffset: StaticString = "x-stream-offset"

    /// Properties with a header in the place of all with its name; nothing else is changed.
    ///
    /// - Parameter properties: from the property flags on, as `PropertyDecoder` shows them; empty where there are none.
    package static func adding(
        _ name: StaticString,
        _ value: Int64,
        to properties: UnsafeRawBufferPointer
    ) -> [UInt8] {
        let view = PropertiesView(validated: properties)
        var headers = view.headerTable ?? FieldTable()
        headers.replace(name, .int64(value))
        var changes = PropertyChanges()
        changes.setHeaders(headers)
        return changes.applied(to: view)
    }
}
