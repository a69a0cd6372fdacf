internal import AMQPModel
internal import AMQPProtocol
internal import MessageModel

/// Properties of messages as they are stored. Those of the last message are kept: a publisher's mostly are the same.
struct PublishedProperties: ~Copyable {
    private var encoder = PropertyEncoder()
    private var writer = PropertyWriter()
    /// What was encoded last, where it can be used for the next message that has the same.
    private var last: [UInt8] = []

    /// Encodes the properties of a message, checked, from the flags on.
    /// - Parameter isDelayed: the exchange honours `x-delay`.
    @inline(__always)
    mutating func prepare(_ section: UnsafeRawBufferPointer, isDelayed: Bool) {
        if !isDelayed, last.count == section.count, last.withUnsafeBytes({ bytesEqual($0, section) }) { return }
        encode(section, nil, isDelayed: isDelayed)
    }

    /// The same for a message that is routed by the model.
    /// - Parameter origin: nil where topic and name say where it was published.
    mutating func prepare(
        _ section: UnsafeRawBufferPointer,
        from origin: PropertyEncoder.Origin?,
        isDelayed: Bool = false,
        hasDeaths: Bool = false
    ) {
        encode(section, origin, isDelayed: isDelayed, hasDeaths: hasDeaths)
    }

    private mutating func encode(
        _ section: UnsafeRawBufferPointer,
        _ origin: PropertyEncoder.Origin?,
        isDelayed: Bool,
        hasDeaths: Bool = false
    ) {
        let view = PropertiesView(validated: section)
        last.removeAll(keepingCapacity: true)
        do throws(AMQPError) {
            try encoder.encode(
                view,
                origin: origin,
                isDelayed: isDelayed,
                hasDeaths: hasDeaths,
                now: .wallClock,
                into: &writer
            )
        } catch {
            // The connection has refused what is wrong with them.
            writer.removeAll()
        }
        // Times count from the message on.
        guard origin == nil, !isDelayed, !hasDeaths, !view.contains(.expiration), section.count <= Self.keptBytes else {
            return
        }
        last.append(contentsOf: section)
    }

    private static let keptBytes = 4_096

    @inline(__always)
    borrowing func withEncoded<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        writer.withBytes { body($0) }
    }
}
